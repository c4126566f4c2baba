"""Comparable: whether two cells were measured on the same, so that the difference of a measure means something.

Both are given by what ``Task.measured_on`` says of them. A loss is about its unit (nats per what?), the examples that
validate, the classes; bits per character or per byte of one text are about that text alone, whatever its tokens.
"""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from ..errors import nearest

if TYPE_CHECKING:
    from .file import Grid
    from .plan import Cell

MeasuredOn = Mapping[str, Any]

OF_TEXT = ("bits_per_character", "bits_per_byte")
"""Measures that are about a text alone."""
_ORDER = ("task", "classes", "unit")
_NOT_COMPARED = ("text", "text_missing", "further")
_LONGEST = 60


def differences(one: MeasuredOn, other: MeasuredOn, further: str = "") -> dict[str, str]:
    """What differs, by key, in words; ``further`` is the name of a further validation set that the measure is about.

    Nothing where one of the two has no record, as of runs before there was one.
    """
    if not one or not other or one == other:
        return {}
    sides = [_about(side, further) for side in (one, other)]
    keys = [key for key in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(key) != sides[1].get(key)]
    return {key: _words(key, *(side.get(key) for side in sides)) for key in sorted(keys, key=_rank)}


def same_text(one: MeasuredOn, other: MeasuredOn) -> bool:
    """Whether bits per character, and per byte, of both are about the same text."""
    return one.get("text") is not None and one.get("text") == other.get("text")


def refuse_incomparable(grid: "Grid", cells: "tuple[Cell, ...]", undeclared: Collection[str]) -> None:
    """Errors: InputError where a cell has no measure of quality in common with the baseline that is not allowed.

    ``undeclared`` are the paths that the grid may allow as well.
    """
    baseline, known, seen = cells[0], set[str](), set[int]()
    for cell in cells[1:]:
        sides = cell.runs[0].measured_on, baseline.runs[0].measured_on
        if id(sides[0]) in seen:  # cells of one task have one record of it
            continue
        seen.add(id(sides[0]))
        different = differences(*sides)
        known |= {key for side in sides for key in side if key not in _NOT_COMPARED}
        refused = [key for key in different if key not in grid.config.allow]
        if not refused or same_text(*sides):
            continue
        changed = [factor for factor in grid.factors if cell.levels[factor.path] is not baseline.levels[factor.path]]
        of_task = (factor for factor in changed if any(path.startswith("task") for path in factor.paths))
        factor = next(of_task, changed[0])
        why = "; ".join(different[key] for key in refused)
        missing = next((side["text_missing"] for side in sides if side.get("text_missing")), None)
        what = f"{cell.label} has no measure of quality in common with the baseline: {why}"
        if missing is not None:
            what += f", and bits per character are no common measure: {missing}"
        raise grid.document.at(cell.levels[factor.path].path, f"{what}; `allow: [{', '.join(refused)}]` runs it")
    for number, key in enumerate(grid.config.allow):
        if known and key not in known and key not in undeclared:
            allowed = [*sorted(known, key=_rank), *sorted(undeclared)]
            what = f"{key!r} is nothing that can be allowed here"
            raise grid.document.error(
                ("allow", number), f"{what}; allowed: {', '.join(allowed)}{nearest(key, allowed)}"
            )


def _about(measured_on: MeasuredOn, further: str) -> dict[str, Any]:
    about = {key: value for key, value in measured_on.items() if key not in _NOT_COMPARED}
    if further:
        about["validation"] = (measured_on.get("further") or {}).get(further)
    return about


def _rank(key: str) -> tuple[int, str]:
    return (_ORDER.index(key) if key in _ORDER else len(_ORDER), key)


def _words(key: str, one: Any, other: Any) -> str:
    match key:
        case "validation":
            return "other validation examples"
        case "classes" if isinstance(one, list) and isinstance(other, list) and len(one) != len(other):
            return f"other classes ({len(one)}, baseline {len(other)})"
        case "classes":
            return "other classes"
        case _:
            what = {"task": "another task", "unit": "another unit"}.get(key, f"another value of {key}")
            return f"{what} ({_short(one)}, baseline {_short(other)})"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
