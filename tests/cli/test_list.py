"""List: the grids in a folder of runs, how far they are, and their runs."""

import json
from pathlib import Path

import pytest
from support.small_grids import Ablate, ids_of, one_line, plan_of, write_grid, write_results

from ablation.store.runs import Store
from ablation.study.manifest import save_plan


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two grids: one with a run that is missing, one that has only been planned."""
    write_grid(tmp_path, seeds=2)
    write_results(tmp_path)
    runs = tmp_path / "runs"
    first = next(iter(ids_of(runs).values()))[0]
    (Store(runs).directory(first) / "result.json").unlink()
    other = write_grid(tmp_path, {"optimizer.lr": [1e-3, 1e-2]}, name="other")
    save_plan(plan_of(other), Store(runs))
    return runs


def test_list_says_how_far_each_grid_is(runs: Path, ablate: Ablate) -> None:
    answer = ablate("list")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.splitlines() == ["other: 2 runs, 2 missing", "small: 4 runs, 3 completed, 1 missing"]


def test_list_of_a_grid_names_its_runs(runs: Path, ablate: Ablate) -> None:
    lines = ablate("list", "small").out.splitlines()
    ids = ids_of(runs)
    labels = list(ids)
    assert lines[0] == "small: 4 runs, 3 completed, 1 missing"
    assert lines[1] == f"  {ids[labels[0]][0][:12]}  missing  {labels[0]}, seed 0"
    assert lines[2:] == [
        f"  {ids[label][seed][:12]}  completed  {label}, seed {seed}"
        for label, seed in ((labels[0], 1), (labels[1], 0), (labels[1], 1))
    ]


def test_list_takes_only_runs_of_some_states(runs: Path, ablate: Ablate) -> None:
    grids = {grid["grid"]: grid for grid in json.loads(ablate("list", "--status", "missing,failed", "--json").out)}
    assert {name: grid["states"] for name, grid in grids.items()} == {"other": {"missing": 2}, "small": {"missing": 1}}
    assert ablate("list", "--status", "failed,oom").out == "no run of runs is failed or oom\n"
    assert ablate("list", "other", "--status", "completed").out == "no run of other is completed\n"
    assert ablate("list", "--status", "failed", "--json").json == []
    assert ablate("list", "--status", "completed").out.splitlines()[0] == "small: 3 runs, 3 completed"
    (run,) = grids["small"]["runs"]
    label = next(iter(ids_of(runs)))
    assert run == {"id": ids_of(runs)[label][0], "cell": label, "seed": 0, "status": "missing", "reason": None}


def test_list_names_the_nearest_grid_and_state(runs: Path, ablate: Ablate) -> None:
    answer = ablate("list", "smal")
    assert answer.code == 2 and "GRID smal: no grid in runs has that name; grids: other, small" in answer.err
    assert "did you mean 'small'" in answer.err and "Traceback" not in answer.err
    answer = ablate("list", "--status", "mising")
    assert answer.code == 2 and "--status mising: not known" in answer.err and "did you mean 'missing'" in answer.err


def test_list_says_what_is_wrong_with_a_damaged_grid(runs: Path, ablate: Ablate) -> None:
    (runs / "other" / "manifest.json").write_text('{"cells": null}')
    answer = ablate("list")
    assert answer.code == 0 and answer.out.splitlines()[1].startswith("small: 4 runs, 3 completed")
    assert answer.out.splitlines()[0].startswith("other: 0 runs, runs/other/manifest.json: damaged")


def test_list_of_an_empty_folder_says_so(tmp_path: Path, ablate: Ablate) -> None:
    assert ablate("list").out == "no grids in runs\n"


def test_list_of_a_folder_that_is_not_there_says_so(ablate: Ablate) -> None:
    assert one_line(ablate("list", "--runs", "nope")) == "ablate: --runs nope: there is no such folder"
    assert ablate("list").out == "no grids in runs\n"
