"""Shared: what is computed once for a part that many configurations have in common."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

Part = TypeVar("Part")
Value = TypeVar("Value")


class OncePerObject(Generic[Part, Value]):
    """A function of objects that are never changed, called once for each of them.

    Objects are told apart by which one they are, which takes no time, however large they are.
    """

    def __init__(self, function: Callable[[Part], Value]):
        self._function = function
        self._known: dict[int, tuple[Any, Value]] = {}  # with the object, so that no other one gets its id

    def __call__(self, part: Part) -> Value:
        known = self._known.get(id(part))
        if known is None:
            known = self._known[id(part)] = part, self._function(part)
        return known[1]
