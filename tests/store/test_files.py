"""Files are written whole or not at all."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT

from ablation.errors import StorageError
from ablation.store.files import read_json, write_json, write_json_once


def everything(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


def test_write_once_keeps_the_first_of_two(tmp_path: Path) -> None:
    assert write_json_once(tmp_path / "folder" / "a.json", {"who": 1}) is True
    assert write_json_once(tmp_path / "folder" / "a.json", {"who": 2}) is False
    assert read_json(tmp_path / "folder" / "a.json") == {"who": 1}
    assert everything(tmp_path) == ["a.json", "folder"]


def test_write_once_has_one_winner_among_threads(tmp_path: Path) -> None:
    barrier, won = threading.Barrier(8), []

    def write(who: int) -> None:
        barrier.wait()
        if write_json_once(tmp_path / "a.json", who):
            won.append(who)

    writers = [threading.Thread(target=write, args=(who,)) for who in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [read_json(tmp_path / "a.json")] == won
    assert everything(tmp_path) == ["a.json"]


def test_write_json_replaces_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", "old")
    write_json(tmp_path / "a.json", "new")
    assert read_json(tmp_path / "a.json") == "new"
    assert everything(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_an_error_while_writing_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    write_json(tmp_path / "old.json", "old")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail) if call == "replace" else monkeypatch.setattr(os, call, fail)
    expected = StorageError if isinstance(error, OSError) else KeyboardInterrupt
    if call != "replace":
        with pytest.raises(expected):
            write_json_once(tmp_path / "new.json", "new")
    if call != "link":
        with pytest.raises(expected):
            write_json(tmp_path / "old.json", "new")
    monkeypatch.undo()
    assert everything(tmp_path) == ["old.json"]
    assert read_json(tmp_path / "old.json") == "old"


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_kill_while_writing_leaves_no_file(tmp_path: Path, call: str) -> None:
    program = f"""
import os, pathlib, signal
from ablation.store.files import write_json, write_json_once
file = pathlib.Path({str(tmp_path)!r}) / "a.json"
os.{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_json_once(file, "new")
"""
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_json(tmp_path / "a.json") is None
    assert write_json_once(tmp_path / "a.json", "next")
    assert read_json(tmp_path / "a.json") == "next"


def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts, names = [], ("fsync", "link")
    for name in names:
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (acts.append(name), original(*a)))
    write_json_once(tmp_path / "a.json", 1)
    assert acts == ["fsync", "link", "fsync"], "the file, its name, the folder"


def test_nan_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert everything(tmp_path) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a\.json: cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)
