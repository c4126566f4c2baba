"""Tuning curves: the median of the best of n, within bands that cover the true one."""

import numpy as np
import pytest

from ablation.compare.tuning_curve import CONFIDENCE, tuning_curve


def true_median(n: int) -> float:
    """Of the smallest of n uniform numbers."""
    return float(1 - 0.5 ** (1 / n))


def test_bands_cover_the_true_curve_as_often_as_they_say() -> None:
    rng, n_searches, covered = np.random.default_rng(0), 300, 0
    for _ in range(n_searches):
        curve = tuning_curve(list(rng.uniform(size=12)), "lower")
        covered += all(
            (best.low is None or best.low <= true_median(best.n))
            and (best.high is None or true_median(best.n) <= best.high)
            for best in curve
        )
    assert covered / n_searches >= CONFIDENCE - 3 * (CONFIDENCE * (1 - CONFIDENCE) / n_searches) ** 0.5


def test_the_best_of_many_trials_nears_the_true_one() -> None:
    curve = tuning_curve(list(np.random.default_rng(0).uniform(size=2000)), "lower")
    for n in (1, 2, 5, 20):
        assert curve[n - 1].median == pytest.approx(true_median(n), abs=0.03)


def test_higher_is_the_mirror_of_lower() -> None:
    scores = [0.3, 0.9, 0.5, None, 0.1]
    lower = tuning_curve([None if score is None else -score for score in scores], "lower")
    for one, other in zip(tuning_curve(scores, "higher"), lower, strict=True):
        negated = tuple(None if value is None else -value for value in (other.median, other.high, other.low))
        assert (one.median, one.low, one.high) == negated


def test_a_trial_that_failed_is_the_worst() -> None:
    assert tuning_curve([1.0, None, None], "lower")[0].median is None
    assert tuning_curve([1.0, None, None], "lower")[2].median == 1.0
