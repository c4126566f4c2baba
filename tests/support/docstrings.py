# ruff: noqa: T201
"""What the docstrings of public things lack; ``python3 tasks.py docstrings`` lists it.

Public are the names in ``ablation.__all__`` with their methods and properties, and every registered component. Each has
a docstring, of its own or from its base; with tensors in its signature it gives a shape; where it raises an error for
users, it says so; a component has a source.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import ablation

from .components import REGISTRY

SHAPE = re.compile(r"\((\.\.\.|[A-Z]\w*|out)( or \w+)?,[^()]*\)|\(\)|scalar")
"""``(B, L, M)``, ``(L,)``, ``(B or 1, 1, L, S)``, ``(..., F)``, ``(out, in)``."""
ERRORS = {"InputError", "StorageError", "TypeError", "ValueError"}
"""What a caller may have to answer; any other error is a slip of ours."""


def missing() -> list[str]:
    """One line for everything that is not there, as ``ablation.components.block.Block.forward: shape``."""
    return sorted(
        {f"{place}: {what}" for place, value, about in public() for what in lacking(value, about)} | unnamed()
    )


def public() -> Iterator[tuple[str, Any, str]]:
    """The place of each public thing, the thing, and the docstrings that are about it, those of its class included."""
    components = (config.component for members in REGISTRY.values() for config in members.values())
    for thing in [*(getattr(ablation, name) for name in ablation.__all__), *components]:
        if not inspect.isclass(thing) and not inspect.isfunction(thing):
            continue
        place, about = f"{thing.__module__}.{thing.__qualname__}", getdoc(thing)
        yield place, thing, about
        for name, member in members_of(thing) if inspect.isclass(thing) else ():
            yield f"{place}.{name}", member, f"{getdoc(getattr(thing, name))}\n{about}"


def members_of(thing: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that a class of this package, or a base of it in this package, defines."""
    seen = set()
    for owner in (owner for owner in thing.__mro__ if owner.__module__.startswith("ablation.")):
        for name, member in vars(owner).items():
            member = getattr(member, "__func__", member)  # of a static or a class method
            if name not in seen and not name.startswith("_") and (inspect.isfunction(member) or is_property(member)):
                seen.add(name)
                yield name, member


def getdoc(thing: Any) -> str:
    """Its docstring, or that of what it overrides; empty without one."""
    return inspect.getdoc(thing) or ""


def is_property(member: Any) -> bool:
    return isinstance(member, property)


def lacking(value: Any, about: str) -> Iterator[str]:
    """What the docstrings ``about`` a class, function or property lack."""
    if inspect.isclass(value):
        if not value.__doc__:
            yield "docstring"
        return
    function = value.fget if is_property(value) else value
    if not about.split("\n")[0] and function.__name__ != "forward":  # a forward is the equation of its class
        yield "docstring"
    if any(map(has_shape, function.__annotations__.values())) and not SHAPE.search(about):
        yield "shape"
    yield from (f"when it raises {error}" for error in sorted(raised(function)) if error not in about)


def has_shape(annotation: Any) -> bool:
    """Whether it is about tensors; mappings of them, as ``Examples``, are explained where they are defined."""
    return "Tensor" in str(annotation) and "dict[" not in str(annotation)


def raised(function: Any) -> set[str]:
    """The errors for callers that a function raises itself."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    calls = (node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call))
    return {call.func.id for call in calls if isinstance(call.func, ast.Name)} & ERRORS


def unnamed() -> set[str]:
    """Components without a source."""
    return {
        f"{config.component.__module__}.{config.component.__qualname__}: source"
        for members in REGISTRY.values()
        for config in members.values()
        if not config.source.strip()
    }


if __name__ == "__main__":
    print("\n".join(missing()) or "nothing is missing")
