"""Sensitivity to the learning rate, as a comparison of a grid that varies it shows it."""

import math
from itertools import product
from typing import Any

import numpy
import pytest

from ablation.compare.comparison import compare
from ablation.compare.derived import best_rate, sweeps
from ablation.compare.stability import learning_rate_sensitivity
from ablation.report.table import COLUMNS
from ablation.store.results import RunResult

RATES = ["0.001", "0.003", "0.01", "0.03"]
INITIAL = 4.0


def swept(loss: Any, rates: list[str] = RATES, seeds: int = 3) -> Any:
    """A grid of learning rate and norm; ``loss(norm, place of the rate, seed)``, None where the run diverged."""
    cells, outcomes = [], {}
    for norm, rate in product(["plain", "qk"], rates):
        levels = {"model.norm": norm, "optimizer.lr": rate}
        runs = [{"seed": seed, "id": f"{norm}{rate}{seed}"} for seed in range(seeds)]
        cells.append({"label": f"{norm} {rate}", "settings": levels, "levels": levels, "runs": runs})
        for run in runs:
            found = loss(norm, rates.index(rate), run["seed"])
            status: Any = "completed" if found is not None else "diverged"
            metrics = {"loss": found} if found is not None else {}
            outcomes[str(run["id"])] = RunResult(str(run["id"]), status, metrics, initial_loss=INITIAL)
    factors = [
        {"path": "model.norm", "name": "norm", "levels": ["plain", "qk"], "baseline": "plain"},
        {"path": "optimizer.lr", "name": "lr", "levels": rates, "baseline": rates[0]},
    ]
    manifest = {"grid": "g", "metric": "loss", "better": "lower", "seeds": list(range(seeds)), "factors": factors}
    return compare({**manifest, "cells": cells}, outcomes)


def test_sensitivity_of_a_comparison_equals_that_of_its_sweep() -> None:
    steep = {"plain": 0.4, "qk": 0.1}
    found = swept(lambda norm, place, seed: 2.0 + steep[norm] * place * (1 + seed / 20))
    assert found.primary["stability"] == "learning_rate_sensitivity"
    plain, qk = (next(cell for cell in found.cells if cell.label == label) for label in ("plain 0.001", "qk 0.001"))
    # losses above the best: 0, .4, .8, 1.2 on rates that are about equally far apart
    assert plain.metrics["learning_rate_sensitivity"].mean == pytest.approx(0.6 * 1.05, abs=0.03)
    assert qk.metrics["learning_rate_sensitivity"].mean == pytest.approx(0.15 * 1.05, abs=0.02)
    assert qk.metrics["learning_rate_sensitivity"].verdict.label == "better"


def test_sensitivity_is_tested_once_not_for_every_rate() -> None:
    found = swept(lambda norm, place, seed: 2.0 + 0.01 * seed * place + (0.4 * place if norm == "plain" else 0.0))
    judged = [cell.label for cell in found.cells if cell.metrics["learning_rate_sensitivity"].verdict]
    assert judged == ["qk 0.001"]


def test_diverged_run_counts_as_the_initial_loss() -> None:
    found = swept(lambda norm, place, seed: None if norm == "plain" and place == 3 else 2.0)
    assert found.baseline.metrics["learning_rate_sensitivity"].mean == pytest.approx((INITIAL - 2.0) / 4, rel=0.05)


def test_run_that_diverged_takes_no_interval_from_sensitivity() -> None:
    """Whichever run it is: at the baseline's rate or another, of the baseline or of what is compared with it."""
    for lost in product(["plain", "qk"], range(len(RATES))):
        found = swept(
            lambda norm, place, seed, lost=lost: (
                None if (norm, place) == lost and seed == 1 else 2.0 + 0.1 * place * (1 + seed / 20)
            )
        )
        compared = next(cell.metrics["learning_rate_sensitivity"] for cell in found.cells if cell.label == "qk 0.001")
        assert compared.contrast.reason_missing is None and compared.contrast.interval is not None, lost
        assert compared.verdict.interval is not None
        sign = 1 if lost[0] == "qk" else -1
        # at the best rate the others are then above the second best
        rates_and_losses = {float(rate): [2.0 + 0.1 * place * 1.05] for place, rate in enumerate(RATES)}
        whole = learning_rate_sensitivity(rates_and_losses, INITIAL)[0]
        rates_and_losses[float(RATES[lost[1]])] = [INITIAL]
        assert compared.contrast.differences == pytest.approx(
            (0.0, sign * (learning_rate_sensitivity(rates_and_losses, INITIAL)[0] - whole), 0.0)
        )


