"""A strict reader of YAML 1.2 (core schema): every value keeps its line and column, and anything ambiguous is an error.

PyYAML scans and parses; nodes and values are built here from its events. Its own composer and constructor follow
YAML 1.1 (`1e-3` is a string, `on` is true, `012` is ten), keep the last of two equal keys, ignore explicit tags and
recurse without limit.
"""

import math
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from .errors import InputError, nearest, nearest_file
from .secrets import reason_secret

KeyPath = tuple[str | int, ...]
"""Keys and list indices from the top of a document to one of its values: ("factors", "model.block", 1)."""
Location = tuple[int, int]
"""Line and column, both from 1."""

MAX_BYTES = 1 << 20
MAX_DEPTH = 50
MAX_NODES = 100_000
MAX_DIGITS = 100

_ENDS = (yaml.StreamEndEvent, yaml.DocumentEndEvent)
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
    """The plain value of a file, and where each part of it is: the location of a mapping's key or a list's item."""

    file: str
    value: Any
    locations: Mapping[KeyPath, Location]
    content: bytes = b""
    """Of the file, as it was read."""

    def error(self, path: KeyPath, what: str) -> InputError:
        """`file:line:column: path: what`, at the longest prefix of `path` that is in the file; the caller raises it."""
        name = dotted(path)
        return self.at(path, f"{name}: {what}" if name else what)

    def at(self, path: KeyPath, message: str) -> InputError:
        """`file:line:column: message`, for a message that does not begin with a key of this file."""
        nearest_part = path
        while nearest_part and nearest_part not in self.locations:
            nearest_part = nearest_part[:-1]
        return _error(self.file, self.locations.get(nearest_part, (1, 1)), message)


def dotted(path: KeyPath) -> str:
    """A path as error messages show it: `factors.model.block[1]`."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def read(file: Path) -> Document:
    """Read a file of at most 1 MiB of UTF-8. Errors: InputError, one line."""
    try:
        mode = file.stat().st_mode
        regular = stat.S_ISREG(mode)  # opening a pipe would wait for its writer
        content = _read_limited(file) if regular else b""
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{file}: there is no such file{nearest_file(file)}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if not regular:
        raise InputError(f"{file}: is {'a directory' if stat.S_ISDIR(mode) else 'a device or pipe'}, not a file")
    if len(content) > MAX_BYTES:
        raise InputError(f"{file}: is larger than {MAX_BYTES:,} bytes, the limit for a configuration file")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        location = _location_after(content[: error.start].decode("utf-8"))
        raise _error(str(file), location, f"byte 0x{content[error.start]:02x} is not UTF-8") from None
    return replace(parse(text, str(file)), content=content)


def parse(text: str, file: str) -> Document:
    """Read one YAML document whose top level is a mapping; `file` is its name in messages. Errors: InputError."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    if match := _FORBIDDEN.search(text):
        raise _error(file, _location_after(text[: match.start()]), f"character U+{ord(match[0]):04X} is not allowed")
    location, root = _Composer(text, file).document()
    locations: dict[KeyPath, Location] = {(): location}
    document = Document(file, _value(root, (), locations), locations)
    _refuse_secrets(document, document.value, (), "")
    return document


def parse_value(key: str, text: str, file: str) -> Document:
    """Read one value that was typed on a command line, as that of ``key``. Errors: InputError.

    Only what begins as a quoted string, a list or a mapping is a piece of YAML. Anything else is a scalar and means all
    that was typed: `a #1.txt` is a name and no name with a comment, `#1` is not null, `&a` no anchor.
    """
    text = text.strip()
    if text[:1] not in ("{", "[", '"', "'"):
        if match := _FORBIDDEN.search(text):
            raise _error(file, (1, match.start() + 1), f"character U+{ord(match[0]):04X} is not allowed")
        location = (1, 1)
        value = _plain_scalar(text, file, location)
        document = Document(file, {key: value}, {(): location, (key,): location})
        _refuse_secrets(document, document.value, (), "")
        return document
    document = parse(f"{key}: {text}", file)
    events = [event for event in yaml.parse(text, Loader=_LOADER) if not isinstance(event, _ENDS)]
    end = max(event.end_mark.index for event in events if event.end_mark is not None)
    if rest := text[end:].strip():
        raise _error(file, (1, len(key) + 3 + end), f"{_quoted(rest)} is a comment; quote the whole value")
    return document


