"""Imports go one way, between packages and between modules, and light commands import nothing heavy."""

import ast
import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from support import ROOT
from support.plans import BASE_YAML, GRID_YAML

PACKAGE = ROOT / "ablation"

# A part may import those in the lines below its own, and itself.
ORDER = """
cli
api
report study
launch tracking inspect
training bench
compare
store
grid
plugins
config
checkpoints
model
monitor
optim tasks
components
stats
registry yaml
names
errors rng processes
secrets
"""
LEVELS = {part: level for level, line in enumerate(reversed(ORDER.split("\n"))) for part in line.split()}

# The only parts that may import a library.
OWNERS = {
    "lightning": {"training"},
    "wandb": {"tracking"},
    "rich": {"report", "cli", "api"},  # api: in annotations only
    "typer": {"cli"},
    "ray": {"launch"},
    "torchmetrics": {"tasks", "training"},
    "yaml": {"yaml"},
    "scipy": {"stats", "compare"},
    "statsmodels": {"stats"},
    "altair": {"report"},
    "vl_convert": {"report"},
    "jinja2": {"report"},
}


def name_of(file: Path) -> str:
    """``ablation/stats/verdict.py`` -> ``ablation.stats.verdict``; a package is its ``__init__``."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


def imports(module: str) -> Iterator[tuple[str, int]]:
    """What a module imports and in which line, also inside functions and for type checkers only."""
    file = FILES[module]
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*parents, *(node.module.split(".") if node.module else [])])
            for alias in node.names:
                member = f"{source}.{alias.name}"
                yield (member if member in FILES else source), node.lineno


def part_of(module: str) -> str:
    """The package, or module beside the packages, that has a place in the order."""
    if f"{module}.".startswith("ablation.training.monitor."):
        return "monitor"  # knows neither Lightning nor the configuration
    return module.split(".")[1]


EDGES = [(module, *edge) for module in FILES if module != "ablation" for edge in imports(module)]
INTERNAL = [edge for edge in EDGES if edge[1].startswith("ablation.")]


def cycles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Groups of modules that import one another, directly or by way of others (Tarjan's algorithm)."""
    order: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(node: str) -> None:
        order[node] = lowest[node] = len(order)
        stack.append(node)
        for other in sorted(graph.get(node, ())):
            if other not in order:
                visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], order[other])
        if lowest[node] == order[node]:
            position = stack.index(node)
            group = stack[position:]
            del stack[position:]
            if len(group) > 1:
                groups.append(sorted(group))

    for node in sorted(graph):
        if node not in order:
            visit(node)
    return groups


def test_imports_of_every_kind_are_found() -> None:
    parts = {(part_of(module), part_of(imported)) for module, imported, _ in INTERNAL}
    assert {("components", "registry"), ("cli", "study"), ("training", "model"), ("config", "tasks")} <= parts
    assert {"torch", "lightning", "wandb", "rich", "typer", "pydantic"} <= {edge[1].split(".")[0] for edge in EDGES}


def test_every_part_is_in_the_order() -> None:
    assert {part_of(module) for module in FILES if module != "ablation"} == set(LEVELS)


def test_imports_between_packages_go_downwards() -> None:
    against = [
        f"{FILES[module].relative_to(ROOT)}:{line} imports {imported}"
        for module, imported, line in INTERNAL
        for part, below in [(part_of(module), part_of(imported))]
        if part != below and not LEVELS[below] < LEVELS[part]
    ]
    assert not against, "\n" + "\n".join(against)


def test_modules_do_not_import_in_circles() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for module, imported, _ in INTERNAL:
        fills_slot = FILES[module].name == "__init__.py" and imported.startswith(f"{module}.")
        if imported != module and not fills_slot:
            graph[module].add(imported)
    groups = cycles(graph)
    assert not groups, "\n" + "\n".join(
        f"{module} imports {', '.join(sorted(graph[module] & set(group)))}" for group in groups for module in group
    )


def test_circle_of_modules_is_found() -> None:
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "e": {"a"}}) == [["a", "b", "c"]]


@pytest.mark.parametrize("library", OWNERS)
def test_library_is_imported_by_its_owner_alone(library: str) -> None:
    against = [
        f"{FILES[module].relative_to(ROOT)}:{line}"
        for module, imported, line in EDGES
        if imported.split(".")[0] == library and part_of(module) not in OWNERS[library]
    ]
    assert not against, "\n" + "\n".join(against)


def test_package_imports_itself_relatively() -> None:
    absolute = [
        f"{file.relative_to(ROOT)}:{node.lineno}"
        for file in FILES.values()
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and not node.level and str(node.module).split(".")[0] == "ablation"
    ]
    assert not absolute, "\n" + "\n".join(absolute)


PROBE = """
import contextlib, io, json, sys
HEAVY = ("torch", "lightning", "wandb", "scipy", "ray")
imported = {}

def record(after):
    imported[after] = [name for name in HEAVY if name in sys.modules]

import ablation
record("import ablation")
from ablation.cli import main
for command in (["--help"], ["plan", "--help"], ["run", "--help"], ["--version"],
                ["components"], ["plan", "grid.yaml"], ["table", "grid.yaml"]):
    sys.argv = ["ablate", *command]
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main() == 0, command
    assert out.getvalue().strip(), command
    record(" ".join(command))
print(json.dumps(imported))
"""


def test_light_commands_import_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE_YAML)
    (tmp_path / "grid.yaml").write_text(GRID_YAML)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    probe = subprocess.run([sys.executable, "-c", PROBE], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert probe.returncode == 0, probe.stderr
    imported = json.loads(probe.stdout)
    for command in ("import ablation", "--help", "plan --help", "run --help", "--version"):
        assert imported[command] == [], command
    for command in ("components", "plan grid.yaml", "table grid.yaml"):
        assert not {"lightning", "wandb", "ray"} & set(imported[command]), command
