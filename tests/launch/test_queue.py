"""The queue of runs: no process or order changes the numbers, and no death of a run harms another."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import train
from support.small_grids import all_numbers, numbers, plan_of, write_grid

from ablation.grid.plan import Run
from ablation.launch import queue
from ablation.launch.local import LocalLauncher
from ablation.store.attempts import Ended
from ablation.store.results import RunEnd
from ablation.store.runs import Store
from ablation.training.attempt import train_order


class Listener:
    """Records the ends of runs; calls ``act`` for every running one."""

    def __init__(self, act: Callable[[Run], None] = lambda run: None) -> None:
        self.act = act
        self.endings: list[tuple[str, str, bool]] = []
        self.reasons: list[str | None] = []
        self.running: list[Run] = []

    def started(self, run: Run) -> None:
        self.running.append(run)

    def ended(self, run: Run, ending: RunEnd, again: bool) -> None:
        self.running.remove(run)
        self.endings.append((run.id, ending.status, again))
        self.reasons.append(ending.reason)

    def tick(self) -> None:
        for run in self.running:
            self.act(run)


def test_numbers_do_not_depend_on_workers_or_order(tmp_path: Path) -> None:
    plan = plan_of(write_grid(tmp_path, seeds=2))
    assert train(plan, tmp_path / "one", workers=1)[0].statuses == {"completed": 4}
    train(plan, tmp_path / "three", workers=3, runs=plan.runs[::-1])
    here = Store(tmp_path / "here")
    for run in plan.runs:
        train_order(here.order(run))
    in_this_process = {run.id: numbers(here.directory(run.id)) for run in plan.runs}
    assert all_numbers(tmp_path / "one") == all_numbers(tmp_path / "three") == in_this_process
    assert len({str(found["rows"]) for found in in_this_process.values()}) == 4, "else nothing is compared"


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_many_runs_leave_no_open_files_or_processes(tmp_path: Path) -> None:
    plan = plan_of(write_grid(tmp_path, settings={"training.max_steps": 1}, seeds=6))
    train(plan, tmp_path / "runs", runs=plan.runs[:2])
    before = open_files()
    train(plan, tmp_path / "runs")
    assert open_files() == before
    assert multiprocessing.active_children() == []


def test_a_run_does_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(write_grid(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert train(plan, Path("runs"))[0].statuses == {"completed": 2}
    assert all_numbers(tmp_path / "runs")


def test_output_of_a_run_goes_to_its_log(troubled: Any, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    plan = troubled("talk")
    _, store = train(plan, tmp_path / "runs", launcher=LocalLauncher(2, gpus=["7"]))
    log = (store.directory(plan.runs[1].id) / "log.txt").read_text()
    assert set(log.splitlines()) == {"also past Python", "and errors", "gpu 7 threads 1 1", "to the log"}
    assert capfd.readouterr() == ("", "")
    assert dict(os.environ) == before, "one thread is for the processes of runs alone"


def test_a_failing_run_stops_no_other_and_has_a_reason(troubled: Any, tmp_path: Path) -> None:
    plan, listener = troubled("fail", "exhaust", "explode", "leave"), Listener()
    summary, store = train(plan, tmp_path / "runs", listeners=[listener])
    states = {cell.levels["schedule"].label: store.end(cell.runs[0].id) for cell in plan.cells}
    assert states["none"] == RunEnd("completed")
    assert states["fail"] == RunEnd("failed", "RuntimeError: [bold]no[/bold] luck at all")
    assert states["exhaust"] == RunEnd("oom", "MemoryError: no more")
    assert states["explode"] == RunEnd("diverged", "the validation loss is not finite at step 4")
    assert states["leave"] == RunEnd("failed", "SystemExit: 7")
    assert summary.statuses == {"completed": 1, "failed": 2, "oom": 1, "diverged": 1}
    assert summary.executed == 5
    assert set(listener.reasons) == {state.reason for state in states.values()}
    assert "Traceback" in (store.directory(plan.cells[1].runs[0].id) / "log.txt").read_text()


def test_a_killed_run_is_retried_with_the_same_numbers(troubled: Any, tmp_path: Path) -> None:
    plan, listener = troubled("die_once"), Listener()
    summary, _ = train(plan, tmp_path / "runs", listeners=[listener])
    victim = plan.runs[1].id
    assert summary.statuses == {"completed": 2}
    assert [ending for ending in listener.endings if ending[0] == victim] == [
        (victim, "killed", True),
        (victim, "completed", False),
    ]
    train(plan, tmp_path / "quiet")
    assert all_numbers(tmp_path / "runs") == all_numbers(tmp_path / "quiet")


def test_a_run_that_is_always_killed_is_tried_three_times(troubled: Any, tmp_path: Path) -> None:
    plan, listener = troubled("die"), Listener()
    summary, store = train(plan, tmp_path / "runs", listeners=[listener])
    victim = plan.runs[1]
    assert summary.statuses == {"completed": 1, "killed": 1}
    assert [ending for ending in listener.endings if ending[0] == victim.id] == [
        (victim.id, "killed", True),
        (victim.id, "killed", True),
        (victim.id, "killed", False),
    ]
    assert store.end(victim.id) == RunEnd("killed", "killed by SIGKILL")
    assert store.to_train(plan.runs) == [victim], "the next command tries anew"


def test_a_worker_killed_from_outside_is_retried(troubled: Any, tmp_path: Path) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()
    store, launcher, victim = Store(tmp_path / "runs"), LocalLauncher(2), plan.runs[1]

    def kill_once_it_trains(run: Run) -> None:
        if run is victim and (tmp_path / "wait").exists() and store.rows(run.id):
            (tmp_path / "wait").unlink()
            os.kill(launcher.processes[run.id].process.pid, signal.SIGKILL)

    listener = Listener(kill_once_it_trains)
    summary, _ = train(plan, store.root, launcher=launcher, listeners=[listener])
    assert summary.statuses == {"completed": 2}
    assert (victim.id, "killed", True) in listener.endings
    train(plan, tmp_path / "quiet")
    assert all_numbers(tmp_path / "runs") == all_numbers(tmp_path / "quiet")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_all_processes(
    troubled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()
    monkeypatch.setattr(queue, "PATIENCE", 0.5)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)

    def interrupt_once_it_trains(run: Run) -> None:
        if run is plan.runs[1] and Store(tmp_path / "runs").rows(run.id):
            signal.raise_signal(number)

    listener = Listener(interrupt_once_it_trains)
    summary, store = train(plan, tmp_path / "runs", listeners=[listener])
    assert summary.interrupted
    assert store.status(plan.runs[1].id) == "stopped"
    assert multiprocessing.active_children() == []
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    (tmp_path / "wait").unlink()
    assert not train(plan, tmp_path / "runs", runs=store.to_train(plan.runs))[0].interrupted
    assert store.to_train(plan.runs) == []


def test_a_run_that_ended_before_an_interrupt_counts(tmp_path: Path) -> None:
    plan, store = plan_of(write_grid(tmp_path)), Store(tmp_path / "runs")

    class Late(LocalLauncher):
        """Says of no attempt that it has ended before it is stopped."""

        stopping = False

        def wait(self, seconds: float) -> list[Ended]:
            return super().wait(seconds) if self.stopping else []

        def stop(self, patience: float) -> list[Ended]:
            self.stopping = True
            return super().stop(patience)

    def interrupt_when_all_is_done(run: Run) -> None:
        if all(store.status(run.id) == "completed" for run in plan.runs):
            signal.raise_signal(signal.SIGINT)

    # A second signal would not be caught, so only the first run sends one.
    listener = Listener(lambda run: interrupt_when_all_is_done(run) if run is plan.runs[0] else None)
    summary, _ = train(plan, store.root, launcher=Late(2), listeners=[listener])
    assert summary.interrupted
    assert summary.statuses == {"completed": 2}


def test_a_second_interrupt_is_not_caught(troubled: Any, tmp_path: Path) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()

    def interrupt_twice(run: Run) -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(plan, tmp_path / "runs", listeners=[Listener(interrupt_twice)])
    assert multiprocessing.active_children() == []


def test_an_error_of_a_listener_ends_all_processes(troubled: Any, tmp_path: Path) -> None:
    plan = troubled("wait")
    (tmp_path / "wait").touch()

    def fail(run: Run) -> None:
        raise OSError("of a listener")

    with pytest.raises(OSError, match="of a listener"):
        train(plan, tmp_path / "runs", listeners=[Listener(fail)])
    assert multiprocessing.active_children() == []
