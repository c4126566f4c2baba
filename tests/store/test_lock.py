"""One command at a time trains into a runs directory."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT, eventually, permissions_count

from ablation.errors import Locked, StorageError
from ablation.store import lock
from ablation.store.files import write_json
from ablation.store.lock import hold, is_held, read_holder, refuse_if_held, unshared_locks
from ablation.store.process import this_process


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


ELSEWHERE = {"host": "elsewhere", "boot": "b", "process": 7, "begun": "1", "nonce": "n", "since": "2026-01-01 00:00:00"}


def leave_holder(root: Path, **about: Any) -> Path:
    """The file of a holder who is or was on another machine, but for what is said ``about`` it."""
    root.mkdir(exist_ok=True)
    write_json(root / ".holder.json", {**ELSEWHERE, "beat": 0, **about})
    return root / ".holder.json"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "PATIENCE", 1.0)
    monkeypatch.setattr(lock, "HALF_WRITTEN", 0.3)


def test_a_silent_holder_on_another_machine_counts_as_dead(tmp_path: Path, impatient: None) -> None:
    leave_holder(tmp_path)
    with hold(tmp_path):
        assert (read_holder(tmp_path) or {})["process"] == os.getpid()
    assert everything(tmp_path) == [".lock"]


def test_a_holder_on_another_machine_with_a_heartbeat_is_respected(tmp_path: Path, impatient: None) -> None:
    leave_holder(tmp_path)
    stop = threading.Event()

    def beat() -> None:
        number = 0
        while not stop.wait(0.05):
            leave_holder(tmp_path, beat=(number := number + 1))

    beating = threading.Thread(target=beat)
    beating.start()
    try:
        with pytest.raises(Locked, match="in use by process 7 on elsewhere since 2026-01-01"), hold(tmp_path):
            pass
    finally:
        stop.set()
        beating.join()
    assert (read_holder(tmp_path) or {})["host"] == "elsewhere", "its file is left to it"


def test_a_holder_writes_a_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "HEARTBEAT", 0.01)
    looks, original = [], lock._is_ours
    monkeypatch.setattr(lock, "_is_ours", lambda *arguments: (looks.append(1), original(*arguments))[1])
    with hold(tmp_path):
        eventually(lambda: (read_holder(tmp_path) or {}).get("beat", 0) > 2)
        # One that was taken for dead does not write over who came after it.
        leave_holder(tmp_path)
        n_looks = len(looks)
        eventually(lambda: len(looks) > n_looks + 2)
    assert (read_holder(tmp_path) or {})["host"] == "elsewhere"


@pytest.mark.parametrize("about", [{"process": 2**22 + 1}, {"begun": "1"}, {"process": None}, {"begun": None}])
def test_a_dead_holder_here_is_replaced_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, about: dict[str, Any]
) -> None:
    """Also where its number is another process's by now."""
    monkeypatch.setattr(lock, "PATIENCE", 3600.0)
    leave_holder(tmp_path, **{**this_process(), **about})
    assert not is_held(tmp_path)
    refuse_if_held(tmp_path)
    with hold(tmp_path):
        assert is_held(tmp_path)
    assert not is_held(tmp_path)


def test_a_living_holder_here_is_respected_without_a_lock(tmp_path: Path) -> None:
    """As where one directory is mounted twice, so that the lock of one mount is not seen through the other."""
    leave_holder(tmp_path, **this_process())
    (tmp_path / ".lock").touch()
    with pytest.raises(Locked, match=f"process {os.getpid()} "):
        refuse_if_held(tmp_path)
    with pytest.raises(Locked, match=f"process {os.getpid()} "), hold(tmp_path):
        pass


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00" * 100])
def test_a_holder_file_that_names_nobody_is_replaced(tmp_path: Path, impatient: None, content: str) -> None:
    (tmp_path / ".holder.json").write_text(content)
    assert not is_held(tmp_path)
    with hold(tmp_path):
        assert is_held(tmp_path)


