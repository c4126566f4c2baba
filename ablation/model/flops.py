"""FLOPs of a pass on torch's meta device, counted without torch's compiler.

``torch.utils.flop_counter.FlopCounterMode`` counts the same, but it imports the compiler, and so do torch's own
kernels for most operations on that device: a second and 80 MB for whoever only plans. Here the results of frequent
operations follow from the shapes of their operands; all others are torch's own, as right and slower the first time.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

aten = torch.ops.aten
META, CPU = torch.device("meta"), torch.device("cpu")


class FlopCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up in ``total`` the FLOPs of what runs within it, 2 per multiply-add, as torch's rules count them.

    Errors: RuntimeError for what is no plain operation, such as torch.cond.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Torch's switch: a mode that compiled code is to leave out imports the compiler for it."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
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

    It is None as well where operands do not fit together, since torch words the error.
    """
    if func in RANGES and kwargs.get("device") == META:
        values = func(*args, **{**kwargs, "device": CPU})
        return torch.empty(values.shape, dtype=values.dtype, device=META)
    tensors = args[0] if args and isinstance(args[0], list | tuple) else (*args, *kwargs.values())
    operands = [tensor for tensor in tensors if isinstance(tensor, Tensor)]
    if torch.Tag.pointwise in func.tags:
        return _elementwise(func, args, kwargs, operands)
    shape = SHAPES.get(func)
    return shape(*args, **kwargs) if shape and operands and all(x.is_meta for x in operands) else None


def _elementwise(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], operands: list[Tensor]) -> Tensor | None:
    """Of the shape to which its operands are broadcast, in all else as the operation on a few numbers has it."""
    is_here = any(x.is_meta for x in operands) and all(x.is_meta or (x.is_cpu and not x.dim()) for x in operands)
    if not is_here or kwargs.get("device") not in (None, META) or "out" in kwargs:
        return None
    try:
        shape = np.broadcast_shapes(*(operand.shape for operand in operands))
        small = func(*map(_small, args), **{name: _small(value) for name, value in kwargs.items()})
    except (ValueError, RuntimeError):  # shapes that do not fit, or types for which there is no kernel on a CPU
        return None
    if not isinstance(small, Tensor):
        return None
    if func._schema.is_mutable:
        return args[0] if args[0].shape == shape else None
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


def _product(left: Tensor, right: Tensor) -> Tensor | None:
    fit = left.shape[:-2] == right.shape[:-2] and left.shape[-1] == right.shape[-2] and left.dtype == right.dtype
    return left.new_empty((*left.shape[:-1], right.shape[-1])) if fit else None


def _matrices(left: Tensor, right: Tensor) -> Tensor | None:
    return _product(left, right) if left.dim() == right.dim() == 2 else None


def _batched(left: Tensor, right: Tensor) -> Tensor | None:
    return _product(left, right) if left.dim() == right.dim() == 3 else None


def _added(product: Callable[[Tensor, Tensor], Tensor | None]) -> Callable[..., Tensor | None]:
    def added(bias: Tensor, left: Tensor, right: Tensor, **scales: Any) -> Tensor | None:
        result = product(left, right)
        if result is None or bias.dim() > result.dim() or bias.dtype != result.dtype:
            return None
        sizes = zip(reversed(bias.shape), reversed(result.shape), strict=False)
        return result if all(size in (1, whole) for size, whole in sizes) else None

    return added


def _softmax(x: Tensor, dim: int, half_to_float: bool = False, dtype: Any = None) -> Tensor | None:
    return _alike(x) if x.is_floating_point() and _fits(x, [dim]) and not half_to_float and dtype is None else None


def _triangle(x: Tensor, diagonal: int = 0) -> Tensor | None:
    return _alike(x) if x.dim() >= 2 else None


def _rolled(x: Tensor, shifts: list[int], dims: Sequence[int] = ()) -> Tensor | None:
    return _alike(x) if len(shifts) == len(dims) and _fits(x, dims) else None


