"""A grid whose runs are made longer: they go on from what is there where that gives the same numbers."""

import json
from pathlib import Path
from typing import Any

import yaml
from support.small_grids import all_numbers, plan_of, write_grid
from support.stores import rewrite

import ablation
from ablation.store.collect import _garbage
from ablation.store.runs import Store
from ablation.study.continuing import shorter_runs
from ablation.study.manifest import earlier_manifest, save_plan

CONSTANT = {"name": "constant", "warmup_steps": 2}


def run(folder: Path, steps: int, schedule: Any, runs: str = "runs") -> tuple[Path, list[str]]:
    """Train the small grid with so many steps; the directory of its runs, and what was said."""
    said: list[str] = []
    settings = {"training.max_steps": steps, "schedule": schedule}
    ablation.Study(write_grid(folder, settings=settings), runs=folder / runs).run(workers=2, on_message=said.append)
    return folder / runs, said


def results(runs: Path) -> list[Any]:
    return [yaml.safe_load(file.read_text()) for file in (runs / "store").glob("??/*/result.json")]


def test_longer_runs_go_on_from_shorter_ones_with_the_same_numbers(tmp_path: Path) -> None:
    run(tmp_path, 6, CONSTANT)
    runs, said = run(tmp_path, 9, CONSTANT)
    assert said == ["longer runs that go on from shorter ones: 2"]
    assert sorted(result["record"].get("continued_at", 0) for result in results(runs)) == [0, 0, 5, 5]
    quiet, said = run(tmp_path, 9, CONSTANT, "quiet")
    assert said == []
    assert all_numbers(runs) == all_numbers(quiet)


def test_runs_whose_schedule_has_another_shape_begin_anew_and_say_why(tmp_path: Path) -> None:
    cosine = {"name": "cosine", "warmup_steps": 2}
    run(tmp_path, 6, cosine)
    runs, (said,) = run(tmp_path, 9, cosine)
    assert said.startswith("longer runs that begin at their first step: 2, since schedule cosine depends on")
    assert not any("continued_at" in result["record"] for result in results(runs))


def test_shorter_runs_are_no_longer_ones_and_each_is_counted_once(tmp_path: Path) -> None:
    cosine = {"name": "cosine", "warmup_steps": 2}
    run(tmp_path, 6, cosine)
    assert run(tmp_path, 4, cosine)[1] == []
    (said,) = run(tmp_path, 9, cosine)[1]
    assert said.startswith("longer runs that begin at their first step: 2, since ")


def test_runs_that_kept_no_state_are_trained_from_their_first_step(tmp_path: Path) -> None:
    runs, _ = run(tmp_path, 6, CONSTANT)
    for state in (runs / "store").glob("??/*/continue.*"):
        state.unlink()
    assert "kept no state" in run(tmp_path, 9, CONSTANT)[1][0]


def test_an_interrupted_command_forgets_no_shorter_run(tmp_path: Path) -> None:
    runs, _ = run(tmp_path, 6, CONSTANT)
    settings = {"training.max_steps": 9, "schedule": CONSTANT}
    plan, store = plan_of(write_grid(tmp_path, settings=settings)), Store(runs)
    shorter, _ = shorter_runs(plan.runs, earlier_manifest(runs / "small"), store)
    save_plan(plan, store, shorter={run_id: directory.name for run_id, directory in shorter.items()})  # then Ctrl-C
    assert len(shorter) == 2 and [*_garbage(store)] == []
    assert run(tmp_path, 9, CONSTANT)[1] == ["longer runs that go on from shorter ones: 2"]
    assert "shorter_runs" not in (earlier_manifest(runs / "small") or {})
    assert [kind for kind, _ in _garbage(store)] == ["run", "run"]


def test_run_that_was_stopped_early_is_said_to_have_been(tmp_path: Path) -> None:
    runs, _ = run(tmp_path, 6, CONSTANT)
    for directory in (runs / "store").glob("??/*"):
        (directory / "continue.pt").unlink()
        result = json.loads((directory / "result.json").read_text())
        result["record"]["stopped_early"] = {"step": 4, "of": 6}
        rewrite(directory / "result.json", result)
    assert run(tmp_path, 9, CONSTANT)[1][0].endswith("since the earlier run was stopped early")
