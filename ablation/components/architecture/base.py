"""Architecture: how embedding, blocks and heads make a model, and how a model is called.

Shapes: B batch, L tokens, M features of the model, V vocabulary.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...registry import ComponentConfig
from ..base import BuildContext, Linear
from ..block import Block
from ..embedding import Embedding
from ..feedforward import Feedforward
from ..lm_head import LMHead
from ..mixer.base import Mixer
from ..pooling import Pooling
from ..position.base import Position
from ..residual import Residual


@dataclass(frozen=True)
class LayerParts:
    """The components of one layer."""

    position: ComponentConfig[Position]
    block: ComponentConfig[Block]
    norm: ComponentConfig[Any]
    mixer: ComponentConfig[Mixer]
    feedforward: ComponentConfig[Feedforward]
    residual: ComponentConfig[Residual]


@dataclass(frozen=True)
class ModelParts:
    """What an architecture is given to build a model from: the model's components, and those of each layer."""

    embedding: ComponentConfig[Embedding]
    lm_head: ComponentConfig[LMHead]
    tie_embeddings: bool
    layer: Callable[[int], LayerParts]
    """By the index of the layer, from 0."""
    default: LayerParts
    """The components of every layer that no override changes."""


class Architecture(nn.Module):
    """Base of the architectures of this package.

    A model of your own needs no base class: any ``nn.Module`` with a constructor (parts, build, vocabulary, n_classes)
    and a ``forward`` that takes ``tokens``, or whatever its task provides, can be registered in the slot; ``tasks``
    names the kinds of tasks that it solves.
    """

    tasks: ClassVar[tuple[str, ...]]
    causal: ClassVar[bool]
    """Whether no token may attend to a later one."""

    def __init__(self, parts: ModelParts, build: BuildContext, vocabulary: int):
        super().__init__()
        self.embedding = parts.embedding.build(build, vocabulary)

    def add_head(
        self,
        parts: ModelParts,
        build: BuildContext,
        vocabulary: int,
        n_classes: int | None,
        pooling: ComponentConfig[Pooling] | None = None,
    ) -> None:
        """A head for the vocabulary, or for ``n_classes`` classes on the pooled sequence."""
        classifies = n_classes is not None and pooling is not None
        self.pooling = pooling.build(build) if classifies and pooling else None
        self.classes = Linear(build.d_model, n_classes, role="class_head") if classifies and n_classes else None
        self.readout = None if classifies else TiedLMHead(parts, build, vocabulary)

    def head(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        """The last vectors (B, L, M) -> logits (B, L, V), or (B, classes)."""
        if self.readout is not None:
            logits: Tensor = self.readout(x, self.embedding)
            return logits
        assert self.pooling is not None and self.classes is not None
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if padding is None else padding
        return self.classes(self.pooling(x, mask))


class TiedLMHead(nn.Module):
    """The configured head with its table: the embedding's where they are tied, else one of its own."""

    def __init__(self, parts: ModelParts, build: BuildContext, vocabulary: int):
        super().__init__()
        self.form = parts.lm_head.build(build, vocabulary)
        self.table = None if parts.tie_embeddings else Linear(build.d_model, vocabulary, bias=False, role="lm_head")

    def forward(self, x: Tensor, embedding: Embedding) -> Tensor:
        """(B, L, M) -> (B, L, V)."""
        return self.form(x, embedding.table.weight if self.table is None else self.table.weight)


def call_model(model: nn.Module, inputs: Mapping[str, Any], **optional: Any) -> Tensor:
    """The model's output for a batch.

    ``inputs`` are what the task provides besides the targets; ``optional`` (losses, cache, ...) is passed as far as the
    model's ``forward`` takes it. Errors: ValueError for an input that the model does not take.
    """
    plain = getattr(model, "_orig_mod", model)  # behind torch.compile
    check_inputs(type(plain), inputs)
    accepted = accepted_inputs(plain)
    if accepted is not None:
        optional = {name: value for name, value in optional.items() if name in accepted}
    output: Tensor = model(**inputs, **optional)
    return output


def check_inputs(model: type[nn.Module], inputs: Iterable[str]) -> None:
    """Errors: ValueError for an input of a task that a kind of model does not take."""
    accepted = _parameters(model.forward)
    for name in inputs:
        if accepted is not None and name not in accepted:
            raise ValueError(
                f"{model.__name__}.forward does not take {name!r}, which the task provides; "
                f"it takes {', '.join(accepted)}"
            )


def accepted_inputs(model: nn.Module) -> tuple[str, ...] | None:
    """The names that a model's ``forward`` takes, None where it takes any."""
    return _parameters(type(model).forward)


@cache
def _parameters(forward: Callable[..., Any]) -> tuple[str, ...] | None:
    parameters = list(inspect.signature(forward).parameters.values())[1:]
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return tuple(parameter.name for parameter in parameters)
