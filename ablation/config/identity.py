"""The identity of a run: two runs with the same identity are the same run."""

import json
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from ..registry import Config, is_excluded_from_id, revision_in_id
from .shared import OncePerObject

if TYPE_CHECKING:
    from .experiment import ExperimentConfig

SCHEMA = 2
"""Version of the identity. Raising it gives every run a new id."""
NOT_IDENTIFIED = object()
"""Stands for the value of a field that is no part of the identity; null is a value."""


def run_identity(config: "ExperimentConfig", fingerprint: str | None) -> dict[str, Any]:
    """The resolved configuration with its seed, without the fields that are ``excluded_from_id``.

    ``fingerprint`` represents the content of the data. A field that was ``added_later`` is left out at its
    ``default_before``, so that earlier runs keep their ids; any other value, also a changed default, is another run. A
    ``revised`` one has its revision beside it.
    """
    return {"schema": SCHEMA, "fingerprint": fingerprint, **identity_fields(config)}


def run_id(identity: dict[str, Any]) -> str:
    """The first 128 bits of the hash of the canonical JSON, as 32 hexadecimal digits."""
    return _digest(canonical(identity))


def canonical(value: Any) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces. 1, 1.0 and "1" are different values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity_fields(config: Config) -> dict[str, Any]:
    """The fields of a configuration that are part of the identity, as plain data."""
    values = {name: _identified(field, getattr(config, name)) for name, field in type(config).model_fields.items()}
    return {name: value for name, value in values.items() if value is not NOT_IDENTIFIED}


class SharedIdentities:
    """Identities of configurations that have sections in common, each of which is written once.

    They are those of ``run_identity`` and ``run_id``, for a grid of thousands of cells in a fraction of the time.
    """

    def __init__(self) -> None:
        self._of_field: dict[str, OncePerObject[Any, Any]] = {}
        self._text = OncePerObject[dict[str, Any], str](canonical)

    def identity(self, config: "ExperimentConfig", fingerprint: str | None) -> dict[str, Any]:
        """As ``run_identity``."""
        if not self._of_field:
            fields = type(config).model_fields
            self._of_field = {name: OncePerObject(partial(_identified, field)) for name, field in fields.items()}
        identity: dict[str, Any] = {"schema": SCHEMA, "fingerprint": fingerprint}
        for name, of_value in self._of_field.items():
            identified = of_value(getattr(config, name))
            if identified is not NOT_IDENTIFIED:
                identity[name] = identified
        return identity

    def texts(self, identity: dict[str, Any]) -> tuple[str, ...]:
        """Every key and the canonical JSON of its value, by turns, in order; equal ones identify the same run.

        The texts of sections are those of other identities too, so that ten thousand of these take little memory.
        """
        texts: list[str] = []
        for key in sorted(identity):
            value = identity[key]
            texts += key, self._text(value) if isinstance(value, dict) else canonical(value)
        return tuple(texts)

    def run_id(self, identity: dict[str, Any]) -> str:
        """As ``run_id``."""
        texts = self.texts(identity)
        pairs = [f'"{key}":{text}' for key, text in zip(texts[::2], texts[1::2], strict=True)]
        return _digest(f"{{{','.join(pairs)}}}")


def _identified(field: Any, value: Any) -> Any:
    """A field's value as plain data, with its revision where it has one; ``NOT_IDENTIFIED`` where it is left out."""
    plain = _plain(value)
    if field.metadata:
        if is_excluded_from_id(field, plain):
            return NOT_IDENTIFIED
        revision = revision_in_id(field, plain)
        return plain if revision is None else {"value": plain, "revision": revision}
    return plain


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:32]


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return identity_fields(value)
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=canonical)
    return to_jsonable_python(value)
