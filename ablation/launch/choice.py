"""Which engine a command trains with: a registered name, or a file in which its settings are."""

import json
from pathlib import Path
from typing import Annotated

from pydantic import ValidationError

from ..config.bundled import find
from ..config.validation_error import validation_error
from ..errors import InputError, nearest
from ..registry import REGISTRY, ComponentConfig, Config, Slot, component, expand_shorthand
from ..yaml import Document, read
from . import ray, slurm  # noqa: F401  importing them registers them
from .engine import Engine

OF_RUN = ("cpus", "gpus", "memory")
"""Settings that may also be written under ``run``."""


class LauncherConfig(Config):
    """A file such as conf/launchers/slurm.yaml: the name of the engine, beside its settings."""

    launcher: Annotated[ComponentConfig[Engine], Slot("launcher")] = component("launcher", "local")


def engine_of(written: str) -> Engine:
    """The engine that is meant. Errors: InputError."""
    file = Path(written)
    if not file.suffix and not file.is_file():
        if written not in REGISTRY["launcher"]:
            names = list(REGISTRY["launcher"])
            allowed = f"{', '.join(names)}, or a file such as conf/launchers/slurm.yaml"
            raise InputError(f"--launcher {written}: not known; allowed: {allowed}{nearest(written, names)}")
        return _build({"launcher": {"name": written}}, None)
    document = read(find(file, {}))
    name = document.value.get("launcher")
    if not isinstance(name, str):
        raise document.error((), "launcher: names the engine, such as `launcher: slurm`")
    settings = {key: value for key, value in document.value.items() if key not in ("launcher", "run")}
    of_run = document.value.get("run", {})
    if not isinstance(of_run, dict) or of_run.keys() - set(OF_RUN):
        raise document.error(("run",), f"must be a mapping of what a run gets: {', '.join(OF_RUN)}")
    for key, value in of_run.items():
        if key in settings:
            raise document.error(("run", key), f"is given a second time, beside {key}")
        settings[key] = value
    return _build({"launcher": {**settings, "name": name}}, document)


def _build(value: dict[str, object], document: Document | None) -> Engine:
    try:
        config = LauncherConfig.model_validate_json(json.dumps(value))
    except ValidationError as error:
        path, what = validation_error(error, expand_shorthand(LauncherConfig, value), LauncherConfig)
        if document is None:
            raise InputError(f"--launcher: {what}") from None
        inside = path[1:] if len(path) > 1 and path[1] != "name" else ("launcher",)
        if inside[0] in document.value.get("run", {}):
            inside = ("run", *inside)
        raise document.error(tuple(inside), what) from None
    engine: Engine = config.launcher.build()
    return engine
