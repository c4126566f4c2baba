"""Numbers of stability in words, and how far the learning rate may go."""

import math
from typing import Any

import numpy
import pytest
from scipy.stats import binomtest

from ablation.compare.stability import classify_stability, learning_rate_sensitivity, rate_bound, warning_signs

HEALTHY = {
    "diverged": False,
    "diverged_at_step": None,
    "initial_loss": 4.5,
    "gradient_norm_median": 0.4,
    "gradient_norm_max": 2.0,
    "gradient_norm_tail": 5.0,
    "clipped_fraction": 0.05,
    "attention_logit_max": 8.0,
    "attention_logit_growth": 0.2,
    "log_z": 4.0,
    "log_z_growth": 1.0,
    "gradient_growth": 0.05,
    "update_ratio_median": 1e-3,
    "spikes": 0,
    "spike_score": 0.0,
}


def test_healthy_or_unmonitored_run_shows_no_signs() -> None:
    assert warning_signs(HEALTHY) == []
    assert warning_signs({}) == warning_signs(dict.fromkeys(HEALTHY)) == []
    assert warning_signs({"diverged": False, "gradient_norm_median": 1.0}) == [], "an old run"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"diverged": True, "diverged_at_step": 7}, ["diverged at step 7"]),
        ({"diverged": True}, ["diverged"]),
        ({"attention_logit_max": 132.0}, ["largest attention logit 132, growing"]),
        ({"attention_logit_max": 132.0, "attention_logit_growth": -0.1}, []),
        ({"attention_logit_max": 132.0, "attention_logit_growth": None}, []),
        ({"attention_logit_max": 100.0}, []),
        ({"attention_logit_max": 2e4, "attention_logit_growth": -0.1}, ["largest attention logit 2e+04: bad"]),
        ({"attention_logit_max": 2e4}, ["largest attention logit 2e+04, growing: bad"]),
        ({"log_z": 6.0}, ["log Z 6, growing"]),
        ({"log_z": -6.0}, []),
        ({"log_z": -6.0, "log_z_growth": -1.0}, ["log Z -6, growing"]),
        ({"log_z": 12.0, "log_z_growth": 0.1}, []),
        ({"gradient_growth": 0.2}, ["first gradients grow by 22 % per layer (lambda +0.20)"]),
        ({"gradient_growth": -0.2}, ["first gradients fade by 18 % per layer (lambda -0.20)"]),
        ({"clipped_fraction": 0.9}, []),
        ({"update_ratio_median": 3e-2}, ["a step moves the weights by 3.0e-02 of their size, above 1e-02"]),
        ({"update_ratio_median": 3e-5}, ["a step moves the weights by 3.0e-05 of their size, below 1e-04"]),
        ({"gradient_norm_tail": 40.0}, ["largest gradient 40 times the median"]),
        ({"spikes": 1, "spike_score": 1 / 400}, ["1 loss spike, 0.25 % of steps"]),
        ({"spikes": 8, "spike_score": 0.02}, ["8 loss spikes, 2 % of steps"]),
        ({"spikes": None, "spike_score": None}, []),
        (
            {"spikes": 1, "spike_score": 1 / 400, "gradient_norm_tail": 30},
            ["1 loss spike, 0.25 % of steps", "largest gradient 30 times the median"],
        ),
    ],
)
def test_every_sign_is_shown_where_its_threshold_is_crossed(changes: dict[str, Any], expected: list[str]) -> None:
    assert warning_signs({**HEALTHY, **changes}) == expected


def test_stability_of_a_cell_is_that_of_its_worst_run() -> None:
    warned, diverged = {**HEALTHY, "gradient_norm_tail": 50.0}, {**HEALTHY, "diverged": True}
    assert classify_stability([HEALTHY, HEALTHY]) == "stable"
    assert classify_stability([HEALTHY, warned]) == "fragile"
    assert classify_stability([HEALTHY, warned, diverged]) == "unstable"
    assert classify_stability([]) is None


@pytest.mark.parametrize("n_runs", [1, 5, 12, 40])
def test_no_divergence_bounds_its_rate_as_clopper_and_pearson_do(n_runs: int) -> None:
    interval = binomtest(0, n_runs, alternative="less").proportion_ci(0.95, method="exact")
    assert rate_bound(n_runs) == pytest.approx(interval.high)


RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def test_sensitivity_is_the_mean_loss_above_the_best() -> None:
    losses = [[3.0, 2.0, 1.0, 9.0], [2.0, 1.5, 1.0, math.nan], [1.0, 1.0, 1.0, 1.0]]
    sweep = {rate: [seed[i] for seed in losses] for i, rate in enumerate(RATES)}
    expected = [(2 + 1 + 0 + 3) / 4, (1 + 0.5 + 0 + 3) / 4, 0.0]
    assert learning_rate_sensitivity(sweep, initial=4.0) == pytest.approx(expected)
    backwards = dict(reversed(sweep.items()))
    assert learning_rate_sensitivity(backwards, initial=4.0) == pytest.approx(expected)


def test_sensitivity_does_not_depend_on_where_a_sweep_is_denser() -> None:
    """Of loss = a |log10 rate + 2| from 1e-4 to 1e0 the mean is a, whatever the rates."""

    def sensitivity(exponents: Any) -> float:
        return learning_rate_sensitivity({10**x: [0.5 * abs(x + 2)] for x in exponents}, initial=math.inf)[0]

    even, dense = (
        numpy.linspace(-4, 0, 401),
        numpy.unique([*numpy.linspace(-4, 0, 401), *numpy.linspace(-2.1, -1.9, 500)]),
    )
    assert sensitivity(even) == pytest.approx(0.5, rel=0.01)
    assert sensitivity(dense) == pytest.approx(0.5, rel=0.01)
    assert numpy.mean([0.5 * abs(x + 2) for x in dense]) < 0.3, "the plain mean would be drawn to the dense part"


@pytest.mark.parametrize("sweep", [{1e-3: [1.0]}, {0.0: [1.0], 1e-3: [1.0]}, {1e-3: [1.0], 1e-2: [1.0, 2.0]}])
def test_sweep_with_wrong_rates_is_refused(sweep: Any) -> None:
    with pytest.raises(ValueError, match="learning rate"):
        learning_rate_sensitivity(sweep, 4.0)
