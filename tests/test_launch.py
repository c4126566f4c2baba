"""Processes of runs: nothing but the configuration decides the numbers, and no death of one harms another."""

import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from multiprocessing import spawn
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT, all_numbers, eventually, numbers, plan_of, trouble, write_grid, write_trouble

from ablation.grid.plan import Plan, Run
from ablation.launch.local import Attempt, LocalLauncher, available_gpus
from ablation.launch.queue import RunSummary, run_queue
from ablation.store.results import RunEnd
from ablation.store.runs import Store
from ablation.study.manifest import save_plan
from ablation.training.run import run_from_directory


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))  # for the server, wherever it is started


class Watcher:
    """Notes what it is told, and may act."""

    def __init__(self, act: Callable[[Run], None] = lambda run: None) -> None:
        self.act = act
        self.told: list[tuple[str, str, bool]] = []
        self.reasons: list[str | None] = []
        self.working: list[Run] = []

    def started(self, run: Run) -> None:
        self.working.append(run)

    def ended(self, run: Run, ending: RunEnd, again: bool) -> None:
        self.working.remove(run)
        self.told.append((run.id, ending.state, again))
        self.reasons.append(ending.reason)

    def tick(self) -> None:
        for run in self.working:
            self.act(run)


def driven(plan: Plan, root: Path, workers: int = 2, **options: Any) -> tuple[RunSummary, Store]:
    store = Store(root)
    save_plan(plan, store)
    runs = options.pop("runs", plan.runs)
    return run_queue(runs, store, LocalLauncher(workers), plugins=plan.plugins, **options), store


@pytest.fixture
def troubled(tmp_path: Path, scratch_registry: Any) -> Callable[..., Plan]:
    """``troubled(kind, ...)``: a plan of one quiet run and one with each kind of trouble."""
    plugin = write_trouble(tmp_path)

    def make(*kinds: str, **settings: Any) -> Plan:
        return plan_of(write_grid(tmp_path, trouble(*kinds), settings), [plugin])

    return make


def failure(store: Store, run: Run) -> dict[str, Any]:
    return json.loads((store.directory(run.id) / "failure.json").read_text())


def test_numbers_do_not_depend_on_workers_order_or_process(tmp_path: Path) -> None:
    plan = plan_of(write_grid(tmp_path, seeds=2))
    assert driven(plan, tmp_path / "one", workers=1)[0].states == {"completed": 4}
    driven(plan, tmp_path / "three", workers=3, runs=plan.runs[::-1])
    here = Store(tmp_path / "here")
    for run in plan.runs:
        run_from_directory(here.prepare(run))
    in_this_process = {run.id: numbers(here.directory(run.id)) for run in plan.runs}
    assert all_numbers(tmp_path / "one") == all_numbers(tmp_path / "three") == in_this_process
    assert len({str(found["rows"]) for found in in_this_process.values()}) == 4, "else nothing is compared"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_runs_leave_no_open_files_and_no_processes(tmp_path: Path) -> None:
    plan = plan_of(write_grid(tmp_path, settings={"training.max_steps": 1}, seeds=6))
    driven(plan, tmp_path / "runs", runs=plan.runs[:2])
    before = open_files()
    driven(plan, tmp_path / "runs")
    assert open_files() == before
    assert multiprocessing.active_children() == []