def test_a_holder_file_that_is_just_being_written_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".holder.json").touch()
    original = lock.read_holder

    def read_and_let_it_be_written(root: Path) -> Any:
        holder = original(root)
        leave_holder(tmp_path, **this_process())
        return holder

    monkeypatch.setattr(lock, "read_holder", read_and_let_it_be_written)
    with pytest.raises(Locked, match=f"process {os.getpid()} "), hold(tmp_path):
        pass


def test_a_holder_elsewhere_is_known_by_the_age_of_its_file(tmp_path: Path) -> None:
    file = leave_holder(tmp_path)
    assert is_held(tmp_path)
    os.utime(file, (0, time.time() - 2 * lock.PATIENCE))
    assert not is_held(tmp_path)


# Without locks two commands that bury the same holder at once may both go on, which costs double work and no result.
@pytest.mark.parametrize(
    ("left", "locks"), [("nothing", "hold"), ("nothing", "do not hold"), ("a dead holder", "hold")]
)
def test_one_of_many_commands_becomes_the_holder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str, locks: str
) -> None:
    if locks == "do not hold":
        monkeypatch.setattr(lock, "_seize", lambda stream: True)
    if left == "a dead holder":
        leave_holder(tmp_path, **{**this_process(), "begun": "1"})
    barrier, done, outcomes = threading.Barrier(8), threading.Event(), list[str]()

    def race() -> None:
        barrier.wait()
        try:
            with hold(tmp_path):
                outcomes.append("won")
                done.wait()
        except Locked:
            outcomes.append("lost")

    racers = [threading.Thread(target=race) for _ in range(8)]
    for racer in racers:
        racer.start()
    try:
        eventually(lambda: len(outcomes) == 8)
    finally:
        done.set()
        for racer in racers:
            racer.join()
    assert sorted(outcomes) == ["lost"] * 7 + ["won"]


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        ("rw,nolock", "nolock"),
        ("rw,local_lock=all", "local_lock=all"),
        ("rw,localflock,noatime", "localflock"),
        ("rw,local_lock=none", None),
        ("rw,relatime", None),
    ],
)
def test_mount_whose_locks_others_do_not_see_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, warned: str | None
) -> None:
    root = tmp_path / "with blank" / "runs"
    mount = str(root.parent).replace(" ", "\\040")
    lines = f"none / ext4 rw,nolock 0 0\nhost:/x {mount} nfs {options} 0 0\nnone {mount}/other nfs rw,nolock 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda file, **_: {"/proc/mounts": lines}[str(file)])
    warning = unshared_locks(root)
    assert (warning is None) == (warned is None)
    if warning is not None:
        assert warning.startswith(f"{root} is on a mount with {warned}: ") and "\n" not in warning


def test_two_commands_that_find_a_dead_holder_bury_it_once(tmp_path: Path) -> None:
    dead, living = {"nonce": "dead"}, {"nonce": "living"}
    holder, aside = tmp_path / lock.HOLDER, tmp_path / "aside"
    write_json(holder, living)  # of the command that was quicker
    lock._bury(holder, dead, aside)
    assert lock.read_holder(tmp_path) == living
    write_json(holder, dead)
    lock._bury(holder, dead, aside)
    assert not holder.exists() and not aside.exists()


@pytest.mark.skipif(os.name == "nt", reason="other locks there")
@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_without_locks_has_the_holder_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with hold(tmp_path):
        with pytest.raises(Locked, match="in use by process"), hold(tmp_path):
            pass
        with pytest.raises(Locked):
            refuse_if_held(tmp_path)
    with hold(tmp_path):
        pass


@pytest.mark.parametrize(("options", "is_warned"), [("rw", True), ("rw,flock", False)])
def test_lustre_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: str, is_warned: bool
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: f"host:/x {tmp_path} lustre {options} 0 0\n")
    assert ("is on a mount with no locks: " in str(unshared_locks(tmp_path))) == is_warned
