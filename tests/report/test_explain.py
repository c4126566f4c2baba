"""``ablate explain`` where the grid is incomplete."""

import pytest
from support.studies import FACTORS, Ends, made

from ablation.report import explain, numbers


def test_cell_between_without_runs_leaves_its_effects_out(capsys: pytest.CaptureFixture[str]) -> None:
    missing: Ends = {(1, seed): None for seed in range(3)}
    two = {path: FACTORS[path] for path in ("model.block", "model.position")}
    comparison = made(ends=missing, factors=two)
    explain.show(explain.reasons(comparison, comparison.cells[3]))
    printed = capsys.readouterr().out
    assert f"block=post_norm: {numbers.ABSENT}" in printed
