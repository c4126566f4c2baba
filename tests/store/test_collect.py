"""What nothing in the store needs, and that only this is deleted."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support.stores import begin_run, everything, finish_grid, finish_run

from ablation.errors import StorageError
from ablation.grid.plan import Plan
from ablation.store.attempts import commit
from ablation.store.check import Check
from ablation.store.collect import delete, find_garbage
from ablation.store.files import read_json, write_json
from ablation.store.runs import Store
from ablation.study.manifest import save_plan


def found(store: Store) -> list[tuple[str, str]]:
    return [(garbage.kind, garbage.path.name) for garbage in find_garbage(store)]


def collect(store: Store) -> None:
    with store.lock():
        delete(find_garbage(store), store)


def save_first_cell(store: Store, plan: Plan) -> None:
    save_plan(replace(plan, cells=plan.cells[:1]), store)


def start_from(directory: Path, start: str) -> None:
    record = read_json(directory / "run.json")
    write_json(directory / "run.json", {**record, "config": {**record["config"], "start_from": start}})


def test_nothing_of_a_whole_grid_is_garbage(store: Store, plan: Plan) -> None:
    finish_grid(store, plan)
    begin_run(store, plan.runs[0])
    (store.root / "wandb" / ".x.tmp").mkdir(parents=True)
    (store.root / "README.md").touch()
    assert [kind for kind, _ in found(store)] == ["replaced"]


def test_runs_attempts_and_orders_in_no_grid_are_deleted(store: Store, plan: Plan) -> None:
    kept = [finish_run(store, run) for run in plan.cells[0].runs]
    first, second = plan.cells[1].runs
    finish_run(store, first)
    attempt = begin_run(store, second)
    save_first_cell(store, plan)
    (store.root / "store" / "damaged" / "x").mkdir(parents=True)
    (store.root / "store" / "conflicts" / "y").mkdir(parents=True)
    (store.root / "store" / "00").mkdir(exist_ok=True)
    (store.root / "store" / "00" / ".x.1.tmp").mkdir()
    assert found(store) == [
        ("run", first.id),
        ("damaged", "x"),
        ("attempt", attempt.name),
        ("order", second.id),
        ("unfinished", ".x.1.tmp"),
    ]
    before = {path: content for path, content in everything(store.root).items() if first.id not in path}
    collect(store)
    assert found(store) == []
    assert everything(store.root) == {path: text for path, text in before.items() if second.id not in path}
    assert all(directory.is_dir() for directory in kept)
    assert (store.root / "store" / "conflicts" / "y").is_dir()
    assert list(Check(store).problems()) == []


def test_runs_that_needed_ones_start_from_are_kept(store: Store, plan: Plan) -> None:
    child, other = plan.cells[0].runs
    parent, grandparent = plan.cells[1].runs
    for run in (child, parent, grandparent):
        finish_run(store, run)
    start_from(store.directory(child.id), parent.id)
    start_from(store.directory(parent.id), grandparent.id)
    save_first_cell(store, plan)
    assert found(store) == []
    start_from(store.directory(child.id), "0" * 32)
    assert found(store) == [("run", run_id) for run_id in sorted([parent.id, grandparent.id])]
    start_from(begin_run(store, other), parent.id)
    assert found(store) == []


@pytest.mark.parametrize("file", ["grid.yaml", "manifest.json"])
def test_runs_that_grids_will_start_from_are_kept(store: Store, plan: Plan, file: str) -> None:
    parent = plan.cells[1].runs[0]
    finish_run(store, parent)
    save_first_cell(store, plan)
    assert found(store) == [("run", parent.id)]
    place = store.root / plan.name / file
    if file == "grid.yaml":
        place.write_text(f"set: {{start_from: '{parent.id[:8]}'}}\n")
    else:
        write_json(place, {**read_json(place), "settings": [f"start_from={parent.id}"]})
    assert found(store) == []


@pytest.mark.parametrize("content", ["{", "null", '{"schema": 1, "grid": "small", "cells": [{}]}'])
def test_damaged_manifest_keeps_everything(store: Store, plan: Plan, content: str) -> None:
    finish_grid(store, plan)
    (store.root / plan.name / "manifest.json").write_text(content)
    with pytest.raises(StorageError, match=r"manifest\.json: damaged"):
        find_garbage(store)


def test_run_that_a_grid_needs_by_now_is_not_deleted(store: Store, plan: Plan) -> None:
    finish_run(store, plan.runs[0])
    garbage = find_garbage(store)
    save_plan(plan, store)
    with store.lock():
        assert [one.kind for one in garbage] == ["run"]
        assert delete(garbage, store) == []
    assert store.status(plan.runs[0].id) == "completed"


KILLED = """
import os, shutil, sys
from pathlib import Path
from ablation.store.collect import delete, find_garbage
from ablation.store.runs import Store
count = 0
def stop(event, arguments):
    global count
    if event in ("os.rename", "os.remove", "os.rmdir"):
        count += 1
        if count > int(sys.argv[2]):
            os._exit(9)
store = Store(Path(sys.argv[1]))
found = find_garbage(store)
with store.lock():
    sys.addaudithook(stop)
    delete(found, store)
    os._exit(0)
"""


def test_deleting_that_was_killed_leaves_nothing_half(store: Store, plan: Plan) -> None:
    for run in plan.runs:
        finish_run(store, run)
    whole = {run.id: everything(store.directory(run.id)) for run in plan.runs}
    code, after = 9, 0
    while code:
        words = [sys.executable, "-c", KILLED, str(store.root), str(after % 7)]
        code = subprocess.run(words, env=os.environ, check=False).returncode
        assert code in (0, 9)
        after += 1
        for run_id, files in whole.items():
            assert not store.directory(run_id).exists() or everything(store.directory(run_id)) == files
    assert after > 5
    assert found(store) == []
    assert json.dumps([problem.kind for problem in Check(store).problems()]) == "[]"


def test_failed_run_that_an_order_goes_on_from_is_kept(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    attempt = begin_run(store, run)
    (attempt / "checkpoint").mkdir()
    (attempt / "checkpoint" / "step-4.json").write_text('{"step": 4}')
    commit(attempt, "failure.json", {"kind": "exception", "reason": "no"})
    store.order(run)
    assert not [kind for kind, _ in found(store) if kind == "replaced"]
    shutil.rmtree(store.root / "store" / "orders")
    assert [kind for kind, _ in found(store) if kind == "replaced"] == ["replaced"]