def test_a_run_neither_needs_nor_follows_the_present_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(write_grid(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert driven(plan, Path("runs"))[0].states == {"completed": 2}
    assert all_numbers(tmp_path / "runs")


def test_what_a_run_prints_goes_to_its_log(troubled: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    plan = troubled("talk")
    store = Store(tmp_path / "runs")
    run_queue(plan.runs, store, LocalLauncher(2, gpus=["7"]), plugins=plan.plugins)
    log = (store.directory(plan.runs[1].id) / "log.txt").read_text()
    assert set(log.splitlines()) == {"also past Python", "and errors", "gpu 7 threads 1 1", "to the log"}
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before, "one thread is for the processes of runs alone"


def test_a_failing_run_stops_no_other_and_says_why(troubled: Any, tmp_path: Path) -> None:
    plan, watcher = troubled("fail", "exhaust", "explode", "leave"), Watcher()
    outcome, store = driven(plan, tmp_path / "runs", monitors=[watcher])
    states = {cell.levels["schedule"].label: store.end(cell.runs[0].id) for cell in plan.cells}
    assert states["none"] == RunEnd("completed")
    assert states["fail"] == RunEnd("failed", "RuntimeError: [bold]no[/bold] luck at all")
    assert states["exhaust"] == RunEnd("oom", "MemoryError: no more")
    assert states["explode"] == RunEnd("diverged", "the validation loss is not finite at step 4")
    assert states["leave"] == RunEnd("killed", "the process ended with code 7")
    assert outcome.states == {"completed": 1, "failed": 1, "oom": 1, "diverged": 1, "killed": 1}
    assert outcome.executed == 5
    assert set(watcher.reasons) == {state.reason for state in states.values()}
    assert "Traceback" in (store.directory(plan.cells[1].runs[0].id) / "log.txt").read_text()


def test_a_killed_run_is_tried_again_and_gives_the_numbers_of_an_undisturbed_one(troubled: Any, tmp_path: Path) -> None:
    plan, watcher = troubled("die_once"), Watcher()
    outcome, _ = driven(plan, tmp_path / "runs", monitors=[watcher])
    victim = plan.runs[1].id
    assert outcome.states == {"completed": 2}
    assert [told for told in watcher.told if told[0] == victim] == [
        (victim, "killed", True),
        (victim, "completed", False),
    ]
    driven(plan, tmp_path / "quiet")
    assert all_numbers(tmp_path / "runs") == all_numbers(tmp_path / "quiet")


def test_a_run_that_always_dies_is_tried_twice(troubled: Any, tmp_path: Path) -> None:
    plan, watcher = troubled("die"), Watcher()
    outcome, store = driven(plan, tmp_path / "runs", monitors=[watcher])
    victim = plan.runs[1]
    assert outcome.states == {"completed": 1, "killed": 1}
    assert [told for told in watcher.told if told[0] == victim.id] == [
        (victim.id, "killed", True),
        (victim.id, "killed", False),
    ]
    assert failure(store, victim)["reason"] == "killed by SIGKILL"
    assert failure(store, victim)["attempt"] == 2
    assert store.to_train(plan.runs) == [victim], "the next command tries anew"


def test_a_worker_killed_from_outside_is_tried_again(troubled: Any, tmp_path: Path) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()
    store, launcher, victim = Store(tmp_path / "runs"), LocalLauncher(2), plan.runs[1]

    def kill_once_it_works(run: Run) -> None:
        if run is victim and (tmp_path / "wait").exists() and b"\n" in metrics(store, run):
            (tmp_path / "wait").unlink()
            os.kill(launcher.running[run.id].process.pid, signal.SIGKILL)

    watcher = Watcher(kill_once_it_works)
    save_plan(plan, store)
    outcome = run_queue(plan.runs, store, launcher, [watcher], plan.plugins)
    assert outcome.states == {"completed": 2}
    assert (victim.id, "killed", True) in watcher.told
    driven(plan, tmp_path / "quiet")
    assert all_numbers(tmp_path / "runs") == all_numbers(tmp_path / "quiet")


def metrics(store: Store, run: Run) -> bytes:
    file = store.directory(run.id) / "metrics.jsonl"
    return file.read_bytes() if file.exists() else b""


def test_a_worker_ends_with_its_lifeline(troubled: Any, tmp_path: Path) -> None:
    plan, store, launcher = troubled("wait"), Store(tmp_path / "runs"), LocalLauncher(1)
    (tmp_path / "wait").touch()
    run = plan.runs[1]
    launcher.start(run.id, store.prepare(run, plan.plugins))
    eventually(lambda: metrics(store, run))
    launcher.running[run.id].lifeline.close()
    (ended,) = eventually(lambda: launcher.wait(1.0))
    assert ended.exit_code == 1
    assert store.status(run.id) == "missing"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_that_runs_and_is_said(troubled: Any, tmp_path: Path, number: signal.Signals) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupt_once_it_works(run: Run) -> None:
        if run is plan.runs[1] and metrics(Store(tmp_path / "runs"), run):
            signal.raise_signal(number)

    watcher = Watcher(interrupt_once_it_works)
    outcome, store = driven(plan, tmp_path / "runs", monitors=[watcher])
    assert outcome.interrupted
    assert store.status(plan.runs[1].id) == "missing"
    assert multiprocessing.active_children() == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    (tmp_path / "wait").unlink()
    assert not driven(plan, tmp_path / "runs", runs=store.to_train(plan.runs))[0].interrupted
    assert store.to_train(plan.runs) == []


def test_a_run_that_is_done_when_the_interrupt_comes_counts(tmp_path: Path) -> None:
    plan, store = plan_of(write_grid(tmp_path)), Store(tmp_path / "runs")

    class Late(LocalLauncher):
        """Hears of no end before it is stopped."""

        stopping = False

        def wait(self, seconds: float) -> list[Attempt]:
            return super().wait(seconds) if self.stopping else []

        def stop(self) -> list[Attempt]:
            self.stopping = True
            return super().stop()

    def interrupt_when_all_is_done(run: Run) -> None:
        if all(store.status(run.id) == "completed" for run in plan.runs):
            signal.raise_signal(signal.SIGINT)

    # The second signal of a tick is as hard as ever, so only the first run sends one.
    watcher = Watcher(lambda run: interrupt_when_all_is_done(run) if run is plan.runs[0] else None)
    outcome = run_queue(plan.runs, store, Late(2), [watcher])
    assert outcome.interrupted
    assert outcome.states == {"completed": 2}


def test_a_second_interrupt_is_as_hard_as_ever(troubled: Any, tmp_path: Path) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()

    def interrupt_twice(run: Run) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        driven(plan, tmp_path / "runs", monitors=[Watcher(interrupt_twice)])
    assert multiprocessing.active_children() == []


def test_an_error_of_the_driver_ends_all_that_runs(troubled: Any, tmp_path: Path) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()

    def fail(run: Run) -> None:
        raise OSError("of an observer")

    with pytest.raises(OSError, match="of an observer"):
        driven(plan, tmp_path / "runs", monitors=[Watcher(fail)])
    assert multiprocessing.active_children() == []


def test_a_process_is_spared_the_program_that_started_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: list[dict[str, Any]] = []
    original, main = spawn.get_preparation_data, sys.modules["__main__"]
    monkeypatch.setattr(spawn, "get_preparation_data", lambda name: seen.append(original(name)) or seen[-1])
    plan = plan_of(write_grid(tmp_path, settings={"training.max_steps": 1}))
    driven(plan, tmp_path / "runs", runs=plan.runs[:1])
    assert seen
    assert not any(key.startswith("init_main") for data in seen for key in data)
    assert sys.modules["__main__"] is main


@pytest.mark.parametrize(
    ("count", "named", "expected"),
    [(0, None, []), (2, None, ["0", "1"]), (2, "5,3", ["5", "3"]), (0, "", []), (1, "GPU-1a,GPU-2b", ["GPU-1a"])],
)
def test_gpus_are_named_as_this_process_sees_them(
    monkeypatch: pytest.MonkeyPatch, count: int, named: str | None, expected: list[str]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: count > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: count)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if named is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", named)
    assert available_gpus() == expected


def test_runs_take_turns_on_the_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given: list[str | None] = []

    class Recorder:
        def __init__(self, target: Any, args: Any, daemon: bool) -> None:
            given.append(args[1])

        def start(self) -> None: ...

    launcher = LocalLauncher(4, gpus=["a", "b"])
    monkeypatch.setattr(type(launcher.context), "Process", Recorder)
    monkeypatch.setattr(LocalLauncher, "warm_up", staticmethod(lambda: None))
    for name in "wxyz":
        launcher.start(name, tmp_path)
    assert given == ["a", "b", "a", "b"]
    assert launcher.free == 0
    launcher.running.pop("w").lifeline.close()
    launcher.start("next", tmp_path)
    assert given[-1] == "a", "in the slot that has become free"
    for attempt in launcher.running.values():
        attempt.lifeline.close()
