"""Lenses and verdicts of a whole comparison: what is judged, in which family, at which look, and what is only shown."""

import json
import math
import random
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from scipy.stats import boschloo_exact, chi2, t, ttest_1samp
from statsmodels.stats.multitest import multipletests
from support.comparisons import grid

from ablation.compare.attribution import attribute, reason_not_attributed
from ablation.compare.comparison import compare
from ablation.compare.measures import measures
from ablation.compare.power import minimum_detectable_difference, observed_rho
from ablation.report import explain
from ablation.report.footnotes import notes
from ablation.report.labels import effect_verdict, interactions
from ablation.report.summary import summary
from ablation.stats.power import minimum_detectable_effect
from ablation.stats.sequential import alpha_at
from ablation.stats.shared_variance import shared_variances
from ablation.store.results import Evaluation, RunResult, base_metric, read_result

BASELINE = [2.31, 2.35, 2.28, 2.40, 2.33]
WORSE = [value + 0.1 + 0.001 * seed for seed, value in enumerate(BASELINE)]
ALIKE = [value + 0.001 * (-1) ** seed for seed, value in enumerate(BASELINE)]
UNSURE = [2.20, 2.50, 2.10, 2.60, 2.30]


def labels(comparison: Any, metric: str = "loss") -> list[str]:
    return [cell.metrics[metric].verdict.label for cell in comparison.cells[1:]]


def bench(*ratios: list[float], value: float = 0.01) -> dict[str, Any]:
    cells = [
        {
            "label": f"block_{place}",
            "run": f"{place:016x}{0:016x}",
            "measures": {"training_step": {"value": value, "log_ratios": row}},
        }
        for place, row in enumerate(ratios)
    ]
    return {"processes": 5, "rounds": 10, "dropped_rounds": 2, "cells": cells, "measures": {}}


def test_cells_are_judged_on_the_grids_measure_with_its_margin() -> None:
    assert labels(compare(*grid([BASELINE, WORSE, ALIKE, UNSURE]))) == ["worse", "equivalent", "inconclusive"]
    manifest, outcomes = grid([BASELINE, WORSE, ALIKE, UNSURE])
    assert labels(compare({**manifest, "margins": {"loss": 0.2}}, outcomes))[0] == "equivalent"


def test_all_cells_under_all_lenses_are_one_family() -> None:
    alone = compare(*grid([BASELINE, WORSE, ALIKE]))
    timed = compare(
        *grid([BASELINE, WORSE, ALIKE]), bench=bench([0.0] * 5, [0.1, 0.11, 0.1, 0.12, 0.1], [0.001] * 4 + [0.0])
    )
    assert alone.cells[1].metrics["loss"].verdict.family == 2
    assert timed.cells[1].metrics["loss"].verdict.family == 4
    assert labels(timed, "training_step") == ["worse", "equivalent"]
    assert timed.primary == {"quality": "loss", "stability": None, "efficiency": "training_step"}


def test_all_that_a_table_states_is_one_family() -> None:
    rows = [BASELINE, WORSE, ALIKE, UNSURE]
    found = compare(*grid(rows, {"model.a": ["0", "1"], "model.b": ["0", "1"]}))
    verdicts = [cell.metrics["loss"].verdict for cell in found.cells[1:]]
    verdicts += [effect.verdict for effect in (*found.effects, *found.interactions)]
    assert [verdict.family for verdict in verdicts] == [found.family] * 6 == [6] * 6
    expected = multipletests([verdict.p for verdict in verdicts], method="holm")[1]
    assert [verdict.p_holm for verdict in verdicts] == pytest.approx(expected)


def interacting(jump: float, seeds: int = 5) -> Any:
    """Two factors that matter only together, the second of three levels of which the last has no part in it."""
    noise = [[0.01 * number for number in spread_of_one(seeds, arm)] for arm in range(6)]
    rows = [[2.0 + n + jump * (arm == 4) for n in row] for arm, row in enumerate(noise)]
    return grid(rows, {"model.a": ["0", "1"], "model.b": ["0", "1", "2"]})


