"""Parts that can be taken out of a trained model, and what takes the place of what they computed.

Three kinds of knock-out differ in what is put in place of a part's output:

- ``mean``: its mean over all tokens of the validation set. The default: the rest of the model gets what it gets on
  average, so that only what the part says of a particular token is lost;
- ``zero``: nothing. Of a part whose output has a large mean this removes a constant too, which the layers above have
  learned to expect, and so overstates what the part does (Michel et al. 2019 and Voita et al. 2019 take it);
- ``resample``: what it computed at the same place of another validation example, the one before in its batch (of the
  first, the last). It stays an output that the model knows, of a text that is not this one (Chan et al. 2022, Causal
  Scrubbing).

A head is taken out before the map that joins the heads, a sublayer where it is added to the residual stream (behind the
norm of its branch, where a block has one), a layer by all of its sublayers. Positions and features of the embedding are
taken out of the whole model.

Shapes: B sequences, L tokens, H heads, E features of a head's output, M of the model.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..components.context import ForwardContext
from ..components.embedding import Embedding
from ..components.position.base import Position, position_hooks
from .sites import Head, SiteName, Sublayer, heads_of, hooked

Ablation = Literal["mean", "zero", "resample"]
ABLATIONS: tuple[Ablation, ...] = ("mean", "zero", "resample")
Family = Literal["heads", "sublayers", "layers", "positions", "features"]
FAMILIES: tuple[Family, ...] = ("heads", "sublayers", "layers", "positions", "features")

Outputs = dict[tuple[Sublayer, SiteName], Tensor]
"""What a pass computed at the sites ``heads`` (B, H, L, E) and ``output`` (B, L, M)."""


@dataclass(frozen=True)
class Part:
    """What is taken out at once: heads, sublayers, the positions, or one feature of the embedding."""

    family: Family
    name: str
    heads: tuple[Head, ...] = ()
    sublayers: tuple[Sublayer, ...] = ()
    feature: int | None = None

    @property
    def place(self) -> dict[str, Any]:
        """Where it is, as plain data."""
        part = self.heads[0].sublayer if self.heads else self.sublayers[0] if self.sublayers else None
        if part is None:
            return {} if self.feature is None else {"feature": self.feature}
        found: dict[str, Any] = {"stack": part.stack, "layer": part.layer}
        if self.family != "layers":
            found["sublayer"] = part.kind
        return found | ({"head": self.heads[0].index} if self.heads else {})


def parts_of(model: nn.Module, sublayers: Sequence[Sublayer], families: Sequence[Family]) -> list[Part]:
    """The parts of these families, from the first layer to the last."""
    parts: list[Part] = []
    if "heads" in families:
        parts += [Part("heads", head.name, heads=(head,)) for head in heads_of(sublayers)]
    if "sublayers" in families:
        parts += [Part("sublayers", each.name, sublayers=(each,)) for each in sublayers]
    if "layers" in families:
        for place in dict.fromkeys(each.place for each in sublayers):
            inside = tuple(each for each in sublayers if each.place == place)
            parts.append(Part("layers", place, sublayers=inside))
    if "positions" in families and any(_encodes(module) for module in model.modules()):
        parts.append(Part("positions", "positions"))
    if "features" in families:
        width = next(module.table.embedding_dim for module in model.modules() if isinstance(module, Embedding))
        parts += [Part("features", f"feature {index} of the embedding", feature=index) for index in range(width)]
    return parts


@contextmanager
def without(
    model: nn.Module, part: Part, ablation: Ablation, means: "Means", others: Outputs | None = None
) -> Iterator[None]:
    """Inside, the model computes as if it had lost the part; ``others``: other examples' outputs, for ``resample``.

    The positions are left out whatever the kind of knock-out, as they have no output of their own.
    """
    with ExitStack() as undo:
        if part.heads:
            by_sublayer: dict[Sublayer, list[int]] = {}
            for head in part.heads:
                by_sublayer.setdefault(head.sublayer, []).append(head.index)

            def on_heads(sublayer: Sublayer, name: SiteName, y: Tensor, context: ForwardContext) -> Tensor:
                chosen = by_sublayer[sublayer]
                instead = _instead(ablation, y, means, others, sublayer, name)
                y = y.clone()
                y[:, chosen] = instead[:, chosen]
                return y

            undo.enter_context(hooked(by_sublayer, ["heads"], on_heads))
        if part.sublayers:

            def on_output(sublayer: Sublayer, name: SiteName, y: Tensor, context: ForwardContext) -> Tensor:
                return _instead(ablation, y, means, others, sublayer, name)

            undo.enter_context(hooked(part.sublayers, ["output"], on_output))
        if part.family == "positions":
            undo.enter_context(without_positions(model))
        if part.feature is not None:
            undo.enter_context(_without_feature(model, part.feature, ablation, means))
        yield


def _instead(
    ablation: Ablation, y: Tensor, means: "Means", others: Outputs | None, sublayer: Sublayer, name: SiteName
) -> Tensor:
    """What takes the place of y, in its shape."""
    if ablation == "zero":
        return torch.zeros_like(y)
    if ablation == "mean":
        return means.of(sublayer, name).to(y).expand_as(y)
    assert others is not None
    return others[sublayer, name]


class Means:
    """The mean output of every part over the tokens of a validation set, without padding."""

    def __init__(self) -> None:
        self.sums: dict[tuple[Sublayer, SiteName] | None, Tensor] = {}
        self.counts: dict[tuple[Sublayer, SiteName] | None, float] = {}

    def add(self, site: tuple[Sublayer, SiteName] | None, y: Tensor, padding: Tensor | None) -> None:
        """Outputs (B, L, M) or of heads (B, H, L, E); ``site`` None: of the embedding."""
        tokens = torch.ones(len(y), y.size(-2), device=y.device) if padding is None else padding.to(y.dtype)
        if y.dim() == 4:
            total = torch.einsum("bhle,bl->he", y.double(), tokens.double())
        else:
            total = torch.einsum("blm,bl->m", y.double(), tokens.double())
        self.sums[site] = self.sums[site] + total if site in self.sums else total
        self.counts[site] = self.counts.get(site, 0.0) + float(tokens.sum())

    def of(self, sublayer: Sublayer | None, name: SiteName = "output") -> Tensor:
        """(M,), or of heads (H, 1, E)."""
        site = None if sublayer is None else (sublayer, name)
        mean = self.sums[site] / self.counts[site]
        return mean.unsqueeze(1) if mean.dim() == 2 else mean


def _encodes(module: nn.Module) -> bool:
    return isinstance(module, Position) and bool(position_hooks(type(module)))


@contextmanager
def without_positions(model: nn.Module) -> Iterator[None]:
    """Inside, no position adds, rotates or biases anything; distances that a mixer encodes itself stay."""
    with ExitStack() as undo:
        for position in (module for module in model.modules() if _encodes(module)):
            for hook in position_hooks(type(position)):
                setattr(position, hook, getattr(Position, hook).__get__(position))
                undo.callback(delattr, position, hook)
        yield


@contextmanager
def _without_feature(model: nn.Module, feature: int, ablation: Ablation, means: Means) -> Iterator[None]:
    def after_embedding(module: nn.Module, arguments: Any, x: Tensor) -> Tensor:
        x = x.clone()
        if ablation == "resample":
            x[..., feature] = x.roll(1, 0)[..., feature]
        else:
            x[..., feature] = 0.0 if ablation == "zero" else float(means.of(None)[feature])
        return x

    with ExitStack() as undo:
        for module in [module for module in model.modules() if isinstance(module, Embedding)]:
            undo.callback(module.register_forward_hook(after_embedding).remove)
        yield
