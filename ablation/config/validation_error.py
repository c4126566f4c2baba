"""Pydantic's errors as one line: what is wrong, what is allowed, and the nearest match."""

import json
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from ..errors import nearest
from ..registry import REGISTRY, ComponentConfig, model_of, slot_of_field, slot_of_items
from ..yaml import KeyPath
from .renamed import renamed

REQUIREMENTS = {
    "int_type": "be a whole number",
    "float_type": "be a number",
    "bool_type": "be true or false",
    "string_type": "be a string",
    "path_type": "be a string",
    "list_type": "be a list",
    "tuple_type": "be a list",
    "dict_type": "be a mapping",
    "model_type": "be a mapping",
    "greater_than": "be greater than {gt}",
    "greater_than_equal": "be at least {ge}",
    "less_than": "be less than {lt}",
    "less_than_equal": "be at most {le}",
    "multiple_of": "be a multiple of {multiple_of}",
    "too_short": "have a length of at least {min_length}",
    "too_long": "have a length of at most {max_length}",
    "string_too_short": "be at least {min_length} characters long",
    "string_too_long": "be at most {max_length} characters long",
    "string_pattern_mismatch": "match {pattern}",
}
"""By pydantic's type of error, what a value must be, in the terms of YAML. Other types keep pydantic's message."""


def validation_error(error: ValidationError, value: Any, root: type[BaseModel]) -> tuple[KeyPath, str]:
    """The path of the first error, and its message; ``value`` is what was validated, with shorthand expanded.

    A missing key is reported last, since an unknown key may be its misspelling.
    """
    first = min(error.errors(), key=lambda details: details["type"] == "missing")
    path, owner, slot = _walk(first["loc"], value, root)
    kind, given = first["type"], first.get("input")
    if kind == "extra_forbidden":
        return path, unknown_key(str(path[-1]), owner)
    if kind == "missing" and path[-1:] == first["loc"][-1:]:
        return path, f"is missing{_allowed(None, list(REGISTRY[slot])) if slot else ''}"
    if slot is not None:
        return path, unknown_component(slot, given)
    if kind == "value_error":
        return path, str(first["ctx"]["error"])
    return path, _requirement(first, given)


def unknown_key(key: str, owner: type[BaseModel]) -> str:
    """The message about a key that a section of the configuration does not have."""
    if not issubclass(owner, ComponentConfig):
        return f"unknown key {key!r}{_renamed_or_allowed(key, list(owner.model_fields))}"
    (name,) = get_args(owner.model_fields["name"].annotation)
    allowed = owner.hyperparameters()
    if not allowed:
        return f"unknown key {key!r}; the {owner.slot} {name!r} has no hyper-parameters"
    return f"unknown key {key!r} of the {owner.slot} {name!r}{_renamed_or_allowed(key, allowed)}"


def unknown_component(slot: str, given: Any) -> str:
    """The message about a value that is not a component of ``slot``."""
    if isinstance(given, dict) and "name" not in given:
        return f"a mapping needs a `name`{_allowed(None, list(REGISTRY[slot]))}"
    word = given["name"] if isinstance(given, dict) else given
    if not REGISTRY[slot]:
        return f"{format_value(word)}: there is no {slot} but from plugins (--plugin FILE), and none has one"
    article = "an" if slot[0] in "aeiou" else "a"
    what, allowed = f"{format_value(word)} is not {article} {slot}", list(REGISTRY[slot])
    if not isinstance(word, str) or renamed(word, allowed) or nearest(word, allowed):
        return f"{what}{_renamed_or_allowed(word, allowed)}"
    return f"{what}{_allowed(word, allowed)}; one of your own needs --plugin FILE"


def format_value(given: Any) -> str:
    """A value as it is written in YAML, without the content of mappings and lists: it is long, and may be secret."""
    if isinstance(given, dict | list):
        return "a mapping" if isinstance(given, dict) else "a list"
    text = repr(given) if isinstance(given, str) else json.dumps(given)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _requirement(error: ErrorDetails, given: Any) -> str:
    context, kind = error.get("ctx", {}), error["type"]
    if kind == "literal_error":
        allowed = [word.strip("'") for word in context["expected"].replace(" or ", ", ").split(", ")]
        return f"{format_value(given)} is not allowed{_allowed(given, allowed)}"
    if kind in REQUIREMENTS:
        limits = {name: f"{limit:g}" if isinstance(limit, float) else limit for name, limit in context.items()}
        return f"must {REQUIREMENTS[kind].format(**limits)}, not {context.get('actual_length', format_value(given))}"
    return f"{format_value(given)}: {error['msg']}"


def _allowed(given: Any, allowed: list[str]) -> str:
    return f"; allowed: {', '.join(allowed)}{nearest(given, allowed) if isinstance(given, str) else ''}"


def _renamed_or_allowed(given: Any, allowed: list[str]) -> str:
    """The present name of what was renamed; for any other word, what is allowed."""
    return (renamed(given, allowed) if isinstance(given, str) else None) or _allowed(given, allowed)


def config_of(field: FieldInfo) -> type[BaseModel] | None:
    """The class of a field that is a section of the configuration, or null, else None."""
    return model_of(field.annotation)


def _sections(field: FieldInfo) -> tuple[type[BaseModel] | None, type[BaseModel] | None]:
    """The class of a field that is a section (or null), and the class of the items where it is a list of sections."""
    types = (field.annotation, *get_args(field.annotation))
    section = next((kind for kind in types if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
    return (None, section) if get_origin(field.annotation) is list else (section, None)


def _walk(location: KeyPath, value: Any, root: type[BaseModel]) -> tuple[KeyPath, type[BaseModel], str | None]:
    """Pydantic's location of an error as a path in the file, without the names of components and types it inserts.

    Returns the path, the configuration class that owns its last key, and the slot that the key is, if it is one.
    """
    path: list[str | int] = []
    owner, slot = root, None
    item_slot: str | None = None  # of the components in a list
    item_section: type[BaseModel] | None = None  # of the sections in a list
    section: type[BaseModel] | None = root  # the class of ``value``, None where it is not a section
    for key in location:
        if slot is not None and key in REGISTRY[slot]:
            section, slot = REGISTRY[slot][str(key)], None
            continue
        if slot is not None:  # a slot with one component, whose name pydantic does not insert
            if key == "name":
                break
            section, slot = next(iter(REGISTRY[slot].values())), None
        field = section.model_fields.get(str(key)) if section else None
        if isinstance(value, list) and isinstance(key, int):
            value = value[key] if key < len(value) else None
        elif isinstance(value, dict) and (key in value or field):
            value = value.get(key)
        else:
            continue  # one of the types of a union
        path.append(key)
        owner = section or owner
        if field:
            slot, item_slot = slot_of_field(field), slot_of_items(field)
            section, item_section = _sections(field)
        else:
            slot, section, item_slot, item_section = item_slot, item_section, None, None
    return tuple(path), owner, slot
