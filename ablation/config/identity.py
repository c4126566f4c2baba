"""The identity of a run: two runs with the same identity are the same run."""

import json
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from ..registry import Config, is_excluded_from_id, revision_in_id

if TYPE_CHECKING:
    from .experiment import ExperimentConfig

SCHEMA = 2
"""Version of the identity. Raising it gives every run a new id."""


def run_identity(config: "ExperimentConfig", fingerprint: str | None) -> dict[str, Any]:
    """The resolved configuration with its seed, without the fields that are ``excluded_from_id``.

    ``fingerprint`` represents the content of the data. A field that was ``added_later`` is left out at its
    ``default_before``, so that earlier runs keep their ids; any other value, also a changed default, is another run. A
    ``revised`` one has its revision beside it.
    """
    return {"schema": SCHEMA, "fingerprint": fingerprint, **identity_fields(config)}


def run_id(identity: dict[str, Any]) -> str:
    """The first 128 bits of the hash of the canonical JSON, as 32 hexadecimal digits."""
    return sha256(canonical(identity).encode()).hexdigest()[:32]


def canonical(value: Any) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces. 1, 1.0 and "1" are different values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity_fields(config: Config) -> dict[str, Any]:
    """The fields of a configuration that are part of the identity, as plain data."""
    fields = {name: (field, _plain(getattr(config, name))) for name, field in type(config).model_fields.items()}
    return {
        name: value if (revision := revision_in_id(field, value)) is None else {"value": value, "revision": revision}
        for name, (field, value) in fields.items()
        if not is_excluded_from_id(field, value)
    }


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
