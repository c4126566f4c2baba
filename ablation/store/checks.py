"""Checks of JSON values, from which the schemas of files are put together.

A ``Check`` is a function of a value: None where it fits, else what is wrong, beginning with the path from that value
on, such as ``.cells[3].runs: must be a list, not null``.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any

from ..names import reason_no_folder

Check = Callable[[Any], str | None]

MAX_DEPTH = 50
"""Of nesting in what is not checked further; deeper ends in a RecursionError wherever it is walked."""
LARGEST_WHOLE = 2**63
_RUN_ID = re.compile("[0-9a-f]{32}")


def shown(value: Any) -> str:
    """A value in a message: short, and of a list or a mapping only what it is."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    words: dict[Any, str] = {None: "null"}
    text = words.get(value) or ("true" if value else "false") if isinstance(value, bool | None) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _of_type(expected: str, *types: type) -> Check:
    return lambda value: None if type(value) in types else f": must be {expected}, not {shown(value)}"


text = _of_type("a text", str)
truth = _of_type("true or false", bool)


def number(value: Any) -> str | None:
    """A finite number that a float can hold."""
    if (type(value) is float and value - value == 0) or (type(value) is int and abs(value) < LARGEST_WHOLE):
        return None
    return f": must be a number, not {shown(value)}"


def log_ratio(value: Any) -> str | None:
    """The logarithm of a ratio that a float can hold."""
    return number(value) or (None if abs(value) < 700 else f": must be the logarithm of a ratio, not {shown(value)}")


def whole(value: Any) -> str | None:
    """A whole number of at most 64 bits, at least 0."""
    if type(value) is int and 0 <= value < LARGEST_WHOLE:
        return None
    return f": must be a whole number, not {shown(value)}"


def run_id(value: Any) -> str | None:
    """The id of a run, which is the name of its folder."""
    if type(value) is str and _RUN_ID.fullmatch(value):
        return None
    return f": must be the id of a run, not {shown(value)}"


def grid_name(value: Any) -> str | None:
    """The name of a grid, which is that of its folder."""
    what = text(value) or reason_no_folder(value)
    return f": {what.removeprefix(': ')}" if what else None


def plain(value: Any) -> str | None:
    """Anything, nested no deeper than ``MAX_DEPTH``, without whole numbers of more than 64 bits."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            return f": nested deeper than {MAX_DEPTH} levels"
        if any(type(node) is int and abs(node) >= LARGEST_WHOLE for node in level):
            return ": has a number of more than 64 bits"
        level = [part for node in level if isinstance(node, dict | list) for part in _parts(node)]
        depth += 1
    return None


def scalar(value: Any) -> str | None:
    """A text, a number, true, false or null."""
    return f": must be a text or a number, not {shown(value)}" if isinstance(value, dict | list) else plain(value)


def _parts(node: Any) -> Any:
    return node.values() if isinstance(node, dict) else node


def both(first: Check, second: Check) -> Check:
    """What fits two checks."""
    return lambda value: first(value) or second(value)


def one_of(*words: str) -> Check:
    """One of these words."""
    allowed = ", ".join(words)
    return lambda value: None if value in words else f": {shown(value)} is not known; allowed: {allowed}"


def optional(check: Check) -> Check:
    """Null, or what fits ``check``."""
    return lambda value: None if value is None else check(value)


def list_of(check: Check, at_least: int = 0) -> Check:
    """A list of what fits ``check``."""

    def check_list(value: Any) -> str | None:
        if type(value) is not list:
            return f": must be a list, not {shown(value)}"
        if len(value) < at_least:
            return ": is empty"
        for index, item in enumerate(value):
            if what := check(item):
                return f"[{index}]{what}"
        return None

    return check_list


def mapping_of(check: Check) -> Check:
    """A mapping of any keys to what fits ``check``."""

    def check_mapping(value: Any) -> str | None:
        if type(value) is not dict:
            return f": must be a mapping, not {shown(value)}"
        for key, part in value.items():
            if what := check(part):
                return f".{_key(key)}{what}"
        return None

    return check_mapping


def record(required: Mapping[str, Check], absent: Mapping[str, Check] | None = None) -> Check:
    """A mapping with the ``required`` keys; those of ``absent`` may be absent, as in files of earlier versions."""
    needed, known = tuple(required), tuple({**required, **(absent or {})}.items())

    def check_record(value: Any) -> str | None:
        if type(value) is not dict:
            return f": must be a mapping, not {shown(value)}"
        for key in needed:
            if key not in value:
                return f".{key}: is missing"
        for key, check in known:
            if key in value and (what := check(value[key])):
                return f".{key}{what}"
        return None

    return check_record


def _key(key: str) -> str:
    return key if len(key) <= 40 else f"{key[:37]}..."
