"""Every interchangeable part, by slot and by name.

    @register("position", "rope", source="Su et al. 2021, arXiv:2104.09864")
    class Rope(Position):
        def __init__(self, build: BuildContext, *, theta: float = 10_000.0): ...

The constructor is the whole declaration. What stands before the ``*`` is handed in by the model; what stands after
it is a hyper-parameter, whose name, type, bounds and default become the component's configuration.
"""

import importlib
import inspect
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, create_model
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, to_jsonable_python
from pydantic_core.core_schema import is_instance_schema

from .processes import interrupt_postponed

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

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As pydantic's, in half the memory: one set of the fields that were given serves both, as neither changes."""
        copied = super().model_copy(update=update, deep=deep)
        if copied.model_fields_set == self.model_fields_set:
            object.__setattr__(copied, "__pydantic_fields_set__", self.model_fields_set)
        return copied


Built = TypeVar("Built", covariant=True)


class ComponentConfig(Config, Generic[Built]):
    """A component's name and hyper-parameters; ``ComponentConfig[Norm]`` builds a norm."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # none to find, and 50 ms per component to look for them

    component: ClassVar[Any]
    """The registered class."""
    slot: ClassVar[str]
    source: ClassVar[str]

    name: str

    def __class_getitem__(cls, _: Any) -> Any:
        return cls  # what is built matters to a type checker only; pydantic would make a model of each

    @classmethod
    def summary(cls) -> str:
        """The first line of the component's docstring: what it is, or its equation."""
        return (inspect.getdoc(cls.component) or "").split("\n", 1)[0].replace("``", "")

    @property
    def trains_on_cpu(self) -> bool:
        """Unless the component says that it does not."""
        return bool(getattr(self.component, "trains_on_cpu", True))

    @classmethod
    def hyperparameters(cls) -> list[str]:
        """Their names, in the order of the constructor."""
        return [field for field in cls.model_fields if field != "name"]

    def build(self, *handed_in: Any) -> Built:
        """The component itself; components that are hyper-parameters of this one stay configurations."""
        built: Built = self.component(*handed_in, **{field: getattr(self, field) for field in self.hyperparameters()})
        return built


def components_in(config: Config) -> Iterator[ComponentConfig[Any]]:
    """A configuration itself, where it is one of a component, and the components inside it."""
    if isinstance(config, ComponentConfig):
        yield config
    for field in type(config).model_fields:
        value = getattr(config, field)
        for item in value if isinstance(value, list | tuple) else (value,):
            if isinstance(item, Config):
                yield from components_in(item)


@dataclass(frozen=True)
class _ExcludedFromId:
    pass


@dataclass(frozen=True)
class _AddedLater:
    default_before: Any


@dataclass(frozen=True)
class _Revised:
    revision: int
    unless: Any


excluded_from_id = _ExcludedFromId()
"""Marks a field that is no part of a run's identity, such as a path: ``Annotated[Path, excluded_from_id]``."""


def added_later(default_before: Any) -> Any:
    """Marks a field that did not exist when earlier runs were identified: ``Annotated[int, added_later(1)]``.

    At ``default_before``, the value under which everything is as it was without the field, it leaves the id alone, so
    that earlier runs keep theirs. The default may change later without touching this value.
    """
    return _AddedLater(to_jsonable_python(default_before))  # a tuple is a list in plain data


def revised(revision: int, *, unless: Any) -> Any:
    """Marks a field whose values give other numbers than they once did: ``Annotated[int, revised(2, unless=1)]``.

    At ``unless`` nothing has changed, so that earlier runs keep their ids; a run with any other value is another run.
    """
    return _Revised(revision, to_jsonable_python(unless))


def revision_in_id(field: Any, value: Any) -> int | None:
    """The revision that identifies a run with that value of a field, as plain data; None where there is none."""
    markers = (marker for marker in field.metadata if isinstance(marker, _Revised) and marker.unless != value)
    return next((marker.revision for marker in markers), None)


def is_excluded_from_id(field: Any, value: Any) -> bool:
    """Whether a field of a configuration with that value, as plain data, is no part of a run's identity."""
    return any(
        isinstance(marker, _ExcludedFromId) or (isinstance(marker, _AddedLater) and marker.default_before == value)
        for marker in field.metadata
    )


REGISTRY: dict[str, dict[str, type[ComponentConfig[Any]]]] = defaultdict(dict)


def register(slot: str, name: str, *, source: str = "") -> Callable[[AnyClass], AnyClass]:
    """Offer the decorated class in ``slot`` under ``name``; ``source`` is author, year and arXiv id.

    ``@register("norm", "half")`` above a class makes it what ``model.norm: half`` names in a grid.

    A file that is run again, as one that was imported and is then named as a plug-in, replaces its own classes.

    Errors: ValueError when the name is taken by another class, TypeError when a hyper-parameter has no type or takes a
    reserved name.
    """

    def add(component: AnyClass) -> AnyClass:
        taken = REGISTRY[slot].get(name)
        if taken is not None and not _same(taken.component, component):
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


def _same(one: type, other: type) -> bool:
    """Whether both are the same class of the same file."""
    files = [getattr(sys.modules.get(each.__module__), "__file__", None) for each in (one, other)]
    return one.__qualname__ == other.__qualname__ and files[0] is not None and files[0] == files[1]


def component(slot: str, name: str, **hyperparameters: Any) -> Any:
    """A component as a default: ``norm: Annotated[ComponentConfig[Norm], Slot("norm")] = component("norm", "rms")``."""
    return REGISTRY[slot][name](name=name, **hyperparameters)


