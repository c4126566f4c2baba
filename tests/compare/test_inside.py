"""Heads are matched by what they do, and what is lost without them is compared as cells are."""

import random
from typing import Any

import pytest

from ablation.compare.inside import UNMATCHED, compare_inside
from ablation.stats.assignment import match
from ablation.stats.contrast import paired

ROLES = [{"previous": 0.9, "induction": 0.0}, {"previous": 0.1, "induction": 0.8}, {"previous": 0.1, "induction": 0.1}]
LOST = [0.3, 0.8, 0.0]
"""By role, how much the loss rises without a head that has it."""


def model_inside(seed: int, order: list[int], with_weights: bool = True) -> dict[str, Any]:
    """A model whose heads have the roles in this order."""
    noise = random.Random(seed)
    loss = 2.0 + noise.gauss(0, 0.05)

    def measures(rise: float) -> dict[str, float]:
        return {"loss": loss + rise + noise.gauss(0, 0.004), "accuracy": 0.5 - rise / 4}

    return {
        "run": f"{seed:032x}",
        "seed": seed,
        "measures": {"loss": loss, "accuracy": 0.5},
        "sublayers": [
            {
                "name": "layer 0 mixer",
                "stack": "",
                "layer": 0,
                "sublayer": "mixer",
                "even": {},
                "reason_no_weights": None if with_weights else "has none",
            }
        ],
        "heads": [
            {
                "head": f"layer 0 head {index}",
                "stack": "",
                "layer": 0,
                "sublayer": "mixer",
                "index": index,
                "scores": {name: value + noise.gauss(0, 0.02) for name, value in ROLES[role].items()}
                if with_weights
                else {},
                "importance": LOST[role],
            }
            for index, role in enumerate(order)
        ],
        "knockouts": [
            {"part": f"layer 0 head {index}", "family": "heads", "measures": measures(LOST[role])}
            for index, role in enumerate(order)
        ]
        + [{"part": "layer 0 mixer", "family": "sublayers", "measures": measures(1.5)}],
        "pruning": [
            {"head": "", "share": share, "measures": measures(rise)}
            for share, rise in ((1 / 3, 0.0), (2 / 3, 0.3), (1.0, 1.5))
        ],
        "logit_lens": [{"layer": 0, "measures": measures(0)}],
        "norms": [{"part": "layer 0 mixer", "norm": 0.5}],
    }


ORDERS = [[0, 1, 2], [2, 0, 1], [1, 2, 0], [0, 2, 1], [2, 1, 0]]


def inspection(orders: list[list[int]], **more: Any) -> dict[str, Any]:
    runs = [model_inside(seed, order, **more) for seed, order in enumerate(orders)]
    cell = {"label": "baseline", "unit": "token", "runs": runs}
    return {"schema": 1, "grid": "g", "ablation": "mean", "cells": [cell], "similarities": []}


def test_heads_that_do_the_same_are_matched_whatever_their_order() -> None:
    (cell,) = compare_inside(inspection(ORDERS)).cells
    for role, head in enumerate(cell.heads):
        assert head.indices == tuple(order.index(role) for order in ORDERS)
    assert [head.roles for head in cell.heads] == [["previous"], ["induction"], []]
    assert cell.roles == {"previous": (1,) * 5, "induction": (1,) * 5}


def test_loss_without_matched_heads_is_paired_by_seed() -> None:
    data = inspection(ORDERS)
    (cell,) = compare_inside(data).cells
    runs = data["cells"][0]["runs"]
    intact = [run["measures"]["loss"] for run in runs]
    for role in range(3):
        without = [
            run["knockouts"][order.index(role)]["measures"]["loss"] for run, order in zip(runs, ORDERS, strict=True)
        ]
        found, expected = cell.knockouts[role].contrasts["loss"], paired(without, intact)
        assert (found.delta, found.interval, found.p) == (expected.delta, expected.interval, expected.p)


def test_verdicts_are_corrected_over_all_parts_of_all_cells() -> None:
    data = inspection(ORDERS)
    other = {**data["cells"][0], "label": "other"}
    comparison = compare_inside({**data, "cells": [data["cells"][0], other]})
    assert comparison.family == 8
    labels = [each.verdict.label for each in comparison.cells[0].knockouts if each.verdict]
    assert labels[:2] == ["worse", "worse"] and labels[2] in ("equivalent", "inconclusive") and labels[3] == "worse"
    alone = compare_inside(data)
    assert alone.family == 4


def test_share_of_heads_that_can_go_ends_where_the_mean_loss_rises_beyond_the_margin() -> None:
    (cell,) = compare_inside(inspection(ORDERS)).cells
    assert cell.free_share == pytest.approx(1 / 3)
    assert [value for value in cell.agreement if value is not None] == pytest.approx([1.0] * 5)


def test_heads_without_weights_are_not_compared_over_seeds() -> None:
    (cell,) = compare_inside(inspection(ORDERS, with_weights=False)).cells
    assert [each.contrasts["loss"].reason_missing for each in cell.knockouts] == [UNMATCHED] * 3 + [None]
    assert not any(head.matched for head in cell.heads)
    assert cell.without_weights == {"layer 0 mixer": "has none"}


def test_single_seed_has_differences_without_an_interval() -> None:
    (cell,) = compare_inside(inspection(ORDERS[:1])).cells
    contrast = cell.knockouts[1].contrasts["loss"]
    assert contrast.delta == pytest.approx(0.8, abs=0.05) and contrast.interval is None
    assert all(each.verdict is not None and each.verdict.label == "inconclusive" for each in cell.knockouts)


def test_match_finds_the_permutation_from_any_reference() -> None:
    rows = [[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]
    sets = [[rows[index] for index in order] for order in ORDERS]
    members = match(sets)
    chosen = [[order[index] for index in matched] for order, matched in zip(ORDERS, members, strict=True)]
    assert all(each == chosen[0] for each in chosen)
