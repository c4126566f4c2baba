"""Contrasts and moments of thousands of cells at once: to the last bit those of scipy and of Python's statistics."""

import random
import statistics

import pytest
from scipy.stats import ttest_rel

from ablation.stats.contrast import Pairs, paired, paired_all
from ablation.stats.moments import stdev, variance


def made(draw: random.Random, n_seeds: int) -> Pairs:
    center, spread = draw.choice([0.0, 1e3, 2.3, 1e-5]), draw.choice([1.0, 1e-3, 1e-6])
    values, references = ([center + draw.gauss(0, spread) for _ in range(n_seeds)] for _ in range(2))
    return Pairs(values, references, None, draw.choice([0.95, 0.99]))


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_contrasts_of_many_cells_are_those_of_the_paired_t_test() -> None:
    draw = random.Random(0)
    asked = [made(draw, n_seeds) for n_seeds in (3, 4, 5, 7, 8, 9, 16, 17, 40) for _ in range(50)]
    draw.shuffle(asked)
    for pairs, contrast in zip(asked, paired_all(asked), strict=True):
        test = ttest_rel(pairs.values, pairs.references)
        interval = test.confidence_interval(pairs.confidence)
        assert (contrast.p, contrast.interval) == (test.pvalue, (interval.low, interval.high))
        assert contrast == paired(pairs.values, pairs.references, pairs.reason_missing, pairs.confidence)


def test_contrasts_without_a_test_keep_their_places() -> None:
    asked = [Pairs([1.0], [0.0]), Pairs([1.0, 2.0, 4.0], [0.0, 0.0, 0.0]), Pairs([None], [1.0]),
             Pairs([3.0, 3.0, 3.0], [1.0, 1.0, 1.0]), Pairs([1.0, 2.0, 4.0], [0.0, 0.0, 0.0], "stopped")]  # fmt: skip
    found = paired_all(asked)
    assert [contrast.delta for contrast in found] == [1.0, pytest.approx(7 / 3), None, 2.0, pytest.approx(7 / 3)]
    assert [contrast.interval is None for contrast in found] == [True, False, True, False, True]


def test_moments_are_those_of_the_standard_library() -> None:
    draw = random.Random(1)
    for _ in range(3000):
        scale = 10 ** draw.uniform(-120, 90)
        center, spread = draw.choice([0.0, scale, 1e3 * scale]), scale * 10 ** draw.uniform(-17, 1)
        values = [center + draw.gauss(0, spread) for _ in range(draw.randrange(2, 12))]
        assert (stdev(values), variance(values)) == (statistics.stdev(values), statistics.variance(values))
    assert (stdev([2.0, 2.0]), variance([2.0, 2.0])) == (0.0, 0.0)
