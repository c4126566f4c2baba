"""A configuration being put together from files, and where each value came from."""

import json
import re
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from ..errors import InputError
from ..registry import REGISTRY, expand_shorthand, slot_of_field
from ..yaml import Document, dotted, parse, read
from .experiment import ExperimentConfig
from .validation_error import config_of, unknown_key, validation_error

Place = tuple[str | int, ...]

_PATH = re.compile(r"\w+(\.\w+)*")


class LayeredConfig:
    """Plain values laid over each other: a base file first, then single paths.

    Every value remembers the document and the place it was written at, so that a complaint about the whole names the
    line to change.
    """

    def __init__(self, base: Document):
        self.base = base
        self.value: dict[str, Any] = _anchored(ExperimentConfig, deepcopy(base.value), _folder(base))
        self.sources: dict[Place, tuple[Document, Place]] = {}
        self.cell = ""
        """Which cell of a grid this is; complaints about what only its levels together make wrong name it."""

    def copy(self, cell: str = "") -> "LayeredConfig":
        twin = object.__new__(LayeredConfig)
        twin.base, twin.value, twin.sources = self.base, deepcopy(self.value), dict(self.sources)
        twin.cell = cell
        return twin

    def set(self, path: str, value: Any, document: Document, written: Place) -> None:
        """Lay ``value`` over ``path``, such as ``model.position.theta``; a component is replaced as a whole.

        ``written`` is the value's place in ``document``. Errors: InputError when the path leads nowhere.
        """
        keys = tuple(path.split("."))
        node: Any = self.value
        config: type[BaseModel] | None = ExperimentConfig
        for depth, key in enumerate(keys):
            if config is None or not isinstance(node, dict):
                raise self._astray(keys, f"{'.'.join(keys[:depth])} has no parts", document, written)
            field = config.model_fields.get(key)
            if field is None:
                raise self._astray(keys, unknown_key(key, config), document, written)
            if depth + 1 == len(keys):
                node[key] = _anchored_part(field, deepcopy(value), _folder(document))
                break
            if key not in node and not field.is_required():
                node[key] = to_jsonable_python(field.default)
            slot = slot_of_field(field)
            if slot and isinstance(node.get(key), str):  # rope is short for {name: rope}
                node[key] = {"name": node[key]}
            node = node.get(key)
            if slot:
                config = REGISTRY[slot].get(str(node.get("name"))) if isinstance(node, dict) else None
            else:
                config = config_of(field)
        self.sources = {place: source for place, source in self.sources.items() if place[: len(keys)] != keys}
        self.sources[keys] = (document, written)

    def build(self) -> ExperimentConfig:
        """The configuration, validated.

        Errors: InputError, one line naming file, line, path, what is allowed and the nearest match.
        """
        try:
            return load(self.value)
        except ValidationError as error:
            raise self.error(
                *validation_error(error, expand_shorthand(ExperimentConfig, self.value), ExperimentConfig)
            ) from None

    def error(self, place: Place, what: str) -> InputError:
        """A complaint about one path of the configuration, at the line where its value was written."""
        message = f"{dotted(place)}: {what}"
        for length in range(len(place), 0, -1):
            if place[:length] in self.sources:
                document, written = self.sources[place[:length]]
                return document.at((*written, *place[length:]), message + self._in_cell(place[:length]))
        within = [laid for laid in self.sources if laid[: len(place)] == place]
        if not within:
            return self.base.at(place, message)
        # Several values are at odds: at the first that the message names, else at the section they were laid from.
        named = [laid for word in re.findall(r"\w+", what) for laid in within if laid[-1] == word]
        document, written = self.sources[(named or within[-1:])[0]]
        return document.at(written if named else written[:1], message + self._in_cell(place))

    def _in_cell(self, path: Place) -> str:
        """The end of a complaint that depends on the cell: on other values laid above or below ``path``."""
        depends = any(laid != path and laid[: len(path)] == path[: len(laid)] for laid in self.sources)
        return f" (cell {self.cell})" if self.cell and depends else ""

    def _astray(self, keys: Place, what: str, document: Document, written: Place) -> InputError:
        """A complaint about a path that leads nowhere, at the path; what was wrong before it comes first."""
        self.build()
        path = dotted(keys)
        at = written[: written.index(path) + 1] if path in written else written
        return document.at(at, f"{path or repr(path)}: {what}{self._in_cell(keys)}")


def read_base(file: Path) -> LayeredConfig:
    """The draft that a base file makes."""
    return LayeredConfig(read(file))


class Assignment(Document):
    """``path=value`` from the command line: it has no lines, and what it holds may be secret."""

    def at(self, path: Place, message: str) -> InputError:
        return InputError(f"--set {message}")


def read_assignment(assignment: str) -> tuple[str, Any, Assignment]:
    """The path and the value, which is YAML, of ``path=value``. Errors: InputError."""
    path, equals, text = assignment.partition("=")
    path = path.strip()
    if not equals or not _PATH.fullmatch(path) or len(text.splitlines()) > 1:
        raise InputError(f"--set {path or '='}: write path=value in one line, such as training.max_steps=200")
    document = parse(f"{path}: {text}", f"--set {path}")
    return path, document.value[path], Assignment(document.file, document.value, document.places)


def load(value: Mapping[str, Any]) -> ExperimentConfig:
    """A configuration from plain data, such as ``dump`` gives. Errors: pydantic's ValidationError."""
    return ExperimentConfig.model_validate_json(json.dumps(expand_shorthand(ExperimentConfig, value)))


def dump(config: ExperimentConfig) -> Mapping[str, Any]:
    """Every value of a configuration as plain data."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return plain


def _folder(document: Document) -> Path:
    """What relative paths in a document are relative to: the file that says so, on the command line where we are."""
    return Path() if isinstance(document, Assignment) else Path(document.file).parent


def _anchored(config: type[BaseModel], value: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A section of the configuration with every relative path in it made absolute."""
    fields = config.model_fields
    return {key: _anchored_part(fields[key], part, folder) if key in fields else part for key, part in value.items()}


def _anchored_part(field: FieldInfo, value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        slot = slot_of_field(field)
        config = REGISTRY[slot].get(str(value.get("name"))) if slot else config_of(field)
        return _anchored(config, value, folder) if config else value
    if not _holds_paths(field.annotation):
        return value
    if isinstance(value, list):
        return [str((folder / part).absolute()) if isinstance(part, str) else part for part in value]
    return str((folder / value).absolute()) if isinstance(value, str) else value


def _holds_paths(kind: Any) -> bool:
    """Whether ``Path`` is the type, or one within it, as in ``Path | None``."""
    return kind is Path or any(map(_holds_paths, get_args(kind)))
