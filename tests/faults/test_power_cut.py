"""A run that was committed is there after a power cut, whole; each sync and the refused rename are needed for it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.disk import Disk
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ablation.store import attempts, files
from ablation.store.attempts import Order, begin, commit, rename, run_directory
from ablation.store.probe import probe
from ablation.store.results import read_end
from ablation.store.runs import Store

IDS = [f"{digit}" * 32 for digit in "ab"]


def train(store: Path, run_id: str, loss: float = 1.0, number: int = 0) -> Path:
    """An attempt that has done all but commit."""
    order = Order(run_id, store / "orders" / run_id)
    files.write_json(order.directory / "run.json", {"schema": 1, "id": run_id}, durable=False)
    attempt = begin(order)
    (attempt / "metrics.jsonl").write_text(json.dumps({"loss": loss}) + "\n")
    (attempt / "weights.safetensors").write_bytes(bytes([number]) * 100)
    return attempt


def end(attempt: Path, loss: float = 1.0) -> str:
    return commit(attempt, "result.json", {"status": "completed", "reason": None, "quality": {"final": {"loss": loss}}})


def is_whole(directory: Path) -> bool:
    """Whether the run has its result, and all that was written before it."""
    if not directory.exists():
        return False
    try:
        finished = read_end(directory, directory.name).status == "completed"
    except Exception:
        return False
    rows, weights = directory / "metrics.jsonl", directory / "weights.safetensors"
    return finished and rows.read_text().endswith("}\n") and len(weights.read_bytes()) == 100


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    (tmp_path / "runs").mkdir()
    disk = Disk(tmp_path / "runs")
    disk.remember(tmp_path / "runs")
    return disk


def committed_after_a_cut(disk: Disk) -> bool:
    """Whether a run that was reported as committed survives."""
    store = disk.root / "store"
    with disk.watched():
        probe(store)
        assert end(train(store, IDS[0])) == "committed"
    disk.cut()
    return is_whole(run_directory(store, IDS[0]))


def test_committed_run_survives_a_power_cut(disk: Disk) -> None:
    assert committed_after_a_cut(disk)


def forget_files(path: Path) -> None: ...


MUTATIONS: dict[str, Callable[[pytest.MonkeyPatch], Any]] = {
    "no file is synced before the end is written": lambda patch: patch.setattr(attempts, "sync", forget_files),
    "the end is not synced": lambda patch: patch.setattr(files, "sync", forget_files),
    "the attempt's names are not synced": lambda patch: patch.setattr(files, "sync_folder", forget_files),
    "the rename is not synced": lambda patch: patch.setattr(attempts, "sync_folder", forget_files),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_any_of_the_syncs_a_run_is_lost(disk: Disk, monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    MUTATIONS[mutation](monkeypatch)
    assert not committed_after_a_cut(disk)


def folders_synced_by(disk: Disk) -> list[str]:
    """In order, relative to the store, the folders that a commit syncs itself."""
    synced: list[str] = []
    store = disk.root / "store"
    original = attempts.sync_folder

    def sync_folder(folder: Path) -> None:
        synced.append(str(folder.relative_to(disk.root)))
        original(folder)

    with pytest.MonkeyPatch.context() as patch:
        probe(store)
        attempt = train(store, IDS[0])
        patch.setattr(attempts, "sync_folder", sync_folder)
        end(attempt)
    return synced


def test_each_folder_that_a_commit_syncs_is_needed(tmp_path: Path) -> None:
    """Each call is left out in turn."""

    def survives(left_out: int | None) -> bool:
        root = tmp_path / f"without-{left_out}" / "runs"
        root.mkdir(parents=True)
        disk, calls = Disk(root), iter(range(100))
        disk.remember(root)
        original = attempts.sync_folder
        with pytest.MonkeyPatch.context() as patch, disk.watched():
            probe(root / "store")
            attempt = train(root / "store", IDS[0])
            patch.setattr(attempts, "sync_folder", lambda folder: original(folder) if next(calls) != left_out else None)
            end(attempt)
        disk.cut()
        return is_whole(run_directory(root / "store", IDS[0]))

    (tmp_path / "count" / "runs").mkdir(parents=True)
    n_calls = len(folders_synced_by(Disk(tmp_path / "count" / "runs")))
    assert n_calls
    assert survives(None)
    assert [left_out for left_out in range(n_calls) if survives(left_out)] == []


@pytest.mark.parametrize("refuses", [True, False])
def test_second_attempt_replaces_nothing_as_a_rename_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refuses: bool
) -> None:
    def overwrite(self: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        original(self, target)

    original = Path.rename
    first, second = (train(tmp_path, IDS[0], loss, number=int(loss)) for loss in (1.0, 2.0))
    assert end(first, 1.0) == "committed"
    if not refuses:
        monkeypatch.setattr(Path, "rename", overwrite)
        with pytest.raises(Exception, match="overwrite"):
            probe(tmp_path)
    end(second, 2.0)
    kept = json.loads((run_directory(tmp_path, IDS[0]) / "result.json").read_text())["quality"]["final"]["loss"]
    assert (kept == 1.0) == refuses


class Commits(RuleBasedStateMachine):
    """Two runs, several attempts at each, power cuts at any sync, kills anywhere, and commands that start again."""

    @initialize(folder=st.builds(lambda: None))
    def begin(self, folder: None) -> None:
        import tempfile

        self.temporary = tempfile.TemporaryDirectory()
        root = Path(self.temporary.name) / "runs"
        root.mkdir()
        self.disk = Disk(root)
        self.disk.remember(root)
        self.store = Store(root)
        self.reported: set[str] = set()
        with self.disk.watched():
            self.store.probe()

    def path(self) -> Path:
        return self.disk.root / "store"

    @rule(run_id=st.sampled_from(IDS))
    def train(self, run_id: str) -> None:
        with self.disk.watched():
            train(self.path(), run_id)

    @rule(run_id=st.sampled_from(IDS), cut_at=st.one_of(st.none(), st.integers(0, 8)))
    def commit(self, run_id: str, cut_at: int | None) -> None:
        """The newest attempt is committed; the power may go at one of its syncs."""
        found = attempts.attempts_of(self.path(), run_id)
        if not found:
            return
        left = iter(range(100))

        def before_sync() -> None:
            if next(left) == cut_at:
                raise KeyboardInterrupt

        self.disk.before_sync = before_sync
        try:
            with self.disk.watched():
                assert end(found[-1]) == "committed"
            self.reported.add(run_id)
        except KeyboardInterrupt:
            self.disk.cut()
        finally:
            self.disk.before_sync = lambda: None

    @rule(run_id=st.sampled_from(IDS))
    def killed_before_the_rename(self, run_id: str) -> None:
        """A process ends between its last file and the rename."""
        with self.disk.watched(), pytest.MonkeyPatch.context() as patch:
            patch.setattr(attempts, "rename", lambda attempt: "committed")
            for attempt in attempts.attempts_of(self.path(), run_id)[-1:]:
                end(attempt)

    @rule()
    def cut(self) -> None:
        self.disk.cut()

    @rule()
    def start_again(self) -> None:
        """The command starts again: it finishes what is complete, and tidies up."""
        with self.disk.watched():
            self.store.probe()
            self.store.finish_attempts()
            for run_id in IDS:
                self.store.conclude(run_id)
                finished = is_whole(run_directory(self.path(), run_id))
                assert not (finished and attempts.attempts_of(self.path(), run_id))
                self.reported |= {run_id} if finished else set()

    @invariant()
    def reported_runs_are_whole(self) -> None:
        for run_id in getattr(self, "reported", ()):
            assert is_whole(run_directory(self.path(), run_id))

    @invariant()
    def no_run_is_half(self) -> None:
        for run_id in IDS if hasattr(self, "disk") else ():
            directory = run_directory(self.path(), run_id)
            assert not (directory / "result.json").exists() or is_whole(directory)

    def teardown(self) -> None:
        self.temporary.cleanup()


TestCommits = Commits.TestCase
TestCommits.settings = settings(
    max_examples=60, stateful_step_count=15, deadline=None, suppress_health_check=list(HealthCheck)
)


def test_rename_is_all_that_an_attempt_with_its_end_lacks(tmp_path: Path) -> None:
    attempt = train(tmp_path, IDS[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "rename", lambda attempt: "committed")
        end(attempt)
    assert rename(attempt) == "committed"
    assert is_whole(run_directory(tmp_path, IDS[0]))
