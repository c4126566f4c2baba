"""The factors of a grid file: what varies, and the levels of each with their labels and what they set."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..config.validation_error import format_value
from ..errors import nearest
from ..yaml import Document, KeyPath
from .schema import NO_LEVEL, REASON, GridConfig

INACTIVE = -1
"""The index of the level of a factor that a cell does not have, as the condition under which it exists is not met."""
_NAME = re.compile(r"[A-Za-z]\w*(\.\w+)*")
"""Of a factor that is no path: a word in labels and on the command line."""


DIGITS = 3
"""Of a value that is chosen within a range, so that its label is short."""
MATCHED = "matched"
"""The path and name of the factor whose levels are cells as they are and matched ones."""


@dataclass(frozen=True)
class Setting:
    """A path of the configuration, and the value that it gets."""

    path: str
    value: Any
    place: KeyPath
    """Of the value in the grid file, for error messages."""


@dataclass(frozen=True)
class Level:
    """One level of a factor: its label, and all that it sets."""

    value: Any
    """What is set where the factor is a path, else the label."""
    label: str
    path: KeyPath
    """Its path in the grid file, for error messages."""
    settings: tuple[Setting, ...]

    @property
    def plain(self) -> str | int | float | bool | None:
        """The value if it is a scalar, else the label."""
        return self.value if self.value is None or isinstance(self.value, str | int | float) else self.label


OF_INACTIVE = Level(NO_LEVEL, NO_LEVEL, (), ())
"""That of a factor which is ``INACTIVE``."""


@dataclass(frozen=True)
class Factor:
    """What varies, with its levels; the baseline's is the first."""

    path: str
    """A path of the configuration, or a name of its own where every level says what it sets."""
    name: str
    """The shortest end of the path that no other factor's path has."""
    levels: tuple[Level, ...]
    parts: Mapping[str, tuple[Level, ...]]
    """By path, the factors that it consists of, with their levels in the same order: several where they are zipped."""

    @property
    def paths(self) -> list[str]:
        """The paths of the configuration that its levels set."""
        return list(dict.fromkeys(setting.path for level in self.levels for setting in level.settings))

    def level(self, index: int) -> Level:
        return OF_INACTIVE if index == INACTIVE else self.levels[index]


LevelOfFactor = tuple[int, int]
"""The index of a factor, and that of one of its levels."""


def make_factors(document: Document, config: GridConfig) -> tuple[Factor, ...]:
    """The factors of a grid file. Errors: InputError."""
    paths = list(config.factors)
    for path in paths:
        if path == "seed":
            raise document.error(("factors", "seed"), "seeds are replicates, not levels; write them under `seeds`")
        if path == REASON:
            raise document.error(("factors", path), f"{REASON} is the key beside the levels of an exclusion")
    names = short_names(paths)
    ranged = _ranged(document, config) if config.design.component.ranges and not config.cells else {}
    single = {
        path: _factor_of_range(path, names[path], ranged[path])
        if path in ranged
        else _factor(document, path, names[path], config.factors[path])
        for path in paths
    }
    zipped: dict[str, Factor] = {}
    for number, together in enumerate(config.zip):
        for at, path in enumerate(together):
            _known(document, ("zip", number, at), path, paths)
        factor = _zip(document, number, [single[path] for path in together])
        if twice := [path for path in together if path in zipped]:
            raise document.error(("zip", number), f"{twice[0]} is zipped already")
        zipped |= dict.fromkeys(together, factor)
    for setting in (setting for factor in single.values() for level in factor.levels for setting in level.settings):
        if setting.path == "seed":
            raise document.error(setting.place, "seeds are replicates, which no level sets; write them under `seeds`")
    factors = tuple({id(factor): factor for factor in (zipped.get(path, single[path]) for path in paths)}.values())
    return _with_baseline(document, config, factors)


