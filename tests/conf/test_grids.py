"""Every grid and every system in conf/ plans: whoever takes one up meets no error before training."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import CONF, DATA

from ablation.grid.file import read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan

GRIDS, MODELS = sorted(CONF.glob("grids/*.yaml")), sorted(CONF.glob("models/*.yaml"))


def paths(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """What a grid sets as `path` or `validation_path`, by its dotted place."""
    for key, part in value.items() if isinstance(value, dict) else ():
        here = f"{place}.{key}" if place else str(key)
        if here.endswith("path") and isinstance(part, str):
            yield here, part
        yield from paths(part, here)


def planned(file: Path) -> Plan:
    """The plan of a grid, whose data are looked for where the tests find theirs."""
    settings = []
    for place, written in paths(yaml.safe_load(file.read_text()).get("set", {})):
        found = DATA / Path(written).relative_to("../../../shared/data")
        if not found.is_file():
            pytest.skip(f"{found.name} is not here: set ABLATION_DATA")
        settings.append(f"{place}={found}")
    return make_plan(read_grid(file), settings)


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_every_grid_plans(file: Path) -> None:
    plan = planned(file)
    ids = [run.id for run in plan.runs]
    assert len(plan.cells) >= 2 and len(set(ids)) == len(ids) == sum(len(cell.runs) for cell in plan.cells)


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_every_grid_begins_with_its_question(file: Path) -> None:
    schema, question, *_ = file.read_text().splitlines()
    assert schema == "# yaml-language-server: $schema=../grid.schema.json"
    assert question.startswith("# ") and question.endswith("?")


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_every_system_is_a_baseline_of_a_grid(file: Path, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text(f"name: study\nbase: {file}\nfactors: {{optimizer.lr: [1e-3, 3e-4]}}\nseeds: 2\n")
    assert len(make_plan(read_grid(grid)).runs) == 4
