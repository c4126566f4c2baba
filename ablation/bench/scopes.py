"""The scopes of a model: the modules by which a step is split, and what kind of work each does."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from torch import Tensor, nn

from ..components.architecture.base import TiedLMHead
from ..components.architecture.stack import CrossAttention, Stack
from ..components.block import Block, ResidualAdd
from ..components.context import Cache
from ..components.position.base import Position, position_hooks
from ..components.residual import Residual
from ..registry import REGISTRY
from .recorder import Frame, Recorder

KINDS = (
    "embedding",
    "position",
    "norms",
    "projections",
    "attention",
    "mixing",
    "feedforward",
    "residual",
    "lm_head",
    "loss",
    "cache",
    "optimizer",
    "other",
)
"""In the order of a table. ``attention`` is the work of a backend: scores, softmax, values; ``mixing`` is what else a
mixer does besides its projections; ``residual`` is the addition with its dropout, and the maps of several streams."""

_KIND_OF_SLOT = {
    "embedding": "embedding",
    "norm": "norms",
    "qk_norm": "norms",
    "attention_backend": "attention",
    "mixer": "mixing",
    "feedforward": "feedforward",
    "lm_head": "lm_head",
    "pooling": "lm_head",
}
_RESIDUAL_METHODS = ("expand", "read", "reduce")


def frames(model: nn.Module) -> Iterator[tuple[nn.Module, Frame]]:
    """The modules that are scopes, outer ones first."""
    kinds = {part.component: kind for slot, kind in _KIND_OF_SLOT.items() for part in REGISTRY[slot].values()}
    stacks = sum(isinstance(module, Stack) for module in model.modules())
    seen: set[int] = set()

    def walk(module: nn.Module, attribute: str, inside: str) -> Iterator[tuple[nn.Module, Frame]]:
        for name, child in module.named_children():
            if id(child) in seen or isinstance(child, (Position, nn.Dropout)):
                continue
            seen.add(id(child))
            here = attribute if name.isdigit() else name
            frame = frame_of(child, name, here, inside)
            if frame is not None:
                yield child, frame
            if frame is None or frame.kind in ("other", "mixing"):
                yield from walk(child, here, frame.kind if frame else inside)

    def frame_of(module: nn.Module, name: str, attribute: str, inside: str) -> Frame | None:
        kind = next((kinds[part] for part in type(module).__mro__ if part in kinds), None)
        if isinstance(module, Block):
            return Frame(f"block {int(name) + 1}")
        if isinstance(module, CrossAttention):
            return Frame("cross")
        if isinstance(module, Stack):
            return Frame(name) if stacks > 1 else None
        if isinstance(module, ResidualAdd):
            return Frame("residual", "residual")
        if isinstance(module, TiedLMHead) or (isinstance(module, nn.Linear) and inside == "other"):
            return Frame("lm_head" if isinstance(module, TiedLMHead) else attribute, "lm_head")
        if kind in ("mixing", "feedforward"):
            return Frame("mixer" if kind == "mixing" else kind, kind)
        if kind is not None:
            return Frame(attribute.removesuffix("s"), kind)
        if inside == "mixing" and not isinstance(module, (nn.ModuleList, nn.Sequential)):
            return Frame(attribute, "projections" if isinstance(module, nn.Linear) else "mixing")
        return None

    yield from walk(model, "", "other")


@contextmanager
def profiled(model: nn.Module, recorder: Recorder) -> Iterator[None]:
    """Inside, every scope of the model opens and closes in ``recorder``; afterwards the model is unchanged."""
    with ExitStack() as undo:
        for module, frame in frames(model):
            before = module.register_forward_pre_hook(_enter(recorder, frame))
            after = module.register_forward_hook(lambda *_: recorder.leave())
            undo.callback(before.remove)
            undo.callback(after.remove)
        for position in (module for module in model.modules() if isinstance(module, Position)):
            for hook in position_hooks(type(position)):
                setattr(position, hook, _within(recorder, Frame(hook, "position"), getattr(position, hook)))
                undo.callback(delattr, position, hook)
        for residual_add in (module for module in model.modules() if isinstance(module, ResidualAdd)):
            for method in _RESIDUAL_METHODS:
                if getattr(type(residual_add.residual), method) is not getattr(Residual, method):
                    wrapped = _within(recorder, Frame("residual", "residual"), getattr(residual_add, method))
                    setattr(residual_add, method, wrapped)
                    undo.callback(delattr, residual_add, method)
        yield


class ProfiledCache(Cache):
    """A cache whose work is a scope."""

    def __init__(self, recorder: Recorder, start: Cache):
        super().__init__()
        self.__dict__.update(start.__dict__)
        self.states = dict(start.states)
        self.recorder = recorder

    def extend(self, mixer: nn.Module, *new: Tensor) -> tuple[Tensor, ...]:
        with self.recorder.scope(Frame("cache", "cache")):
            return super().extend(mixer, *new)

    def update(self, mixer: nn.Module, *state: Tensor) -> None:
        with self.recorder.scope(Frame("cache", "cache")):
            super().update(mixer, *state)


def _enter(recorder: Recorder, frame: Frame) -> Callable[..., None]:
    return lambda *_: recorder.enter(frame)


def _within(recorder: Recorder, frame: Frame, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        with recorder.scope(frame):
            return function(*args, **kwargs)

    return wrapped
