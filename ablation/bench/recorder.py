"""What a step spends where: whatever a clock counts, split by the scopes of the model.

In the forward pass a scope is open while a module (or a wrapped function) computes, and the innermost open scope is
charged. In the backward pass every node of the graph carries its autograd sequence number, from which the scope is
known in which the forward pass made it; a hook before each node charges the time since the last hook to the scope of
the last node. The accumulation of a weight's gradient comes right after the node that made the gradient, and is charged
to that node's scope. All charges add up to the whole step, since each is the time between two readings of one clock.

Limits: reading the clock costs time itself, most of all for small models, so compare with the time of an unprofiled
step; and on an accelerator each reading waits for the device, so that nothing overlaps.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    """A scope: its name, and the kind of work in it outside of inner scopes."""

    name: str
    kind: str = "other"


Path = tuple[Frame, ...]
"""From the outermost scope to the innermost."""


class Recorder:
    """Charges what ``clock`` counts, seconds or FLOPs, to paths of scopes."""

    def __init__(self, clock: Callable[[], float]):
        self.clock = clock
        self.spent: dict[Path, float] = {}
        self.path: Path = ()
        self._last = 0.0
        self._numbers: list[int] = []
        self._made_in: list[Path] = []

    def begin(self) -> None:
        """Start anew, with nothing charged."""
        self.spent, self.path = {}, ()
        self._numbers, self._made_in = [], []
        self._last = self.clock()

    def charge(self, path: Path) -> None:
        """Charge the time since the last reading to the current path; what follows goes to ``path``."""
        now = self.clock()
        self.spent[self.path] = self.spent.get(self.path, 0.0) + now - self._last
        self._last, self.path = now, path

    def enter(self, frame: Frame) -> None:
        self._move((*self.path, frame))

    def leave(self) -> None:
        self._move(self.path[:-1])

    @contextmanager
    def scope(self, frame: Frame) -> Iterator[None]:
        """``frame`` is open inside."""
        self.enter(frame)
        yield
        self.leave()

    def backward(self, loss: Tensor, frame: Frame) -> None:
        """The backward pass of ``loss``, charged under ``frame`` to the scopes in which its nodes were made."""
        for node in _nodes(loss):
            node.register_prehook(self._charge_before(node, frame))
        self._last = self.clock()  # registering the hooks is no part of the step
        outside = self.path
        self.charge((*outside, frame))
        loss.backward()  # type: ignore[no-untyped-call]
        self.charge(outside)

    def _move(self, path: Path) -> None:
        self.charge(path)
        self._numbers.append(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]
        self._made_in.append(path)

    def _charge_before(self, node: Any, frame: Frame) -> Callable[[Any], None]:
        number = node._sequence_nr()
        if node.name() == "torch::autograd::AccumulateGrad":  # made in no scope
            return lambda _: None
        index = bisect_right(self._numbers, number) - 1
        made_in = self._made_in[index] if index >= 0 else ()
        path = (frame, *made_in[1:])  # in place of the frame of the forward pass
        return lambda _: self.charge(path)


def _nodes(loss: Tensor) -> list[Any]:
    """All nodes of the graph of ``loss``."""
    nodes: dict[Any, None] = {}
    pending: list[Any] = [loss.grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in nodes:
            nodes[node] = None
            pending += [before for before, _ in node.next_functions]
    return list(nodes)