def beside_matched(document: Document, config: GridConfig, factors: Sequence[Factor]) -> tuple[Factor, ...]:
    """The factors that are no part of the design: whether a cell is matched, where it is also run as it is.

    Errors: InputError where another factor has that name, or varies the setting that is free.
    """
    if config.match is None:
        return ()
    for factor in factors:
        if config.match.by in factor.paths:
            raise document.error(
                ("match", "by"), f"is varied by the factor {factor.name}; another setting must be free"
            )
    if not config.match.as_is:
        return ()
    if any(MATCHED in (factor.path, factor.name) for factor in factors):
        raise document.error(("factors", MATCHED), "is the name of what `match` adds; give it another one")
    levels = tuple(Level(label, label, ("match", "quantity"), ()) for label in ("no", config.match.quantity))
    return (Factor(MATCHED, MATCHED, levels, {MATCHED: levels}),)


def find(
    document: Document, place: KeyPath, levels: Mapping[str, Any], factors: Sequence[Factor]
) -> tuple[LevelOfFactor, ...]:
    """The levels that a mapping at ``place`` in the file names by the paths of their factors. Errors: InputError."""
    found: dict[int, int] = {}
    paths = [path for factor in factors for path in factor.parts]
    for path, written in levels.items():
        _known(document, (*place, path), path, paths)
        index = next(index for index, factor in enumerate(factors) if path in factor.parts)
        level = find_level(document, (*place, path), factors[index].parts[path], written)
        if found.setdefault(index, level) != level:
            raise document.error((*place, path), f"{factors[index].name} has no level with all of these")
    return tuple(found.items())


def find_level(document: Document, document_path: KeyPath, levels: Sequence[Level], written: Any) -> int:
    """The index of the level with the value ``written``, else of the one with that label. Errors: InputError."""
    for index, level in enumerate(levels):
        if _comparable(level.value) == _comparable(written):
            return index
    labels = [level.label for level in levels]
    if written in labels:
        return labels.index(written)
    hint = nearest(written, labels) if isinstance(written, str) else ""
    message = f"{format_value(written)} is not a level; levels: {', '.join(labels)}{hint}"
    raise document.error(document_path, message)


def _known(document: Document, place: KeyPath, path: str, paths: Sequence[str]) -> str:
    """The path. Errors: InputError if no factor has it."""
    if path not in paths:
        which = "" if place[-1] == path else f"{path!r} "
        raise document.error(place, f"{which}is not a factor; factors: {', '.join(paths)}{nearest(path, paths)}")
    return path


def _factor(document: Document, path: str, name: str, written: Sequence[Any]) -> Factor:
    if not written:
        raise document.error(("factors", path), "has no levels; write a list such as [a, b]")
    levels = tuple(_level(document, path, value, ("factors", path, index)) for index, value in enumerate(written))
    values: set[Any] = set()
    labels: set[str] = set()
    for level in levels:
        if _comparable(level.value) in values:
            raise document.error(level.path, f"the level {level.label} appears twice")
        if level.label in labels:
            raise document.error(level.path, f"two levels have the label {level.label!r}; give one another label")
        values.add(_comparable(level.value))
        labels.add(level.label)
    sets_its_path = any(setting.path == path for level in levels for setting in level.settings)
    if not sets_its_path and not _NAME.fullmatch(path):
        raise document.error(("factors", path), "the name of a factor is of letters, digits and underscores")
    return Factor(path, name, levels, {path: levels})


def _factor_of_range(path: str, name: str, values: Sequence[Any]) -> Factor:
    """A factor whose levels are as many as cells: of whole numbers several may be alike."""
    place = ("factors", path)
    levels = tuple(Level(value, describe(value), place, (Setting(path, value, place),)) for value in values)
    return Factor(path, name, levels, {path: levels})


def _ranged(document: Document, config: GridConfig) -> dict[str, list[Any]]:
    """The levels of factors that are ranges: the middle, which is the baseline's, and those of the other cells."""
    design, levels = config.design.build(), dict[str, list[Any]]()
    points = design.points(len(config.factors))
    for index, (path, ends) in enumerate(config.factors.items()):
        numbers = all(isinstance(end, int | float) and not isinstance(end, bool) for end in ends)
        if len(ends) != 2 or not numbers or ends[0] >= ends[1]:
            what = f"the design {config.design.name!r} needs the two ends of a range, such as [1e-4, 1e-2]"
            raise document.error(("factors", path), what)
        low, high = ends
        logarithmic, whole = 0 < low <= high / 10, all(isinstance(end, int) for end in ends)
        levels[path] = []
        for part in (0.5, *(point[index] for point in points)):
            value = low * (high / low) ** part if logarithmic else low + (high - low) * part
            levels[path].append(round(value) if whole else float(f"{value:.{DIGITS}g}"))
    return levels


