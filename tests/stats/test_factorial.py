"""Statistics of a full factorial, against statsmodels and against their definitions."""

from itertools import permutations, product

import numpy
import pandas
import pytest
import statsmodels.formula.api as smf
from statsmodels.stats.anova import AnovaRM

from ablation.errors import InputError
from ablation.stats.factorial import interaction, main_effect, shapley

SEEDS = 5


def grid(*levels: int, seed: int = 0) -> dict[tuple[int, ...], list[float]]:
    noise = numpy.random.default_rng(seed)
    shared = noise.normal(size=SEEDS)
    return {
        cell: (3 + 0.3 * sum(cell) + shared + noise.normal(size=SEEDS)).tolist()
        for cell in product(*map(range, levels))
    }


def frame(values: dict[tuple[int, ...], list[float]]) -> pandas.DataFrame:
    rows = [(*cell, seed, y) for cell, per_seed in values.items() for seed, y in enumerate(per_seed)]
    return pandas.DataFrame(rows, columns=[*"abcde"[: len(next(iter(values)))], "seed", "y"])


def test_contrasts_of_a_balanced_grid_equal_least_squares():
    values = grid(3, 2, 2)
    fit = smf.ols("y ~ C(a) * C(b) + C(c) + C(seed)", frame(values)).fit().params
    assert interaction(values, (0, 2), (1, 1)).delta == pytest.approx(fit["C(a)[T.2]:C(b)[T.1]"])
    assert main_effect(values, 2, 1).delta == pytest.approx(fit["C(c)[T.1]"])


@pytest.mark.parametrize("seed", range(5))
def test_two_level_tests_equal_repeated_measures_anova(seed):
    values = grid(2, 2, 2, seed=seed)
    table = AnovaRM(frame(values), "y", "seed", within=["a", "b", "c"]).fit().anova_table
    assert interaction(values, (0, 1), (2, 1)).p == pytest.approx(table.loc["a:c", "Pr > F"])
    assert main_effect(values, 1, 1).p == pytest.approx(table.loc["b", "Pr > F"])


def test_interaction_is_independent_of_the_order_of_factors():
    values = grid(2, 3)
    assert interaction(values, (0, 1), (1, 2)).delta == pytest.approx(interaction(values, (1, 2), (0, 1)).delta)


def test_interaction_is_the_difference_of_effects_at_each_level():
    values = grid(2, 2)
    at_second, at_first = (
        main_effect({(a, 0): y for (a, b), y in values.items() if b == level}, 0, 1).delta for level in (1, 0)
    )
    assert interaction(values, (0, 1), (1, 1)).delta == pytest.approx(at_second - at_first)


def test_additive_effects_have_no_interaction_and_no_noise():
    values = {
        cell: [seed + 0.1 * cell[0] + 0.2 * cell[1] for seed in range(SEEDS)] for cell in product(range(2), range(2))
    }
    found = interaction(values, (0, 1), (1, 1))
    assert found.delta == 0 and found.constant and found.p is None


def test_shapley_values_average_over_all_orders_of_change():
    values = grid(2, 3, 2, 2)
    target = (1, 2, 0, 1)
    changed = [0, 1, 3]
    added = {factor: [] for factor in changed}
    for order in permutations(changed):
        cell = [0, 0, 0, 0]
        for factor in order:
            before = numpy.array(values[tuple(cell)])
            cell[factor] = target[factor]
            added[factor].append(numpy.array(values[tuple(cell)]) - before)
    shares = shapley(values, target)
    assert list(shares) == changed
    for factor in changed:
        per_seed = numpy.mean(added[factor], axis=0)
        spread = per_seed.std(ddof=1) / SEEDS**0.5
        low, high = shares[factor].interval
        assert shares[factor].delta == pytest.approx(per_seed.mean())
        assert (high - low) / 2 == pytest.approx(2.7764451051977987 * spread)  # t at .975 with 4 degrees of freedom


def test_shapley_values_sum_to_the_whole_difference():
    values = grid(2, 2, 2, 2, 2)
    whole = numpy.mean(values[1, 1, 1, 1, 1]) - numpy.mean(values[0, 0, 0, 0, 0])
    assert sum(share.delta for share in shapley(values, (1, 1, 1, 1, 1)).values()) == pytest.approx(whole)


def test_seed_without_value_leaves_contrast_without_interval():
    values = grid(2, 2)
    values[0, 0][1] = None
    found = interaction(values, (0, 1), (1, 1))
    assert found.pairs == SEEDS - 1 and found.interval is None and "1 of 5 seeds" in found.reason_missing


def test_missing_cell_is_reported():
    values = grid(2, 2)
    del values[1, 0]
    with pytest.raises(InputError, match="not a full factorial"):
        shapley(values, (1, 1))
    with pytest.raises(InputError, match="not a full factorial"):
        interaction(values, (0, 1), (1, 1))


def test_six_factors_are_too_many_to_attribute():
    with pytest.raises(InputError, match="at most 5"):
        shapley({(0,) * 6: [1.0]}, (1,) * 6)
