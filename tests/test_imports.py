"""The order of imports goes one way, and light commands stay light."""

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ROOT
from support.plans import BASE_YAML, GRID_YAML

PACKAGE = ROOT / "ablation"

# A part may import those in the lines above its own, and itself.
ORDER = """
errors
strict_yaml registry randomness
components data
models
config
measure
plugins
grid
store
training analysis tracking
launch report
cli
"""
LEVELS = {part: level for level, line in enumerate(ORDER.split("\n")) for part in line.split()}

# Who alone may import what.
OWNERS = {
    "lightning": {"training"},
    "wandb": {"tracking"},
    "rich": {"report", "cli"},
    "typer": {"cli"},
    "ray": {"launch"},
    "torchmetrics": {"data", "training"},
    "yaml": {"strict_yaml"},
    "scipy": {"analysis"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "jinja2": {"report"},
    "statsmodels": {"analysis"},
}


def imports(file: Path) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, inside functions and for type checkers too, by its full name."""
    package = ["ablation", *file.relative_to(PACKAGE).parent.parts]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = [*above, *(node.module.split(".") if node.module else [])]
            yield from ((".".join([*module, alias.name]), node.lineno) for alias in node.names)


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


FILES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")
EDGES = [(file, *found) for file in FILES for found in imports(file)]


def test_the_walk_sees_imports_of_every_kind():
    seen = {(part_of(file), module.split(".")[1]) for file, module, _ in EDGES if module.startswith("ablation.")}
    assert {("components", "registry"), ("cli", "launch"), ("training", "models"), ("config", "data")} <= seen
    assert {"torch", "lightning", "wandb", "rich", "typer", "pydantic"} <= {
        module.split(".")[0] for _, module, _ in EDGES
    }


def test_every_part_has_its_place_in_the_order():
    assert {part_of(file) for file in FILES} == set(LEVELS)


def test_imports_go_one_way():
    against = [
        f"{file.relative_to(PACKAGE)}:{line} imports {module}"
        for file, module, line in EDGES
        if module.startswith("ablation.") and module != "ablation.__version__"
        for part in [module.split(".")[1]]
        if part != part_of(file) and not LEVELS.get(part, 99) < LEVELS[part_of(file)]
    ]
    assert not against


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_known_only_to_its_owner(library):
    importers = {part_of(file) for file, module, _ in EDGES if module.split(".")[0] == library}
    assert importers <= OWNERS[library]


def test_the_package_names_itself_by_relative_imports_only():
    trees = [(file, ast.parse(file.read_text())) for file in FILES]
    absolute = {
        file.name
        for file, tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "ablation"
    }
    assert not absolute


PROBE = """
import contextlib, io, json, sys
HEAVY = ("torch", "lightning", "wandb", "scipy", "ray")
seen = {}

def look(after):
    seen[after] = [name for name in HEAVY if name in sys.modules]

import ablation
look("import ablation")
from ablation.cli import main
for command in (["--help"], ["plan", "--help"], ["run", "--help"], ["--version"],
                ["components"], ["plan", "grid.yaml"], ["table", "grid.yaml"]):
    sys.argv = ["ablate", *command]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main() == 0, command
    assert out.getvalue().strip(), command
    look(" ".join(command))
print(json.dumps(seen))
"""


def test_light_commands_stay_light(tmp_path):
    (tmp_path / "base.yaml").write_text(BASE_YAML)
    (tmp_path / "grid.yaml").write_text(GRID_YAML)
    environment = os.environ | {"PYTHONPATH": str(PACKAGE.parent)}
    probe = subprocess.run(
        [sys.executable, "-c", PROBE], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert probe.returncode == 0, probe.stderr
    seen = json.loads(probe.stdout)
    for command in ("import ablation", "--help", "plan --help", "run --help", "--version"):
        assert seen[command] == [], command
    for command in ("components", "plan grid.yaml", "table grid.yaml"):
        assert not {"lightning", "wandb", "ray"} & set(seen[command]), command
