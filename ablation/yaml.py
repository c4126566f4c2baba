"""YAML 1.2 (core schema) read strictly: every value has its place, and whatever is ambiguous is refused.

PyYAML scans and parses; nodes and values are made here from its events. Its own composer and constructor follow
YAML 1.1 (`1e-3` is text, `on` is true, `012` is ten), keep the last of two equal keys, forget explicit tags and
recurse without limit.
"""

import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError, nearest, nearest_file

Path_ = tuple[str | int, ...]
Place = tuple[int, int]
"""Line and column, both from 1."""

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_NODES = 100_000
MAX_DIGITS = 100

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
# What YAML forbids, and the three line breaks that YAML 1.1 knows and 1.2, like any editor, does not.
_FORBIDDEN = re.compile("[^\t\n -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Document:
    """A file's plain value and the place of each of its parts: of the key in a mapping, of the item in a list."""

    file: str
    value: Any
    places: Mapping[Path_, Place]

    def error(self, path: Path_, what: str) -> InputError:
        """`file:line:column: path: what`, at the nearest part of `path` that is in the file; the caller raises it."""
        name = dotted(path)
        return self.at(path, f"{name}: {what}" if name else what)

    def at(self, path: Path_, message: str) -> InputError:
        """`file:line:column: message`, for what is not about the file's own keys; the caller raises it."""
        known = path
        while known and known not in self.places:
            known = known[:-1]
        return _error(self.file, self.places.get(known, (1, 1)), message)


def dotted(path: Path_) -> str:
    """A path as it is written in messages: `factors.model.block[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(file: Path) -> Document:
    """Read a file of at most 1 MiB of UTF-8; InputError, in one line, for whatever is wrong with it."""
    try:
        mode = file.stat().st_mode
        regular = stat.S_ISREG(mode)  # opening a pipe would wait for its writer
        content = _start(file) if regular else b""
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{file}: there is no such file{nearest_file(file)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not regular:
        raise InputError(f"{file}: is {'a directory' if stat.S_ISDIR(mode) else 'a device or pipe'}, not a file")
    if len(content) > MAX_BYTES:
        raise InputError(f"{file}: is larger than {MAX_BYTES:,} bytes, the limit for a settings file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        place = _place_after(content[: error.start].decode("utf-8"))
        raise _error(str(file), place, f"byte 0x{content[error.start]:02x} is not UTF-8") from None
    return parse(text, str(file))


def parse(text: str, file: str) -> Document:
    """Read one YAML document whose top level is a mapping; `file` is the name in messages. Raises InputError."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if found := _FORBIDDEN.search(text):
        raise _error(file, _place_after(text[: found.start()]), f"character U+{ord(found[0]):04X} is not allowed")
    place, root = _Composer(text, file).document()
    places: dict[Path_, Place] = {(): place}
    return Document(file, _value(root, (), places), places)


def _error(file: str, place: Place, what: str) -> InputError:
    return InputError(f"{file}:{place[0]}:{place[1]}: {what}")


def _place(event: Any) -> Place:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _place_after(text: str) -> Place:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _start(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


@dataclass(frozen=True, slots=True)
class _Node:
    content: "dict[str, tuple[Place, _Node]] | list[tuple[Place, _Node]] | str | int | float | bool | None"
    size: int  # nodes, keys included, once its aliases are expanded
    height: int  # levels of nesting, once its aliases are expanded: 0 for a scalar


def _value(node: _Node, path: Path_, places: dict[Path_, Place]) -> Any:
    """A fresh plain value, so that no two parts of a document share an object; fills `places`."""
    if not isinstance(node.content, dict | list):
        return node.content
    items = node.content.items() if isinstance(node.content, dict) else enumerate(node.content)
    values: dict[str | int, Any] = {}
    for key, (place, child) in items:
        places[*path, key] = place
        values[key] = _value(child, (*path, key), places)
    return values if isinstance(node.content, dict) else list(values.values())


class _Composer:
    """Nodes out of PyYAML's events. All checks are here, once for each place; an alias shares its anchor's node.

    Events arrive as they are asked for, so the first that breaks a limit ends the work.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.events = yaml.parse(text, Loader=_LOADER)
        self.anchors: dict[str, _Node | None] = {}  # None: not complete yet
        self.size = 0

    def error(self, event: Any, what: str) -> InputError:
        return _error(self.file, _place(event), what)

    def take(self) -> Any:
        try:
            return next(self.events)
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: an escape such as "\U00110000"
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line, mark.column) if mark else (0, 0)
            problem, context = getattr(error, "problem", None) or str(error), getattr(error, "context", None)
            what = f"{problem} {context}" if context else problem
            if "".join(self.text.split("\n")[line : line + 1])[column : column + 1] == "\t":
                what = "a tab where only spaces may stand"
            raise _error(self.file, (line + 1, column + 1), f"not YAML: {what}") from None

    def document(self) -> tuple[Place, _Node]:
        self.take()  # the start of the stream
        if isinstance(self.take(), yaml.StreamEndEvent):
            raise _error(self.file, (1, 1), "the file is empty, or holds only comments")
        first = self.take()
        root = self.node(first, 0)
        if not isinstance(root.content, dict):
            raise self.error(first, "the top level must be a mapping: lines of `key: value`")
        self.take()  # the end of the document
        if not isinstance(after := self.take(), yaml.StreamEndEvent):
            raise self.error(after, "a second document begins here; a file holds one")
        return _place(first), root

    def node(self, event: Any, depth: int) -> _Node:
        """The node that begins with `event`, inside `depth` collections."""
        before = self.size
        self.size += 1
        if isinstance(event, yaml.AliasEvent):
            node = self.target(event)
            self.size = before + node.size
            self.check(event, depth + node.height)
            return node
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self.error(event, f"the tag {_shown(tag)} is not allowed; settings are plain YAML")
        if event.anchor in self.anchors:
            raise self.error(event, f"the anchor {_shown(event.anchor)} is given twice")
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            self.check(event, depth)
            node = _Node(self.scalar(event), 1, 0)
        else:
            self.check(event, depth + 1)
            content = self.mapping(depth + 1) if isinstance(event, yaml.MappingStartEvent) else self.sequence(depth + 1)
            children = content.values() if isinstance(content, dict) else content
            height = 1 + max((child.height for _, child in children), default=0)
            node = _Node(content, self.size - before, height)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def check(self, event: Any, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels")
        if self.size > MAX_NODES:
            raise self.error(event, f"more than {MAX_NODES:,} values, counting what aliases repeat")

    def target(self, alias: Any) -> _Node:
        if alias.anchor not in self.anchors:
            known = nearest(alias.anchor, self.anchors)
            raise self.error(alias, f"the alias {_shown(alias.anchor)} has no anchor before it{known}")
        if (node := self.anchors[alias.anchor]) is None:
            raise self.error(alias, f"the alias {_shown(alias.anchor)} stands inside what it repeats")
        return node

    def sequence(self, depth: int) -> list[tuple[Place, _Node]]:
        items = []
        while not isinstance(event := self.take(), yaml.SequenceEndEvent):
            items.append((_place(event), self.node(event, depth)))
        return items

    def mapping(self, depth: int) -> dict[str, tuple[Place, _Node]]:
        lines: dict[str, int] = {}
        merged: dict[str, tuple[Place, _Node]] = {}
        own: dict[str, tuple[Place, _Node]] = {}
        while not isinstance(event := self.take(), yaml.MappingEndEvent):
            place, key = _place(event), self.node(event, depth).content
            if not isinstance(key, str):
                shown = getattr(event, "value", "")
                raise self.error(event, f"the key {shown} must be text; quote it" if shown else "a key must be text")
            if key in lines:
                raise self.error(event, f"the key {_shown(key)} is given twice, first in line {lines[key]}")
            lines[key] = place[0]
            value = self.take()
            node = self.node(value, depth)
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and not event.style:
                merged = self.merged(value, node)
            else:
                own[key] = place, node
        return {**merged, **own}

    def merged(self, event: Any, node: _Node) -> dict[str, tuple[Place, _Node]]:
        entries: dict[str, tuple[Place, _Node]] = {}
        for _, source in node.content if isinstance(node.content, list) else [(_place(event), node)]:
            if not isinstance(source.content, dict):
                raise self.error(event, "`<<` takes a mapping or a list of mappings")
            for key, entry in source.content.items():
                entries.setdefault(key, entry)  # of two, the first wins
        return entries

    def scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text = event.value
        if _SURROGATE.search(text):
            raise self.error(event, "half a surrogate pair is not a character")
        if event.style:  # quoted, or a block
            return text
        if text in _WORDS:
            return _WORDS[text]
        if _NOT_FINITE.fullmatch(text):
            raise self.error(event, f"{text} is not a finite number; quote it if it is meant as text")
        integer = _INTEGER.fullmatch(text)
        if not integer and not _NUMBER.fullmatch(text):
            return text
        if len(text) > MAX_DIGITS:
            raise self.error(event, f"{_shown(text)} has too many digits for a number; quote it if it is meant as text")
        if integer:
            return int(text, 0)
        if text.lstrip("+-").isdecimal():
            raise self.error(event, f"{text} begins with 0, octal to some readers; write {int(text)} or quote it")
        if math.isinf(number := float(text)):
            raise self.error(event, f"{text} is too large for a number")
        return number
