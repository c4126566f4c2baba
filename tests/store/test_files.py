"""Files are written whole or not at all."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT

from ablation.errors import StorageError
from ablation.store.files import read_json, write_json


def everything(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


def test_write_json_replaces_a_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", "old")
    write_json(tmp_path / "a.json", "new")
    assert read_json(tmp_path / "a.json") == "new"
    assert everything(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_while_writing_keeps_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, error: BaseException
) -> None:
    write_json(tmp_path / "old.json", "old")

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(Path, "replace", fail) if call == "replace" else monkeypatch.setattr(os, call, fail)
    for name in ("old.json", "new.json"):
        with pytest.raises(StorageError if isinstance(error, OSError) else KeyboardInterrupt):
            write_json(tmp_path / name, "new")
    monkeypatch.undo()
    assert everything(tmp_path) == ["old.json"]
    assert read_json(tmp_path / "old.json") == "old"


@pytest.mark.parametrize("call", ["os.fsync", "pathlib.Path.replace"])
def test_a_kill_while_writing_leaves_no_file(tmp_path: Path, call: str) -> None:
    program = f"""
import os, pathlib, signal
from ablation.store.files import write_json
file = pathlib.Path({str(tmp_path)!r}) / "a.json"
{call} = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
write_json(file, "new")
"""
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert read_json(tmp_path / "a.json") is None
    write_json(tmp_path / "a.json", "next")
    assert read_json(tmp_path / "a.json") == "next"


def test_a_file_is_synced_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts: list[str] = []
    for owner, name in ((os, "fsync"), (Path, "replace")):
        original = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *a, name=name, original=original: (acts.append(name), original(*a)))
    write_json(tmp_path / "a.json", 1)
    assert acts == ["fsync", "replace", "fsync"], "the file, its name, the folder"


def test_nan_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert everything(tmp_path) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a\.json: cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)


def test_folder_and_device_are_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (Path(), tmp_path, pipe):
        with pytest.raises(StorageError, match="it is no regular file"):
            write_json(path, {})
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
