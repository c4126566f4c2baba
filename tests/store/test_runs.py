"""Which runs are trained, what prepares them, and what becomes of earlier results."""

from pathlib import Path
from typing import Any

import pytest
from support.runs import FAILURE, RESULT, leave
from support.small_grids import permissions_count

from ablation.config.identity import run_id, run_identity
from ablation.config.layered import dump, load
from ablation.errors import InputError, StorageError
from ablation.grid.plan import Plan
from ablation.store.files import read_json
from ablation.store.runs import Store


def everything(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.rglob("*"))


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


def test_prepare_writes_all_that_training_needs(store: Store, plan: Plan) -> None:
    run = plan.runs[1]
    written = read_json(store.prepare(run) / "run.json")
    assert {"id": run.id, "seed": run.seed, "schema": 1, "plugins": []}.items() <= written.items()
    assert load(written["config"]) == run.config
    assert written["config"] == dump(run.config)
    assert run_id(written["identity"]) == run_id(run_identity(load(written["config"]), None)) == run.id


def test_prepare_deletes_what_an_attempt_left(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    directory = store.prepare(run)
    leave(store, run, None, FAILURE)
    for name in ("metrics.jsonl", ".result.json.1234.tmp", "log.txt"):
        (directory / name).write_text("old")
    assert store.prepare(run) == directory
    assert everything(directory) == ["log.txt", "run.json"]
    assert store.status(run.id) == "missing"


def test_prepare_moves_an_earlier_result_aside(store: Store, plan: Plan) -> None:
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


def test_prepare_names_a_folder_it_cannot_write(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, RESULT)
    (store.root / "store").chmod(0o555)
    with permissions_count(), pytest.raises(StorageError, match=f"{run.id}: cannot be written"):
        store.prepare(run)
    (store.root / "store").chmod(0o755)
    assert store.status(run.id) == "completed"


@pytest.mark.parametrize("name", ["store", "Store", "wandb"])
def test_grid_directory_refuses_reserved_names(store: Store, name: str) -> None:
    with pytest.raises(InputError, match="call the grid otherwise"):
        store.grid_directory(name)
