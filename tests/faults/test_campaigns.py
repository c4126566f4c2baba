"""A part of the campaigns of the fault plan; the whole is `python tests/faults/campaign.py`."""

import random
import sys
from pathlib import Path

import pytest
from faults.campaign import CAMPAIGNS, SMALL
from faults.stage import Stage

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")


@pytest.fixture(scope="module")
def quiet_runs() -> dict[str, Path]:
    """By the text of a grid its quiet runs, which campaigns with the same grid need only once."""
    return {}


@pytest.mark.parametrize("name", [name for name, entry in CAMPAIGNS.items() if entry.quick])
def test_faults_lose_nothing_and_leave_nothing(name: str, tmp_path: Path, quiet_runs: dict[str, Path]) -> None:
    entry = CAMPAIGNS[name]
    grid = {
        **entry.grid,
        **{key: min(value, entry.grid.get(key, value)) for key, value in SMALL.items()},
        "steps": entry.grid["steps"],
        **entry.small,
    }
    stage = Stage(tmp_path, **grid)
    stage.quiet_runs = quiet_runs.setdefault(stage.grid.read_text(), stage.quiet_runs)
    done, found = entry.run(stage, random.Random(name), entry.quick)
    if found.lies == ["no file system of a limited size can be mounted here"]:
        pytest.skip(found.lies[0])
    assert found.clean, found
    if not done:
        pytest.skip("on this machine the runs were quicker than the faults")
