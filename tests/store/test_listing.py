"""Runs that another machine has finished are seen at once, whatever a mount of the directory remembers."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from support import mounts
from support.small_grids import NORMS, plan_of, write_grid
from support.stores import result, write_files

from ablation.grid.plan import Plan
from ablation.store import listing, stored_runs
from ablation.store.attempts import Order, begin, commit, run_directory
from ablation.store.listing import committed, is_listed, listed
from ablation.store.runs import Store

missing = mounts.reason_missing()
cached = pytest.mark.skipif(missing is not None, reason=f"no mounts with caches: {missing}")


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(write_grid(tmp_path, NORMS, {}, seeds=3))


@pytest.fixture
def two_mounts(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """The same directory of runs as two machines see it."""
    (tmp_path / "real" / "store").mkdir(parents=True)
    with mounts.mounted(tmp_path / "real", tmp_path / "here", tmp_path / "there"):
        yield Store(tmp_path / "here"), Store(tmp_path / "there")


def train_there(plan: Plan, here: Store, there: Store) -> None:
    """What a command and a launcher do: all runs are looked for, ordered here, watched, and trained there."""
    ids = [run.id for run in plan.runs]
    assert {end.status for end in here.ends(ids).values()} == {"missing"}
    assert {found.status for found in here.results(ids).values()} == {"missing"}
    for run in plan.runs:
        here.order(run)
    for run in plan.runs:
        here.live_directories(ids)
        assert here.rows(run.id) == []
        attempt = begin(Order(run.id, there.root / "store" / "orders" / run.id))
        assert committed(here.root / "store", run.id) is None
        assert commit(write_files(attempt), "result.json", result()) == "committed"


@cached
def test_runs_of_another_machine_are_seen_at_once(plan: Plan, two_mounts: tuple[Store, Store]) -> None:
    here, there = two_mounts
    train_there(plan, here, there)
    for run in plan.runs:
        ended = committed(here.root / "store", run.id)
        assert ended is not None
        assert (ended.how, ended.status) == ("committed", "completed")
        here.conclude(run.id)
    assert {found.status for found in here.results([run.id for run in plan.runs]).values()} == {"completed"}
    assert not [*(here.root / "store" / "orders").iterdir()]
    assert here.to_train(plan.runs) == []


@cached
def test_asking_for_each_path_instead_would_miss_them(
    plan: Plan, two_mounts: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    def by_stat(store: Path, run_ids: Iterable[str]) -> dict[str, Path]:
        directories = {run_id: run_directory(store, run_id) for run_id in run_ids}
        return {run_id: directory for run_id, directory in directories.items() if directory.exists()}

    for module in (listing, stored_runs):
        monkeypatch.setattr(module, "listed", by_stat)
    here, there = two_mounts
    train_there(plan, here, there)
    assert [committed(here.root / "store", run.id) for run in plan.runs] == [None] * 6
    assert {found.status for found in here.results([run.id for run in plan.runs]).values()} == {"missing"}
    assert len(here.to_train(plan.runs)) == 6


def test_only_directories_that_are_there_are_listed(tmp_path: Path) -> None:
    ids = present, absent, other = "abc", "abd", "cde"
    assert listed(tmp_path, ids) == {}
    run_directory(tmp_path, present).mkdir(parents=True)
    run_directory(tmp_path, other).parent.write_text("no folder")
    assert listed(tmp_path, ids) == {present: run_directory(tmp_path, present)}
    assert is_listed(tmp_path, present)
    assert not is_listed(tmp_path, absent)
    assert not is_listed(tmp_path / "not" / "there", present)
