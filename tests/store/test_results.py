"""The status of a run, as its files say, and what is said of damaged ones."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.runs import FAILURE, RESULT, commit_run, leave
from support.small_grids import permissions_count

from ablation.errors import StorageError
from ablation.grid.plan import Plan
from ablation.store.files import read_json, write_json
from ablation.store.results import FAILED, SCHEMA, read_end, read_record
from ablation.store.runs import Store


@pytest.mark.parametrize(
    ("result", "failure", "status", "reason"),
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
def test_status_is_read_from_the_files_of_a_run(
    store: Store, plan: Plan, result: Any, failure: Any, status: str, reason: str | None
) -> None:
    run = plan.runs[0]
    leave(store, run, result, failure)
    assert store.end(run.id).status == store.status(run.id) == status
    assert store.end(run.id).reason == reason


@pytest.mark.parametrize("name", ["result.json", "failure.json"])
@pytest.mark.parametrize(
    "content",
    [b"", b"{", b'{"schema": 1', b"[]", b"null", b"1", b"\xff\xfe", b"[" * 100_000, b'{"schema": 1}', b"{}"],
    ids=lambda content: repr(content[:9]),
)
def test_a_damaged_file_is_named_in_one_line(store: Store, plan: Plan, name: str, content: bytes) -> None:
    run = plan.runs[0]
    store.directory(run.id).mkdir(parents=True)
    (store.directory(run.id) / name).write_bytes(content)
    with pytest.raises(StorageError) as caught:
        store.status(run.id)
    assert str(caught.value).startswith(f"{store.directory(run.id) / name}: damaged")
    assert "\n" not in str(caught.value)
    assert store.ends([run.id])[run.id].status == "damaged"


def in_result(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    def edit(directory: Path) -> None:
        result = read_json(directory / "result.json")
        change(result)
        write_json(directory / "result.json", result)

    return edit


CHANGES: dict[str, Callable[[Path], Any]] = {
    "a number": in_result(lambda result: result["quality"]["final"].update(loss=0.5)),
    "the status": in_result(lambda result: result.update(status="diverged", reason="why")),
    "no rows": lambda directory: (directory / "metrics.jsonl").write_text(""),
    "rows gone": lambda directory: (directory / "metrics.jsonl").unlink(),
    "other rows": lambda directory: (directory / "metrics.jsonl").write_text('{"step": 2}\n'),
    "a pipe": lambda directory: ((directory / "metrics.jsonl").unlink(), os.mkfifo(directory / "metrics.jsonl")),
    "run.json gone": lambda directory: (directory / "run.json").unlink(),
    "run.json": lambda directory: write_json(directory / "run.json", {**read_json(directory / "run.json"), "seed": 9}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_run_whose_files_were_changed_is_damaged(store: Store, plan: Plan, change: str) -> None:
    run = plan.runs[0]
    directory = commit_run(store, run, RESULT, rows='{"step": 1}\n')
    assert store.ends([run.id])[run.id].status == store.results([run.id])[run.id].status == "completed"
    CHANGES[change](directory)
    assert store.ends([run.id])[run.id].status == "damaged"
    with pytest.raises(StorageError):
        read_end(directory, run.id)  # by which runs are mirrored
    result = store.results([run.id])[run.id]
    assert result.status == "damaged" and not result.metrics
    assert "; the next `ablate run` of its grid sets the run aside and trains it again" in str(result.reason)


@pytest.mark.parametrize(
    "wrong", [{"id": "0" * 32}, {"schema": 2}, {"schema": None}, {"status": "failed"}, {"status": None}]
)
def test_a_result_of_another_run_or_version_is_an_error(store: Store, plan: Plan, wrong: dict[str, Any]) -> None:
    run = plan.runs[0]
    write_json(store.directory(run.id) / "result.json", {"id": run.id, **RESULT, **wrong})
    with pytest.raises(StorageError, match=r"result\.json: damaged"):
        store.status(run.id)


def test_an_unreadable_file_is_named(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, RESULT)
    (store.directory(run.id) / "result.json").chmod(0)
    with permissions_count(), pytest.raises(StorageError, match=r"result\.json: cannot be read \(Permission denied\)"):
        store.status(run.id)


def test_failed_oom_and_killed_are_all_failed(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    for kind in ("exception", "oom", "killed"):
        leave(store, run, None, {**FAILURE, "kind": kind})
        assert store.status(run.id) == store.result(run.id).status in FAILED


def test_a_result_that_appears_while_read_is_not_damaged(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "result.json"
    calls = []

    def late(path: Path) -> Any:
        calls.append(path)
        if len(calls) == 1:  # absent when it was opened, there a moment later
            write_json(file, {"schema": SCHEMA, "id": "ab", "status": "completed"})
            return None
        return read_json(path)

    monkeypatch.setattr("ablation.store.results.read_json", late)
    assert read_record(file, "ab") == {"schema": SCHEMA, "id": "ab", "status": "completed"}


def test_evaluations_whose_times_do_not_go_on_are_left_out(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, {**RESULT, "quality": {"final": {}}, "efficiency": {}})
    times = [(32, 1.0), (16, 2.0), (64, 0.5), (64, 10**30), (64, "x"), (10**30, 2.0), (64, 2.0), (96, 2.0), (-1, 3.0)]
    rows = [{"tokens": tokens, "seconds": seconds, "validation/loss": 1.0} for tokens, seconds in times]
    rows += [{"tokens": 128, "seconds": 3.0, "validation/loss": None}]
    (store.directory(run.id) / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    evaluations = store.result(run.id).evaluations
    assert [(each.tokens, each.seconds) for each in evaluations] == [(32, 1.0), (64, 2.0), (96, 2.0)]
