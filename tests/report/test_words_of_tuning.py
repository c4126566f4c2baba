"""The words for what was matched, tuned and controlled."""

from ablation.report.provenance import matches_in_words, tuned_in_words

NEAR = {
    "quantity": "parameters",
    "path": "model.feedforward.expansion",
    "value": 4.75,
    "before": 0.88,
    "achieved": 1.004,
    "tolerance": 0.02,
}


def test_cells_that_do_not_come_within_the_tolerance_are_named_apart() -> None:
    far = {**NEAR, "value": 1, "achieved": 1.31}
    assert matches_in_words([("n_kv_heads=1", NEAR), ("mixer=lstm", far)]) == (
        "model.feedforward.expansion to the baseline's parameters within 2 %: 4.75 (n_kv_heads=1, +0.4 %); "
        "not within it: mixer=lstm +31.0 % at 1"
    )


def test_equal_choices_are_said_together_and_those_at_the_edge_apart() -> None:
    tuning = {
        "grid": "study.tuning",
        "ended": True,
        "tried": {"optimizer.lr": ["0.001", "0.003"]},
        "seeds": [1, 2],
        "cells": [
            {"label": "a", "chosen": {"optimizer.lr": 0.001}, "at_edge": {}},
            {"label": "b", "chosen": {"optimizer.lr": 0.003}, "at_edge": {"optimizer.lr": "last"}},
            {"label": "c", "chosen": {"optimizer.lr": 0.001}, "at_edge": {}},
        ],
    }
    assert tuned_in_words(tuning) == (
        "optimizer.lr of 0.001, 0.003, the same for every cell on 2 tuning seeds of their own; "
        "best: 0.001 (a; c); 0.003 (b); best at the edge of these for b"
    )
    assert tuned_in_words({**tuning, "ended": False}).endswith("for every cell on 2 tuning seeds; not ended")
