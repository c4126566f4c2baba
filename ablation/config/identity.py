"""What makes two runs the same run."""

import json
from hashlib import sha256
from typing import Any

from pydantic_core import to_jsonable_python

from ..registry import Config, is_excluded_from_id
from .experiment import ExperimentConfig

SCHEMA = 2
"""Of the identity. Raising it makes every run a new one."""


def run_identity(config: ExperimentConfig, fingerprint: str | None) -> dict[str, Any]:
    """The fully resolved configuration and seed, without what only says where or how to look.

    ``fingerprint`` stands for the data themselves. A field added later with its neutral value is left out, so that
    older runs stay the same; any other value, also a changed default, makes another run.
    """
    return {"schema": SCHEMA, "fingerprint": fingerprint, **identity_fields(config)}


def run_id(identity: dict[str, Any]) -> str:
    """128 bits of the canonical JSON, as 32 hexadecimal digits."""
    return sha256(canonical(identity).encode()).hexdigest()[:32]


def canonical(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, 1 and 1.0 and "1" apart."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def identity_fields(config: Config) -> dict[str, Any]:
    """All fields that make a run what it is, as plain data."""
    fields = {name: (field, _plain(getattr(config, name))) for name, field in type(config).model_fields.items()}
    return {name: value for name, (field, value) in fields.items() if not is_excluded_from_id(field, value)}


def _plain(value: Any) -> Any:
    if isinstance(value, Config):
        return identity_fields(value)
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(map(_plain, value), key=canonical)
    return to_jsonable_python(value)
