"""Matching: the free setting that makes a cell as large as the baseline, what is said of it, what is refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.plans import planned as plan
from support.plans import refusal

from ablation.errors import InputError
from ablation.grid.file import read_grid
from ablation.grid.matching import solve
from ablation.grid.plan import Cell
from ablation.grid.planner import make_plan
from ablation.grid.schema import MatchConfig

HEADS = {"model.n_kv_heads": [None, 1]}
BY_WIDTH = {"quantity": "parameters", "by": "model.feedforward.expansion"}


def flops(cell: Cell) -> float:
    """Of all training, by the same counter that `ablate plan` shows."""
    from ablation.model.counts import count_inference_cost

    config = cell.runs[0].config
    return count_inference_cost(config.model, config.task.build()).flops_per_token * config.training_tokens


def test_a_smaller_cell_is_widened_to_the_parameters_of_the_baseline(tmp_path: Path) -> None:
    baseline, multi_query = plan(tmp_path, factors=HEADS, match=BY_WIDTH).cells
    assert multi_query.counts.parameters == baseline.counts.parameters
    match = multi_query.match
    assert match is not None
    # Three heads of 4 features fewer in keys and values are 2 * 12 * 16 weights, which 12 more inner features have.
    assert match.value == multi_query.runs[0].config.model.feedforward.expansion == 4 + 12 / 16
    assert (match.achieved, match.within) == (1.0, True)
    assert match.before < 0.9
    assert multi_query.beside == ("model.feedforward.expansion 4 -> 4.75",)


def test_the_baseline_and_cells_of_its_size_stand_as_they_are(tmp_path: Path) -> None:
    planned = plan(tmp_path, factors={"model.position": ["rope", "alibi"]}, match=BY_WIDTH)
    assert [cell.match for cell in planned.cells] == [None, None]
    assert all(cell.runs[0].config.model.feedforward.expansion == 4 for cell in planned.cells)


def test_parameters_are_not_matched_by_what_has_none(tmp_path: Path) -> None:
    match = {"quantity": "parameters", "by": "training.max_steps"}
    with pytest.raises(InputError, match=r"by: training.max_steps changes no number of parameters; allowed: a path of"):
        plan(tmp_path, factors=HEADS, match=match)


def test_on_request_a_cell_stands_as_it_is_and_matched(tmp_path: Path) -> None:
    factors = {**HEADS, "model.position": ["rope", "alibi"]}
    planned = plan(tmp_path, factors=factors, design="one_at_a_time", match={**BY_WIDTH, "as_is": True})
    assert [cell.label for cell in planned.cells] == [
        "n_kv_heads=null position=rope matched=no",
        "n_kv_heads=1",
        "n_kv_heads=1 matched=parameters",
        "position=alibi",
    ]
    as_is, matched = planned.cells[1:3]
    assert as_is.counts.parameters < matched.counts.parameters == planned.cells[0].counts.parameters
    assert planned.design()["uncrossed"] == "cells stand as they are and matched"


def test_flops_are_matched_by_the_length_of_training(tmp_path: Path) -> None:
    match = {"quantity": "flops", "by": "training.max_steps", "tolerance": 0.05}
    baseline, deeper = plan(tmp_path, factors={"model.n_layers": [1, 2]}, match=match).cells
    assert deeper.runs[0].config.training.max_steps < baseline.runs[0].config.training.max_steps
    assert abs(flops(deeper) / flops(baseline) - 1) <= 0.05


def test_time_is_matched_by_the_length_of_training(tmp_path: Path) -> None:
    match = {"quantity": "time", "by": "training.max_steps"}
    grid = {"factors": {"model.n_layers": [1, 2]}, "match": match}
    assert [cell.match for cell in plan(tmp_path, **grid).cells] == [None, None]  # before steps are timed
    planned = make_plan(read_grid(tmp_path / "grid.yaml"), step_seconds={"n_layers=1": 0.01, "n_layers=2": 0.02})
    assert [cell.runs[0].config.training.max_steps for cell in planned.cells] == [10, 5]
    assert "by training.max_steps alone" in refusal(tmp_path, **{**grid, "match": {**match, "by": "model.d_model"}})


def test_a_width_is_a_multiple_of_the_heads(tmp_path: Path) -> None:
    match = {"quantity": "parameters", "by": "model.d_model", "multiple_of": 8, "tolerance": 0.2}
    _, deeper = plan(tmp_path, set={"model.d_model": 64}, factors={"model.n_layers": [1, 2]}, match=match).cells
    assert deeper.match is not None
    assert deeper.match.within
    assert deeper.runs[0].config.model.d_model % 8 == 0


def test_what_cannot_come_near_enough_is_marked(tmp_path: Path) -> None:
    match = {"quantity": "parameters", "by": "model.n_layers"}
    _, wide = plan(tmp_path, factors={"model.feedforward.expansion": [4, 6]}, match=match).cells
    assert wide.match is not None
    assert not wide.match.within


def test_beside_a_cell_that_nothing_brings_nearer_there_is_no_matched_one(tmp_path: Path) -> None:
    match = {"quantity": "parameters", "by": "model.n_layers", "as_is": True}
    planned = plan(tmp_path, factors={"model.feedforward.expansion": [4, 6]}, match=match)
    assert [cell.label for cell in planned.cells] == ["expansion=4 matched=no", "expansion=6"]
    match = planned.cells[1].match
    assert match is not None and not match.within and match.achieved == match.before, "which is said of it"


def test_every_seed_and_every_grid_with_the_same_cell_has_the_same_run(tmp_path: Path) -> None:
    matched = plan(tmp_path, factors=HEADS, match=BY_WIDTH).cells[1].runs[0].id
    written = {"overrides": [{"cells": {"model.n_kv_heads": 1}, "set": {"model.feedforward.expansion": 4.75}}]}
    assert plan(tmp_path, factors=HEADS, **written).cells[1].runs[0].id == matched


@pytest.mark.parametrize(
    ("match", "what"),
    [
        ({"quantity": "parameters", "by": "model.feedforward.expansio"}, "does not exist here"),
        ({"quantity": "parameters", "by": "model.dropout"}, "is 0.0 here, no positive number"),
        ({"quantity": "parameters", "by": "model.norm"}, "no positive number"),
        ({"quantity": "watts", "by": "model.d_model"}, "quantity"),
        ({"quantity": "parameters", "by": "model.n_kv_heads"}, "is varied by the factor n_kv_heads"),
    ],
)
def test_what_cannot_be_matched_is_refused_in_one_line(tmp_path: Path, match: dict[str, Any], what: str) -> None:
    assert what in refusal(tmp_path, factors=HEADS, match=match)


def test_value_that_contradicts_another_setting_is_said_to_come_from_matching(tmp_path: Path) -> None:
    match = {"quantity": "parameters", "by": "model.d_model"}
    refused = refusal(tmp_path, set={"model.position": "none"}, factors=HEADS, match=match)
    assert refused.partition(": ")[2] == (
        "match.by: model.d_model cannot be 18: model: n_heads 4 does not divide d_model 18; "
        "`multiple_of` leaves out what does not divide (cell n_kv_heads=1)"
    )
    assert plan(tmp_path, set={"model.position": "none"}, factors=HEADS, match={**match, "multiple_of": 4})


def test_a_level_that_sets_the_free_setting_is_refused(tmp_path: Path) -> None:
    factors = {"size": [{"label": "small", "set": {}}, {"label": "big", "set": {"model.feedforward.expansion": 8}}]}
    assert "is varied by the factor size" in refusal(tmp_path, factors=factors, match=BY_WIDTH)


@given(
    start=st.integers(1, 300),
    weight=st.floats(0.5, 50),
    constant=st.floats(0, 1e4),
    target=st.integers(1, 300),
    step=st.sampled_from([1, 4, 8]),
)
def test_no_other_whole_number_comes_nearer(start: int, weight: float, constant: float, target: int, step: int) -> None:
    assume(start / 50 < target < start * 50)

    def amount(value: float) -> float:
        return (constant + weight * value) / (constant + weight * target)

    match = solve(MatchConfig(quantity="parameters", by="x", multiple_of=step, tolerance=1e-9), start, amount)
    if match.value != start:
        nearest = min(range(step, 40_000, step), key=lambda value: abs(amount(value) - 1))
        assert abs(match.achieved - 1) <= abs(amount(nearest) - 1) + 1e-9
    assert match.achieved == amount(match.value)