def test_effect_depends_by_level_and_only_where_that_is_sure() -> None:
    sure = compare(*interacting(0.3))
    shown = {labels_of(effect): effect_verdict(sure, effect) for effect in sure.effects}
    assert shown["b=1"] == "≠ depends" != shown["b=2"]
    doubtful = compare(*interacting(0.02))
    together = next(effect for effect in doubtful.interactions if effect.given.level == "1")
    assert together.contrasts["loss"].excludes_zero and together.verdict.p_holm > 0.05
    assert "≠ depends" not in {effect_verdict(doubtful, effect) for effect in doubtful.effects}


def labels_of(effect: Any) -> str:
    return f"{effect.name}={effect.level}"


def test_interactions_are_shown_whether_or_not_they_exclude_zero() -> None:
    found = compare(*interacting(0.3))
    assert [effect.contrasts["loss"].excludes_zero for effect in interactions(found)] == [True, False]


def diverged(manifest: dict[str, Any], outcomes: Any, cells: dict[int, list[int]], initial: float = 4.0) -> Any:
    """The same runs, of which some diverged: the seeds by cell; each has an initial loss of its own cell."""
    ended = dict(outcomes)
    for cell, seeds in cells.items():
        for seed in seeds:
            key = f"{cell:016x}{seed:016x}"
            best = {"loss": 99.0, "loss_best": 1.0}
            ended[key] = RunResult(key, "diverged", best, initial_loss=initial + 0.5 * cell)
    return manifest, ended


def test_cells_that_all_diverged_have_no_verdict_on_quality() -> None:
    every = [0, 1, 2, 3, 4]
    for metric in ("loss", "loss_best"):
        found = compare(*diverged(*grid([BASELINE, ALIKE, WORSE]), {0: every, 1: every}), metric=metric)
        assert found.cells[1].metrics[metric].verdict.label == "diverged"
        assert found.cells[1].metrics[metric].contrast.interval is None
    text = summary(compare(*diverged(*grid([BASELINE, ALIKE]), {0: every, 1: every})))
    assert "improve" not in text and "Every run of the baseline diverged; 0 of 1 change learned something." in text


def test_nothing_is_better_than_a_baseline_that_learned_nothing() -> None:
    """At 3 seeds, of which half diverge everywhere, it would be in 6 % of tables; how often it diverges is tested."""
    found = compare(*diverged(*grid([BASELINE, ALIKE]), {0: [0, 1, 2, 3, 4]}))
    assert labels(found) == ["inconclusive"] and found.cells[1].divergence.differs
    assert found.cells[1].metrics["loss"].contrast.reason_missing == "all 5 runs of the baseline diverged"


def test_effects_over_cells_that_learned_nothing_have_no_verdict() -> None:
    factors = {"model.a": ["0", "1"], "model.b": ["0", "1"]}
    every = [0, 1, 2, 3, 4]
    for cells, reason in (
        (dict.fromkeys(range(4), every), "all 5 runs of 0 0 diverged"),
        ({2: every, 3: every}, "all 5 runs of 1 0 diverged"),
        ({0: [1], 2: [1, 3]}, "cells it compares both diverged in 1 of 5 seeds"),
    ):
        effect = compare(*diverged(*grid([BASELINE, ALIKE, WORSE, ALIKE], factors), cells)).effects[0]
        assert (effect.name, effect.verdict.label, effect.contrasts["loss"].interval) == ("a", "inconclusive", None)
        assert effect.contrasts["loss"].reason_missing == reason
    others = compare(*diverged(*grid([BASELINE, ALIKE, WORSE, ALIKE], factors), {0: [1], 3: [1]})).effects
    assert all(effect.contrasts["loss"].interval is not None for effect in others)


def test_best_loss_of_a_diverged_run_is_capped_like_the_final_one() -> None:
    found = compare(*diverged(*grid([BASELINE, WORSE], loss_best=2.0), {1: [0, 2]}), metric="loss_best")
    assert found.cells[1].metrics["loss_best"].values == (4.5, 2.0, 4.5, 2.0, 2.0)


