"""Effect: which settings the model of a cell does not hear, so that two cells can be one experiment under two names."""

from ..config.experiment import ExperimentConfig
from ..config.identity import canonical, run_identity
from ..model.config import mixers_without_heads


def effective_identity(config: ExperimentConfig, fingerprint: str | None) -> str:
    """One text for all experiments that differ in nothing that is heard."""
    model = config.model
    if mixers_without_heads(model):
        heard = {"n_heads": 1, "n_kv_heads": None}
    else:
        heard = {
            "n_kv_heads": model.n_kv_heads or model.n_heads,
            "d_head": model.d_head or model.d_model // model.n_heads,
        }
    model = model.model_copy(update=heard)
    return canonical(run_identity(config.model_copy(update={"model": model}), fingerprint))
