"""FLOPs of a pass on torch's meta device, counted without torch's compiler.

``torch.utils.flop_counter.FlopCounterMode`` counts the same, but it imports the compiler, and so do torch's own
kernels for most operations on that device: a second and 80 MB for whoever only plans. Here the results of frequent
operations follow from the shapes of their operands; all others are torch's own, as right and slower the first time.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
META, CPU = torch.device("meta"), torch.device("cpu")


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up in ``total`` the FLOPs of what runs within it, 2 per multiply-add, as torch's rules count them."""

    supports_higher_order_operators = True

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's switch: a mode that compiled code is to leave out imports the compiler for it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if isinstance(func, torch._ops.HigherOrderOperator):
            return NotImplemented  # it goes on with the operations that it is made of
        result = shaped(func, args, kwargs)
        if result is None:
            with self:
                result = func.decompose(*args, **kwargs)
            if result is not NotImplemented:  # made of others, which have been counted
                return result
            result = func(*args, **kwargs)
        if rule := flop_registry.get(func.overloadpacket):
            self.total += rule(*args, **kwargs, out_val=result)
        return result


def shaped(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """The result of an operation on the meta device of which the shape is known here; None for any other.

    It is none of ours either where operands do not fit together, since torch words the error.
    """
    if func in CREATED and kwargs.get("device") == META:
        values = func(*args, **{**kwargs, "device": CPU})
        return torch.empty(values.shape, dtype=values.dtype, device=META)
    operands = [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
    if torch.Tag.pointwise in func.tags:
        return _elementwise(func, args, kwargs, operands) if any(operand.is_meta for operand in operands) else None
    shape = SHAPES.get(func)
    return shape(*args, **kwargs) if shape and _first(args).is_meta else None


def _elementwise(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], operands: list[Tensor]) -> Tensor | None:
    """Of the shape to which its operands are broadcast, in all else as the operation on a few numbers has it."""
    if kwargs.get("device") not in (None, META):
        return None
    try:
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
    except ValueError:
        return None
    if func._schema.is_mutable:
        fits = "out" not in kwargs and args[0].shape == shape and {x.dtype for x in operands} == {args[0].dtype}
        return args[0] if fits else None
    small = func(*map(_small, args), **{name: _small(value) for name, value in kwargs.items()})
    if not isinstance(small, Tensor):
        return None
    return torch.empty_permuted(shape, _order(small), dtype=small.dtype, device=META)


def _small(value: Any) -> Any:
    """A tensor on the CPU of at most two numbers per axis, in memory as ``value`` is; what is no tensor stays."""
    if not isinstance(value, Tensor):
        return value
    sizes = [min(size, 2) for size in value.shape]
    kept = [size if step else 1 for size, step in zip(sizes, value.stride(), strict=True)]
    return torch.empty_permuted(kept, _order(value), dtype=value.dtype).fill_(1).expand(sizes)


def _order(x: Tensor) -> list[int]:
    """The axes of a tensor, those of the longest steps in memory first."""
    return sorted(range(x.dim()), key=lambda axis: -x.stride()[axis])


def _first(args: Any) -> Tensor:
    return args if isinstance(args, Tensor) else _first(args[0])


def _product(left: Tensor, right: Tensor) -> Tensor | None:
    fit = left.shape[:-2] == right.shape[:-2] and left.shape[-1] == right.shape[-2] and left.dtype == right.dtype
    return left.new_empty((*left.shape[:-1], right.shape[-1])) if fit else None


def _added_product(bias: Tensor, left: Tensor, right: Tensor, **scales: Any) -> Tensor | None:
    result = _product(left, right)
    if result is None or bias.dim() > result.dim():
        return None
    sizes = zip(reversed(bias.shape), reversed(result.shape), strict=False)
    return result if all(size in (1, whole) for size, whole in sizes) else None


def _alike(x: Tensor, *settings: Any, **options: Any) -> Tensor:
    return x.new_empty(x.shape)


def _vectors(table: Tensor, indices: Tensor, *settings: Any) -> Tensor:
    return table.new_empty((*indices.shape, table.shape[1]))


def _normalized(x: Tensor, shape: list[int], *settings: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """A layer norm's result, means and reciprocal deviations."""
    if list(x.shape[-len(shape) :]) != list(shape):
        return None
    moments = x.new_empty((*x.shape[: -len(shape)], *[1] * len(shape)))
    return _alike(x), moments, _alike(moments)


def _reduced(x: Tensor, dim: list[int] | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor | None:
    if not x.is_floating_point() or not dim:
        return None
    over = {axis % x.dim() for axis in dim}
    sizes = [1 if axis in over else size for axis, size in enumerate(x.shape) if keepdim or axis not in over]
    return x.new_empty(sizes, dtype=dtype or x.dtype)


def _joined(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    axis = dim % tensors[0].dim()
    before, after = tensors[0].shape[:axis], tensors[0].shape[axis + 1 :]
    if {(x.shape[:axis], x.shape[axis + 1 :], x.dtype) for x in tensors} != {(before, after, tensors[0].dtype)}:
        return None
    return tensors[0].new_empty((*before, sum(x.shape[axis] for x in tensors), *after))


def _stacked(tensors: list[Tensor], dim: int = 0) -> Tensor | None:
    shape, axis = tensors[0].shape, dim % (tensors[0].dim() + 1)
    if {(x.shape, x.dtype) for x in tensors} != {(shape, tensors[0].dtype)}:
        return None
    return tensors[0].new_empty((*shape[:axis], len(tensors), *shape[axis:]))


CREATED = {aten.arange.default, aten.arange.start, aten.arange.start_step, aten.linspace.default, aten.eye.default}
SHAPES: dict[Any, Callable[..., Any]] = {
    aten.mm.default: _product,
    aten.bmm.default: _product,
    aten.addmm.default: _added_product,
    aten.baddbmm.default: _added_product,
    aten._softmax.default: _alike,
    aten._safe_softmax.default: _alike,
    aten.tril.default: _alike,
    aten.roll.default: _alike,
    aten.cat.default: _joined,
    aten.stack.default: _stacked,
    aten.embedding.default: _vectors,
    aten.native_layer_norm.default: _normalized,
    aten.mean.dim: _reduced,
    aten.sum.dim_IntList: _reduced,
}