def test_seeds_in_which_both_diverged_leave_no_interval() -> None:
    found = compare(*diverged(*grid([BASELINE, WORSE]), {0: [3], 1: [3]}))
    contrast = found.cells[1].metrics["loss"].contrast
    assert contrast.reason_missing == "this cell and the baseline both diverged in 1 of 5 seeds"
    assert labels(found) == ["inconclusive"]


def test_bound_on_divergence_counts_only_runs_that_ended() -> None:
    manifest, outcomes = grid([[*BASELINE], [*WORSE[:3], None, None]], initial_loss=4.0)
    ended = {key: replace(run, stability={"initial_loss": 4.0}) for key, run in outcomes.items()}
    bound = "0/3: none of 3 runs diverged, which only bounds the rate below 63 %"
    assert bound in notes(compare(manifest, ended), "stable 0/3")
    assert bound not in notes(compare(manifest, ended), "loss"), "below a table that does not show it"


def test_divergence_is_tested_in_the_same_family() -> None:
    study = diverged(*grid([BASELINE, WORSE, ALIKE]), {1: [0, 1, 2, 3, 4], 2: [1]})
    found = compare(*study)
    often, once = (cell.divergence for cell in found.cells[1:])
    assert (often.p, once.p) == (
        pytest.approx(boschloo_exact([[5, 0], [0, 5]]).pvalue),
        pytest.approx(boschloo_exact([[1, 0], [4, 5]]).pvalue),
    )
    assert found.family == 4 and often.p_holm == pytest.approx(4 * often.p)
    assert (often.differs, once.differs) == (True, False)
    assert compare(*grid([BASELINE, WORSE, ALIKE])).family == 2


def test_diverged_run_that_turns_a_main_effect_is_named() -> None:
    rows = [BASELINE, [v - 0.1 for v in ALIKE], ALIKE, [v - 0.1 for v in BASELINE]]
    factors = {"model.a": ["0", "1"], "model.b": ["0", "1"]}
    found = compare(*diverged(*grid(rows, factors), {3: [2]}))
    effect = next(effect for effect in found.effects if effect.name == "b")
    assert effect.contrasts["loss"].delta > 0 > effect.without_diverged.contrast.delta
    assert effect.without_diverged.runs == ("1 1, seed 12",)
    assert any(
        "1 diverged run (1 1, seed 12) turns b: 1 against 0: without its seed -0.1" in line for line in notes(found, "")
    )


def test_effects_are_tested_at_the_planned_looks_too() -> None:
    rows = [[*row, 9.0] for row in (BASELINE, WORSE, ALIKE, UNSURE)]
    manifest, outcomes = grid(rows, {"model.a": ["0", "1"], "model.b": ["0", "1"]})
    planned = compare({**manifest, "interim_looks": [5, 8]}, outcomes).effects[0]
    assert planned.contrasts["loss"].pairs == 5 and planned.verdict.alpha == alpha_at(5, [5, 8])
    early = compare({**manifest, "interim_looks": [8, 12]}, outcomes)
    assert (early.effects, early.effects_reason_missing) == ((), "6 seeds: the first planned look is at 8")


def test_one_run_far_off_is_named_beside_the_median() -> None:
    away = [*BASELINE[:4], 3.4]
    lines = notes(compare(*grid([BASELINE, away])), "")
    assert any(line.startswith("one run is far off: seed 14 of block_1, 3.4; median 2.35") for line in lines)
    assert not any("far off" in line for line in notes(compare(*grid([BASELINE, WORSE])), ""))


