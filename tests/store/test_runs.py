"""Which runs are trained, how they are ordered, and what becomes of earlier results."""

import json
from typing import Any

import pytest
from support.runs import FAILURE, RESULT, commit_run, leave
from support.small_grids import permissions_count

from ablation.config.identity import run_id, run_identity
from ablation.config.layered import dump, load
from ablation.errors import InputError, StorageError
from ablation.grid.plan import Plan
from ablation.store.files import read_json, write_json
from ablation.store.results import RunEnd
from ablation.store.runs import Store


@pytest.mark.parametrize("retry", [(), ("failed",), ("oom",), ("diverged",), ("failed", "oom", "diverged")])
def test_to_train_selects_missing_killed_and_retried(store: Store, plan: Plan, retry: Any) -> None:
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


def test_to_train_keeps_the_order_of_the_plan(store: Store, plan: Plan) -> None:
    leave(store, plan.runs[1], RESULT)
    assert store.to_train(plan.runs) == [plan.runs[0], *plan.runs[2:]]


def test_order_has_all_that_training_needs(store: Store, plan: Plan) -> None:
    run = plan.runs[1]
    order = store.order(run)
    assert order.directory == store.root / "store" / "orders" / run.id
    written = read_json(order.directory / "run.json")
    assert {"id": run.id, "seed": run.seed, "schema": 1, "plugins": []}.items() <= written.items()
    assert load(written["config"]) == run.config
    assert written["config"] == dump(run.config)
    assert run_id(written["identity"]) == run_id(run_identity(load(written["config"]), None)) == run.id


def test_order_moves_an_earlier_end_aside(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    for number in (1, 2, 3):
        commit_run(store, run, {**RESULT, "reason": f"number {number}"}, rows=str(number))
    store.order(run)
    assert store.status(run.id) == "missing"
    kept = sorted((store.root / "store" / "replaced").iterdir())
    assert [read_json(old / "result.json")["reason"] for old in kept] == [f"number {n}" for n in (1, 2, 3)]
    assert [(old / "metrics.jsonl").read_text() for old in kept] == ["1", "2", "3"]


def test_order_names_a_folder_it_cannot_write(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, RESULT)
    (store.root / "store").chmod(0o555)
    with permissions_count(), pytest.raises(StorageError, match=f"{run.id}: cannot be written"):
        store.order(run)
    (store.root / "store").chmod(0o755)
    assert store.status(run.id) == "completed"


@pytest.mark.parametrize("left", ["nothing", "a row", "that it was killed"])
def test_run_left_by_the_layout_without_attempts_is_trained(store: Store, plan: Plan, left: str) -> None:
    """Such a run was trained in its own directory, which had no end then, or a failure."""
    run = plan.runs[0]
    write_json(store.directory(run.id) / "run.json", {"schema": 1, "id": run.id})
    if left == "a row":
        (store.directory(run.id) / "metrics.jsonl").write_text('{"step": 1}\n')
    if left == "that it was killed":
        leave(store, run, None, {**FAILURE, "kind": "killed"})
    assert store.to_train([run]) == [run]
    assert store.status(run.id) == ("killed" if left == "that it was killed" else "missing")
    assert store.rows(run.id) == ([{"step": 1}] if left == "a row" else [])
    commit_run(store, run, RESULT)
    assert store.status(run.id) == "completed"
    assert store.rows(run.id) == []
    assert [file.name for file in (store.root / "store" / "replaced").iterdir()] == [f"{run.id}-1"]


def test_damaged_run_is_set_aside_alone_and_named(store: Store, plan: Plan) -> None:
    broken, other = plan.runs[:2]
    commit_run(store, other, RESULT)
    file = commit_run(store, broken, RESULT) / "result.json"
    file.write_text("{")
    assert store.ends([broken.id, other.id])[broken.id].status == store.result(broken.id).status == "damaged"
    (problem,) = store.set_damaged_aside(store.ends([broken.id, other.id]))
    place = store.root / "store" / "damaged" / f"{broken.id}-1"
    assert problem.startswith(f"{file}: damaged") and problem.endswith(
        f"the run is in {place} now, and is trained again"
    )
    assert "\n" not in problem and (place / "result.json").read_text() == "{"
    assert (store.status(broken.id), store.status(other.id)) == ("missing", "completed")
    assert store.set_damaged_aside(store.ends([broken.id, other.id])) == []


@pytest.mark.parametrize("key", ["quality", "efficiency"])
def test_run_whose_numbers_cannot_be_read_is_damaged_for_whoever_asks(store: Store, plan: Plan, key: str) -> None:
    run = plan.runs[0]
    file = commit_run(store, run, RESULT) / "result.json"
    file.write_text(json.dumps({name: value for name, value in RESULT.items() if name != key} | {"id": run.id}))
    ends = store.ends([run.id])
    assert ends[run.id].status == store.result(run.id).status == "damaged"
    with pytest.raises(StorageError, match=f"damaged \\({key}: is missing\\)"):
        store.status(run.id)
    assert len(store.set_damaged_aside(ends)) == 1
    assert store.status(run.id) == "missing"


@pytest.mark.parametrize("name", ["store", "Store", "wandb"])
def test_grid_directory_refuses_reserved_names(store: Store, name: str) -> None:
    with pytest.raises(InputError, match="is reserved; choose another name"):
        store.grid_directory(name)


def test_run_of_a_later_version_is_moved_nowhere(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    file = commit_run(store, run, RESULT) / "result.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "schema": 2}))
    with pytest.raises(StorageError, match="later version"):
        store.set_damaged_aside(store.ends([run.id]))
    assert file.exists()


def test_run_that_could_not_be_read_for_a_moment_is_moved_nowhere(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    directory = commit_run(store, run, RESULT)
    assert store.set_damaged_aside({run.id: RunEnd("damaged", "Stale file handle")}) == []
    assert directory.exists()