def _refuse_secrets(document: Document, value: Any, path: KeyPath, key: str) -> None:
    """Errors: InputError at the first value that looks like a secret, which the message does not quote."""
    if isinstance(value, dict | list):
        for part, child in value.items() if isinstance(value, dict) else enumerate(value):
            _refuse_secrets(document, child, (*path, part), part if isinstance(part, str) else key)
    elif what := reason_secret(key.rpartition(".")[2], value):
        raise document.error(path, what)


def _error(file: str, location: Location, what: str) -> InputError:
    return InputError(f"{file}:{location[0]}:{location[1]}: {what}")


def _location(event: Any) -> Location:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _location_after(text: str) -> Location:
    return text.count("\n") + 1, len(text) - text.rfind("\n")


def _quoted(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _read_limited(file: Path) -> bytes:
    with file.open("rb") as stream:
        return stream.read(MAX_BYTES + 1)


@dataclass(frozen=True, slots=True)
class _Node:
    content: "dict[str, tuple[Location, _Node]] | list[tuple[Location, _Node]] | str | int | float | bool | None"
    size: int  # nodes, keys included, once its aliases are expanded
    height: int  # levels of nesting, once its aliases are expanded: 0 for a scalar


def _value(node: _Node, path: KeyPath, locations: dict[KeyPath, Location]) -> Any:
    """A new plain value, so that no two parts of a document share an object; fills `locations`."""
    if not isinstance(node.content, dict | list):
        return node.content
    items = node.content.items() if isinstance(node.content, dict) else enumerate(node.content)
    values: dict[str | int, Any] = {}
    for key, (location, child) in items:
        locations[*path, key] = location
        values[key] = _value(child, (*path, key), locations)
    return values if isinstance(node.content, dict) else list(values.values())


class _Composer:
    """Builds nodes from PyYAML's events and makes all checks; an alias shares the node of its anchor.

    Events are parsed one at a time, so that the first that exceeds a limit stops the reading.
    """

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.events = yaml.parse(text, Loader=_LOADER)
        self.anchors: dict[str, _Node | None] = {}  # None: still being read
        self.size = 0

    def error(self, event: Any, what: str) -> InputError:
        return _error(self.file, _location(event), what)

    def next_event(self) -> Any:
        try:
            return next(self.events)
        except (yaml.YAMLError, ValueError, OverflowError) as error:  # the last two: an escape such as "\U00110000"
            mark = getattr(error, "problem_mark", None)
            line, column = (mark.line, mark.column) if mark else (0, 0)
            problem, context = getattr(error, "problem", None) or str(error), getattr(error, "context", None)
            what = f"{problem} {context}" if context else problem
            if "".join(self.text.split("\n")[line : line + 1])[column : column + 1] == "\t":
                what = "a tab where only spaces are allowed"
            raise _error(self.file, (line + 1, column + 1), f"not YAML: {what}") from None

    def document(self) -> tuple[Location, _Node]:
        self.next_event()  # the start of the stream
        if isinstance(self.next_event(), yaml.StreamEndEvent):
            raise _error(self.file, (1, 1), "the file is empty or has only comments")
        first = self.next_event()
        root = self.node(first, 0)
        if not isinstance(root.content, dict):
            raise self.error(first, "the top level must be a mapping: lines of `key: value`")
        self.next_event()  # the end of the document
        if not isinstance(after := self.next_event(), yaml.StreamEndEvent):
            raise self.error(after, "a second document starts here; only one per file is allowed")
        return _location(first), root

    def node(self, event: Any, depth: int) -> _Node:
        """The node that starts with `event`, inside `depth` mappings and lists."""
        before = self.size
        self.size += 1
        if isinstance(event, yaml.AliasEvent):
            node = self.target(event)
            self.size = before + node.size
            self.check(event, depth + node.height)
            return node
        if event.tag is not None:
            tag = event.tag.replace("tag:yaml.org,2002:", "!!")
            raise self.error(event, f"the tag {_quoted(tag)} is not allowed; use plain YAML without tags")
        if event.anchor in self.anchors:
            raise self.error(event, f"the anchor {_quoted(event.anchor)} appears twice")
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
            raise self.error(event, f"more than {MAX_NODES:,} values, counting repetitions by aliases")

    def target(self, alias: Any) -> _Node:
        if alias.anchor not in self.anchors:
            hint = nearest(alias.anchor, self.anchors)
            raise self.error(alias, f"the alias {_quoted(alias.anchor)} has no anchor before it{hint}")
        if (node := self.anchors[alias.anchor]) is None:
            raise self.error(alias, f"the alias {_quoted(alias.anchor)} is inside the anchor it refers to")
        return node

    def sequence(self, depth: int) -> list[tuple[Location, _Node]]:
        items = []
        while not isinstance(event := self.next_event(), yaml.SequenceEndEvent):
            items.append((_location(event), self.node(event, depth)))
        return items

    def mapping(self, depth: int) -> dict[str, tuple[Location, _Node]]:
        lines: dict[str, int] = {}
        merged: dict[str, tuple[Location, _Node]] = {}
        own: dict[str, tuple[Location, _Node]] = {}
        while not isinstance(event := self.next_event(), yaml.MappingEndEvent):
            location, key = _location(event), self.node(event, depth).content
            if not isinstance(key, str):
                written = getattr(event, "value", "")
                raise self.error(
                    event, f"the key {written} must be a string; quote it" if written else "a key must be a string"
                )
            if key in lines:
                raise self.error(event, f"the key {_quoted(key)} appears twice, first in line {lines[key]}")
            lines[key] = location[0]
            value = self.next_event()
            node = self.node(value, depth)
            if key == "<<" and isinstance(event, yaml.ScalarEvent) and not event.style:
                merged = self.merged(value, node)
            else:
                own[key] = location, node
        return {**merged, **own}

    def merged(self, event: Any, node: _Node) -> dict[str, tuple[Location, _Node]]:
        entries: dict[str, tuple[Location, _Node]] = {}
        for _, source in node.content if isinstance(node.content, list) else [(_location(event), node)]:
            if not isinstance(source.content, dict):
                raise self.error(event, "`<<` takes a mapping or a list of mappings")
            for key, entry in source.content.items():
                entries.setdefault(key, entry)  # of two, the first wins
        return entries

    def scalar(self, event: yaml.ScalarEvent) -> str | int | float | bool | None:
        text = event.value
        if _SURROGATE.search(text):
            raise self.error(event, "half of a surrogate pair is not a character")
        if event.style:  # quoted, or a block
            return text
        return _plain_scalar(text, self.file, _location(event))


def _plain_scalar(text: str, file: str, location: Location) -> str | int | float | bool | None:
    """What a scalar without quotes means."""
    if text in _WORDS:
        return _WORDS[text]
    if _NOT_FINITE.fullmatch(text):
        raise _error(file, location, f"{text} is not a finite number; quote it if a string is meant")
    integer = _INTEGER.fullmatch(text)
    if not integer and not _NUMBER.fullmatch(text):
        return text
    if len(text) > MAX_DIGITS:
        raise _error(file, location, f"{_quoted(text)} has too many digits for a number; quote it if a string is meant")
    if integer:
        return int(text, 0)
    if text.lstrip("+-").isdecimal():
        what = f"{text} starts with 0, which some parsers read as octal; write {int(text)} or quote it"
        raise _error(file, location, what)
    if math.isinf(number := float(text)):
        raise _error(file, location, f"{text} is too large for a number")
    return number


def to_text(value: Any, in_lines: bool = False) -> str:
    """Plain data as YAML, keys in their order; ``in_lines``: innermost lists and mappings in one line each."""
    style = None if in_lines else False
    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, default_flow_style=style, width=10_000)
    return text
