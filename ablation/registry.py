"""Every interchangeable part, by slot and by name.

    @register("position", "rope", source="Su et al. 2021, arXiv:2104.09864")
    class Rope(Position):
        def __init__(self, shape: Shape, *, theta: float = 10_000.0): ...

The constructor is the whole declaration. What stands before the ``*`` is handed in by the model; what stands after
it is a hyper-parameter, whose name, type, bounds and default become the component's configuration.
"""

import inspect
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

AnyClass = TypeVar("AnyClass", bound=type)


class Config(BaseModel):
    """A part of the configuration: frozen, strict about types and about unknown keys."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


class ComponentConfig(Config):
    """A component's name and hyper-parameters."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # none to find, and 50 ms per component to look for them

    component: ClassVar[type]
    slot: ClassVar[str]
    source: ClassVar[str]

    name: str

    @classmethod
    def meaning(cls) -> str:
        """The first line of the component's docstring: what it is, or its equation."""
        return (inspect.getdoc(cls.component) or "").split("\n", 1)[0].replace("``", "")

    @classmethod
    def hyperparameters(cls) -> list[str]:
        return [field for field in cls.model_fields if field != "name"]

    def build(self, *handed_in: Any) -> Any:
        """The component itself; components that are hyper-parameters of this one stay configurations."""
        return self.component(*handed_in, **{field: getattr(self, field) for field in self.hyperparameters()})


@dataclass(frozen=True)
class Elsewhere:
    """Marks a field that says where or how to look, not what is trained: it is no part of a run's identity."""


@dataclass(frozen=True)
class AddedLater:
    """Marks a field that did not exist when earlier runs were identified.

    At ``neutral``, the value under which everything is as it was without the field, it leaves the identity alone, so
    that old runs keep their ids. The default may change later without touching this value.
    """

    neutral: Any


REGISTRY: dict[str, dict[str, type[ComponentConfig]]] = defaultdict(dict)


def register(slot: str, name: str, *, source: str = "") -> Callable[[AnyClass], AnyClass]:
    """Offer the decorated class in ``slot`` under ``name``; ``source`` is author, year and arXiv id.

    Errors: ValueError when the name is taken by another class, TypeError when a hyper-parameter has no type or takes a
    reserved name.
    """

    def add(component: AnyClass) -> AnyClass:
        taken = REGISTRY[slot].get(name)
        if taken is not None:
            raise ValueError(f"{slot} {name!r} is taken by {taken.component.__module__}.{taken.component.__qualname__}")
        config = create_model(
            f"{component.__name__}Config",
            __base__=ComponentConfig,
            __doc__=inspect.getdoc(component),
            __module__=component.__module__,
            name=(Literal[name], ...),  # type: ignore[arg-type]
            **dict(_hyperparameters(component)),
        )
        config.component, config.slot, config.source = component, slot, source
        REGISTRY[slot][name] = config
        return component

    return add


def _hyperparameters(component: type) -> Iterator[tuple[str, Any]]:
    for parameter in inspect.signature(component.__init__).parameters.values():  # type: ignore[misc]
        if parameter.kind is not parameter.KEYWORD_ONLY:
            continue
        kind = parameter.annotation
        if isinstance(kind, str):  # the module postpones its annotations
            kind = eval(kind, vars(sys.modules[component.__module__]))
        if kind is parameter.empty:
            raise TypeError(f"{component.__qualname__}: hyper-parameter {parameter.name!r} needs a type")
        if parameter.name in ("label", *ComponentConfig.__annotations__, *dir(ComponentConfig)):
            raise TypeError(f"{component.__qualname__}: {parameter.name!r} is reserved; rename the hyper-parameter")
        yield parameter.name, (kind, _default(kind, parameter.default))


def _default(kind: Any, default: Any) -> Any:
    """A component as default stands as its bare name in the signature."""
    if default is inspect.Parameter.empty:
        return ...
    slot = next((marker.name for marker in getattr(kind, "__metadata__", ()) if isinstance(marker, Slot)), None)
    return REGISTRY[slot][default](name=default) if slot and isinstance(default, str) else default


class Slot:
    """Marks a field that takes any component of a slot: ``Annotated[ComponentConfig, Slot("position")]``."""

    def __init__(self, name: str):
        self.name = name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        members = tuple(REGISTRY[self.name].values())
        choices = Annotated[Union[members], Field(discriminator="name")] if len(members) > 1 else members[0]  # noqa: UP007
        return handler.generate_schema(choices)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return {"anyOf": [{"enum": sorted(REGISTRY[self.name])}, handler(schema)]}


def slot_of(field: Any) -> str | None:
    """The slot that a field of a configuration takes its component from, or None."""
    return next((marker.name for marker in field.metadata if isinstance(marker, Slot)), None)


def slot_of_items(field: Any) -> str | None:
    """The slot of a field that is a list of components, ``tuple[Annotated[ComponentConfig, Slot("x")], ...]``."""
    if get_origin(field.annotation) is not tuple:
        return None
    markers = getattr(get_args(field.annotation)[0], "__metadata__", ())
    return next((marker.name for marker in markers if isinstance(marker, Slot)), None)


def spell_out(config: type[BaseModel], value: Any) -> Any:
    """Plain values for ``config`` with every bare name written as ``{name: ...}``: ``rope`` is short for that.

    Done ahead of validation rather than within it, since there a function in between would turn JSON's types into
    Python's, and a list would no longer do for a tuple. What does not fit is left for validation to refuse.
    """
    if not isinstance(value, dict):
        return value
    spelled = {}
    for key, part in value.items():
        field = config.model_fields.get(key)
        slot, items = (slot_of(field), slot_of_items(field)) if field else (None, None)
        if slot is not None:
            part = _spell_out_component(slot, part)
        elif items is not None and isinstance(part, list):
            part = [_spell_out_component(items, item) for item in part]
        elif field and isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            part = spell_out(field.annotation, part)
        spelled[key] = part
    return spelled


def _spell_out_component(slot: str, value: Any) -> Any:
    value = {"name": value} if isinstance(value, str) else value
    config = REGISTRY[slot].get(str(value.get("name"))) if isinstance(value, dict) else None
    return spell_out(config, value) if config else value


def rebuild_components() -> None:
    """Let components whose hyper-parameters are components know of what was registered since."""
    for members in REGISTRY.values():
        for config in members.values():
            if any(slot_of(field) or slot_of_items(field) for field in config.model_fields.values()):
                config.model_rebuild(force=True)
