"""One command at a time trains into a runs directory."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT, permissions_count

from ablation.errors import Locked, StorageError
from ablation.store.lock import hold, refuse_if_held


def everything(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


def test_a_second_holder_learns_who_holds_the_lock(tmp_path: Path) -> None:
    with hold(tmp_path / "runs"):
        for attempt in (lambda: hold(tmp_path / "runs").__enter__(), lambda: refuse_if_held(tmp_path / "runs")):
            with pytest.raises(
                Locked, match=rf"runs is in use by process {os.getpid()} on .* since \d{{4}}-"
            ) as caught:
                attempt()
            assert "\n" not in str(caught.value)
    refuse_if_held(tmp_path / "runs")
    assert not (tmp_path / "runs" / ".holder.json").exists()


def test_refuse_if_held_creates_nothing(tmp_path: Path) -> None:
    refuse_if_held(tmp_path / "runs")
    assert everything(tmp_path) == []


def test_an_exception_of_the_holder_releases_the_lock(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the holder"), hold(tmp_path):
        raise OSError("of the holder")
    with hold(tmp_path):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    program = f"""
import pathlib, subprocess, sys, time
from ablation.store.lock import hold
with hold(pathlib.Path({str(tmp_path)!r})):
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    time.sleep(600)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        child = int(holder.stdout.readline())
        try:
            with pytest.raises(Locked, match=f"process {holder.pid}"):
                refuse_if_held(tmp_path)
            holder.kill()
            holder.wait()
            with hold(tmp_path):
                pass
        finally:
            os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize("ask", [refuse_if_held, lambda root: hold(root).__enter__()])
def test_hold_refuses_a_file_instead_of_a_folder(tmp_path: Path, ask: Callable[[Path], Any]) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="runs: "):
        ask(tmp_path / "runs")


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_hold_refuses_a_folder_it_cannot_write(tmp_path: Path, mode: int) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(mode)
    with permissions_count(), pytest.raises(StorageError, match=r"runs: cannot be written \(Permission denied\)"):
        refuse_if_held(tmp_path / "runs")
        with hold(tmp_path / "runs"):
            pass
    (tmp_path / "runs").chmod(0o755)
