"""A configuration built in layers: a base file first, then single values laid over it; each remembers its source."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from ..errors import InputError
from ..registry import REGISTRY, Config, expand_shorthand, slot_of_field, with_defaults_before
from ..yaml import Document, KeyPath, dotted, parse_value, read
from .experiment import ExperimentConfig
from .validation_error import config_of, unknown_key, validation_error

_PATH = re.compile(r"\w+(\.\w+)*")


class LayeredConfig:
    """Plain values of a base file, of which single paths can be replaced.

    Every value remembers the document that it comes from and its path there, so that an error about the whole
    configuration can name the line to change. Values are never changed in place, so that copies and documents share
    what they have in common.
    """

    def __init__(self, base: Document):
        self.base = base
        self.value: dict[str, Any] = _absolute_paths(ExperimentConfig, base.value, _folder(base))
        self.sources: dict[KeyPath, tuple[Document, KeyPath]] = {}
        """By path in the configuration: the document of a value laid over the base, and the value's path in it."""
        self.cell = ""
        """The label of the cell of a grid; errors that depend on a combination of levels name it."""

    def copy(self, cell: str = "") -> "LayeredConfig":
        copied = object.__new__(LayeredConfig)
        copied.base, copied.value, copied.sources = self.base, self.value, dict(self.sources)
        copied.cell = cell
        return copied

    def set(self, path: str, value: Any, document: Document, source_path: KeyPath) -> None:
        """Replace the value at ``path``, such as ``model.position.theta``; a component is replaced as a whole.

        ``source_path`` is the path of the new value in ``document``. Errors: InputError when ``path`` does not exist.
        """
        keys = tuple(path.split("."))
        value_of_all: dict[str, Any] = dict(self.value)
        node: Any = value_of_all
        config: type[BaseModel] | None = ExperimentConfig
        for depth, key in enumerate(keys):
            if config is None or not isinstance(node, dict):
                raise self._bad_path(keys, f"{'.'.join(keys[:depth])} has no keys", document, source_path)
            field = config.model_fields.get(key)
            if field is None:
                raise self._bad_path(keys, unknown_key(key, config), document, source_path)
            if depth + 1 == len(keys):
                node[key] = _absolute_paths_of_field(field, value, _folder(document))
                break
            if key not in node and not field.is_required():
                node[key] = to_jsonable_python(field.default)
            slot = slot_of_field(field)
            if slot and isinstance(node.get(key), str):  # rope is short for {name: rope}
                node[key] = {"name": node[key]}
            elif node.get(key) is None and config_of(field) and NoneType in get_args(field.annotation):
                node[key] = {}  # a section that is left out
            if isinstance(node.get(key), dict):
                node[key] = dict(node[key])
            node = node.get(key)
            if slot:
                config = REGISTRY[slot].get(str(node.get("name"))) if isinstance(node, dict) else None
            else:
                config = config_of(field)
        self.value = value_of_all
        self.sources = {other: source for other, source in self.sources.items() if other[: len(keys)] != keys}
        self.sources[keys] = (document, source_path)

    def build(self) -> ExperimentConfig:
        """The validated configuration.

        Errors: InputError, one line with file, line, path, what is allowed and the nearest match.
        """
        try:
            return load(self.value)
        except ValidationError as error:
            raise self.error(
                *validation_error(error, expand_shorthand(ExperimentConfig, self.value), ExperimentConfig)
            ) from None

    def error(self, path: KeyPath, what: str) -> InputError:
        """An error about one path of the configuration, at the line where its value was written."""
        message, words = f"{dotted(path)}: {what}", re.findall(r"\w+", what)
        for other, (document, source_path) in self.sources.items():  # what the command sets in the section at ``path``
            if (
                isinstance(document, Assignment)
                and other[: len(path)] == path
                and not self._words(other).isdisjoint(words)
            ):
                return document.at(source_path, message + self._in_cell(path))
        for length in range(len(path), 0, -1):
            if path[:length] in self.sources:
                document, source_path = self.sources[path[:length]]
                return document.at((*source_path, *path[length:]), message + self._in_cell(path[:length]))
        inside = [other for other in self.sources if other[: len(path)] == path]
        if not inside:
            return self.base.at(path, message)
        # Several values contradict each other: point at the first one in the message, else at the section they are in.
        named = [other for word in words for other in inside if other[-1] == word]
        document, source_path = self.sources[(named or inside[-1:])[0]]
        return document.at(source_path if named else source_path[:1], message + self._in_cell(path))

    def _words(self, path: KeyPath) -> frozenset[str]:
        """The key and the value of a setting, as an error may quote them."""
        value: Any = self.value
        for key in path:
            value = value[key]
        return frozenset((str(path[-1]), str(value)))

    def _in_cell(self, path: KeyPath) -> str:
        """The end of an error that depends on the cell: on values laid over a part of ``path`` or inside it."""
        depends = any(other != path and other[: len(path)] == path[: len(other)] for other in self.sources)
        return f" (cell {self.cell})" if self.cell and depends else ""

    def _bad_path(self, keys: KeyPath, what: str, document: Document, source_path: KeyPath) -> InputError:
        """The error about a path that does not exist, unless the values so far are invalid: that error comes first."""
        self.build()
        path = dotted(keys)
        location = source_path[: source_path.index(path) + 1] if path in source_path else source_path
        return document.at(location, f"{path or repr(path)}: {what}{self._in_cell(keys)}")


