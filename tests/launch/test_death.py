"""What a process died of is named with the line of code that it was at: real processes that end in every way."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.launched import sleepy
from support.mortal import write_mortal
from support.runs import train
from support.small_grids import command, eventually, plan_of, write_grid

from ablation.grid.plan import Plan
from ablation.launch import worker
from ablation.launch.death import explain, tail
from ablation.launch.local import LocalLauncher
from ablation.store.results import RunEnd
from ablation.store.runs import Store

WORDS = ("run", "small.yaml", "--plugin", "mortal.py", "--workers", "1")


@pytest.fixture
def mortal(tmp_path: Path, scratch_registry: Any) -> Callable[..., Plan]:
    """``mortal(kind, ...)``: a plan with a run that ends so, for each kind."""
    plugin = write_mortal(tmp_path)

    def make(*kinds: str, **settings: Any) -> Plan:
        levels = [{"name": "mortal", "kind": kind, "label": kind} for kind in kinds]
        return plan_of(write_grid(tmp_path, {"schedule": levels}, settings), [plugin])

    return make


def place(folder: Path, kind: str) -> str:
    """``file:line`` of that kind of death in the plugin, as it is named."""
    lines = (folder / "mortal.py").read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.endswith(f"# line of {kind}"))
    return f"{folder / 'mortal.py'}:{number}"


def test_each_death_is_named_with_its_line(mortal: Any, tmp_path: Path) -> None:
    kinds = ("segfault", "abort", "exit", "sleep", "hold_the_lock", "be_killed", "none", "interrupt")
    plan = mortal(*kinds, **{"training.step_timeout": 2.0})
    summary, store = train(plan, tmp_path / "runs", workers=3, keep_going=True)
    ends = {kind: store.end(run.id) for kind, run in zip(kinds, plan.runs, strict=True)}
    assert ends["segfault"] == RunEnd("failed", f"segmentation fault (SIGSEGV) in {place(tmp_path, 'segfault')}")
    assert ends["abort"] == RunEnd("failed", f"aborted (SIGABRT) in {place(tmp_path, 'abort')}")
    assert ends["exit"] == RunEnd("failed", "the process ended itself with code 3")
    for kind in ("sleep", "hold_the_lock"):
        reason = f"no batch for 0:00:02 (training.step_timeout) in {place(tmp_path, kind)}"
        assert ends[kind] == RunEnd("failed", reason)
    assert ends["be_killed"] == RunEnd("killed", "killed by SIGKILL")
    assert ends["none"] == RunEnd("completed")
    assert ends["interrupt"] == RunEnd("failed", "KeyboardInterrupt")
    assert store.failed_at(plan.runs[7].id)[0] == place(tmp_path, "interrupt")
    assert summary.statuses == {"failed": 6, "killed": 1, "completed": 1}
    at, log = store.failed_at(plan.runs[0].id)
    assert at == place(tmp_path, "segfault") and "segfault" in log.read_text()


def test_evaluation_may_take_longer_than_the_time_of_a_batch(tmp_path: Path, scratch_registry: Any) -> None:
    plugin = sleepy(tmp_path, 0.0)[1]
    settings = {
        "model.position": {"name": "sleepy", "seconds": 0.6},
        "task.validation_examples": 24,  # 6 batches
        "training.step_timeout": 2.5,
        "training.max_steps": 2,
        "training.evaluate_every": 2,
    }
    plan = plan_of(write_grid(tmp_path, {"model.block": ["pre_norm"]}, settings), [plugin])
    summary, _ = train(plan, tmp_path / "runs", runs=plan.runs[:1])
    assert summary.statuses == {"completed": 1}


@pytest.mark.parametrize(
    ("code", "lack_of_memory", "cause", "reason"),
    [
        (-signal.SIGKILL, True, "memory", "killed by the system for lack of memory"),
        (-signal.SIGKILL, False, "killed", "killed by SIGKILL"),
        (-signal.SIGTERM, True, "killed", "killed by SIGTERM"),
        (-signal.SIGBUS, False, "crash", "bus error (SIGBUS)"),
        (-signal.SIGFPE, False, "crash", "arithmetic error (SIGFPE)"),
        (0, False, "exit", "the process ended itself with code 0"),
        (1, False, "exit", "the process ended itself with code 1"),
    ],
)
def test_death_without_a_log_is_named_by_its_code(
    tmp_path: Path, code: int, lack_of_memory: bool, cause: str, reason: str
) -> None:
    death = explain(code, tmp_path / "log.txt", lack_of_memory)
    assert (death.cause, death.reason, death.at) == (cause, reason, None)


def test_log_of_much_output_stays_bounded(mortal: Any, tmp_path: Path) -> None:
    plan = mortal("print_much")
    summary, store = train(plan, tmp_path / "runs")
    assert summary.statuses == {"completed": 1}
    log = store.directory(plan.runs[0].id) / "log.txt"
    assert log.stat().st_size <= worker.LARGEST_LOG, "of 100 MiB"
    assert "the last line\n" in tail(log) and worker.CUT in log.read_bytes()


def test_log_keeps_no_secret_of_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    with (tmp_path / "log.txt").open("a+b", buffering=0) as log:
        log.write(b"with correct-horse-battery and \xff\n")
        worker.redact_log(log)
        log.write(b"and on\n")
    assert (tmp_path / "log.txt").read_bytes() == b"with [redacted] and \xff\nand on\n"


def test_log_of_a_run_that_was_killed_keeps_no_secret(
    mortal: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mortal("print_a_secret_and_be_killed")
    monkeypatch.setenv("SOME_API_KEY", "correct-horse-battery")
    with command(tmp_path, *WORDS, cwd=tmp_path) as process:
        process.communicate()
    (log,) = (tmp_path / "runs" / "store" / "attempts").glob("*/log.txt")
    assert "[redacted]\n" in log.read_text() and "correct-horse-battery" not in log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives orphans to another process than its first one")
@pytest.mark.parametrize("kind", ["leave_a_child", "leave_a_child_and_be_killed"])
def test_what_a_run_has_left_in_a_session_of_its_own_ends_with_the_command(
    mortal: Any, tmp_path: Path, kind: str
) -> None:
    mortal(kind)
    with command(tmp_path, *WORDS, cwd=tmp_path) as process:
        _, said = process.communicate()
        assert "Warning" not in said
        child = Path("/proc") / (tmp_path / "child").read_text()
        eventually(lambda: not child.exists(), 10.0)


def test_children_of_a_run_end_with_it(mortal: Any, tmp_path: Path) -> None:
    plan, store = mortal("have_a_child", **{"training.step_timeout": 60.0}), Store(tmp_path / "runs")
    launcher = LocalLauncher(1)
    launcher.start(store.order(plan.runs[0], store.keep_plugins(plan.plugins, plan.name)))
    leader = launcher.processes[plan.runs[0].id].process.pid
    assert leader is not None
    eventually(lambda: len(of_group(leader)) > 1)
    os.kill(leader, signal.SIGKILL)
    (ended,) = eventually(lambda: launcher.wait(1.0))
    assert (ended.how, ended.cause) == ("died", "killed")
    eventually(lambda: not of_group(leader))


def of_group(leader: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit():
                state, _, group, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
                found += [int(entry.name)] if state not in "ZX" and int(group) == leader else []
        except OSError:  # it has just ended
            continue
    return found
