"""What pydantic found, said in one line: what is wrong, what is allowed, and the nearest match."""

from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from ..errors import nearest
from ..registry import REGISTRY, slot_of
from .experiment import ExperimentConfig

Place = tuple[str | int, ...]


def complaint(error: ErrorDetails, value: Any) -> tuple[Place, str]:
    """The path that one error is about, and what to say."""
    place, owner, slot = _walk(error["loc"], value)
    given, kind = error.get("input"), error["type"]
    if slot and (kind in ("union_tag_invalid", "literal_error", "union_tag_not_found", "model_type")):
        return _unknown_member(place, slot, given)
    if kind == "extra_forbidden":
        allowed = [field for field in owner.model_fields if field != "name"]
        word = str(place[-1])
        what = f"unknown key {word!r}; allowed: {', '.join(allowed) or 'none'}{nearest(word, allowed)}"
        return place, what
    if kind == "missing":
        return place, "is missing"
    if kind == "literal_error":
        allowed = error["ctx"]["expected"]
        return place, f"{_show(given)} is not allowed; allowed: {allowed}{nearest(str(given), _words(allowed))}"
    if kind == "value_error":
        return place, str(error["ctx"]["error"])
    what = error["msg"].removeprefix("Input ").replace("should be", "must be")
    return place, f"{_show(given)} {what}"


def _walk(location: tuple[str | int, ...], value: Any) -> tuple[Place, type[BaseModel], str | None]:
    """Where an error lies in the file: without the names of components that pydantic puts in between.

    Returns the path, the configuration class that owns its last key, and the slot it is, if it is one.
    """
    place: list[str | int] = []
    owner: type[BaseModel] = ExperimentConfig
    slot: str | None = None
    for key in location:
        if slot is not None and key in REGISTRY[slot]:
            owner, slot = REGISTRY[slot][str(key)], None
            continue
        if slot is not None:  # a slot with one member: pydantic goes straight into it
            owner, slot = next(iter(REGISTRY[slot].values())), None
        field = owner.model_fields.get(str(key))
        place.append(key)
        value = value.get(key) if isinstance(value, dict) else None
        if field is None:
            continue
        slot = slot_of(field)
        if slot is None and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            owner = field.annotation
    if place[-1:] == ["name"] and issubclass(owner, BaseModel) and getattr(owner, "slot", None):
        return tuple(place[:-1]), owner, owner.slot  # type: ignore[attr-defined]
    return tuple(place), owner, slot


def _unknown_member(place: Place, slot: str, given: Any) -> tuple[Place, str]:
    word = given.get("name", given) if isinstance(given, dict) else given
    members = list(REGISTRY[slot])
    article = "an" if slot[0] in "aeiou" else "a"
    what = f"{_show(word)} is not {article} {slot}; allowed: {', '.join(members)}{nearest(str(word), members)}"
    return place, what


def _show(given: Any) -> str:
    text = repr(given)
    return text if len(text) <= 60 else text[:57] + "..."


def _words(expected: str) -> list[str]:
    return [word.strip("' ") for word in expected.replace(" or ", ",").split(",")]
