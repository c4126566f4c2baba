"""The JSON schema of grid.yaml for editors, which knows every path of the configuration, every slot and every level."""

from collections.abc import Iterator, Mapping
from typing import Any

from ..config.experiment import ExperimentConfig
from .schema import REASON, GridConfig

Schema = dict[str, Any]

_REF = "#/$defs/"
_LABEL = {"type": ["string", "number"], "description": "Its name in tables."}
_LABELLED = "LabelledValue"
_SEVERAL = "SeveralPaths"


def grid_schema() -> Schema:
    """As ``GridConfig`` has it, with the paths of ``ExperimentConfig`` and the components that are registered."""
    grid, config = GridConfig.model_json_schema(), ExperimentConfig.model_json_schema()
    definitions: dict[str, Schema] = {**config["$defs"], **grid["$defs"]}
    paths = _Paths(definitions).of(config)
    properties = grid["properties"]
    settings = {"type": "object", "properties": paths, "additionalProperties": False}
    definitions |= {
        "Settings": settings,
        _LABELLED: _mapping({"value": {}, "label": _LABEL}, required=["value", "label"]),
        _SEVERAL: _mapping({"label": _LABEL, "set": {"$ref": f"{_REF}Settings"}}, required=["label", "set"]),
    }
    labelled = _Labelled(definitions)
    levels = {path: labelled.level(path, value) for path, value in paths.items() if path != "seed"}
    properties["set"] = {"$ref": f"{_REF}Settings", "description": properties["set"]["description"]}
    properties["factors"] |= {
        "properties": {path: {"type": "array", "items": level} for path, level in levels.items()},
        "additionalProperties": {"type": "array", "items": {"$ref": f"{_REF}{_SEVERAL}"}},
    }
    properties["exclude"]["items"]["properties"] = {REASON: {"type": "string"}}
    definitions["OverrideConfig"]["properties"]["set"] |= {"$ref": f"{_REF}Settings"}
    definitions |= labelled.definitions
    grid["$defs"] = definitions
    return grid


def offered() -> dict[str, list[str]]:
    """By path of the configuration, the components that it may be; none where it takes other values."""
    paths: dict[str, Schema] = grid_schema()["$defs"]["Settings"]["properties"]
    return {path: [name for form in value.get("anyOf", ()) for name in form.get("enum", ())]
            for path, value in paths.items()}  # fmt: skip


def _mapping(properties: Mapping[str, Schema], required: list[str]) -> Schema:
    return {"type": "object", "properties": dict(properties), "required": required, "additionalProperties": False}


class _Paths:
    """The paths into a configuration, through all components that a slot may hold."""

    def __init__(self, definitions: Mapping[str, Schema]):
        self.definitions = definitions

    def of(self, schema: Schema) -> dict[str, Schema]:
        """By path what it may be; where components have one in common, what it may be in any of them."""
        found: dict[str, list[Schema]] = {}
        for path, value in self._walk(schema, "", ()):
            if value not in found.setdefault(path, []):
                found[path].append(value)
        return {path: values[0] if len(values) == 1 else {"anyOf": values} for path, values in sorted(found.items())}

    def _walk(self, schema: Schema, prefix: str, inside: tuple[str, ...]) -> Iterator[tuple[str, Schema]]:
        for name, value in schema.get("properties", {}).items():
            if name == "name" and prefix:  # of a component, which is replaced as a whole
                continue
            yield f"{prefix}{name}", value
            for reference in references(value):
                if reference not in inside:  # a mixer may hold mixers
                    yield from self._walk(self.definitions[reference], f"{prefix}{name}.", (*inside, reference))


class _Labelled:
    """Levels: a value of a path, or with a label, or one that sets several paths."""

    def __init__(self, definitions: Mapping[str, Schema]):
        self.known, self.definitions = definitions, dict[str, Schema]()

    def level(self, path: str, value: Schema) -> Schema:
        forms: list[Schema] = [{"$ref": f"{_REF}Settings/properties/{path}"}]
        components = [reference for reference in references(value) if "name" in self.known[reference]["properties"]]
        forms += [{"$ref": f"{_REF}{self._with_label(reference)}"} for reference in components]
        return {"anyOf": [*forms, {"$ref": f"{_REF}{_LABELLED}"}, {"$ref": f"{_REF}{_SEVERAL}"}]}

    def _with_label(self, reference: str) -> str:
        name, component = f"{reference}WithLabel", self.known[reference]
        properties = {**component["properties"], "label": _LABEL}
        required = [*component.get("required", ()), "label"]
        self.definitions[name] = {**component, "properties": properties, "required": required}
        return name


def references(value: Schema) -> list[str]:
    """The definitions that a value may be one of; not those of the items of a list."""
    if "$ref" in value:
        return [value["$ref"].removeprefix(_REF)]
    return [name for key in ("anyOf", "oneOf") for one in value.get(key, ()) for name in references(one)]
