"""Sensitivity to the learning rate, as a comparison of a grid that varies it shows it."""

from itertools import product
from typing import Any

import pytest

from ablation.analysis import Outcome, compare

RATES = ["0.001", "0.003", "0.01", "0.03"]
INITIAL = 4.0


def swept(loss: Any, rates: list[str] = RATES, seeds: int = 3) -> Any:
    """A grid of learning rate and norm; ``loss(norm, place of the rate, seed)``, None where the run diverged."""
    cells, outcomes = [], {}
    for norm, rate in product(["plain", "qk"], rates):
        levels = {"model.norm": norm, "optimiser.lr": rate}
        runs = [{"seed": seed, "id": f"{norm}{rate}{seed}"} for seed in range(seeds)]
        cells.append({"label": f"{norm} {rate}", "settings": levels, "levels": levels, "runs": runs})
        for run in runs:
            found = loss(norm, rates.index(rate), run["seed"])
            status: Any = "completed" if found is not None else "diverged"
            metrics = {"loss": found} if found is not None else {}
            outcomes[str(run["id"])] = Outcome(str(run["id"]), status, metrics, initial_loss=INITIAL)
    factors = [
        {"path": "model.norm", "name": "norm", "levels": ["plain", "qk"], "baseline": "plain"},
        {"path": "optimiser.lr", "name": "lr", "levels": rates, "baseline": rates[0]},
    ]
    manifest = {"grid": "g", "metric": "loss", "better": "lower", "seeds": list(range(seeds)), "factors": factors}
    return compare({**manifest, "cells": cells}, outcomes)


def test_what_is_lost_by_not_knowing_the_rate_is_the_stability_of_a_sweep() -> None:
    steep = {"plain": 0.4, "qk": 0.1}
    found = swept(lambda norm, place, seed: 2.0 + steep[norm] * place * (1 + seed / 20))
    assert found.primary["stability"] == "learning_rate_sensitivity"
    plain, qk = (next(cell for cell in found.cells if cell.label == label) for label in ("plain 0.001", "qk 0.001"))
    # losses above the best: 0, .4, .8, 1.2 on rates that are about equally far apart
    assert plain.metrics["learning_rate_sensitivity"].mean == pytest.approx(0.6 * 1.05, abs=0.03)
    assert qk.metrics["learning_rate_sensitivity"].mean == pytest.approx(0.15 * 1.05, abs=0.02)
    assert qk.metrics["learning_rate_sensitivity"].verdict.label == "better"


def test_one_sensitivity_is_judged_once_and_not_for_every_rate() -> None:
    found = swept(lambda norm, place, seed: 2.0 + 0.01 * seed * place + (0.4 * place if norm == "plain" else 0.0))
    judged = [cell.label for cell in found.cells if cell.metrics["learning_rate_sensitivity"].verdict]
    assert judged == ["qk 0.001"]


def test_a_run_that_diverged_has_learnt_nothing() -> None:
    found = swept(lambda norm, place, seed: None if norm == "plain" and place == 3 else 2.0)
    assert found.baseline.metrics["learning_rate_sensitivity"].mean == pytest.approx((INITIAL - 2.0) / 4, rel=0.05)


def test_three_rates_are_no_sweep() -> None:
    found = swept(lambda norm, place, seed: 2.0 + place, RATES[:3])
    assert "learning_rate_sensitivity" not in found.names
