"""A plan, and a store in which none of its runs exists."""

from pathlib import Path

import pytest
from support.small_grids import plan_of, write_grid

from ablation.grid.plan import Plan
from ablation.store.runs import Store


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(write_grid(tmp_path_factory.mktemp("grid"), seeds=2))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")
