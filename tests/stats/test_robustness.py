"""One run far off the others, beside which a verdict on means is in doubt."""

import numpy
import pytest

from ablation.stats.robustness import far_off


@pytest.mark.parametrize("n_values", [3, 5, 8, 12, 15])
def test_normal_noise_is_called_far_off_in_one_of_a_hundred(n_values: int) -> None:
    samples = numpy.random.default_rng(n_values).normal(size=(20_000, n_values))
    found = sum(far_off(sample) is not None for sample in samples.tolist()) / len(samples)
    assert found == pytest.approx(0.01, abs=0.0025)


def test_value_far_off_is_found_on_either_side_and_at_any_place() -> None:
    assert far_off([2.1, 2.2, 9.0, 2.15, 2.12]) == 2
    assert far_off([-9.0, 2.2, 2.1, 2.15, 2.12]) == 0
    assert far_off([2.1, 2.2, 2.3, 2.15, 2.12]) is None


def test_too_few_or_equal_values_have_none_far_off() -> None:
    assert far_off([1.0, 9.0]) is far_off([1.0] * 5) is far_off([]) is None
