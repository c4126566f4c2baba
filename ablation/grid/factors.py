"""The factors of a grid file: paths of the configuration that vary, and the levels of each with their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..config.validation_error import format_value
from ..errors import nearest
from ..yaml import Document, KeyPath
from .schema import GridConfig


@dataclass(frozen=True)
class Level:
    """One value of a factor."""

    value: Any
    label: str
    path: KeyPath
    """Its path in the grid file, for error messages."""

    @property
    def plain(self) -> str | int | float | bool | None:
        """The value if it is a scalar, else the label."""
        return self.value if self.value is None or isinstance(self.value, str | int | float) else self.label


@dataclass(frozen=True)
class Factor:
    """A path of the configuration that varies, with its levels; the baseline's level is the first."""

    path: str
    name: str
    """The shortest end of the path that no other factor's path has."""
    levels: tuple[Level, ...]


def make_factors(document: Document, config: GridConfig) -> tuple[Factor, ...]:
    """The factors of a grid file. Errors: InputError."""
    paths = list(config.factors)
    if "seed" in paths:
        raise document.error(("factors", "seed"), "seeds are replicates, not levels; write them under `seeds`")
    for path in config.baseline:
        refuse_unknown(document, ("baseline", path), paths)
    names = short_names(paths)
    return tuple(Factor(path, names[path], _levels(document, config, path)) for path in paths)


def refuse_unknown(document: Document, document_path: KeyPath, factors: Sequence[str]) -> None:
    """Errors: InputError if the last key of ``document_path`` is not the path of a factor."""
    path = str(document_path[-1])
    if path not in factors:
        raise document.error(document_path, f"is not a factor; factors: {', '.join(factors)}{nearest(path, factors)}")


def find_level(document: Document, document_path: KeyPath, levels: Sequence[Level], written: Any) -> Level:
    """The level with the value ``written``, else the one with that label."""
    for level in levels:
        if _comparable(level.value) == _comparable(written):
            return level
    for level in levels:
        if level.label == written:
            return level
    labels = [level.label for level in levels]
    hint = nearest(written, labels) if isinstance(written, str) else ""
    message = f"{format_value(written)} is not a level; levels: {', '.join(labels)}{hint}"
    raise document.error(document_path, message)


def _levels(document: Document, config: GridConfig, path: str) -> tuple[Level, ...]:
    written = config.factors[path]
    if not written:
        raise document.error(("factors", path), "has no levels; write a list such as [a, b]")
    levels = [_level(document, value, ("factors", path, index)) for index, value in enumerate(written)]
    values: set[Any] = set()
    labels: set[str] = set()
    for level in levels:
        if _comparable(level.value) in values:
            raise document.error(level.path, f"the level {level.label} appears twice")
        if level.label in labels:
            raise document.error(level.path, f"two levels have the label {level.label!r}; give one another label")
        values.add(_comparable(level.value))
        labels.add(level.label)
    if path in config.baseline:
        baseline = find_level(document, ("baseline", path), levels, config.baseline[path])
        levels.sort(key=lambda level: level is not baseline)
    return tuple(levels)


def _level(document: Document, written: Any, path: KeyPath) -> Level:
    """A level as it is written in the file.

    The label of a component is a key beside its hyper-parameters; any other value is labelled as
    ``{value: 4, label: four}``.
    """
    if not isinstance(written, dict) or "label" not in written:
        return Level(written, describe(written), path)
    label = written["label"]
    text = str(label)
    if isinstance(label, bool | dict | list | None) or not text.strip() or len(text) > 80 or not text.isprintable():
        what = f"must be a string of 1 to 80 printable characters, not {format_value(label)}"
        raise document.error((*path, "label"), what)
    value = {key: item for key, item in written.items() if key != "label"}
    if "name" in value:
        return Level(value, text, path)
    if list(value) != ["value"]:
        raise document.error(path, "a level with a label is {name: ..., label: ...} or {value: ..., label: ...}")
    return Level(value["value"], text, (*path, "value"))


def describe(value: Any) -> str:
    """The label of a level that has none in the file, such as ``rope(theta=500000)``."""
    if isinstance(value, dict):
        hyperparameters = ", ".join(f"{key}={describe(item)}" for key, item in value.items() if key != "name")
        return f"{value.get('name', '')}({hyperparameters})" if hyperparameters else str(value.get("name", "{}"))
    if isinstance(value, list):
        return "[" + ", ".join(map(describe, value)) + "]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)


def short_names(paths: list[str]) -> dict[str, str]:
    """By path, its shortest end that is not the end of another path."""
    names = {}
    for path in paths:
        keys = path.split(".")
        ends = (".".join(keys[-n:]) for n in range(1, len(keys) + 1))
        names[path] = next(
            (end for end in ends if sum(other == end or other.endswith("." + end) for other in paths) == 1), path
        )
    return names


def _comparable(value: Any) -> Any:
    """A hashable that is equal for equal values: 1 and 1.0 are equal, 1 and true are not."""
    if isinstance(value, dict):
        return frozenset((key, _comparable(item)) for key, item in value.items())
    if isinstance(value, list):
        return tuple(map(_comparable, value))
    return (isinstance(value, bool), value)
