"""Whether cells are compared at equal size and with equally good learning rates."""

from dataclasses import replace
from typing import Any

import pytest
from support.comparisons import grid
from support.studies import STUDIES, made, remade

from ablation.compare.comparison import compare
from ablation.compare.fairness import at_edge, tuning, unmatched
from ablation.store.results import RunResult


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0] * 3, [0.0] * 3, [0.0] * 3], []),
        ([[0.5] * 3, [0.6] * 3, [0.9, None, None]], []),
        ([[0.7] * 3, [0.6] * 3, [None, None, None]], ["0.01"]),
    ],
)
def test_best_rate_at_the_edge_is_a_single_complete_one(values: list[list[float | None]], expected: list[str]):
    rates = ["0.01", "0.1", "1"]
    manifest, outcomes = grid(values, {"optimizer.lr": rates})
    for cell in manifest["cells"]:
        for run in cell["runs"]:
            lost = RunResult(run["id"], "diverged", {"parameters": 9.0})
            known = outcomes.get(run["id"], lost)
            outcomes[run["id"]] = replace(known, metrics={"accuracy": known.metrics["loss"]} if known != lost else {})
    study = compare({**manifest, "metric": "accuracy", "better": "higher"}, outcomes)
    assert at_edge(study) == expected


def test_task_levels_with_another_batch_size_vary_the_recipe() -> None:
    study = made(factors={"task": ["copy", "copy at 16"]})
    assert tuning(study).others == ()
    settings: list[Any] = [{"name": "copy"}, {"name": "copy", "batch_size": 16}]
    cells = [replace(cell, settings={"task": level}) for cell, level in zip(study.cells, settings, strict=True)]
    assert tuning(replace(study, cells=tuple(cells))).others == ("task",)


def test_diverged_run_does_not_make_its_cell_unmatched() -> None:
    study = remade(STUDIES["complete"], tokens=lambda number, run: 1000.0)
    baseline, cell, *others = study.cells
    cell = replace(cell, results=tuple(replace(run, status="diverged", tokens=10.0) for run in cell.results))
    assert cell.label not in unmatched(replace(study, cells=(baseline, cell, *others)))


def test_cell_that_was_stopped_early_has_seen_the_tokens_of_its_runs_on_average() -> None:
    study = remade(STUDIES["complete"], tokens=lambda number, run: 1000.0)
    baseline, cell, *others = study.cells
    seen = [1000.0, 500.0, *[750.0] * (len(cell.results) - 2)]
    cell = replace(cell, results=tuple(replace(run, tokens=n) for run, n in zip(cell.results, seen, strict=True)))
    assert unmatched(replace(study, cells=(baseline, cell, *others)))[cell.label]["training_tokens"] == pytest.approx(
        -0.25
    )
