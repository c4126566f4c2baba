"""Sites: the places in a trained model at which a forward pass can be read, and what it computes there replaced.

They are torch's own hooks on modules that are there anyway, so that no component knows of them and a model without
them is the very model that was trained. What a site gives:

- ``query``, ``key``, ``value``: what the mixer hands to its attention backend, (B, H or G, L or S, D);
- ``weights``: how much each query takes from each key, (B, H, L, S);
- ``heads``: the output of each head before the map that joins them, (B, H, L, E);
- ``output``: what a sublayer adds to the residual stream, (B, L, M);
- ``stream``: the residual stream after a layer, (B, L, M), or (B, L, N, M) of several streams.

Fused backends never hold the weights, so that they are computed once more by the formula of ``manual``; what the model
goes on with is what its own backend gives.

Shapes: B batch, L queries, S keys, H heads, G heads of keys and values, D features of a head, E of its output, M of the
model.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..components.architecture.stack import CrossAttention, Stack
from ..components.attention_backend import (
    AttentionBackend,
    AttentionInputs,
    attention_scores,
    masked_softmax,
)
from ..components.block import Block
from ..components.context import ForwardContext
from ..components.mixer.base import Mixer, merge_heads, split_heads
from ..errors import InputError

Kind = Literal["mixer", "cross", "feedforward"]
SiteName = Literal["query", "key", "value", "weights", "heads", "output", "stream"]


@dataclass(frozen=True, eq=False)
class Sublayer:
    """One sublayer of a model; ``layer`` counts from 0, as in ``model.layers``."""

    stack: str
    """``encoder`` or ``decoder``; empty where the model has one stack."""
    layer: int
    kind: Kind
    module: nn.Module = field(repr=False)
    block: Block = field(repr=False)
    index: int = field(repr=False)
    """Among the sublayers of its block."""

    @property
    def place(self) -> str:
        """``layer 0``, ``encoder layer 0``."""
        return f"{self.stack} layer {self.layer}".strip()

    @property
    def name(self) -> str:
        """``layer 0 mixer``, ``decoder layer 0 cross``."""
        return f"{self.place} {self.kind}"

    @property
    def mixer(self) -> Mixer | None:
        """What mixes along the sequence; None in a feedforward."""
        mixer = self.module.mixer if isinstance(self.module, CrossAttention) else self.module
        return mixer if isinstance(mixer, Mixer) else None

    @property
    def n_heads(self) -> int:
        """Heads whose outputs can be read and replaced; 0 where there are none."""
        mixer = self.mixer
        return mixer.n_outputs if mixer is not None and isinstance(getattr(mixer, "out", None), nn.Linear) else 0

    @property
    def backend(self) -> AttentionBackend | None:
        """What computes the attention; None for a mixer without weights."""
        if self.mixer is None:
            return None
        found = (module for module in self.mixer.modules() if isinstance(module, AttentionBackend))
        return next(found, None)

    @property
    def reason_no_weights(self) -> str | None:
        """Why there is no map of who attends to whom; None where there is one."""
        if self.mixer is None:
            return "a feedforward looks at one token at a time"
        if self.backend is None:
            return f"{type(self.mixer).__name__} has no attention weights: it carries the past in a state"
        return None


@dataclass(frozen=True)
class Head:
    """One head of a sublayer, counted from 0."""

    sublayer: Sublayer
    index: int

    @property
    def name(self) -> str:
        """``layer 0 head 3``, ``decoder layer 0 cross head 1``."""
        within = " cross" if self.sublayer.kind == "cross" else ""
        return f"{self.sublayer.place}{within} head {self.index}"


def sublayers(model: nn.Module) -> list[Sublayer]:
    """All sublayers, stack after stack from the first layer to the last.

    Errors: InputError for a model that is not made of the blocks of this package.
    """
    stacks = [(path, module) for path, module in model.named_modules() if isinstance(module, Stack)]
    if not stacks:
        raise InputError(f"{type(model).__name__} has no stack of blocks, so that no part of it can be looked at")
    found = []
    for path, stack in stacks:
        name = path.rpartition(".")[2] if len(stacks) > 1 else ""
        for layer, block in enumerate(stack.blocks):
            for index, module in enumerate(block.sublayers):
                kind: Kind = "feedforward"
                if isinstance(module, CrossAttention):
                    kind = "cross"
                elif isinstance(module, Mixer):
                    kind = "mixer"
                found.append(Sublayer(name, layer, kind, module, block, index))
    return found


def heads_of(parts: Iterable[Sublayer]) -> list[Head]:
    """Every head of every sublayer that has some."""
    return [Head(part, index) for part in parts for index in range(part.n_heads)]


Call = Callable[[Sublayer, SiteName, Tensor, ForwardContext], Tensor | None]
"""Is given the sublayer, the site, what was computed there, and the pass. What it returns takes that place; None leaves
it. The weights and, of a layer, the stream can only be read. With the weights the mask of the pass is the one that they
were computed with: that of the window, or of the source."""


@contextmanager
def hooked(parts: Iterable[Sublayer], names: Iterable[SiteName], call: Call) -> Iterator[None]:
    """Inside, every forward pass calls ``call`` at these sites of these sublayers; afterwards the model is as before.

    ``stream`` is that after the layer, and is given with the layer's last sublayer.
    """
    wanted = set(names)
    with ExitStack() as undo:
        for part in parts:
            for handle in _hooks(part, wanted, call):
                undo.callback(handle.remove)
        yield


def _hooks(part: Sublayer, names: set[SiteName], call: Call) -> Iterator[RemovableHandle]:
    current: list[ForwardContext] = []
    """That of the pass which is in this sublayer."""

    def enter(module: nn.Module, arguments: Any) -> None:
        current[:] = [arguments[1]]

    yield part.block.register_forward_pre_hook(enter)
    if part.n_heads and "heads" in names:
        yield _on_heads(part, current, call)
    backend = part.backend
    if backend is not None and names & {"query", "key", "value"}:
        yield _on_inputs(part, backend, names, current, call)
    if backend is not None and "weights" in names:
        yield _on_weights(part, backend, current, call)
    if "output" in names:
        yield _on_output(part, current, call)
    if "stream" in names and part.index == len(part.block.sublayers) - 1:

        def after_layer(module: nn.Module, arguments: Any, x: Tensor) -> None:
            call(part, "stream", x, current[0])

        yield part.block.register_forward_hook(after_layer)


def _on_heads(part: Sublayer, current: list[ForwardContext], call: Call) -> RemovableHandle:
    out, n_heads = part.mixer.out, part.n_heads  # type: ignore[union-attr]

    def before_out(module: nn.Module, arguments: Any) -> Tensor | None:
        new = call(part, "heads", split_heads(arguments[0], n_heads), current[0])
        return None if new is None else merge_heads(new)

    handle: RemovableHandle = out.register_forward_pre_hook(before_out)  # type: ignore[union-attr]
    return handle


def _on_inputs(
    part: Sublayer, backend: AttentionBackend, names: set[SiteName], current: list[ForwardContext], call: Call
) -> RemovableHandle:
    def before_backend(module: nn.Module, arguments: Any) -> AttentionInputs:
        inputs: AttentionInputs = arguments[0]

        def seen(name: SiteName, x: Tensor) -> Tensor:
            new = call(part, name, x, current[0]) if name in names else None
            return x if new is None else new

        return replace(inputs, q=seen("query", inputs.q), k=seen("key", inputs.k), v=seen("value", inputs.v))

    return backend.register_forward_pre_hook(before_backend)


def _on_weights(
    part: Sublayer, backend: AttentionBackend, current: list[ForwardContext], call: Call
) -> RemovableHandle:
    mixer = part.mixer
    assert mixer is not None

    def after_backend(module: nn.Module, arguments: Any, y: Tensor) -> None:
        weights = mixer.combine_maps(weights_of(arguments[0]))
        call(part, "weights", weights, replace(current[0], mask=arguments[0].mask))

    return backend.register_forward_hook(after_backend)


def weights_of(inputs: AttentionInputs) -> Tensor:
    """The weights (B, H, L, S), by the formula of the backend ``manual``, without dropout."""
    return masked_softmax(attention_scores(inputs), inputs.mask, inputs.sinks)


def _on_output(part: Sublayer, current: list[ForwardContext], call: Call) -> RemovableHandle:
    residuals = part.block.residuals
    if len(residuals) == len(part.block.sublayers):  # what is added, behind any norm of the branch

        def before_add(module: nn.Module, arguments: Any) -> Any:
            new = call(part, "output", arguments[1], current[0])
            return None if new is None else (arguments[0], new)

        return residuals[part.index].register_forward_pre_hook(before_add)

    def after_sublayer(module: nn.Module, arguments: Any, y: Tensor) -> Tensor | None:
        return call(part, "output", y, current[0])

    return part.module.register_forward_hook(after_sublayer)