def read_base(file: Path) -> LayeredConfig:
    """The layered configuration that holds a base file and nothing else yet."""
    return LayeredConfig(read(file))


class Assignment(Document):
    """``path=value`` from the command line. Errors do not quote the whole of it, since the value may be secret."""

    def at(self, path: KeyPath, message: str) -> InputError:
        return InputError(f"--set {message}")


def read_assignment(assignment: str) -> tuple[str, Any, Assignment]:
    """The path and the value of ``path=value``; see ``parse_value``. Errors: InputError."""
    path, equals, text = assignment.partition("=")
    path = path.strip()
    if not equals or not _PATH.fullmatch(path) or len(text.splitlines()) > 1:
        raise InputError(f"--set {path or '='}: write path=value in one line, such as training.max_steps=200")
    document = parse_value(path, text, f"--set {path}")
    return path, document.value[path], Assignment(document.file, document.value, document.locations)


def load(value: Mapping[str, Any]) -> ExperimentConfig:
    """A configuration from plain data, such as ``dump`` returns. Errors: pydantic's ValidationError."""
    return ExperimentConfig.model_validate_json(json.dumps(expand_shorthand(ExperimentConfig, value)))


def load_section(name: str, value: Any) -> Config | None:
    """One section of a configuration from plain data, as ``load`` makes it; None where it is a single value.

    Errors: pydantic's ValidationError; ``load`` says where in the whole configuration that is.
    """
    field = ExperimentConfig.model_fields[name]
    expanded, slot = expand_shorthand(ExperimentConfig, {name: value})[name], slot_of_field(field)
    kind = config_of(field)
    if slot is not None:
        kind = REGISTRY[slot].get(str(expanded.get("name"))) if isinstance(expanded, dict) else None
    if kind is None or not issubclass(kind, Config):
        return None
    return kind.model_validate_json(json.dumps(expanded))


def load_recorded(value: Mapping[str, Any]) -> ExperimentConfig:
    """The configuration of a run that was trained earlier: what did not exist then is as it was without it.

    Errors: pydantic's ValidationError.
    """
    return load(with_defaults_before(ExperimentConfig, value))


def dump(config: ExperimentConfig) -> Mapping[str, Any]:
    """Every value of a configuration as plain data."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return plain


def _folder(document: Document) -> Path:
    """The folder to which file paths in a document are relative: the working directory for the command line."""
    return Path() if isinstance(document, Assignment) else Path(document.file).parent


def _absolute_paths(config: type[BaseModel], section: dict[str, Any], folder: Path) -> dict[str, Any]:
    """A section of the configuration, with every relative file path in it made absolute."""
    fields = config.model_fields
    return {
        key: _absolute_paths_of_field(fields[key], value, folder) if key in fields else value
        for key, value in section.items()
    }


def _absolute_paths_of_field(field: FieldInfo, value: Any, folder: Path) -> Any:
    if isinstance(value, dict):
        slot = slot_of_field(field)
        config = REGISTRY[slot].get(str(value.get("name"))) if slot else config_of(field)
        if config is None and _contains_path(field.annotation):  # paths by name
            return {key: _absolute(path, folder) for key, path in value.items()}
        return _absolute_paths(config, value, folder) if config else value
    if not _contains_path(field.annotation):
        return value
    if isinstance(value, list):
        return [_absolute(item, folder) for item in value]
    return _absolute(value, folder)


def _absolute(path: Any, folder: Path) -> Any:
    return str((folder / path).absolute()) if isinstance(path, str) else path


def _contains_path(annotation: Any) -> bool:
    """Whether a type is ``Path`` or has it inside, as in ``Path | None``."""
    return annotation is Path or any(map(_contains_path, get_args(annotation)))
