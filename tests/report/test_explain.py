"""``ablate explain`` where the grid is incomplete."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from support.studies import FACTORS, Ends, flat, made

from ablation.report import explain
from ablation.store.results import RunResult

TWO = {path: FACTORS[path] for path in ("model.block", "model.position")}


def shown(comparison, capsys: pytest.CaptureFixture[str]) -> str:
    explain.show(explain.reasons(comparison, comparison.cells[3]))
    return flat(capsys.readouterr().out)


def ended(status) -> Callable[[], RunResult | None]:
    return lambda: None if status is None else RunResult("", status, reason="no luck")


@pytest.mark.parametrize(
    ("status", "words"), [(None, "not finished"), ("running", "not finished"), ("killed", "failed"), ("oom", "failed"),
                          ("failed", "failed"), ("diverged", "diverged")],
)  # fmt: skip
@pytest.mark.parametrize("seeds", [[0, 1, 2], [1]])
@pytest.mark.parametrize("cell", range(4))
def test_effects_of_factors_need_every_run_on_the_way(
    capsys: pytest.CaptureFixture[str], cell: int, seeds: list[int], status, words: str
) -> None:
    ends: Ends = {(cell, seed): ended(status)() for seed in seeds}
    comparison = made(ends=ends, factors=TWO)
    printed = shown(comparison, capsys)
    label = comparison.cells[cell].label
    runs = f"{label}: {len(seeds)} of 3 runs {words}"
    assert (
        f"no effects of single factors: they need every run of the 4 cells from the baseline to it; {runs}" in printed
    )
    assert "Shapley" not in printed and explain.reasons(comparison, comparison.cells[3])["attribution"] == []


def test_diverged_run_with_a_loss_leaves_the_effects(capsys: pytest.CaptureFixture[str]) -> None:
    diverged = RunResult("", "diverged", {"loss": 9.0}, reason="no luck", initial_loss=2.5)
    assert "Shapley" in shown(made(ends={(1, 0): diverged}, factors=TWO), capsys)


def test_cell_with_one_change_has_no_note_on_its_effects() -> None:
    comparison = made(ends={(1, 0): None}, factors=TWO)
    assert explain.reasons(comparison, comparison.cells[1])["attribution_note"] is None


def test_cells_with_other_seeds_leave_the_effects_out(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(factors=TWO, seeds=4)
    early = comparison.cells[1]
    cells = list(comparison.cells)
    cells[1] = replace(early, seeds=early.seeds[:3], results=early.results[:3])
    printed = shown(replace(comparison, cells=tuple(cells)), capsys)
    assert "the 4 cells from the baseline to it have different numbers of seeds" in printed