def test_more_seeds_are_not_named_beyond_the_last_look_or_for_times() -> None:
    unsure = [value + 0.015 * noise for value, noise in zip(BASELINE, spread_of_one(5), strict=True)]
    manifest, outcomes = grid([BASELINE, unsure])
    unplanned = [line for line in notes(compare(manifest, outcomes), "") if "would settle it" in line]
    assert len(unplanned) == 1 and "since no `interim_looks` were planned" in unplanned[0]
    planned = compare({**manifest, "interim_looks": [3, 5, 50]}, outcomes)
    assert any("`ablate run --until-decided` adds them" in line for line in notes(planned, ""))
    looking = compare({**manifest, "interim_looks": [3, 5]}, outcomes)
    assert any("beyond the last planned look, at 5 seeds" in line for line in notes(looking, ""))
    timed = compare(*grid([BASELINE, ALIKE]), bench=bench([0.0] * 5, [0.04, -0.04, 0.03, -0.03, 0.0]))
    lines = [line for line in notes(timed, "") if "would settle it" in line]
    assert len(lines) == 1 and "processes" in lines[0] and "seed" not in lines[0]


def test_runs_without_spikes_are_equal_however_long(tmp_path: Path) -> None:
    scores = []
    for n_steps, score in ((400, 0.0), (800, 0.0), (400, 0.01)):
        record = {
            "id": "a", "schema": 1, "status": "completed", "quality": {"final": {"loss": 2.0}},
            "efficiency": {"steps": n_steps}, "stability": {"spike_score": score},
        }  # fmt: skip
        (tmp_path / "result.json").write_text(json.dumps(record))
        scores.append(read_result(tmp_path, "a").value("log_spike_score"))
    assert scores[0] == scores[1] < scores[2]


def test_times_are_ratios_over_processes_and_not_over_seeds() -> None:
    timed = compare(*grid([BASELINE, WORSE]), bench=bench([0.0] * 5, [math.log(1.2)] * 4 + [math.log(1.21)]))
    step = timed.cells[1].metrics["training_step"]
    assert step.values == ()
    assert math.exp(step.contrast.delta) == pytest.approx(1.2, abs=0.01)
    assert timed.measures["training_step"].ratio


def test_times_of_a_cell_that_was_another_then_are_not_shown() -> None:
    stale = bench([0.0] * 5, [0.1] * 5)
    stale["cells"][1]["run"] = "of other settings"
    metric = compare(*grid([BASELINE, WORSE]), bench=stale).cells[1].metrics["training_step"]
    assert (metric.mean, metric.contrast.reason_missing) == (None, "not timed")


def test_missing_timing_is_reported_and_not_tested() -> None:
    timed = compare(*grid([BASELINE, WORSE]), bench=bench([0.0] * 5, []))
    assert timed.cells[1].metrics["training_step"].contrast.reason_missing == "not timed"
    assert labels(timed, "training_step") == ["inconclusive"]


def test_diverged_run_counts_as_the_initial_loss() -> None:
    manifest, outcomes = grid([BASELINE, WORSE])
    for status_metrics, expected in (({}, 4.0), ({"loss": 3.1}, 3.1), ({"loss": 99.0}, 4.0)):
        key = f"{1:016x}{2:016x}"
        runs = {**outcomes, key: RunResult(key, "diverged", status_metrics, initial_loss=4.0)}
        cell = compare(manifest, runs).cells[1]
        assert cell.metrics["loss"].values[2] == expected
        assert cell.metrics["loss"].contrast.interval is not None
        assert cell.count("diverged") == 1


def test_incomplete_cell_gets_no_verdict_but_counts_in_family() -> None:
    manifest, outcomes = grid([BASELINE, WORSE, ALIKE])
    del outcomes[f"{2:016x}{1:016x}"]
    found = compare(manifest, outcomes)
    assert labels(found) == ["worse", "inconclusive"]
    assert found.cells[2].metrics["loss"].contrast.reason_missing == "1 of 5 runs not finished"
    assert found.cells[1].metrics["loss"].verdict.family == 2


def test_interim_looks_spend_less_alpha_and_widen_the_interval() -> None:
    manifest, outcomes = grid([BASELINE, WORSE])
    once, planned = compare(manifest, outcomes), compare({**manifest, "interim_looks": [5, 8, 12]}, outcomes)
    low, high = once.cells[1].metrics["loss"].contrast.interval
    wide_low, wide_high = planned.cells[1].metrics["loss"].contrast.interval
    assert wide_low < low and high < wide_high
    assert planned.cells[1].metrics["loss"].verdict.alpha == 0.010


