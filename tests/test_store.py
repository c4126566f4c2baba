"""Files that are whole or not there, what they say of a run, and who may write."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT, permissions_count, plan_of, trouble, write_grid, write_trouble

from ablation.config.identity import run_id, run_identity
from ablation.config.layered import dump, load
from ablation.errors import InputError, Locked, StorageError
from ablation.grid.plan import Plan, Run
from ablation.store import code
from ablation.store.code import code_version
from ablation.store.files import read_json, write_json, write_json_once
from ablation.store.lock import hold, refuse_if_held
from ablation.store.results import FAILED, SCHEMA, read_result
from ablation.store.runs import Store, read_record

RESULT, FAILURE = (
    {"schema": 1, "status": "completed", "reason": None},
    {"schema": 1, "kind": "exception", "reason": "x"},
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(write_grid(tmp_path_factory.mktemp("grid"), seeds=2))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def leave(store: Store, run: Run, result: dict[str, Any] | None = None, failure: dict[str, Any] | None = None) -> None:
    """What a run leaves."""
    for name, content in (("result.json", result), ("failure.json", failure)):
        if content is not None:
            write_json(store.directory(run.id) / name, {"id": run.id, **content})


def everything(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


# Files.


def test_the_first_of_two_writers_wins(tmp_path: Path) -> None:
    assert write_json_once(tmp_path / "folder" / "a.json", {"who": 1}) is True
    assert write_json_once(tmp_path / "folder" / "a.json", {"who": 2}) is False
    assert read_json(tmp_path / "folder" / "a.json") == {"who": 1}
    assert everything(tmp_path) == ["a.json", "folder"]


def test_of_many_writers_at_once_one_wins(tmp_path: Path) -> None:
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


def test_a_file_can_be_replaced(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", "old")
    write_json(tmp_path / "a.json", "new")
    assert read_json(tmp_path / "a.json") == "new"
    assert everything(tmp_path) == ["a.json"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("call", ["fsync", "link", "replace"])
def test_an_error_on_the_way_leaves_the_old_or_nothing(
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
def test_a_process_killed_on_the_way_leaves_the_old_or_nothing(tmp_path: Path, call: str) -> None:
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


def test_what_is_written_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acts, names = [], ("fsync", "link")
    for name in names:
        original = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, original=original: (acts.append(name), original(*a)))
    write_json_once(tmp_path / "a.json", 1)
    assert acts == ["fsync", "link", "fsync"], "the file, its name, the folder"


def test_a_number_that_is_not_json_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert everything(tmp_path) == []


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"file/a\.json: cannot be written"):
        write_json(tmp_path / "file" / "a.json", 1)


# States.


@pytest.mark.parametrize(
    ("result", "failure", "state", "reason"),
    [
        (None, None, "missing", None),
        (RESULT, None, "completed", None),
        ({**RESULT, "status": "diverged", "reason": "why"}, None, "diverged", "why"),
        (None, FAILURE, "failed", "x"),
        (None, {**FAILURE, "kind": "oom"}, "oom", "x"),
        (None, {**FAILURE, "kind": "killed"}, "killed", "x"),
        (None, {**FAILURE, "kind": "of a later version"}, "failed", "x"),
        (RESULT, FAILURE, "completed", None),
    ],
)
def test_the_state_of_a_run_is_read_from_its_files(
    store: Store, plan: Plan, result: Any, failure: Any, state: str, reason: str | None
) -> None:
    run = plan.runs[0]
    leave(store, run, result, failure)
    assert store.end(run.id).status == store.status(run.id) == state
    assert store.end(run.id).reason == reason


@pytest.mark.parametrize("name", ["result.json", "failure.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"schema": 1', b"[]", b"null", b"1", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1}', b"{}"],
    ids=lambda content: repr(content[:9]),
)
def test_a_damaged_file_is_an_error_of_one_line_that_names_it(
    store: Store, plan: Plan, name: str, content: bytes
) -> None:
    run = plan.runs[0]
    store.directory(run.id).mkdir(parents=True)
    (store.directory(run.id) / name).write_bytes(content)
    with pytest.raises(StorageError) as caught:
        store.status(run.id)
    assert str(caught.value).startswith(f"{store.directory(run.id) / name}: damaged")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"id": "0" * 32}, {"schema": 2}, {"schema": None}, {"status": "failed"}, {"status": None}]
)
def test_a_result_of_another_run_or_version_is_an_error(store: Store, plan: Plan, wrong: dict[str, Any]) -> None:
    run = plan.runs[0]
    write_json(store.directory(run.id) / "result.json", {"id": run.id, **RESULT, **wrong})
    with pytest.raises(StorageError, match=r"result\.json: damaged"):
        store.status(run.id)


def test_an_unreadable_file_is_an_error_that_names_it(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, RESULT)
    (store.directory(run.id) / "result.json").chmod(0)
    with permissions_count(), pytest.raises(StorageError, match=r"result\.json: cannot be read \(Permission denied\)"):
        store.status(run.id)


def test_what_ended_badly_is_what_a_table_calls_failed(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    for kind in ("exception", "oom", "killed"):
        leave(store, run, None, {**FAILURE, "kind": kind})
        assert store.status(run.id) in FAILED
        assert read_result(store.directory(run.id), run.id).status == "failed"


# What is missing.


@pytest.mark.parametrize("retry", [(), ("failed",), ("oom",), ("diverged",), ("failed", "oom", "diverged")])
def test_trained_is_what_has_no_result_and_what_is_asked_for_again(store: Store, plan: Plan, retry: Any) -> None:
    endings = {
        "missing": (None, None),
        "completed": (RESULT, None),
        "diverged": ({**RESULT, "status": "diverged"}, None),
        "failed": (None, FAILURE),
        "oom": (None, {**FAILURE, "kind": "oom"}),
        "killed": (None, {**FAILURE, "kind": "killed"}),
    }
    run = plan.runs[0]
    for state, (result, failure) in endings.items():
        for file in ("result.json", "failure.json"):
            (store.directory(run.id) / file).unlink(missing_ok=True)
        leave(store, run, result, failure)
        assert (store.to_train([run], retry) == [run]) == (state in ("missing", "killed", *retry)), state


def test_the_order_of_the_plan_is_kept(store: Store, plan: Plan) -> None:
    leave(store, plan.runs[1], RESULT)
    assert store.to_train(plan.runs) == [plan.runs[0], *plan.runs[2:]]


def test_a_run_made_ready_says_all_that_its_training_needs(store: Store, plan: Plan) -> None:
    run = plan.runs[1]
    written = read_json(store.prepare(run) / "run.json")
    assert {"id": run.id, "seed": run.seed, "schema": 1, "plugins": []}.items() <= written.items()
    assert load(written["config"]) == run.config
    assert written["config"] == dump(run.config)
    assert run_id(written["identity"]) == run_id(run_identity(load(written["config"]), None)) == run.id


def test_remains_of_an_attempt_are_cleared_away(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    directory = store.prepare(run)
    leave(store, run, None, FAILURE)
    for name in ("metrics.jsonl", ".result.json.1234.tmp", "log.txt"):
        (directory / name).write_text("old")
    assert store.prepare(run) == directory
    assert everything(directory) == ["log.txt", "run.json"]
    assert store.status(run.id) == "missing"


def test_a_result_is_moved_aside_and_never_lost(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    for number in (1, 2, 3):
        directory = store.prepare(run)
        (directory / "metrics.jsonl").write_text(str(number))
        leave(store, run, {**RESULT, "reason": f"number {number}"})
    assert store.prepare(run).exists()
    assert store.status(run.id) == "missing"
    kept = sorted((store.root / "store" / "replaced").iterdir())
    assert [read_json(old / "result.json")["reason"] for old in kept] == [f"number {n}" for n in (1, 2, 3)]
    assert [(old / "metrics.jsonl").read_text() for old in kept] == ["1", "2", "3"]


def test_a_folder_that_may_not_be_written_is_an_error_that_names_it(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, RESULT)
    (store.root / "store").chmod(0o555)
    with permissions_count(), pytest.raises(StorageError, match=f"{run.id}: cannot be written"):
        store.prepare(run)
    (store.root / "store").chmod(0o755)
    assert store.status(run.id) == "completed"


@pytest.mark.parametrize("name", ["store", "Store", "wandb"])
def test_a_grid_may_not_be_called_as_what_else_is_there(store: Store, name: str) -> None:
    with pytest.raises(InputError, match="call the grid otherwise"):
        store.grid_directory(name)


# Drift.


def test_a_run_trained_by_other_code_has_drifted(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = plan.runs[:2]
    for each in (run, other):
        store.prepare(each)
        leave(store, each, RESULT)
    assert not store.has_stale_code(run)
    assert store.to_train(plan.runs[:2], ("stale_code",)) == []
    monkeypatch.setattr(code, "package_source", lambda: "other")
    assert store.has_stale_code(run)
    assert store.to_train(plan.runs[:2]) == []
    assert store.to_train(plan.runs[:2], ("stale_code",)) == [run, other]
    store.prepare(run)
    assert not store.has_stale_code(run)


def test_what_is_not_there_has_not_drifted(store: Store, plan: Plan) -> None:
    assert not store.has_stale_code(plan.runs[0])


def test_every_module_that_decides_numbers_is_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_at: list[Path] = []
    monkeypatch.setattr(code, "_fingerprint", lambda *files: looked_at.extend(files) or "")
    code.package_source.cache_clear()
    code.package_source()
    code.package_source.cache_clear()
    found = {str(file.relative_to(code.PACKAGE)) for file in looked_at}
    assert {
        "randomness.py",
        "components/block.py",
        "data/copying.py",
        "models/build.py",
        "training/learner.py",
    } <= found
    assert not any(file.startswith(("cli", "store", "report", "tracking")) for file in found)


def test_the_file_of_a_plugin_counts_for_the_cells_that_use_it(tmp_path: Path, scratch_registry: Any) -> None:
    factor = {"schedule": ["constant", *trouble()["schedule"]]}
    plugin = write_trouble(tmp_path)
    without, using = plan_of(write_grid(tmp_path, factor), [plugin]).runs
    before = code_version(without.config), code_version(using.config)
    assert before[0]["plugins"] == {}
    assert list(before[1]["plugins"]) == ["schedule.trouble"]
    plugin.write_text(plugin.read_text() + "# changed\n")
    assert code_version(without.config) == before[0]
    assert code_version(using.config) != before[1]


# One driver.


def test_a_second_holder_is_told_who_is_there(tmp_path: Path) -> None:
    with hold(tmp_path / "runs"):
        for attempt in (lambda: hold(tmp_path / "runs").__enter__(), lambda: refuse_if_held(tmp_path / "runs")):
            with pytest.raises(
                Locked, match=rf"runs is in use by process {os.getpid()} on .* since \d{{4}}-"
            ) as caught:
                attempt()
            assert "\n" not in str(caught.value)
    refuse_if_held(tmp_path / "runs")
    with hold(tmp_path / "runs"):
        assert (tmp_path / "runs" / ".lock").read_text().count("process") == 1, "only the present one"


def test_asking_makes_nothing(tmp_path: Path) -> None:
    refuse_if_held(tmp_path / "runs")
    assert everything(tmp_path) == []


def test_a_lock_ends_with_an_exception_of_its_holder(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="of the holder"), hold(tmp_path):
        raise OSError("of the holder")
    with hold(tmp_path):
        pass


def test_a_killed_holder_leaves_no_lock_even_if_its_child_lives(tmp_path: Path) -> None:
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
def test_a_file_in_the_place_of_the_folder_is_an_error(tmp_path: Path, ask: Callable[[Path], Any]) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError, match="runs: "):
        ask(tmp_path / "runs")


@pytest.mark.parametrize("mode", [0o555, 0o000])
def test_a_folder_that_may_not_be_written_cannot_be_held(tmp_path: Path, mode: int) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs").chmod(mode)
    with permissions_count(), pytest.raises(StorageError, match=r"runs: cannot be written \(Permission denied\)"):
        refuse_if_held(tmp_path / "runs")
        with hold(tmp_path / "runs"):
            pass
    (tmp_path / "runs").chmod(0o755)


def test_a_result_that_comes_while_it_is_looked_for_is_no_damage(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "result.json"
    looked = []

    def late(path: Path) -> Any:
        looked.append(path)
        if len(looked) == 1:  # absent when it was opened, there a moment later
            write_json(file, {"schema": SCHEMA, "id": "ab"})
            return None
        return read_json(path)

    monkeypatch.setattr("ablation.store.runs.read_json", late)
    assert read_record(file, "ab") == {"schema": SCHEMA, "id": "ab"}