def _level(document: Document, factor: str, written: Any, path: KeyPath) -> Level:
    """A level as it is written in the file.

    The label of a component is a key beside its hyper-parameters; any other value is labelled as ``{value: 4, label:
    four}``, and a level that sets several paths as ``{label: lstm, set: {model.mixer: lstm, model.position: none}}``.
    """

    def of_value(value: Any, label: str, place: KeyPath) -> Level:
        return Level(value, label, place, (Setting(factor, value, place),))

    if not isinstance(written, dict) or "label" not in written:
        if isinstance(written, dict) and [*written] == ["set"]:
            raise document.error(
                (*path, "set"), "a level that sets several paths needs a label: {label: ..., set: ...}"
            )
        return of_value(written, describe(written), path)
    label = written["label"]
    text = str(label)
    if isinstance(label, bool | dict | list | None) or not text.strip() or len(text) > 80 or not text.isprintable():
        what = f"must be a string of 1 to 80 printable characters, not {format_value(label)}"
        raise document.error((*path, "label"), what)
    value = {key: item for key, item in written.items() if key != "label"}
    if "name" in value:
        return of_value(value, text, path)
    if [*value] == ["set"] and isinstance(value["set"], dict):
        return Level(text, text, path, settings(value["set"], (*path, "set")))
    if [*value] != ["value"]:
        forms = ("{name: ..., label: ...}", "{value: ..., label: ...}", "{label: ..., set: {path: value}}")
        what = f"a level with a label is {', '.join(forms[:2])} or {forms[2]}"
        raise document.error(path, what)
    return of_value(value["value"], text, (*path, "value"))


def settings(values: Mapping[str, Any], place: KeyPath) -> tuple[Setting, ...]:
    """Those of a mapping of paths and values at ``place`` in the file."""
    return tuple(Setting(path, value, (*place, path)) for path, value in values.items())


def _zip(document: Document, number: int, factors: Sequence[Factor]) -> Factor:
    """Factors whose first levels go together, and whose second ones do, and so on, as one."""
    counts = [len(factor.levels) for factor in factors]
    if len(factors) < 2 or len({*counts}) > 1 or len({factor.path for factor in factors}) < len(factors):
        what = f"needs two factors or more with equally many levels, not {', '.join(map(str, counts))}"
        raise document.error(("zip", number), what)
    levels = []
    for together in zip(*(factor.levels for factor in factors), strict=True):
        label = "+".join(level.label for level in together)
        settings = tuple(setting for level in together for setting in level.settings)
        levels.append(Level(label, label, together[0].path, settings))
    path, name = ("+".join(getattr(factor, of) for factor in factors) for of in ("path", "name"))
    return Factor(path, name, tuple(levels), {factor.path: factor.levels for factor in factors})


def _with_baseline(document: Document, config: GridConfig, factors: tuple[Factor, ...]) -> tuple[Factor, ...]:
    """The factors with the baseline's level as the first one; by default it is the first in the file."""
    first = dict(find(document, ("baseline",), config.baseline, factors))
    last = config.design.component.baseline_last and not config.cells
    if last and first:
        what = f"is the last level of every factor in the design {config.design.name!r}"
        raise document.error(("baseline",), what)
    ordered = []
    for index, factor in enumerate(factors):
        start = len(factor.levels) - 1 if last else first.get(index, 0)
        order = [start, *(other for other in range(len(factor.levels)) if other != start)]
        parts = {path: tuple(levels[at] for at in order) for path, levels in factor.parts.items()}
        ordered.append(replace(factor, levels=tuple(factor.levels[at] for at in order), parts=parts))
    return tuple(ordered)


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
