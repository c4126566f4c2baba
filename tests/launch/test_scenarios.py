"""A part of the scenarios with every launcher; all of them are `python tests/launch/scenarios.py`."""

from collections.abc import Iterator

import pytest
from launch.scenarios import LAUNCHERS, QUICK, SCENARIOS, SkippedError, opened
from support.clusters import Cluster


@pytest.fixture(scope="module", params=LAUNCHERS)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    if (missing := LAUNCHERS[request.param][1]()) is not None:
        pytest.skip(f"no {request.param}: {missing}")
    with opened(request.param) as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_what_happens_to_runs_changes_none(cluster: Cluster, name: str) -> None:
    if (why := cluster.inapplicable.get(name)) is not None:
        pytest.skip(why)
    try:
        SCENARIOS[name](cluster, cluster.folder / name.replace(" ", "-"))
    except SkippedError as reason:
        pytest.skip(str(reason))
    finally:
        cluster.restore()
