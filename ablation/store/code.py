"""Which code trains a run: recorded and compared, never part of its identity."""

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from .. import __version__
from ..config import ExperimentConfig
from ..registry import ComponentConfig, Config

PACKAGE = Path(__file__).parent.parent


def code_of(config: ExperimentConfig) -> dict[str, Any]:
    """The version and source of what trains, and the fingerprints of the plugin files whose components it uses."""
    plugins = {f"{part.slot}.{part.name}": module for part, module in _foreign_components(config)}
    return {"ablation": __version__, "source": package_source(), "plugins": dict(sorted(plugins.items()))}


@cache
def package_source() -> str:
    """A fingerprint of the modules that decide a run's numbers."""
    digest = sha256()
    for folder in ("components", "data", "models", "training"):
        for file in sorted((PACKAGE / folder).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _foreign_components(config: Config) -> list[tuple[ComponentConfig, str]]:
    found = []
    if isinstance(config, ComponentConfig):
        module = type(config).component.__module__
        if not module.startswith(__package__.rpartition(".")[0] + "."):
            found.append((config, module))
    for name in type(config).model_fields:
        part = getattr(config, name)
        if isinstance(part, Config):
            found += _foreign_components(part)
    return found
