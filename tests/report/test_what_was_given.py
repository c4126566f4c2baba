"""A table says what of it is not in the grid's file: values given to the command, and other numbers of seeds."""

import json
from pathlib import Path

import pytest
from support.small_grids import NORMS, Ablate, ids_of, output, write_grid

pytestmark = pytest.mark.slow


def test_values_that_were_given_to_the_command_are_said(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, seeds=3)
    assert "Given to the command" not in output(ablate("run", grid))
    run = output(ablate("run", grid, "--set", "training.max_steps=2", "--set", "tracking.mode=disabled"))
    for shown in (run, output(ablate("table", "small")), output(ablate("table", grid, "--format", "markdown"))):
        assert "Given to the command, not in the file: training.max_steps=2." in " ".join(shown.split())
    assert "Given to the command" not in output(ablate("run", grid))


def test_more_seeds_that_were_compared_before_are_said(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, seeds=3)
    text = {"run": output(ablate("run", grid, "--seeds", "5")), "again": output(ablate("run", grid))}
    assert "compared at" not in text["run"]
    assert "These runs were compared at 5 seeds before: `--seeds 5`." in " ".join(text["again"].split())


def test_size_says_how_many_tokens_a_run_had(ablate: Ablate, tmp_path: Path) -> None:
    shown = " ".join(output(ablate("run", write_grid(tmp_path, {"task.batch_size": [4, 8]}))).split())
    results = [
        json.loads((tmp_path / "runs" / "store" / run[:2] / run / "result.json").read_text())
        for (run,) in ids_of(tmp_path / "runs", "small").values()
    ]
    few, many = (result["efficiency"]["tokens"] for result in results)
    assert few < many and f"2 cells, 1 seed, {few:,} to {many:,} tokens a run" in shown