def test_no_interval_before_the_first_look_and_seeds_wait_between() -> None:
    manifest, outcomes = grid([row[:4] for row in (BASELINE, WORSE)])
    early = compare({**manifest, "interim_looks": [5, 8]}, outcomes).cells[1].metrics["loss"]
    assert (early.contrast.interval, early.contrast.reason_missing) == (None, "4 seeds: the first planned look is at 5")
    longer = [[*row, 9.0] for row in (BASELINE, WORSE)]
    between = compare(*_looking(longer)).cells[1].metrics["loss"].contrast
    assert between == compare(*_looking([BASELINE, WORSE])).cells[1].metrics["loss"].contrast


def _looking(losses: list[list[float]]) -> Any:
    manifest, outcomes = grid(losses)
    return {**manifest, "interim_looks": [5, 8]}, outcomes


def test_cell_decided_early_uses_its_own_seeds() -> None:
    manifest, outcomes = grid([[*BASELINE, 2.3, 2.3, 2.3], [*WORSE, 2.4, 2.4, 2.41]])
    manifest["cells"][1]["runs"] = manifest["cells"][1]["runs"][:5]
    cell = compare({**manifest, "interim_looks": [5, 8]}, outcomes).cells[1]
    assert (len(cell.seeds), len(cell.results), cell.metrics["loss"].contrast.pairs) == (5, 5, 5)
    assert cell.metrics["loss"].values[5:] == (None, None, None)
    assert cell.metrics["loss"].verdict.label == "worse"


def test_tokens_to_baseline_loss_are_interpolated_linearly() -> None:
    manifest, outcomes = grid([[2.0] * 3, [1.5] * 3])
    slow, fast = [(100, 4.0), (200, 2.0)], [(100, 3.0), (200, 1.5)]
    for place, line in enumerate((slow, fast)):
        for seed in range(3):
            key = f"{place:016x}{seed:016x}"
            curve = [Evaluation(tokens, tokens / 10, loss) for tokens, loss in line]
            outcomes[key] = RunResult(key, "completed", {"loss": line[-1][1]}, evaluations=curve)
    found = compare(manifest, outcomes)
    tokens = found.cells[1].metrics["tokens_to_baseline"]
    assert found.baseline.metrics["tokens_to_baseline"].mean == 200
    assert tokens.mean == pytest.approx(100 + 100 * (3.0 - 2.0) / 1.5)
    assert math.exp(tokens.contrast.delta) == pytest.approx(tokens.mean / 200)
    assert found.cells[1].metrics["seconds_to_baseline"].mean == pytest.approx(tokens.mean / 10)


def test_cell_that_never_gets_there_has_no_way_to_compare() -> None:
    manifest, outcomes = grid([[2.0] * 3, [2.5] * 3])
    for place, last in enumerate((2.0, 2.5)):
        for seed in range(3):
            key = f"{place:016x}{seed:016x}"
            outcomes[key] = RunResult(key, "completed", {"loss": last}, evaluations=[Evaluation(100, 1.0, last)])
    metric = compare(manifest, outcomes).cells[1].metrics["tokens_to_baseline"]
    assert metric.mean is None
    assert metric.contrast.reason_missing == "the baseline's final loss was not reached in 3 of 3 seeds"


def test_attribution_sums_to_the_whole_difference() -> None:
    factors = {"model.a": ["0", "1"], "model.b": ["0", "1"]}
    rows = [BASELINE, [v + 0.1 for v in BASELINE], [v - 0.3 for v in BASELINE], UNSURE]
    found = compare(*grid(rows, factors))
    parts = dict(attribute(found, found.cells[3]))
    whole = found.cells[3].metrics["loss"].contrast.delta
    assert sum(part.delta for part in parts.values()) == pytest.approx(whole)
    assert list(parts) == ["a=1", "b=1"]
    assert attribute(found, found.cells[1]) == []


