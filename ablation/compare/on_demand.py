"""Values that are computed when they are first asked for, as most tables show few of all that was measured."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

Value = TypeVar("Value")


class OnDemand(Mapping[str, Value]):
    """A mapping of these names, in their order; ``compute`` gives the value of one, and is asked once for each."""

    def __init__(self, names: Iterable[str], compute: Callable[[str], Value]):
        self._names, self._compute = dict.fromkeys(names), compute
        self._known: dict[str, Value] = {}

    def __getitem__(self, name: str) -> Value:
        if name not in self._known:
            if name not in self._names:
                raise KeyError(name)
            self._known[name] = self._compute(name)
        return self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def with_changes(values: Mapping[str, Value], changes: Mapping[str, Value]) -> Mapping[str, Value]:
    """The same values but for the ``changes``, which are of some of the names."""
    return OnDemand(values, lambda name: changes[name] if name in changes else values[name])
