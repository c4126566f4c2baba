"""Checkpoint: a kind of pretrained model, translated into the configuration and the parameter names of this package.

A subclass reads the ``config.json`` of Hugging Face (HF) and renames the tensors; it needs no code of theirs.
"""

from typing import Any, ClassVar

from torch import Tensor

Weights = dict[str, Tensor]
"""Tensors by the names of parameters; a linear map's is (out, in)."""


class Checkpoint:
    """Base of the checkpoints. Weights of linear maps are (out, in) in both, unless a subclass says otherwise."""

    defaults: ClassVar[dict[str, Any]] = {}
    """Values of keys that are missing in ``config.json``."""
    assumes: ClassVar[dict[str, tuple[Any, ...]]] = {}
    """By key of ``config.json``, the values that can be imported; the first one is the default.

    `ablate import` does not accept checkpoints of a subclass that leaves this empty.
    """

    def model(self, hf_config: dict[str, Any]) -> dict[str, Any]:
        """The values of our ``model`` section from those of ``config.json``.

        Errors: ValueError for a value that has no counterpart here.
        """
        raise NotImplementedError

    def weights(self, hf_config: dict[str, Any], tensors: Weights) -> Weights:
        """All parameters of our model by name, from the checkpoint's tensors.

        Errors: KeyError with a missing name; ValueError for a tensor that has no counterpart here.
        """
        raise NotImplementedError


def head_width(d_head: int | None, d_model: int, n_heads: int) -> dict[str, int]:
    """``d_head`` for our ``model`` section, unless it is the default, d_model / n_heads."""
    return {} if d_head is None or d_head * n_heads == d_model else {"d_head": d_head}


def linear(name: str, hf_name: str, tensors: Weights, bias: bool = True) -> Weights:
    """A linear map: its weight and, with ``bias``, its bias."""
    kinds = ("weight", "bias") if bias else ("weight",)
    return {f"{name}.{kind}": tensors[f"{hf_name}.{kind}"] for kind in kinds}


def attention(
    name: str, hf_name: str, hf_parts: tuple[str, str, str, str], tensors: Weights, bias: bool = True
) -> Weights:
    """The four linear maps of attention; ``hf_parts`` are their HF names in the order query, key, value, out."""
    weights: Weights = {}
    for part, hf_part in zip(("query", "key", "value", "out"), hf_parts, strict=True):
        weights |= linear(f"{name}.{part}", f"{hf_name}.{hf_part}", tensors, bias)
    return weights


def split_heads(name: str, fused: Tensor, n_heads: int, kind: str) -> Weights:
    """A fused linear map, with rows in the order (head, query/key/value, feature), split into three, as in BLOOM."""
    parts = fused.view(n_heads, 3, -1, *fused.shape[1:]).unbind(1)
    return {f"{name}.{part}.{kind}": x.flatten(0, 1) for part, x in zip(("query", "key", "value"), parts, strict=True)}


def split_thirds(name: str, fused: Tensor, kind: str) -> Weights:
    """A fused linear map, with rows of all queries, then all keys, then all values, split into three."""
    parts = fused.chunk(3)
    return {f"{name}.{part}.{kind}": x for part, x in zip(("query", "key", "value"), parts, strict=True)}
