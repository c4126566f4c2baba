"""Heads are matched by what they do, and what is lost without them is compared as cells are."""

import pytest
from support.inspections import ORDERS, inspection

from ablation.compare.inside import UNMATCHED, compare_inside
from ablation.report.inside import notes
from ablation.stats.assignment import match
from ablation.stats.contrast import paired


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


def test_it_is_said_that_weights_were_computed_apart_where_there_are_weights() -> None:
    said = [notes(compare_inside(inspection(ORDERS, with_weights=known))) for known in (True, False)]
    assert [any("once more, by the formula of `manual`" in note for note in each) for each in said] == [True, False]


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
