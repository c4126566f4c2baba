"""A configuration being put together from files, and where each value came from."""

import json
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import InputError, nearest
from ..registry import spell_out
from ..strict_yaml import Document, parse, read
from .complaint import complaint
from .experiment import ExperimentConfig

Place = tuple[str | int, ...]


class Draft:
    """Plain values laid over each other: a base file first, then single paths.

    Every value remembers the document and the place it was written at, so that a complaint about the whole names the
    line to change.
    """

    def __init__(self, base: Document):
        self.base = base
        self.value: dict[str, Any] = deepcopy(base.value)
        self.sources: dict[Place, tuple[Document, Place]] = {}
        self._anchor_data_path(base)

    def copy(self) -> "Draft":
        twin = object.__new__(Draft)
        twin.base, twin.value, twin.sources = self.base, deepcopy(self.value), dict(self.sources)
        return twin

    def set(self, path: str, value: Any, document: Document, written: Place) -> None:
        """Lay ``value`` over ``path``, such as ``model.position.theta``; a component is replaced as a whole.

        Errors: InputError when the path leads nowhere.
        """
        *parents, last = keys = tuple(path.split("."))
        node = self.value
        for depth, key in enumerate(parents):
            if key not in node:
                known = ", ".join(map(str, node))
                what = f"{path!r} is not a path of the configuration: no {key!r} among {known}{nearest(key, node)}"
                raise document.error(written, what)
            if isinstance(node[key], str):  # rope is short for {name: rope}
                node[key] = {"name": node[key]}
            elif not isinstance(node[key], dict):
                raise document.error(written, f"{path!r}: {'.'.join(keys[: depth + 1])} has no parts")
            node = node[key]
        node[last] = deepcopy(value)
        self.sources = {place: source for place, source in self.sources.items() if place[: len(keys)] != keys}
        self.sources[keys] = (document, written)
        if keys[0] == "data":
            self._anchor_data_path(document)

    def build(self) -> ExperimentConfig:
        """The configuration, validated.

        Errors: InputError, one line naming file, line, path, what is allowed and the nearest match.
        """
        try:
            return load(self.value)
        except ValidationError as error:
            place, what = complaint(error.errors()[0], self.value)
            raise self.error(place, what) from None

    def error(self, place: Place, what: str) -> InputError:
        """A complaint about one path of the configuration, at the line where its value was written."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.sources:
                document, written = self.sources[place[:length]]
                path = ".".join(str(key) for key in place)
                return document.error(written, what if path == written[-1] else f"{path}: {what}")
        return self.base.error(place, what)

    def _anchor_data_path(self, document: Document) -> None:
        """A relative ``data.path`` is relative to the file that says so."""
        data = self.value.get("data")
        if isinstance(data, dict) and isinstance(data.get("path"), str):
            data["path"] = str((Path(document.file).parent / data["path"]).resolve())


def read_base(file: Path) -> Draft:
    """The draft that a base file makes."""
    return Draft(read(file))


def set_from_text(draft: Draft, assignment: str) -> None:
    """Lay ``path=value`` from the command line over a draft; the value is YAML.

    Errors: InputError.
    """
    document, path = assignment_document(assignment)
    draft.set(path, document.value[path], document, (path,))


def assignment_document(assignment: str) -> tuple[Document, str]:
    """``path=value`` as a document with one key."""
    path, equals, text = assignment.partition("=")
    if not equals or not path.strip():
        raise InputError(f"--set {assignment}: write path=value, such as training.max_steps=200")
    return parse(f"{path.strip()}: {text}", f"--set {assignment}"), path.strip()


def load(value: Mapping[str, Any]) -> ExperimentConfig:
    """A configuration from plain data, such as ``dump`` gives. Errors: pydantic's ValidationError."""
    return ExperimentConfig.model_validate_json(json.dumps(spell_out(ExperimentConfig, value)))


def dump(config: ExperimentConfig) -> Mapping[str, Any]:
    """Every value of a configuration as plain data."""
    plain: dict[str, Any] = config.model_dump(mode="json")
    return plain
