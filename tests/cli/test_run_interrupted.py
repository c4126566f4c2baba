"""``ablate run`` ended from outside: the same command goes on."""

import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import (
    Ablate,
    all_numbers,
    command,
    counts,
    eventually,
    one_line,
    processes,
    trouble,
    write_grid,
    write_trouble,
)


@pytest.fixture
def waiting(tmp_path: Path) -> Callable[..., list[str | Path]]:
    """The words of a command whose second run waits in its fourth step for as long as the file ``wait`` is there."""
    plugin, grid = write_trouble(tmp_path), write_grid(tmp_path, trouble("wait"), seeds=2)
    (tmp_path / "wait").touch()
    return ["run", grid, "--plugin", plugin, "--runs", tmp_path / "runs", "--workers", "2", "--json"]


def wait_until_it_waits(folder: Path) -> None:
    """One run is complete and another in the middle."""
    store = folder / "runs" / "store"

    def so_far() -> bool:
        rows = [file for file in store.glob("*/*/metrics.jsonl") if file.stat().st_size]
        return any(not file.with_name("result.json").exists() for file in rows) and len(rows) > 1

    eventually(so_far, 120)


def states(ablate: Ablate, words: list[str | Path]) -> dict[str, int]:
    """How many runs are in each state, as ``ablate status`` says."""
    found: dict[str, int] = ablate("status", words[1], "--plugin", words[3], "--runs", words[5], "--json").json[
        "states"
    ]
    return found


def finish(folder: Path, words: list[str | Path], ablate: Ablate) -> None:
    """The same command goes on, and ends with what an undisturbed one ends with."""
    left = len(list((folder / "runs" / "store").glob("*/*/result.json")))
    assert left < 4
    (folder / "wait").unlink(missing_ok=True)
    answer = ablate(*words)
    assert answer.code == 0
    assert counts(answer) == {
        "planned": 4,
        "cached": left,
        "executed": 4 - left,
        "completed": 4,
        "diverged": 0,
        "failed": 0,
        "missing": 0,
    }
    ablate(*words[:4], "--runs", folder / "quiet")
    assert all_numbers(folder / "runs") == all_numbers(folder / "quiet")
    # A process that dies between making its result and tidying up leaves a staged copy beside it, which harms nobody.
    assert not [file for file in folder.rglob("*.tmp") if not (file.parent / "result.json").exists()]


def test_run_goes_on_after_it_was_killed(
    ablate: Ablate, waiting: list[str | Path], tmp_path: Path, scratch_registry: Any
) -> None:
    with command(tmp_path, *waiting) as driver:
        wait_until_it_waits(tmp_path)
        assert len(processes(tmp_path)) > 2, "else the next line proves nothing"
        refused = ablate(*waiting)
        assert refused.code == 3
        assert f"process {driver.pid} " in one_line(refused)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        eventually(lambda: not processes(tmp_path))
    finish(tmp_path, waiting, ablate)


def test_run_goes_on_after_an_interrupt_on_a_terminal(
    ablate: Ablate, waiting: list[str | Path], tmp_path: Path, scratch_registry: Any
) -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    output = bytearray()

    def read() -> None:
        try:
            while block := os.read(ours, 4096):
                output.extend(block)
        except OSError:  # closed at the other end
            return

    reader = threading.Thread(target=read)
    reader.start()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with command(tmp_path, *waiting, stdin=theirs, stderr=theirs, preexec_fn=take_terminal) as driver:
        os.close(theirs)
        wait_until_it_waits(tmp_path)
        eventually(lambda: b"2/6" in output or b"3/6" in output)
        assert states(ablate, waiting)["running"] >= 1
        os.write(ours, b"\x03")
        out, _ = driver.communicate(timeout=60)
        eventually(lambda: not processes(tmp_path))
    reader.join()
    os.close(ours)
    assert driver.returncode == 4
    text = output.decode()
    assert "running" in text
    assert "schedule=wait seed=0" in text
    assert "Stopped. The same command goes on with what is missing." in text
    assert "Traceback" not in text
    assert "stopped" in states(ablate, waiting) and "running" not in states(ablate, waiting)
    summary = json.loads(out.splitlines()[-1])
    assert summary["executed"] == summary["completed"] < 4
    finish(tmp_path, waiting, ablate)


def test_an_interrupt_while_planning_is_no_traceback(tmp_path: Path) -> None:
    grid = write_grid(tmp_path, seeds=3)
    with command(tmp_path, "run", grid, "--runs", tmp_path / "runs", "--workers", "1") as driver:
        eventually(lambda: len(processes(tmp_path)) > 1)  # the server is importing, the driver planning
        os.killpg(driver.pid, signal.SIGINT)
        _, err = driver.communicate(timeout=120)
        eventually(lambda: not processes(tmp_path))
    assert driver.returncode == 4, err
    assert "Traceback" not in err
    # Ctrl-C waits for the end of imports. On a busy machine that may be after the first run has begun.
    assert len(list((tmp_path / "runs").glob("store/*/*/result.json"))) <= 1
