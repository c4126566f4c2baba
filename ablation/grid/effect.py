"""Effect: which settings the model of a cell does not hear, so that two cells can be one experiment under two names."""

from collections.abc import Iterator

from ..config import ExperimentConfig, identity
from ..config.identity import canonical
from ..models import ModelConfig
from ..registry import ComponentConfig, Config


def effect(config: ExperimentConfig, fingerprint: str | None) -> str:
    """One text for all experiments that differ in nothing that is heard."""
    model = config.model
    if deaf_to_heads(model):
        model = model.model_copy(update={"n_heads": 1, "n_kv_heads": None})
    elif model.n_kv_heads == model.n_heads:
        model = model.model_copy(update={"n_kv_heads": None})
    return canonical(identity(config.model_copy(update={"model": model}), fingerprint))


def deaf_to_heads(model: ModelConfig) -> str | None:
    """The mixers' names, where none of them has heads."""
    found = list(mixers(model))
    if any(mixer.component.hears_heads for mixer in found):  # type: ignore[attr-defined]
        return None
    return " and ".join(dict.fromkeys(mixer.name for mixer in found))


def mixers(config: Config) -> Iterator[ComponentConfig]:
    """Those in the configuration, within other components too."""
    for name in type(config).model_fields:
        part = getattr(config, name)
        if isinstance(part, ComponentConfig):
            if part.slot == "mixer":
                yield part
            yield from mixers(part)
