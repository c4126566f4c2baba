"""The model's part of the configuration. The baseline's values are in conf/base.yaml."""

import json
from collections.abc import Iterator
from typing import Annotated, Any, Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from .. import components  # noqa: F401  fills the slots
from ..components.architecture.base import LayerParts, ModelParts
from ..components.base import BuildContext
from ..components.block import Block
from ..components.embedding import Embedding
from ..components.feedforward import Feedforward
from ..components.initialization import Initialization
from ..components.lm_head import LMHead
from ..components.mixer.base import Mixer
from ..components.position.base import Position
from ..components.residual import Residual
from ..errors import nearest
from ..registry import REGISTRY, ComponentConfig, Config, Slot, component, components_in, expand_shorthand

LAYER_SLOTS = ("position", "block", "norm", "mixer", "feedforward", "residual")
"""The slots that every layer fills anew."""
MOST_LAYERS = 100_000
"""Layers that are looked at for overrides; planning refuses models of so many."""


class LayerOverride(Config):
    """Other components or hyper-parameters in some of the layers, whose indices count from 0.

    ``{every: 6, first: 5, set: {mixer.window: null}}`` changes layers 5, 11, 17, ...
    """

    every: PositiveInt = 1
    """Distance between two of the layers."""
    first: NonNegativeInt = 0
    """Index of the first of them."""
    last: NonNegativeInt | None = None
    """Index that none of them exceeds; null: to the last layer."""
    set: Annotated[dict[str, Any], Field(min_length=1)]
    """By path within ``model``: a slot of a layer (mixer, position, ...), or a hyper-parameter in it (mixer.window)."""

    def applies(self, layer: int) -> bool:
        within = self.first <= layer and (self.last is None or layer <= self.last)
        return within and (layer - self.first) % self.every == 0


class ModelConfig(Config):
    """Sizes, and one component in every slot."""

    architecture: Annotated[ComponentConfig[Any], Slot("architecture")]
    d_model: PositiveInt
    """Features of the residual stream."""
    n_layers: PositiveInt
    n_heads: PositiveInt
    n_kv_heads: PositiveInt | None
    """Heads of the keys and values, a divisor of n_heads; null: as many."""
    d_head: PositiveInt | None = None
    """Features of one head; null: d_model / n_heads, which n_heads then has to divide."""
    dropout: Annotated[float, Field(ge=0, lt=1)]
    """Fraction dropped after each sublayer and inside the feedforward; see the block's ``dropout_on``."""
    tie_embeddings: bool
    """Whether the embedding's table is the head's as well."""
    max_length: PositiveInt | None = None
    """The longest sequence the model is built for, in tokens; null: the longest of the task."""
    embedding: Annotated[ComponentConfig[Embedding], Slot("embedding")] = component("embedding", "plain")
    lm_head: Annotated[ComponentConfig[LMHead], Slot("lm_head")] = component("lm_head", "linear")
    position: Annotated[ComponentConfig[Position], Slot("position")]
    block: Annotated[ComponentConfig[Block], Slot("block")]
    norm: Annotated[ComponentConfig[Any], Slot("norm")]
    mixer: Annotated[ComponentConfig[Mixer], Slot("mixer")]
    feedforward: Annotated[ComponentConfig[Feedforward], Slot("feedforward")]
    residual: Annotated[ComponentConfig[Residual], Slot("residual")]
    layers: tuple[LayerOverride, ...] = ()
    """Layers that differ, such as attention among recurrent ones or a full window in every sixth; later ones win."""
    initialization: Annotated[ComponentConfig[Initialization], Slot("initialization")]

    @model_validator(mode="after")
    def check_layers(self) -> Self:
        for index, override in enumerate(self.layers):
            if override.first >= self.n_layers or (override.last is not None and override.last < override.first):
                raise ValueError(f"layers[{index}]: matches none of the {self.n_layers} layers, which count from 0")
            for path in override.set:
                if path.partition(".")[0] not in LAYER_SLOTS:
                    hint = nearest(path.partition(".")[0], LAYER_SLOTS)
                    raise ValueError(f"layers[{index}].set: {path}: allowed: {', '.join(LAYER_SLOTS)}{hint}")
        for layer in self.distinct_layers():
            self.layer(layer)
        return self

    @model_validator(mode="after")
    def check_heads(self) -> Self:
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(f"n_heads {self.n_heads} does not divide d_model {self.d_model}")
        if self.n_kv_heads and self.n_heads % self.n_kv_heads:
            raise ValueError(f"n_kv_heads {self.n_kv_heads} does not divide n_heads {self.n_heads}")
        names = mixers_without_heads(self)
        if names and self.d_head is not None:
            raise ValueError(f"d_head {self.d_head} has no effect: {names} has no heads; set it to null")
        return self

    def distinct_layers(self) -> list[int]:
        """The first of all layers to which the same overrides apply; none where there are no overrides."""
        kinds: dict[tuple[bool, ...], int] = {}
        for layer in range(min(self.n_layers, MOST_LAYERS) if self.layers else 0):
            kinds.setdefault(tuple([override.applies(layer) for override in self.layers]), layer)
        return list(kinds.values())

    def layer(self, index: int) -> LayerParts:
        """The components of one layer. Errors: ValueError for an override that does not fit."""
        parts = {slot: getattr(self, slot) for slot in LAYER_SLOTS}
        for number, override in enumerate(self.layers):
            if override.applies(index):
                for path, value in sorted(override.set.items(), key=lambda item: item[0].count(".")):
                    slot, *keys = path.split(".")
                    parts[slot] = _replace(f"layers[{number}].set: {path}", parts[slot], slot, keys, value)
        return LayerParts(**parts)

    def components(self) -> Iterator[ComponentConfig[Any]]:
        """All components of which the model is made, those of overridden layers and those inside others too."""
        layers = [self.layer(index) for index in self.distinct_layers() or [0]]
        for name in type(self).model_fields:
            found = [getattr(layer, name) for layer in layers] if name in LAYER_SLOTS else [getattr(self, name)]
            for value in found:
                if isinstance(value, Config):
                    yield from components_in(value)

    def parts(self) -> ModelParts:
        """What the architecture builds the model from."""
        default = LayerParts(**{slot: getattr(self, slot) for slot in LAYER_SLOTS})
        return ModelParts(self.embedding, self.lm_head, self.tie_embeddings, self.layer, default)

    def build_context(self, length: int) -> BuildContext:
        """Sizes of a model for sequences of ``length`` tokens. Errors: ValueError when ``max_length`` is shorter."""
        if self.max_length and self.max_length < length:
            raise ValueError(f"max_length {self.max_length} is shorter than the sequences of {length} tokens")
        return BuildContext(
            d_model=self.d_model,
            n_layers=self.n_layers,
            n_heads=self.n_heads,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            max_length=self.max_length or length,
            dropout=self.dropout,
            causal=getattr(self.architecture.component, "causal", False),
            d_head=self.d_head or 0,
        )


