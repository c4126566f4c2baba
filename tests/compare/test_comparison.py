"""Cells against the baseline, main effects, and what one run left; where an interval may be given and where not."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_1samp, ttest_rel
from support.comparisons import Losses, grid

from ablation.compare.comparison import compare
from ablation.compare.records import Comparison
from ablation.errors import InputError, StorageError
from ablation.stats.contrast import paired
from ablation.store.results import RunResult, read_result

quickly = settings(deadline=None, database=None, derandomize=True, max_examples=60)


def compared(losses: Losses, factors: dict[str, list[str]] | None = None) -> Comparison:
    return compare(*grid(losses, factors))


def replaced(outcomes: dict[str, RunResult], cell: int, seed: int, run: RunResult) -> dict[str, RunResult]:
    return {**outcomes, f"{cell:016x}{seed:016x}": run}


def contrast(comparison: Comparison, cell: int = 1, metric: str = "loss") -> Any:
    return comparison.cells[cell].metrics[metric].contrast


BASELINE, CHANGED = [2.31, 2.35, 2.28, 2.40], [2.25, 2.33, 2.24, 2.31]


def test_difference_and_interval_equal_scipys_paired_t() -> None:
    result = contrast(compared([BASELINE, CHANGED]))
    expected = ttest_rel(CHANGED, BASELINE)
    assert result.delta == pytest.approx(sum(c - b for c, b in zip(CHANGED, BASELINE, strict=True)) / 4)
    assert result.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert result.p == pytest.approx(expected.pvalue)
    assert result.reason_missing is None


def test_baseline_has_mean_and_sample_deviation_and_no_contrast() -> None:
    loss = compared([BASELINE, CHANGED]).baseline.metrics["loss"]
    mean = sum(BASELINE) / 4
    assert loss.mean == pytest.approx(mean)
    assert loss.sd == pytest.approx(math.sqrt(sum((value - mean) ** 2 for value in BASELINE) / 3))
    assert loss.contrast is None


def test_interval_covers_true_difference_in_95_of_100_studies() -> None:
    random_numbers = random.Random(7)
    covered = 0
    for _ in range(400):
        shared = [random_numbers.gauss(0, 1) for _ in range(3)]
        baseline = [seed + random_numbers.gauss(0, 1) for seed in shared]
        changed = [seed + 0.7 + random_numbers.gauss(0, 1) for seed in shared]
        interval = paired(changed, baseline).interval
        assert interval is not None
        covered += interval[0] <= 0.7 <= interval[1]
    assert 0.91 <= covered / 400 <= 0.98


# Thousandths, so that whether all differences are equal survives adding a constant to floats.
thousandths = st.integers(-(10**6), 10**6).map(lambda number: number / 1000)
pairs = st.lists(st.tuples(thousandths, thousandths), min_size=3, max_size=8)


def numbers(result: Any) -> list[Any]:
    return [result.delta, *result.interval, result.p]


def close(left: Sequence[float | None], right: Sequence[float | None]) -> bool:
    return all(a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-5, abs_tol=1e-7))
               for a, b in zip(left, right, strict=True))  # fmt: skip


@quickly
@given(pairs, thousandths)
def test_adding_a_constant_to_all_cells_changes_no_contrast(values: list[tuple[float, float]], constant: float) -> None:
    baseline, changed = [b for b, _ in values], [c for _, c in values]
    plain = compared([baseline, changed])
    shifted = compared([[b + constant for b in baseline], [c + constant for c in changed]])
    assert close(numbers(contrast(plain)), numbers(contrast(shifted)))


@quickly
@given(pairs, st.randoms())
def test_order_of_the_seeds_does_not_matter(values: list[tuple[float, float]], order: random.Random) -> None:
    shuffled = list(values)
    order.shuffle(shuffled)
    plain, permuted = (compared([[b for b, _ in rows], [c for _, c in rows]]) for rows in (values, shuffled))
    assert close(numbers(contrast(plain)), numbers(contrast(permuted)))


@quickly
@given(pairs)
def test_exchanging_cell_and_baseline_turns_the_sign(values: list[tuple[float, float]]) -> None:
    delta, low, high, p = numbers(paired([c for _, c in values], [b for b, _ in values]))
    turned = numbers(paired([b for b, _ in values], [c for _, c in values]))
    assert close([delta, low, high, p], [-turned[0], -turned[2], -turned[1], turned[3]])


@quickly
@given(pairs)
def test_interval_excludes_zero_exactly_where_p_is_below_5_percent(
    values: list[tuple[float, float]],
) -> None:
    result = paired([c for _, c in values], [b for b, _ in values])
    assert result.interval is not None and result.delta is not None
    assert result.interval[0] <= result.delta <= result.interval[1]
    if result.p is not None and abs(result.p - 0.05) > 1e-9:
        assert result.excludes_zero == (result.p < 0.05)


def test_seeds_are_paired_by_number_not_by_position() -> None:
    manifest, outcomes = grid([BASELINE, CHANGED])
    manifest["cells"][1]["runs"].reverse()
    assert contrast(compare(manifest, outcomes)) == contrast(compared([BASELINE, CHANGED]))


def test_difference_that_is_only_rounding_is_exactly_zero() -> None:
    assert 0.1 + 0.2 != 0.3
    result = paired([0.1 + 0.2, 1.0, 2.0], [0.3, 1.0, 2.0])
    assert (result.delta, result.interval) == (0.0, (0.0, 0.0))


def test_identical_cells_differ_by_exactly_zero() -> None:
    result = contrast(compared([BASELINE, BASELINE]))
    assert (result.delta, result.interval, result.p) == (0.0, (0.0, 0.0), None)


@pytest.mark.parametrize("offset", [0.3, -1e-3, 12345.678, 2**40])
def test_same_difference_in_every_seed_is_interval_of_one_point(offset: float) -> None:
    # 0.1 + 0.3 and 0.2 + 0.3 are rounded, so these differences are equal only up to the rounding of float64.
    result = paired([value + offset for value in (0.1, 0.2, 0.7)], [0.1, 0.2, 0.7])
    assert result.delta == pytest.approx(offset)
    assert result.interval == (result.delta, result.delta)
    assert result.p is None


@pytest.mark.parametrize(("seeds", "note"), [(1, "1 seed: an interval needs 3"), (2, "2 seeds: an interval needs 3")])
def test_fewer_than_3_seeds_give_a_difference_and_no_interval(seeds: int, note: str) -> None:
    comparison = compared([BASELINE[:seeds], CHANGED[:seeds]])
    result = contrast(comparison)
    assert result.delta is not None
    assert (result.interval, result.p, result.reason_missing) == (None, None, note)
    assert (comparison.baseline.metrics["loss"].sd is None) == (seeds == 1)


@pytest.mark.parametrize(
    ("status", "note"),
    [
        ("diverged", "1 of 4 runs diverged"),
        ("failed", "1 of 4 runs failed"),
        ("missing", "1 of 4 runs not finished"),
    ],
)
def test_incomplete_cell_has_a_mean_and_no_interval(status: Any, note: str) -> None:
    manifest, outcomes = grid([BASELINE, CHANGED, CHANGED])
    run = RunResult("", status, {"loss": 99.0})
    comparison = compare(manifest, replaced(outcomes, 1, 3, run))
    cell, result = comparison.cells[1], contrast(comparison)
    assert (cell.count("completed"), cell.count(status), len(cell.results)) == (3, 1, 4)
    assert cell.metrics["loss"].values == (*CHANGED[:3], None)
    assert cell.metrics["loss"].mean == pytest.approx(sum(CHANGED[:3]) / 3)
    assert result.delta == pytest.approx(sum(CHANGED[:3]) / 3 - sum(BASELINE[:3]) / 3)
    assert (result.interval, result.p, result.pairs, result.reason_missing) == (None, None, 3, note)
    assert contrast(comparison, 2).interval is not None


def test_every_way_not_to_complete_is_counted_in_the_note() -> None:
    manifest, outcomes = grid([BASELINE, CHANGED])
    outcomes = replaced(outcomes, 1, 0, RunResult("", "diverged"))
    outcomes = replaced(outcomes, 1, 1, RunResult("", "failed"))
    outcomes = replaced(outcomes, 1, 2, RunResult("", "failed"))
    assert contrast(compare(manifest, outcomes)).reason_missing == "1 of 4 runs diverged, 2 failed"


def test_incomplete_baseline_leaves_no_cell_an_interval() -> None:
    manifest, outcomes = grid([BASELINE, CHANGED])
    result = contrast(compare(manifest, replaced(outcomes, 0, 1, RunResult("", "diverged"))))
    assert (result.interval, result.reason_missing) == (None, "baseline: 1 of 4 runs diverged")


def test_grid_without_results_is_compared_without_numbers() -> None:
    comparison = compared([[None] * 3, [None] * 3])
    assert comparison.baseline.metrics["loss"].mean is None
    assert (contrast(comparison).delta, contrast(comparison).reason_missing) == (None, "3 of 3 runs not finished")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200, 10**400])
def test_null_metric_is_absent_and_leaves_others_alone(value: float) -> None:
    manifest, outcomes = grid([BASELINE, CHANGED], perplexity=8.0)
    broken = RunResult("", "completed", {"loss": CHANGED[0], "parameters": 1000.0, "perplexity": value})
    comparison = compare(manifest, replaced(outcomes, 1, 0, broken))
    perplexity = comparison.cells[1].metrics["perplexity"]
    assert (perplexity.values[0], perplexity.mean) == (None, 8.0)
    assert perplexity.contrast is not None
    assert (perplexity.contrast.interval, perplexity.contrast.reason_missing) == (None, "no value in 1 of 4 seeds")
    assert contrast(comparison).interval is not None


@pytest.mark.parametrize("size", [1e-90, 1e90])
def test_very_small_and_very_large_numbers_have_intervals(size: float) -> None:
    result = paired([value * size for value in CHANGED], [value * size for value in BASELINE])
    expected = paired(CHANGED, BASELINE)
    assert result.interval == pytest.approx(tuple(bound * size for bound in expected.interval or ()), rel=1e-9, abs=0)
    assert result.p == pytest.approx(expected.p)


def test_speed_of_training_has_difference_and_never_interval() -> None:
    result = contrast(compare(*grid([BASELINE, CHANGED], tokens_per_second=4e4)), metric="tokens_per_second")
    assert (result.delta, result.interval, result.p) == (0.0, None, None)
    assert "no evidence" in result.reason_missing


def test_diverged_run_still_has_its_parameters() -> None:
    manifest, outcomes = grid([BASELINE, CHANGED])
    diverged = {
        key: RunResult(key, "diverged", {"parameters": 1200.0}) for key in outcomes if key.startswith("0" * 15 + "1")
    }
    cell = compare(manifest, {**outcomes, **diverged}).cells[1]
    assert (cell.metrics["parameters"].mean, cell.metrics["loss"].mean) == (1200.0, None)


def test_chosen_metric_comes_first_and_costs_come_last() -> None:
    manifest, outcomes = grid([BASELINE, CHANGED], accuracy=0.4, perplexity=9.0)
    assert compare(manifest, outcomes).names == ("loss", "accuracy", "perplexity", "parameters", "tokens_per_second")
    other = compare(manifest, outcomes, "perplexity")
    assert other.names == ("perplexity", "loss", "accuracy", "parameters", "tokens_per_second")
    assert (other.metric, other.better) == ("perplexity", "lower")
    assert compare(manifest, outcomes, "accuracy").better is None  # no run said which way is good
    assert compare(manifest, outcomes).better == "lower"


def test_metric_that_no_run_has_measured_is_refused_with_nearest() -> None:
    with pytest.raises(InputError, match=r"'los'.*did you mean 'loss'"):
        compare(*grid([BASELINE, CHANGED]), "los")


# 2 x 3 cells; the order is that of product(): block slowest.
TWO_FACTORS = {"model.block": ["pre", "post"], "model.position": ["rope", "alibi", "none"]}


def noisy(seeds: int) -> list[list[float]]:
    random_numbers = random.Random(1)
    effect = {"pre": 0.0, "post": 0.5, "rope": 0.0, "alibi": -0.2, "none": 1.0}
    shared = [random_numbers.gauss(2, 0.1) for _ in range(seeds)]
    return [[seed + effect[block] + effect[position] + random_numbers.gauss(0, 0.02) for seed in shared]
            for block, position in product(*TWO_FACTORS.values())]  # fmt: skip


def test_main_effect_is_a_t_over_seeds_of_means_over_cells() -> None:
    losses = noisy(5)
    manifest, outcomes = grid(losses, TWO_FACTORS)
    comparison = compare({**manifest, "variance": "own"}, outcomes)
    assert [(effect.name, effect.level, effect.baseline, effect.cells) for effect in comparison.effects] == [
        ("block", "post", "pre", 3),
        ("position", "alibi", "rope", 2),
        ("position", "none", "rope", 2),
    ]
    per_seed = [sum(column[3:]) / 3 - sum(column[:3]) / 3 for column in zip(*losses, strict=True)]
    result = comparison.effects[0].contrasts["loss"]
    assert result.delta == pytest.approx(sum(per_seed) / 5)
    assert result.interval == pytest.approx(tuple(ttest_1samp(per_seed, 0).confidence_interval(0.95)))
    assert result.p == pytest.approx(ttest_1samp(per_seed, 0).pvalue)
    alibi = [(c[1] + c[4]) / 2 - (c[0] + c[3]) / 2 for c in zip(*losses, strict=True)]
    assert comparison.effects[1].contrasts["loss"].delta == pytest.approx(sum(alibi) / 5)


def test_main_effect_needs_all_its_cells_complete() -> None:
    losses: list[list[float | None]] = [list(row) for row in noisy(3)]
    losses[5][0] = None  # post, none
    block, alibi, none = (effect.contrasts["loss"] for effect in compared(losses, TWO_FACTORS).effects)
    assert alibi.interval is not None
    assert (block.delta, block.interval, block.reason_missing) == (None, None, "1 of 18 runs not finished")
    assert (none.delta, none.reason_missing) == (None, "1 of 12 runs not finished")


def test_main_effect_has_no_interval_with_two_seeds() -> None:
    result = compared(noisy(2), TWO_FACTORS).effects[0].contrasts["loss"]
    assert result.delta is not None
    assert (result.interval, result.reason_missing) == (None, "2 seeds: an interval needs 3")


def test_main_effects_need_all_combinations_and_give_the_reason() -> None:
    comparison = compared(noisy(3)[:4], TWO_FACTORS)
    assert comparison.effects == ()
    assert comparison.effects_reason_missing == "not a full factorial: 4 of 6 combinations of levels exist"


def test_combination_that_is_there_twice_is_no_full_factorial() -> None:
    manifest, outcomes = grid(noisy(3), TWO_FACTORS)
    manifest["cells"].append(manifest["cells"][2])
    assert compare(manifest, outcomes).effects == ()


def test_main_effects_are_left_out_with_one_factor() -> None:
    comparison = compared([BASELINE, CHANGED])
    assert (comparison.effects, comparison.effects_reason_missing) == ((), None)


def test_factor_with_a_single_level_is_no_factor() -> None:
    comparison = compared([BASELINE, CHANGED], {"model.block": ["pre", "post"], "model.position": ["rope"]})
    assert (comparison.effects, comparison.effects_reason_missing) == ((), None)


RESULT: dict[str, Any] = {
    "schema": 1,
    "id": "ab",
    "status": "completed",
    "reason": None,
    "quality": {"primary": "loss", "better": "lower", "final": {"loss": 2.1, "accuracy": 0.4}, "best": {"loss": 2.0}},
    "efficiency": {"parameters": 800, "tokens": 9000, "training_seconds": 2.0, "tokens_per_second": 4500.5},
}


def test_result_gives_its_final_quality_parameters_and_speed(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    (tmp_path / "failure.json").write_text("{torn")  # the result is the commit; what is beside it does not count
    expected = {"loss": 2.1, "accuracy": 0.4, "loss_best": 2.0, "parameters": 800.0, "tokens_per_second": 4500.5}
    assert read_result(tmp_path, "ab") == RunResult("ab", "completed", expected, tokens=9000.0)


def test_result_names_its_machine_where_recorded(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "record": {"host": "a"}}))
    assert read_result(tmp_path, "ab").record == {"host": "a"}
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    assert read_result(tmp_path, "ab").record == {}


def test_diverged_result_gives_reason_and_leaves_out_nulls(tmp_path: Path) -> None:
    quality = {"primary": "loss", "better": "lower", "final": {"loss": None, "accuracy": math.nan}, "best": {}}
    (tmp_path / "result.json").write_text(
        json.dumps({**RESULT, "status": "diverged", "reason": "not finite at step 3", "quality": quality})
    )
    found = read_result(tmp_path, "ab")
    assert (found.status, found.reason) == ("diverged", "not finite at step 3")
    assert dict(found.metrics) == {"parameters": 800.0, "tokens_per_second": 4500.5}


def test_failure_gives_its_reason(tmp_path: Path) -> None:
    failure = {"schema": 1, "id": "ab", "kind": "exception", "reason": "RuntimeError: no", "attempt": 1}
    (tmp_path / "failure.json").write_text(json.dumps(failure))
    assert read_result(tmp_path, "ab") == RunResult("ab", "failed", {}, "RuntimeError: no")


def test_run_without_result_and_failure_is_missing(tmp_path: Path) -> None:
    assert read_result(tmp_path, "ab") == RunResult("ab", "missing")
    assert read_result(tmp_path / "nowhere", "ab") == RunResult("ab", "missing")


TORN = [b"", b'{"id": "ab", "status": "comp', b"\xff\xfe\x00", b"[1]", b"[" * 100_000, b'{"id": "another"}']
WITHOUT_EFFICIENCY = {key: value for key, value in RESULT.items() if key != "efficiency"}
INCOMPLETE = [
    {**RESULT, "status": "done"},
    {**RESULT, "quality": None},
    {**RESULT, "quality": {"final": [1]}},
    {**RESULT, "efficiency": 3},
    WITHOUT_EFFICIENCY,
]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *product(["result.json", "failure.json"], TORN),
        *(("result.json", json.dumps(content).encode()) for content in INCOMPLETE),
    ],
)
def test_damaged_file_is_an_error_of_one_line_that_names_it(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(StorageError) as caught:
        read_result(tmp_path, "ab")
    assert str(caught.value).startswith(str(tmp_path / name))
    assert "\n" not in str(caught.value)


def test_scipy_and_rich_are_imported_only_where_they_are_needed() -> None:
    heavy = "{'scipy', 'numpy', 'torch', 'lightning', 'wandb', 'typer', 'rich'}"
    code = f"import sys, ablation.compare, ablation.report; print(sorted({heavy} & set(sys.modules)))"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"