def test_attribution_has_the_seeds_and_confidence_of_its_look() -> None:
    factors = {"model.a": ["0", "1"], "model.b": ["0", "1"]}
    rows = (2 + numpy.random.default_rng(0).normal(size=(4, 7)) * 0.1).tolist()
    manifest, outcomes = grid(rows, factors)
    found = compare({**manifest, "interim_looks": [5, 8, 12]}, outcomes)
    of_a = (numpy.array(rows[2]) - rows[0] + numpy.array(rows[3]) - rows[1]) / 2
    test = ttest_1samp(of_a[:5], 0)
    part = dict(attribute(found, found.cells[3]))["a=1"]
    assert part.pairs == 5 and part.delta == pytest.approx(of_a[:5].mean())
    assert part.interval == pytest.approx(tuple(test.confidence_interval(0.99)))


def test_attribution_waits_for_the_first_look() -> None:
    factors = {"model.a": ["0", "1"], "model.b": ["0", "1"]}
    manifest, outcomes = grid([[2.0, 2.1, 2.3, 2.2]] * 4, factors)
    found = compare({**manifest, "interim_looks": [5, 8, 12]}, outcomes)
    assert attribute(found, found.cells[3]) == []
    assert reason_not_attributed(found, found.cells[3]) == "4 seeds: the first planned look is at 5"


def test_attribution_of_cells_decided_early_has_their_seeds() -> None:
    factors = {"model.a": ["0", "1", "2"], "model.b": ["0", "1"]}
    rows = (2 + numpy.random.default_rng(0).normal(size=(6, 8)) * 0.1).tolist()
    manifest, outcomes = grid(rows, factors)
    for cell in manifest["cells"][:4]:
        cell["runs"] = cell["runs"][:5]
    found = compare({**manifest, "interim_looks": [5, 8, 12]}, outcomes)
    parts = attribute(found, found.cells[3])
    assert [part.pairs for _, part in parts] == [5, 5] and all(part.interval for _, part in parts)


def test_measures_know_their_lens_direction_and_margin() -> None:
    known = measures(["loss@4x", "accuracy_best", "spikes", "parameters", "odd"], {"accuracy": "higher"}, {"odd": 0.5})
    assert [known[name].lens for name in known] == ["quality", "quality", "stability", "efficiency", "quality"]
    assert (known["loss@4x"].better, known["loss@4x"].margin) == ("lower", 0.01)
    assert (known["accuracy_best"].better, known["odd"].better, known["odd"].margin) == ("higher", None, 0.5)
    assert base_metric("accuracy@4x_mean_last") == "accuracy"


def spread_of_one(seeds: int, arm: int = 0) -> list[float]:
    """Numbers of mean 0 and standard deviation 1, other ones for each arm."""
    raw = [math.sin(1 + seed + 7 * arm) for seed in range(seeds)]
    mean, sd = statistics.fmean(raw), statistics.stdev(raw)
    return [(number - mean) / sd for number in raw]


# Smallest effects with power .8, in standard deviations of the difference, for families of 1, 5 and 15: by seeds.
DETECTABLE = {
    3: (3.26, 7.32, 12.7), 4: (2.13, 3.72, 5.39), 5: (1.68, 2.63, 3.51), 6: (1.43, 2.11, 2.68),
    8: (1.16, 1.60, 1.93), 10: (1.00, 1.33, 1.58), 12: (0.89, 1.17, 1.36), 16: (0.75, 0.96, 1.10),
}  # fmt: skip


def typical(seeds: int) -> float:
    """The median of a standard deviation over so many seeds whose true one is 1."""
    return math.sqrt(chi2.ppf(0.5, seeds - 1) / (seeds - 1))