def _replace(where: str, part: ComponentConfig[Any], slot: str, keys: list[str], value: Any) -> ComponentConfig[Any]:
    """A component with one hyper-parameter set, or another component where there are no ``keys``."""
    plain: Any = part.model_dump(mode="json") if keys else value
    node = plain
    for key in keys[:-1]:
        node = node.get(key) if isinstance(node, dict) else None
    if keys and not isinstance(node, dict):
        raise ValueError(f"{where}: {'.'.join(keys[:-1])} has no parts")
    if keys:
        node[keys[-1]] = value
    plain = {"name": plain} if isinstance(plain, str) else plain
    name = plain.get("name") if isinstance(plain, dict) else None
    config = REGISTRY[slot].get(str(name))
    if config is None:
        raise ValueError(f"{where}: {name!r} is not a {slot}; allowed: {', '.join(REGISTRY[slot])}")
    if keys and len(keys) == 1 and keys[0] not in config.model_fields:
        allowed = config.hyperparameters()
        raise ValueError(
            f"{where}: unknown key {keys[0]!r} of the {slot} {name!r}; allowed: {', '.join(allowed)}"
            f"{nearest(keys[0], allowed)}"
        )
    try:
        return config.model_validate_json(json.dumps(expand_shorthand(config, plain)))
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{where}: {first['msg'].removeprefix('Value error, ')}") from None


def mixers_without_heads(model: ModelConfig) -> str | None:
    """The names of all mixers, where none of them uses heads."""
    every = list(mixers(model))
    if any(mixer.component.uses_heads for mixer in every):
        return None
    return " and ".join(dict.fromkeys(mixer.name for mixer in every))


def mixers(model: ModelConfig) -> Iterator[ComponentConfig[Any]]:
    """Those of all layers, within other components too."""
    yield from _mixers_in(model)
    for index in model.distinct_layers():
        yield model.layer(index).mixer


def _mixers_in(config: Config) -> Iterator[ComponentConfig[Any]]:
    for name in type(config).model_fields:
        part = getattr(config, name)
        if isinstance(part, ComponentConfig):
            if part.slot == "mixer":
                yield part
            yield from _mixers_in(part)
