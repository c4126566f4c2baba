"""Where a step goes: whatever a clock counts, split by the scope in which it passed.

Forward, a scope is open while a module (or a function that is told to) computes; the innermost open scope is charged.
Backward, autograd is asked: every node of the graph carries the number under which it was made in the forward pass, so
it is known in which scope that was, and a hook before each node charges what passed since the last one to the scope of
that last one. The accumulation of a weight's gradient follows the node that made the gradient, and is charged with it.
All charges add up to the whole step, since each is the time between two looks at one clock.

What the numbers are not: the looks themselves cost time, most of all for small models, which is why the time of a step
without them belongs beside them; and on an accelerator each look waits for the device, so that nothing overlaps.
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
    """A scope: its name, and the kind of work that is done in it outside of inner scopes."""

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
        """Forget everything; charge from now on."""
        self.spent, self.path = {}, ()
        self._numbers, self._made_in = [], []
        self._last = self.clock()

    def charge(self, path: Path) -> None:
        """What passed since the last look goes to the present path; what follows, to ``path``."""
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
            node.register_prehook(self._note(node, frame))
        self._last = self.clock()  # what it took to lay the hooks is no part of the step
        outside = self.path
        self.charge((*outside, frame))
        loss.backward()  # type: ignore[no-untyped-call]
        self.charge(outside)

    def _move(self, path: Path) -> None:
        self.charge(path)
        self._numbers.append(torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]
        self._made_in.append(path)

    def _note(self, node: Any, frame: Frame) -> Callable[[Any], None]:
        number = node._sequence_nr()
        if node.name() == "torch::autograd::AccumulateGrad":  # it was made in no scope
            return lambda _: None
        index = bisect_right(self._numbers, number) - 1
        made_in = self._made_in[index] if index >= 0 else ()
        path = (frame, *made_in[1:])  # in place of the forward's own frame
        return lambda _: self.charge(path)


def _nodes(loss: Tensor) -> list[Any]:
    """All nodes of the graph that ``loss`` is the end of."""
    found: dict[Any, None] = {}
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in found:
            found[node] = None
            waiting += [before for before, _ in node.next_functions]
    return list(found)
