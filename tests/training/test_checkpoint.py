"""The files of checkpoints: when they are written, and that none that is not whole and fitting is gone on from."""

import errno
import io
import json
import logging
import os
import resource
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.resume import RUN, STEPS, interrupted, left_by, stop_after
from support.small_grids import small_config

from ablation.errors import StorageError
from ablation.store.checkpoints import ANEW
from ablation.training import checkpoint as checkpoint_module
from ablation.training import state_file
from ablation.training.checkpoint import Checkpoints, Stopped
from ablation.training.run import train
from ablation.training.state_file import UnusableStateError, read_about, write_state

EACH = {**RUN, "training.checkpoint_steps": 2}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a run leaves that was never interrupted."""
    return interrupted(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """The directory of a run that was stopped after step 7."""
    stop_at(tmp_path, 7)
    return tmp_path


def stop_at(directory: Path, step: int, settings: dict[str, Any] | None = None, begun: int = 0) -> None:
    with pytest.raises(Stopped):
        train(small_config(settings or RUN), directory, stop=stop_after(step, begun))


def files(directory: Path) -> list[str]:
    folder = directory / "checkpoint"
    return sorted(file.name for file in folder.iterdir()) if folder.exists() else []


def goes_on(directory: Path, whole: dict[str, Any], settings: dict[str, Any] | None = None) -> list[int]:
    """Where the run went on to its end, which is the same in any case."""
    result = train(small_config(settings or RUN), directory)
    assert left_by(directory, result) == whole
    resumed: list[int] = result["record"].get("resumed_at", [])
    return resumed


# When.


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps after which a checkpoint was written."""
    steps: list[int] = []
    original = Checkpoints.save

    def save(checkpoints: Checkpoints, trainer: Any, file: Path) -> None:
        original(checkpoints, trainer, file)
        steps.append(checkpoints.step)

    monkeypatch.setattr(Checkpoints, "save", save)
    return steps


def test_checkpoints_follow_their_interval_in_steps(written: list[int], tmp_path: Path) -> None:
    train(small_config({**RUN, "training.checkpoint_steps": 5}), tmp_path)
    assert written == [5, 10]
    (tmp_path / "each").mkdir()
    train(small_config(EACH), tmp_path / "each")
    assert written[2:] == [2, 4, 6, 8, 10], "none after the last step"


def test_checkpoints_follow_their_interval_in_seconds(
    written: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10**6, 25))  # asked at the start, once a step, and after each checkpoint
    monkeypatch.setattr(
        checkpoint_module, "time", SimpleNamespace(monotonic=lambda: next(clock), perf_counter=time.perf_counter)
    )
    train(small_config({**RUN, "training.checkpoint_seconds": 60.0}), tmp_path)
    assert written == [3, 6, 9]


def test_short_run_writes_none(written: list[int], tmp_path: Path) -> None:
    assert small_config().training.checkpoint_seconds == 60.0
    train(small_config(), tmp_path)
    assert written == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [
        "example_losses.npy",
        "metrics.jsonl",
        "weights.safetensors",
    ]


def test_writing_is_not_training_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = state_file.write_state
    monkeypatch.setattr(state_file, "write_state", lambda *arguments: (time.sleep(0.5), original(*arguments)))
    start = time.perf_counter()
    result = train(small_config({**EACH, "training.log_every": 1}), tmp_path)
    assert result["efficiency"]["training_seconds"] < time.perf_counter() - start - 5 * 0.5


def test_new_checkpoint_replaces_the_one_before(tmp_path: Path) -> None:
    stop_at(tmp_path, 5, EACH)
    assert files(tmp_path) == ["step-000000005.json", "step-000000005.pt"]
    about = json.loads((tmp_path / "checkpoint" / "step-000000005.json").read_text())
    assert about["step"] == 5 and about["max_steps"] == STEPS and about["threads"] == 1
    assert about["size"] == (tmp_path / "checkpoint" / "step-000000005.pt").stat().st_size
    assert about["torch"] == torch.__version__


def test_checkpoint_holds_nothing_that_runs_code_when_it_is_read(stopped: Path) -> None:
    state = torch.load(stopped / "checkpoint" / "step-000000007.pt", weights_only=True)
    assert {"state_dict", "optimizer_states", "lr_schedulers", "loops", "callbacks", "unregistered"} <= state.keys()
    with pytest.raises(TypeError, match=r"optimizers\[0\]\.path is a PosixPath"):
        write_state(stopped / "x.pt", {"optimizers": [{"path": Path()}]}, {})