@pytest.mark.parametrize("seeds", DETECTABLE)
@pytest.mark.parametrize(("place", "family"), [(0, 1), (1, 5), (2, 15)])
def test_detectable_effect_depends_on_seeds_spread_and_family(seeds: int, place: int, family: int) -> None:
    baseline = [2.0 + 0.1 * seed for seed in range(seeds)]
    arms = [
        [value + 0.3 * arm + 0.02 * noise for value, noise in zip(baseline, spread_of_one(seeds, arm), strict=True)]
        for arm in range(family)
    ]
    found = minimum_detectable_difference(compare(*grid([baseline, *arms])))
    assert found is not None
    assert found * typical(seeds) / 0.02 == pytest.approx(DETECTABLE[seeds][place], rel=0.006)


def test_detectable_effect_is_that_of_cells_with_most_seeds() -> None:
    noise = [0.01 * number for number in spread_of_one(8)]
    manifest, outcomes = grid([[2.0] * 8, [3.0 + number for number in noise], [2.0 + number for number in noise]])
    manifest["cells"][1]["runs"] = manifest["cells"][1]["runs"][:5]  # decided at the first look
    found = compare({**manifest, "interim_looks": [5, 8]}, outcomes)
    spread = statistics.median([statistics.stdev(noise[:5]) / typical(5), 0.01 / typical(8)])
    alpha = found.cells[2].metrics["loss"].verdict.alpha
    assert minimum_detectable_difference(found) == pytest.approx(minimum_detectable_effect(spread, 8, alpha, 2))


def test_detectable_effect_ignores_one_noisy_cell() -> None:
    noise = [0.01 * number for number in spread_of_one(8)]
    quiet = [2.0 + number for number in noise]
    found = compare(*grid([[2.0] * 8, quiet, quiet, [2.0 + 50 * number for number in noise]]))
    assert minimum_detectable_difference(found) == pytest.approx(
        minimum_detectable_effect(0.01 / typical(8), 8, 0.05, 3)
    )


def test_detectable_effect_is_not_understated_with_few_seeds() -> None:
    noise, found = random.Random(4), []
    for _ in range(150):
        rows = [[2.0] * 3, *([2.0 + noise.gauss(0, 0.01) for _ in range(3)] for _ in range(4))]
        found.append(minimum_detectable_difference(compare(*grid(rows))))
    assert statistics.median(found) == pytest.approx(minimum_detectable_effect(0.01, 3, 0.05, 4), rel=0.08)


def test_detectable_effect_is_absent_where_nothing_was_tested() -> None:
    for rows in ([BASELINE], [BASELINE, BASELINE], [BASELINE[:2], WORSE[:2]], [BASELINE, [None] * 5]):
        assert minimum_detectable_difference(compare(*grid(rows))) is None


def test_observed_correlation_is_the_median_over_cells() -> None:
    rows = [BASELINE, WORSE, UNSURE, ALIKE]
    expected = [statistics.correlation(row, BASELINE) for row in rows[1:]]
    assert observed_rho(compare(*grid(rows))) == pytest.approx(statistics.median(expected))
    assert observed_rho(compare(*grid([*rows, [2.0] * 5]))) == pytest.approx(statistics.median(expected))
    assert observed_rho(compare(*grid([row[:2] for row in rows]))) is None
    lacking = compare(*grid([BASELINE, [None, *WORSE[1:]]]))
    assert observed_rho(lacking) == pytest.approx(statistics.correlation(WORSE[1:], BASELINE[1:]))


def explained(comparison: Any, capsys: pytest.CaptureFixture[str]) -> tuple[dict[str, Any], str]:
    found = explain.reasons(comparison, comparison.cells[1])
    explain.show(found)
    return found["lenses"][0], " ".join(capsys.readouterr().out.split())


def test_reasons_hold_the_probabilities_and_a_bar_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    lens, shown = explained(compare(*grid([BASELINE, ALIKE])), capsys)
    parts = lens["posterior"]
    assert sum(parts.values()) == pytest.approx(1) and parts["within"] > 0.9
    assert f"worse by more than 0.01: {100 * parts['worse']:.1f} %, within: {100 * parts['within']:.1f} %" in shown
    assert shown.endswith("≈" * 40)
    lens, shown = explained(compare(*grid([BASELINE, WORSE])), capsys)
    assert lens["posterior"]["worse"] > 0.99 and "▼" * 40 in shown
    lens, shown = explained(compare(*grid([BASELINE, BASELINE])), capsys)
    assert lens["posterior"] is None and "probabilities" not in shown


