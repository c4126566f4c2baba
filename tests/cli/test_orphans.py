"""No process outlives the command that started it, however the command ends."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.mortal import write_mortal
from support.small_grids import command, eventually, processes, write_grid


@pytest.fixture
def words(tmp_path: Path) -> Callable[..., list[Any]]:
    """``words(kind, ...)``: a command with a run for each kind, which gets into that state in its third step."""
    plugin = write_mortal(tmp_path)

    def make(*kinds: str) -> list[Any]:
        levels = [{"name": "mortal", "kind": kind, "label": kind} for kind in kinds]
        grid = write_grid(tmp_path, {"schedule": levels})
        return ["run", grid, "--plugin", plugin, "--runs", tmp_path / "runs", "--workers", str(len(kinds)), "--json"]

    return make


def wait_for(folder: Path, kind: str) -> int:
    """The process of the run, or what it has started, that is in that state."""
    return int(eventually(lambda: (folder / kind).exists() and (folder / kind).read_text()))


def test_killed_command_leaves_no_process_in_any_state(words: Any, tmp_path: Path) -> None:
    """No run is sent anything: one holds the interpreter's lock, one is stopped, one has started a process."""
    with command(tmp_path, *words("hold_the_lock", "sleep", "have_a_child")) as driver:
        holding, stopped, child = (wait_for(tmp_path, kind) for kind in ("hold_the_lock", "sleep", "child"))
        os.kill(stopped, signal.SIGSTOP)
        assert {holding, stopped, child} < {*processes(tmp_path)}
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        eventually(lambda: not processes(tmp_path), 60)


def test_killed_command_leaves_no_server_that_imports(words: Any, tmp_path: Path) -> None:
    with command(tmp_path, *words("none")) as driver:
        eventually(lambda: len(processes(tmp_path)) > 1)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        eventually(lambda: not processes(tmp_path), 30)


def test_second_interrupt_ends_a_command_at_once(words: Any, tmp_path: Path) -> None:
    with command(tmp_path, *words("hold_the_lock")) as driver:
        wait_for(tmp_path, "hold_the_lock")
        driver.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            driver.wait(0.5)  # the first one gives runs time to write down what they go on from
        driver.send_signal(signal.SIGINT)
        _, err = driver.communicate(timeout=60)
        eventually(lambda: not processes(tmp_path), 30)
    assert driver.returncode in (4, 130)
    assert "Traceback" not in err