def _hyperparameters(component: type) -> Iterator[tuple[str, Any]]:
    """The keyword-only parameters of the constructor; where it takes ``**kwargs``, those of the inherited one too."""
    seen: set[str] = set()
    for owner in component.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(owner.__init__).parameters.values()  # type: ignore[misc]
        for parameter in parameters:
            if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in seen:
                seen.add(parameter.name)
                yield parameter.name, _field(owner, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return


def _field(owner: type, parameter: inspect.Parameter) -> tuple[Any, Any]:
    kind = parameter.annotation
    if isinstance(kind, str):  # the module postpones its annotations
        kind = eval(kind, vars(sys.modules[owner.__module__]))
    if kind is parameter.empty:
        raise TypeError(f"{owner.__qualname__}: hyper-parameter {parameter.name!r} needs a type")
    if parameter.name in ("label", *ComponentConfig.__annotations__, *dir(ComponentConfig)):
        raise TypeError(f"{owner.__qualname__}: {parameter.name!r} is reserved; rename the hyper-parameter")
    return kind, ... if parameter.default is parameter.empty else parameter.default


class Slot:
    """Marks a field that takes any component of a slot: ``Annotated[ComponentConfig, Slot("position")]``."""

    def __init__(self, name: str):
        self.name = name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        # Sorted, so that the JSON schema does not depend on the order of imports.
        members = tuple(member for _, member in sorted(REGISTRY[self.name].items()))
        if not members:  # only plug-ins fill it
            return is_instance_schema(ComponentConfig)
        choices = Annotated[Union[members], Field(discriminator="name")] if len(members) > 1 else members[0]  # noqa: UP007
        return handler.generate_schema(choices)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        if not REGISTRY[self.name]:
            return {"not": {}}
        return {"anyOf": [{"enum": sorted(REGISTRY[self.name])}, handler(schema)]}


def slot_of_field(field: Any) -> str | None:
    """The slot that a field of a configuration takes its component from, or None."""
    return next((marker.name for marker in field.metadata if isinstance(marker, Slot)), None)


def slot_of_items(field: Any) -> str | None:
    """The slot of a field that is a list of components, ``tuple[Annotated[ComponentConfig, Slot("x")], ...]``."""
    if get_origin(field.annotation) is not tuple:
        return None
    markers = getattr(get_args(field.annotation)[0], "__metadata__", ())
    return next((marker.name for marker in markers if isinstance(marker, Slot)), None)


def expand_shorthand(config: type[BaseModel], value: Any) -> Any:
    """Plain values for ``config`` with every bare name written as ``{name: ...}``: ``rope`` is short for that.

    Done ahead of validation rather than within it, since there a function in between would turn JSON's types into
    Python's, and a list would no longer do for a tuple. What does not fit is left for validation to refuse.
    """
    if not isinstance(value, dict):
        return value
    expanded = {}
    for key, part in value.items():
        field = config.model_fields.get(key)
        slot, items = (slot_of_field(field), slot_of_items(field)) if field else (None, None)
        if slot is not None:
            part = _expand_component(slot, part)
        elif items is not None and isinstance(part, list):
            part = [_expand_component(items, item) for item in part]
        elif field and (inner := model_of(field.annotation)) is not None:
            part = expand_shorthand(inner, part)
        expanded[key] = part
    return expanded


def model_of(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation names, also where it may be None instead."""
    if get_origin(annotation) is UnionType:
        annotation = next((kind for kind in get_args(annotation) if kind is not NoneType), None)
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _expand_component(slot: str, value: Any) -> Any:
    value = {"name": value} if isinstance(value, str) else value
    config = REGISTRY[slot].get(str(value.get("name"))) if isinstance(value, dict) else None
    return expand_shorthand(config, value) if config else value


def with_defaults_before(config: type[BaseModel], value: Any) -> Any:
    """Plain values that were recorded earlier, with what each field that was ``added_later`` stood for then."""
    if not isinstance(value, dict):
        return value
    filled = dict(value)
    for name, field in config.model_fields.items():
        if name not in filled:
            for marker in field.metadata:
                if isinstance(marker, _AddedLater):
                    filled[name] = marker.default_before
            continue
        slot, items = slot_of_field(field), slot_of_items(field)
        if slot is not None:
            filled[name] = _component_before(slot, filled[name])
        elif items is not None and isinstance(filled[name], list):
            filled[name] = [_component_before(items, item) for item in filled[name]]
        elif (inner := model_of(field.annotation)) is not None:
            filled[name] = with_defaults_before(inner, filled[name])
    return filled


def _component_before(slot: str, value: Any) -> Any:
    config = REGISTRY[slot].get(str(value.get("name"))) if isinstance(value, dict) else None
    return with_defaults_before(config, value) if config else value


def import_members(package: str, path: Iterable[str], skip: Iterable[str] = ()) -> None:
    """Import every module of a package but those to ``skip``, so that what they register fills its slots."""
    with interrupt_postponed():
        for module in pkgutil.walk_packages(path, f"{package}."):
            if module.name.removeprefix(f"{package}.") not in skip:
                importlib.import_module(module.name)
        for slot, members in REGISTRY.items():  # in an order that does not depend on who imports whom
            REGISTRY[slot] = dict(sorted(members.items()))
        rebuild_components()


def rebuild_components() -> None:
    """Let components whose hyper-parameters are components know of what was registered since."""
    for members in REGISTRY.values():
        for config in members.values():
            if any(slot_of_field(field) or slot_of_items(field) for field in config.model_fields.values()):
                config.model_rebuild(force=True)