def test_reasons_hold_the_sign_flip_test_from_six_seeds_on(capsys: pytest.CaptureFixture[str]) -> None:
    away = [1.9, 1.5, 1.6, -0.1, -0.1, 1.4, 0.1, 1.4]
    baseline = [5.0 + 0.1 * seed for seed in range(8)]
    doubted = [[value - change for value, change in zip(baseline, away, strict=True)]]
    lens, shown = explained(compare(*grid([baseline, *doubted])), capsys)
    assert lens["p_sign_flip"] == pytest.approx(14 / 2**8) and lens["verdict"] == "better"
    expected = "sign-flip test: p = 0.0547, the smallest possible with 8 pairs: 0.00781"
    assert f"{expected}; it does not support the difference" in shown
    lens, shown = explained(
        compare(*grid([baseline, [value - 1 - 0.01 * seed for seed, value in enumerate(baseline)]])), capsys
    )
    assert lens["verdict"] == "better" and "8 pairs: 0.00781 equivalence" in shown
    lens, shown = explained(compare(*grid([BASELINE, WORSE])), capsys)
    assert lens["p_sign_flip"] is None and "sign-flip" not in shown


def noisy(cells: int = 7, seeds: int = 5) -> Any:
    """Cells of equal noise against a quiet baseline, the last of five times the noise."""
    rows = [[2.0 + 0.001 * n for n in spread_of_one(seeds, 99)]]
    for arm in range(1, cells):
        size = 0.1 if arm == cells - 1 else 0.02
        rows.append([2.0 + 0.01 * arm + size * n * (1 + 0.1 * arm) for n in spread_of_one(seeds, arm)])
    return grid(rows)


def test_cells_share_their_variances_unless_each_shall_have_its_own() -> None:
    manifest, outcomes = noisy()
    shared, own = compare(manifest, outcomes), compare({**manifest, "variance": "own"}, outcomes)
    differences = [cell.metrics["loss"].contrast.differences for cell in own.cells[1:]]
    for cell, alone, variance in zip(shared.cells[1:], own.cells[1:], shared_variances(differences), strict=True):
        metric, contrast = cell.metrics["loss"], alone.metrics["loss"].contrast
        half_width = t.ppf(0.975, variance.degrees) * variance.standard_error
        expected = (contrast.delta - half_width, contrast.delta + half_width)
        assert metric.contrast.interval == pytest.approx(expected)
        assert (metric.verdict.variance is not None) == variance.shared
    assert any(cell.metrics["loss"].verdict.variance for cell in shared.cells[1:])
    noisiest = shared.cells[-1].metrics["loss"], own.cells[-1].metrics["loss"]
    assert noisiest[0].contrast == noisiest[1].contrast
    assert any("variances shared between cells" in line for line in notes(shared, ""))
    assert not any("shared" in line for line in notes(own, ""))


def test_effects_share_the_variance_of_a_run() -> None:
    rows = [[2.0 + 0.02 * n * (1 + 0.2 * (arm % 3)) for n in spread_of_one(5, arm)] for arm in range(12)]
    factors = {"model.a": ["0", "1"], "model.b": ["0", "1", "2"], "model.c": ["0", "1"]}
    manifest, outcomes = grid(rows, factors)
    shared, own = compare(manifest, outcomes), compare({**manifest, "variance": "own"}, outcomes)
    effects = [*own.effects, *own.interactions]
    norms = [math.sqrt(2 / e.cells if e.given is None else 4 / e.cells) for e in effects]
    expected = shared_variances([e.contrasts["loss"].differences for e in effects], norms)
    found = [e.verdict.variance for e in (*shared.effects, *shared.interactions)]
    assert found == [v if v.shared else None for v in expected] and any(found)