def _vectors(table: Tensor, indices: Tensor, *settings: Any) -> Tensor | None:
    fit = table.dim() == 2 and indices.dtype in (torch.int64, torch.int32)
    return table.new_empty((*indices.shape, table.shape[1])) if fit else None


def _normalized(
    x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float
) -> tuple[Tensor, Tensor, Tensor] | None:
    """A layer norm's result, means and reciprocal deviations."""
    wanted = tuple(shape), torch.float32
    given = [(tuple(one.shape), one.dtype) for one in (weight, bias) if one is not None]
    if (tuple(x.shape[-len(shape) :]), x.dtype) != wanted or any(one != wanted for one in given):
        return None
    moments = x.new_empty((*x.shape[: -len(shape)], *[1] * len(shape)))
    return _alike(x), moments, _alike(moments)


def _reduced(x: Tensor, dim: Sequence[int] | None = None, keepdim: bool = False, *, dtype: Any = None) -> Tensor | None:
    if not x.is_floating_point() or not dim or not _fits(x, dim) or dtype is not None:
        return None
    over = {axis % x.dim() for axis in dim}
    sizes = [1 if axis in over else size for axis, size in enumerate(x.shape) if keepdim or axis not in over]
    return x.new_empty(sizes)


def _joined(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first = tensors[0]
    if not first.dim() or not _fits(first, [dim]) or not all(x.is_contiguous() for x in tensors):
        return None
    axis = dim % first.dim()
    before, after = first.shape[:axis], first.shape[axis + 1 :]
    if {(x.shape[:axis], x.shape[axis + 1 :], x.dtype) for x in tensors} != {(before, after, first.dtype)}:
        return None
    return first.new_empty((*before, sum(x.shape[axis] for x in tensors), *after))


def _padded(x: Tensor, pad: Sequence[int], value: float = 0) -> Tensor | None:
    """``pad`` has two numbers per axis, those of the last one first."""
    if not x.is_contiguous() or len(pad) % 2 or len(pad) > 2 * x.dim() or min(pad, default=0) < 0:
        return None
    added = [pad[2 * axis] + pad[2 * axis + 1] for axis in range(len(pad) // 2)]
    sizes = zip(x.shape, [0] * (x.dim() - len(added)) + added[::-1], strict=True)
    return x.new_empty([size + more for size, more in sizes])


def _stacked(tensors: Sequence[Tensor], dim: int = 0) -> Tensor | None:
    first, n_axes = tensors[0], tensors[0].dim() + 1
    if not -n_axes <= dim < n_axes or not all(x.is_contiguous() for x in tensors):
        return None
    if {(x.shape, x.dtype) for x in tensors} != {(first.shape, first.dtype)}:
        return None
    axis = dim % n_axes
    return first.new_empty((*first.shape[:axis], len(tensors), *first.shape[axis:]))


def _alike(x: Tensor) -> Tensor:
    return x.new_empty(x.shape)


def _fits(x: Tensor, dims: Sequence[int]) -> bool:
    """Whether these are axes of a tensor, each once."""
    return all(-x.dim() <= axis < x.dim() for axis in dims) and len({axis % x.dim() for axis in dims}) == len(dims)


RANGES = {aten.arange.default, aten.arange.start, aten.arange.start_step}
SHAPES: dict[Any, Callable[..., Any]] = {
    aten.mm.default: _matrices,
    aten.bmm.default: _batched,
    aten.addmm.default: _added(_matrices),
    aten.baddbmm.default: _added(_batched),
    aten._softmax.default: _softmax,
    aten._safe_softmax.default: _softmax,
    aten.tril.default: _triangle,
    aten.roll.default: _rolled,
    aten.cat.default: _joined,
    aten.constant_pad_nd.default: _padded,
    aten.stack.default: _stacked,
    aten.embedding.default: _vectors,
    aten.native_layer_norm.default: _normalized,
    aten.mean.dim: _reduced,
    aten.sum.dim_IntList: _reduced,
}