def test_main_effects_on_the_sensitivity_hold_what_diverged_too() -> None:
    found = swept(lambda norm, place, seed: None if norm == "qk" and place == 0 and seed == 1 else 2.0 + 0.1 * place)
    (norm,) = (effect for effect in found.effects if effect.name == "norm")
    assert norm.contrasts["learning_rate_sensitivity"].interval is not None


def test_diverged_at_first_step_counts_as_the_initial_loss() -> None:
    def lost(initial: float | None) -> float | None:
        kept = [RunResult(rate, "completed", {"loss": 2.0}, initial_loss=INITIAL) for rate in RATES[:3]]
        cells = [
            (rate, {"lr": rate}, [run])
            for rate, run in zip(RATES, [*kept, RunResult("last", "diverged", initial_loss=initial)], strict=True)
        ]
        found = sweeps([{"path": "lr", "levels": RATES, "baseline": RATES[0]}], cells)
        (value,) = set(found["learning_rate_sensitivity"].values())
        return value[0]

    assert lost(None) == lost(INITIAL) is not None


@pytest.mark.parametrize("status", ["failed", "missing"])
def test_rate_that_is_not_there_yet_is_no_divergence(status: Any) -> None:
    runs = [RunResult(rate, "completed", {"loss": 2.0}, initial_loss=INITIAL) for rate in RATES[:3]]
    cells = [(rate, {"lr": rate}, [run]) for rate, run in zip(RATES, [*runs, RunResult("last", status)], strict=True)]
    found = sweeps([{"path": "lr", "levels": RATES, "baseline": RATES[0]}], cells)
    assert [set(by_label.values()) for by_label in found.values()] == [{(None,)}] * 2


def test_three_rates_are_no_sweep() -> None:
    found = swept(lambda norm, place, seed: 2.0 + place, RATES[:3])
    assert "learning_rate_sensitivity" not in found.names


def test_best_rate_is_the_vertex_of_a_parabola_in_the_logarithm() -> None:
    rates = [0.001, 0.004, 0.01, 0.05]
    losses = [3.0, 2.1, 2.0, 2.9]
    a, b, _ = numpy.polyfit(numpy.log(rates[1:]), losses[1:], 2)
    found = best_rate({rate: [loss] for rate, loss in zip(rates, losses, strict=True)}, INITIAL)
    assert found == pytest.approx(math.exp(-b / (2 * a)), rel=1e-9)
    assert 0.004 < found < 0.05


@pytest.mark.parametrize(("losses", "wanted"), [([2.0, 2.1, 2.2, 2.3], 0.001), ([2.3, math.inf, 2.2, 2.1], 0.03)])
def test_best_rate_at_the_edge_is_the_rate_there(losses: list[float], wanted: float) -> None:
    assert best_rate(dict(zip(map(float, RATES), ([loss] for loss in losses), strict=True)), INITIAL) == wanted


def test_best_rate_is_measured_per_seed_and_is_neither_better_nor_worse() -> None:
    found = swept(lambda norm, place, seed: 2.0 + abs(place - (1 if norm == "plain" else 2)) + 0.01 * seed)
    plain, qk = (next(cell for cell in found.cells if cell.label == label) for label in ("plain 0.001", "qk 0.001"))
    assert plain.metrics["best_learning_rate"].values == pytest.approx((0.003,) * 3, rel=0.1)
    assert qk.metrics["best_learning_rate"].values == pytest.approx((0.01,) * 3, rel=0.1)
    assert qk.metrics["best_learning_rate"].verdict is None


def test_table_shows_what_its_verdicts_are_on() -> None:
    found = swept(lambda norm, place, seed: 2.0 + {"plain": 0.4, "qk": 0.1}[norm] * place * (1 + seed / 20))
    shown = [column for each in COLUMNS if each.shown == "always" for column in each.filled(found)]
    verdicts = {column.name for column in shown if column.kind == "verdict"}
    assert "learning_rate_sensitivity" in verdicts
    assert verdicts <= {column.name for column in shown if column.kind != "verdict"}
