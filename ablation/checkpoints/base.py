"""Checkpoint: a system trained elsewhere, in this package's terms.

A member reads a checkpoint's ``config.json`` and renames its tensors. It needs none of the code that made them.
"""

from typing import Any, ClassVar

from torch import Tensor

Weights = dict[str, Tensor]


class Checkpoint:
    """Base of the systems. Tensors are (features out, features in) on both sides unless a member says otherwise."""

    defaults: ClassVar[dict[str, Any]] = {}
    """What their ``config.json`` means where it leaves something out."""
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {}
    """Values of their ``config.json`` that a member can read, where it cannot read all; the first is the default.

    Without any the member takes all for granted, and `ablate import` takes none of its folders.
    """

    def model(self, theirs: dict[str, Any]) -> dict[str, Any]:
        """Their ``config.json`` -> the values of our ``model`` section."""
        raise NotImplementedError

    def weights(self, theirs: dict[str, Any], tensors: Weights) -> Weights:
        """Their tensors under our names, all that our model holds. Errors: KeyError naming one that is missing."""
        raise NotImplementedError


def head_width(given: int | None, d_model: int, n_heads: int) -> dict[str, int]:
    """``d_head`` for our ``model`` section, where heads of ``given`` features do not divide the width among them."""
    return {} if given is None or given * n_heads == d_model else {"d_head": given}


def linear(ours: str, theirs: str, tensors: Weights, bias: bool = True) -> Weights:
    """One map: its weight and, where there is one, its bias."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return {f"{ours}.{kind}": tensors[f"{theirs}.{kind}"] for kind in kinds}


def attention(ours: str, theirs: str, names: tuple[str, str, str, str], tensors: Weights, bias: bool = True) -> Weights:
    """The four maps of an attention, which elsewhere are called ``names`` in the order query, key, value, out."""
    found: Weights = {}
    for part, name in zip(("query", "key", "value", "out"), names, strict=True):
        found |= linear(f"{ours}.{part}", f"{theirs}.{name}", tensors, bias)
    return found


def split_heads(ours: str, fused: Tensor, n_heads: int, kind: str) -> Weights:
    """A fused map whose rows are ordered (head, query key value, feature), as BLOOM has it."""
    parts = fused.view(n_heads, 3, -1, *fused.shape[1:]).unbind(1)
    return {f"{ours}.{part}.{kind}": x.flatten(0, 1) for part, x in zip(("query", "key", "value"), parts, strict=True)}


def split_thirds(ours: str, fused: Tensor, kind: str) -> Weights:
    """A fused map whose rows are all queries, then all keys, then all values."""
    parts = fused.chunk(3)
    return {f"{ours}.{part}.{kind}": x for part, x in zip(("query", "key", "value"), parts, strict=True)}