# Files that are not used.


def flip(folder: Path) -> None:
    file = folder / "step-000000007.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def cut(folder: Path) -> None:
    file = folder / "step-000000007.pt"
    file.write_bytes(file.read_bytes()[:-100])


def empty(folder: Path) -> None:
    (folder / "step-000000007.pt").write_bytes(b"")


def lose(folder: Path) -> None:
    (folder / "step-000000007.pt").unlink()
    (folder / "step-000000007.pt").mkdir()


def lose_json(folder: Path) -> None:
    (folder / "step-000000007.json").unlink()


def change_json(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        file = folder / "step-000000007.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return change


def write_in_json(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "step-000000007.json").write_text(text) and None


def change_rows(folder: Path) -> None:
    file = folder.parent / "metrics.jsonl"
    file.write_text(file.read_text().replace('"step":2', '"step":3'))


def cut_rows(folder: Path) -> None:
    file = folder.parent / "metrics.jsonl"
    file.write_text(file.read_text()[:-1])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (flip, "damaged: its SHA-256"),
        (cut, "damaged: its SHA-256"),
        (empty, "damaged: its SHA-256"),
        (lose, "cannot be read"),
        (lose_json, "not written to its end"),
        (write_in_json("{"), "cannot be read"),
        (write_in_json("[]"), "its JSON is damaged"),
        (write_in_json("null"), "not written to its end"),
        (change_json(metrics=None), "its JSON is damaged"),
        (change_json(schema=99), "another version of this program"),
        (change_json(torch="1.0"), "made with other torch (1.0, now "),
        (change_json(threads=2), "made with other threads (2, now 1)"),
        (change_json(processor="AVX"), "made with other processor"),
        (change_json(code={}), "made with other code"),
        (change_json(max_steps=5), "of a run of 5 steps, this one has 12"),
        (change_rows, "metrics.jsonl does not have the rows before it"),
        (cut_rows, "metrics.jsonl does not have the rows before it"),
    ],
)
def test_checkpoint_that_does_not_fit_is_not_used(
    stopped: Path, whole: dict[str, Any], damage: Any, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    damage(stopped / "checkpoint")
    with caplog.at_level(logging.WARNING, "ablation"):
        assert goes_on(stopped, whole) == []
    first, second = caplog.messages
    assert first.startswith("checkpoint step-000000007.pt is not used: ") and reason in first
    assert "\n" not in first
    assert second == "training begins at the first step"
    left = [file.name for file in (stopped / "checkpoint").iterdir()]
    assert ANEW in left and not any(name.startswith("step-000000007") for name in left)


def test_checkpoint_of_other_settings_is_not_used(stopped: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = {**RUN, "training.log_every": 3}
    with caplog.at_level(logging.WARNING, "ablation"):
        result = train(small_config(other), stopped)
    assert "made with other settings" in caplog.messages[0]
    assert left_by(stopped, result) == interrupted(stopped / "whole", other)


def test_settings_without_effect_do_not_matter(stopped: Path, whole: dict[str, Any]) -> None:
    others = {"training.checkpoint_seconds": 5.0, "training.keep_state": False, "tracking.mode": "auto"}
    assert goes_on(stopped, whole, {**RUN, **others}) == [7]


def test_swapped_files_are_not_used(tmp_path: Path, whole: dict[str, Any]) -> None:
    stop_at(tmp_path, 3)
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "earlier")
    stop_at(tmp_path, 7, begun=3)
    shutil.copy(tmp_path / "earlier" / "step-000000003.pt", tmp_path / "checkpoint" / "step-000000007.pt")
    assert goes_on(tmp_path, whole) == []


def test_damaged_checkpoint_leaves_the_one_before(
    tmp_path: Path, whole: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    stop_at(tmp_path, 3)
    shutil.copytree(tmp_path / "checkpoint", tmp_path / "earlier")
    stop_at(tmp_path, 7, begun=3)
    shutil.copytree(tmp_path / "earlier", tmp_path / "checkpoint", dirs_exist_ok=True)
    flip(tmp_path / "checkpoint")
    with caplog.at_level(logging.WARNING, "ablation"):
        assert goes_on(tmp_path, whole) == [3]
    assert len(caplog.messages) == 1


def test_rows_after_a_checkpoint_are_dropped(stopped: Path, whole: dict[str, Any]) -> None:
    with (stopped / "metrics.jsonl").open("a") as stream:
        stream.write('{"step":9,"train/loss":1.0}\n{"step":')
    assert goes_on(stopped, whole) == [7]


# Writing that fails or is cut off.


class Killed(BaseException):
    """Nothing after it runs."""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("torch.save", 4),  # in the middle of the file
        ("write_json", 4),  # the file is there, its JSON is not
        ("remove_state", 6),  # both checkpoints are there
    ],
)
def test_kill_during_a_write_costs_one_interval_at_most(
    tmp_path: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, place: str, expected: int
) -> None:
    module = checkpoint_module if place == "remove_state" else state_file
    *path, name = place.split(".")
    owner = getattr(module, path[0]) if path else module
    original, calls = getattr(owner, name), iter(range(100))
    fatal = 1 if place == "remove_state" else 2  # nothing is removed after the first checkpoint

    def failing(*arguments: Any) -> None:
        if next(calls) == fatal:
            if place == "torch.save":
                arguments[1].write(b"PK\x03\x04")
            raise Killed
        original(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(owner, name, failing)
        patched.setattr(Path, "unlink", lambda *arguments, **options: None)  # a killed process does not clean up
        with pytest.raises(Killed):
            train(small_config(EACH), tmp_path)
    assert goes_on(tmp_path, whole, EACH) == [expected]


def test_remains_of_a_write_are_removed_with_the_next(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    for name in (".step-000000001.pt.abc.tmp", "step-000000001.pt", "step-000000000.json"):
        (tmp_path / "checkpoint" / name).write_bytes(b"x")
    stop_at(tmp_path, 2)
    assert files(tmp_path) == ["anew", "step-000000002.json", "step-000000002.pt"]


def test_full_disk_leaves_the_checkpoint_before(tmp_path: Path, whole: dict[str, Any]) -> None:
    """The system itself refuses to write beyond a size here, as a full disk does beyond its own."""
    stop_at(tmp_path, 3)
    before = files(tmp_path)
    size = (tmp_path / "checkpoint" / "step-000000003.pt").stat().st_size
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"step-000000005\.pt: cannot be written \(File too large\)"):
            train(small_config(RUN), tmp_path, stop=stop_after(5, 3))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert files(tmp_path) == before
    assert goes_on(tmp_path, whole) == [3]


@pytest.mark.parametrize("eighths", range(8))
def test_write_that_fails_at_any_byte_names_the_cause(tmp_path: Path, eighths: int) -> None:
    state = {str(number): torch.randn(1000) for number in range(50)}  # torch reports some failures as its own
    write_state(tmp_path / "whole.pt", state, {})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "whole.pt").stat().st_size * eighths // 8, limits[1]))
    try:
        with pytest.raises(StorageError, match=r"x\.pt: cannot be written \(File too large\)"):
            write_state(tmp_path / "x.pt", state, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["whole.json", "whole.pt"]


def test_cause_that_torch_hides_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the failed write torch looks for the end of the file, does not find it, and reports only that."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            if self.tell() + len(data) > 10_000:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(data)

    original = state_file._Hashed
    with pytest.raises(RuntimeError, match="unexpected pos"):
        torch.save({"w": torch.randn(10_000)}, Full())
    monkeypatch.setattr(state_file, "_Hashed", lambda stream: original(Full()))
    with pytest.raises(StorageError, match=r"x\.pt: cannot be written \(No space left on device\)"):
        write_state(tmp_path / "x.pt", {"w": torch.randn(10_000)}, {})
    assert list(tmp_path.iterdir()) == []


def test_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = {"a": torch.arange(5.0), "b": [1, 2.5, None, ("x", True)], "c": {3: {4}}}
    write_state(tmp_path / "state.pt", state, {"step": 9})
    assert read_about(tmp_path / "state.pt")["step"] == 9
    read = state_file.StateFiles().load_checkpoint(tmp_path / "state.pt")
    assert torch.equal(read.pop("a"), state.pop("a"))
    assert read == state
    with pytest.raises(UnusableStateError, match="not written to its end"):
        read_about(tmp_path / "absent.pt")


def test_folders_of_a_checkpoint_are_on_the_disk_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(checkpoint_module, "sync_folder", synced.append)
    (tmp_path / "attempt").mkdir()
    train(small_config(EACH), tmp_path / "attempt")
    assert synced == [tmp_path / "attempt", tmp_path]
