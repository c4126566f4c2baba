"""Weight decay by role: which parameters of a model it shrinks.

It shrinks the weights of linear maps, convolutions, recurrent cores and embeddings, whatever their shape, but no gains,
biases and what else a component has of its own, unless it declares them. The shape says nothing of the role: the rates
of a state-space mixer, a bias for each distance and head, and the shifts of a filter are matrices as well.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd

from ..components.base import role_of

DecayOn = Literal["weights", "matrices", "all"]
"""weights: by role; matrices: every tensor of two or more axes, as in GPT-2; all: gains and biases too."""

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, _NormBase)
WITH_WEIGHTS: dict[type[nn.Module] | tuple[type[nn.Module], ...], str] = {
    (nn.Embedding, nn.EmbeddingBag): "embedding",
    (nn.Linear, nn.Bilinear, nn.MultiheadAttention): "linear",
    _ConvNd: "convolution",
    (nn.RNNBase, nn.RNNCellBase): "recurrent",
}
"""torch's modules whose parameters named ``weight`` are weights, and the role of these; all others have none."""


@dataclass(frozen=True)
class ParameterRole:
    """What a parameter is in its model."""

    path: str
    parameter: nn.Parameter
    role: str
    """``embedding``, the role of a linear map, ``convolution``, ``recurrent``, or ``weight`` where a component declares
    it; ``norm``, ``bias``, or ``own`` for what else a component has."""

    @property
    def is_weight(self) -> bool:
        return self.role not in ("norm", "bias", "own")


def parameter_roles(model: nn.Module) -> list[ParameterRole]:
    """The role of every parameter, in the order of the model's; a table that is also the LM head is an embedding.

    A module declares which of its own parameters are weights by ``decayed_parameters``, their names; then no other is.
    Errors: ValueError where it names one that it does not have.
    """
    roles: dict[nn.Parameter, str] = {}
    for module in model.modules():
        check_declaration(module)
        for name, parameter in module.named_parameters(recurse=False):
            role = _role(module, name)
            if parameter not in roles or role == "embedding":
                roles[parameter] = role
    return [ParameterRole(path, parameter, roles[parameter]) for path, parameter in model.named_parameters()]


def check_declaration(module: nn.Module) -> None:
    """Errors: ValueError where ``decayed_parameters`` names what is not a parameter of the module."""
    for name in getattr(module, "decayed_parameters", ()):
        if name not in module._parameters:
            has = ", ".join(module._parameters) or "none"
            raise ValueError(f"{type(module).__name__}.decayed_parameters: {name!r} is not a parameter; it has {has}")


def _role(module: nn.Module, name: str) -> str:
    declared = getattr(module, "decayed_parameters", None)
    if declared is None and "weight" in name:
        role = next((role for kind, role in WITH_WEIGHTS.items() if isinstance(module, kind)), None)
        if role is not None:
            return role_of(module) or role
    elif declared is not None and name in declared:
        return "weight"
    if isinstance(module, NORMS):
        return "norm"
    return "bias" if "bias" in name else "own"


def decaying_parameters(model: nn.Module, decay_on: DecayOn = "weights", embeddings: bool = True) -> set[nn.Parameter]:
    """The parameters that weight decay shrinks, without embeddings if these are left out."""
    return {
        each.parameter
        for each in parameter_roles(model)
        if (embeddings or each.role != "embedding")
        and {"weights": each.is_weight, "matrices": each.parameter.dim() >= 2, "all": True}[decay_on]
    }


def decay_groups(
    parameters: Iterable[nn.Parameter], weight_decay: float, decaying: Collection[nn.Parameter]
) -> list[dict[str, object]]:
    """Two parameter groups: those with weight decay, and those without."""
    parameters = list(parameters)
    return [
        {"params": [p for p in parameters if p in decaying], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p not in decaying], "weight_decay": 0.0},
    ]
