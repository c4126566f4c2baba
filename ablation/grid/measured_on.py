"""What measures are about: whether two cells were measured on the same, so that a difference means something.

Both are given by what ``Task.measured_on`` says of them. A loss is about its unit (nats per what?), the examples that
validate, the classes; bits per character or per byte of one text are about that text alone, whatever its tokens.
"""

from collections.abc import Mapping
from typing import Any

MeasuredOn = Mapping[str, Any]

OF_TEXT = ("bits_per_character", "bits_per_byte")
"""Measures that are about a text alone."""
_ORDER = ("task", "classes", "unit")
NOT_COMPARED = ("text", "text_missing", "further")
_LONGEST = 60


def differences(one: MeasuredOn, other: MeasuredOn, further: str = "") -> dict[str, str]:
    """What differs, by key, in words; ``further`` is the name of a further validation set that the measure is about.

    Nothing where one of the two has no record, as of runs before there was one.
    """
    if not one or not other:
        return {}
    sides = [_about(side, further) for side in (one, other)]
    keys = [key for key in dict.fromkeys([*sides[0], *sides[1]]) if sides[0].get(key) != sides[1].get(key)]
    return {key: _words(key, *(side.get(key) for side in sides)) for key in sorted(keys, key=rank)}


def same_text(one: MeasuredOn, other: MeasuredOn) -> bool:
    """Whether bits per character, and per byte, of both are about the same text."""
    return one.get("text") is not None and one.get("text") == other.get("text")


def _about(measured_on: MeasuredOn, further: str) -> dict[str, Any]:
    about = {key: value for key, value in measured_on.items() if key not in NOT_COMPARED}
    if further:
        about["validation"] = (measured_on.get("further") or {}).get(further)
    return about


def rank(key: str) -> tuple[int, str]:
    """Keys in the order in which they are named: the task first, what only some tasks have last."""
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
