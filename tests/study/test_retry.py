"""`--retry failed` goes on from the last checkpoint of a run, and gives the numbers of one that did not fail."""

import json
from pathlib import Path

from support.small_grids import all_numbers, ids_of, trouble, write_grid, write_trouble

import ablation

STEPS = {"training.checkpoint_steps": 2}


def test_failed_run_is_tried_again_from_its_checkpoint(tmp_path: Path) -> None:
    plugin, grid = write_trouble(tmp_path), write_grid(tmp_path, trouble("fail_while"), STEPS)
    quiet = ablation.Study(grid, plugins=[plugin], runs=tmp_path / "quiet")
    quiet.run(workers=1)
    study = ablation.Study(grid, plugins=[plugin], runs=tmp_path / "runs")
    (tmp_path / "fail").touch()
    assert study.run(workers=1).failed == 1
    (tmp_path / "fail").unlink()
    assert study.run(workers=1, retry=["failed"]).completed == 2
    assert all_numbers(tmp_path / "runs") == all_numbers(tmp_path / "quiet")
    ((run_id,),) = [ids for label, ids in ids_of(tmp_path / "runs").items() if "fail_while" in label]
    directory = tmp_path / "runs" / "store" / run_id[:2] / run_id
    assert json.loads((directory / "result.json").read_text())["record"]["resumed_at"] == [2]
    assert not [*(tmp_path / "runs" / "store").rglob("step-*")], "what has ended needs no checkpoint"
