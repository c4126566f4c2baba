"""Plans of runs that fail in every way."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import plan_of, trouble, write_grid, write_trouble

from ablation.grid.plan import Plan


@pytest.fixture
def troubled(tmp_path: Path, scratch_registry: Any) -> Callable[..., Plan]:
    """``troubled(kind, ...)``: a plan of one quiet run and one with each kind of trouble."""
    plugin = write_trouble(tmp_path)

    def make(*kinds: str, **settings: Any) -> Plan:
        return plan_of(write_grid(tmp_path, trouble(*kinds), settings), [plugin])

    return make
