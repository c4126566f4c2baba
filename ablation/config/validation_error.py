"""What pydantic found, said in one line: what is wrong, what is allowed, and the nearest match."""

import json
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import nearest
from ..registry import REGISTRY, ComponentConfig, slot_of_field, slot_of_items
from .renamed import renamed

Place = tuple[str | int, ...]

MUST = {
    "int_type": "be a whole number",
    "float_type": "be a number",
    "bool_type": "be true or false",
    "string_type": "be text",
    "path_type": "be text",
    "list_type": "be a list",
    "tuple_type": "be a list",
    "dict_type": "be a mapping",
    "model_type": "be a mapping",
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "multiple_of": "be a multiple of {multiple_of}",
    "too_short": "hold at least {min_length}",
    "too_long": "hold at most {max_length}",
    "string_too_short": "be at least {min_length} long",
    "string_too_long": "be at most {max_length} long",
    "string_pattern_mismatch": "match {pattern}",
}
"""Pydantic's kinds of errors in the words of YAML; others are said in its own."""


def validation_error(error: ValidationError, value: Any, root: type[BaseModel]) -> tuple[Place, str]:
    """The path that the first error is about, and what to say; ``value`` is what was validated, spelled out.

    What is missing comes last: its name may be there with a slip in it.
    """
    first = min(error.errors(), key=lambda one: one["type"] == "missing")
    place, owner, slot = _walk(first["loc"], value, root)
    kind, given = first["type"], first.get("input")
    if kind == "extra_forbidden":
        return place, unknown_key(str(place[-1]), owner)
    if kind == "missing" and place[-1:] == first["loc"][-1:]:
        return place, f"is missing{_members(slot) if slot else ''}"
    if slot is not None:
        return place, not_a_member(slot, given)
    if kind == "value_error":
        return place, str(first["ctx"]["error"])
    return place, _what_it_must(first, given)


def unknown_key(key: str, owner: type[BaseModel]) -> str:
    """What to say of a key that a part of the configuration does not have."""
    if not issubclass(owner, ComponentConfig):
        return f"unknown key {key!r}{_renamed_or_allowed(key, list(owner.model_fields))}"
    (name,) = get_args(owner.model_fields["name"].annotation)
    allowed = owner.hyperparameters()
    if not allowed:
        return f"unknown key {key!r}; the {owner.slot} {name!r} has no hyper-parameters"
    return f"unknown key {key!r} of the {owner.slot} {name!r}{_renamed_or_allowed(key, allowed)}"


def not_a_member(slot: str, given: Any) -> str:
    """What to say where a component is due."""
    if isinstance(given, dict) and "name" not in given:
        return f"a mapping needs a `name`{_members(slot)}"
    word = given["name"] if isinstance(given, dict) else given
    article = "an" if slot[0] in "aeiou" else "a"
    return f"{shown(word)} is not {article} {slot}{_renamed_or_allowed(word, list(REGISTRY[slot]))}"


def shown(given: Any) -> str:
    """A value as YAML has it. What a mapping or a list holds is left out: it is long, and may be secret."""
    if isinstance(given, dict | list):
        return "a mapping" if isinstance(given, dict) else "a list"
    text = repr(given) if isinstance(given, str) else json.dumps(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _what_it_must(error: ErrorDetails, given: Any) -> str:
    context, kind = error.get("ctx", {}), error["type"]
    if kind == "literal_error":
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{shown(given)} is not allowed{_allowed(given, allowed)}"
    if kind in MUST:
        limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
        return f"must {MUST[kind].format(**limits)}, not {context.get('actual_length', shown(given))}"
    return f"{shown(given)}: {error['msg']}"


def _members(slot: str) -> str:
    return _allowed(None, list(REGISTRY[slot]))


def _allowed(given: Any, allowed: list[str]) -> str:
    return f"; allowed: {', '.join(allowed)}{nearest(given, allowed) if isinstance(given, str) else ''}"


def _renamed_or_allowed(given: Any, allowed: list[str]) -> str:
    """The present name of what was renamed; for any other word, what is allowed."""
    present = renamed(given, allowed) if isinstance(given, str) else None
    return _allowed(given, allowed) if present is None else f"; it is called {present!r} now"


def config_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a section of the configuration."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _sections(field: FieldInfo) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """The class of a field that is a section, or may be null instead, and that of what a list of sections holds."""
    kinds = (field.annotation, *get_args(field.annotation))
    found = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return (None, found) if get_origin(field.annotation) is list else (found, None)


def _walk(location: Place, value: Any, root: type[BaseModel]) -> tuple[Place, type[BaseModel], str | None]:
    """Where an error lies in the file: without what pydantic puts in between, names of components and of types.

    Returns the path, the configuration class that owns its last key, and the slot it is, if it is one.
    """
    place: list[str | int] = []
    owner, slot = root, None
    items: str | None = None  # the slot of what a list holds
    inside: type[BaseModel] | None = None  # its class
    here: type[BaseModel] | None = root  # the class of ``value``, None where it is no section
    for key in location:
        if slot is not None and key in REGISTRY[slot]:
            here, slot = REGISTRY[slot][str(key)], None
            continue
        if slot is not None:  # a slot with one member: pydantic goes straight into it
            if key == "name":
                break
            here, slot = next(iter(REGISTRY[slot].values())), None
        field = here.model_fields.get(str(key)) if here else None
        if isinstance(value, list) and isinstance(key, int):
            value = value[key] if key < len(value) else None
        elif isinstance(value, dict) and (key in value or field):
            value = value.get(key)
        else:
            continue  # one of the types of a union
        place.append(key)
        owner = here or owner
        if field:
            slot, items = slot_of_field(field), slot_of_items(field)
            here, inside = _sections(field)
        else:
            slot, here, items, inside = items, inside, None, None
    return tuple(place), owner, slot
