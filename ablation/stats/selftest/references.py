"""Checks E, G and H: the number of further seeds, timings, and known numbers.

E compares the number of further seeds that a verdict names with the number that is needed; G times two equal cells on a
machine that drifts, as ``ablate bench`` does, in pairs in random order; H compares single numbers with R, scipy and
statsmodels, and the verdicts with their form for many grids at once.
"""

from collections.abc import Iterator
from statistics import median

import numpy

from ..family import Hypothesis, adjust_family
from ..family import judge as judge_family
from ..power import minimum_detectable_effect, more_seeds, pooled_spread, power, seeds_needed
from ..sequential import ALPHA
from .base import Array, Check, all_alike, at_least, at_most, caught, slack
from .grids import HALF_10, NORMAL, differences, standard_normal, uniform
from .tables import judge, one_by_one, tests

# R's data set `sleep` (Student 1908): extra hours under either drug, the same ten people.
DRUG_1 = (0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0)
DRUG_2 = (1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4)
# t.test(extra ~ group, paired = TRUE): the p-value, the interval
SLEEP_P, SLEEP_INTERVAL = 0.002833, (-2.4598858, -0.7001142)
# Smallest effect with power .8 in standard deviations of the difference, by seeds and family.
DETECTABLE = {(3, 1): 3.26, (5, 1): 1.68, (8, 1): 1.16, (12, 1): 0.89, (5, 5): 2.63, (8, 5): 1.60, (8, 15): 1.93}


def known_numbers(grids: int, quick: bool) -> Iterator[Check]:
    """Known numbers, and label for label the same verdicts one by one and for many grids at once."""
    del grids
    sleep = adjust_family([Hypothesis(tuple(one - two for one, two in zip(DRUG_1, DRUG_2, strict=True)), 1.0)])[0]
    assert sleep.p is not None and sleep.interval is not None, "ten people are enough"
    gap = max(abs(sleep.p - SLEEP_P), *(abs(a - b) for a, b in zip(sleep.interval, SLEEP_INTERVAL, strict=True)))
    yield _near("R, t.test on sleep: p and interval", gap, 1e-6)
    yield _near("scipy and statsmodels: p, TOST, Holm, interval on random tables", _libraries(), 1e-10)
    yield _near("statsmodels: power", _power(), 1e-5)
    gap = max(abs(minimum_detectable_effect(1.0, n, ALPHA, k) - d) for (n, k), d in DETECTABLE.items())
    yield _near("smallest detectable effects, against the table", gap, 0.0051)
    needed = seeds_needed(1.0, ALPHA)
    what = "R, power.t.test(delta = 1, power = .8, one.sample): n = 9.94"
    yield Check("H", what, str(needed), "10", needed == 10)
    yield _agreement(40 if quick else 400)


def _near(what: str, gap: float, bound: float) -> Check:
    return Check("H", what, f"off by {gap:.1e}", f"<= {bound:.0e}", bool(gap <= bound))


def _libraries() -> float:
    from scipy.stats import ttest_rel
    from statsmodels.stats.multitest import multipletests  # type: ignore[import-untyped]
    from statsmodels.stats.weightstats import ttost_paired  # type: ignore[import-untyped]

    gaps = []
    for table in differences(NORMAL, 5, 4, 6, 0.5, "H"):
        nothing = numpy.zeros(table.shape[-1])
        verdicts = adjust_family([Hypothesis(tuple(row.tolist()), 1.0) for row in table])
        tests = [ttest_rel(row, nothing) for row in table]
        equivalences = [ttost_paired(row, nothing, -1.0, 1.0)[0] for row in table]
        columns = [
            ([v.p for v in verdicts], [test.pvalue for test in tests]),
            ([v.p_equivalence for v in verdicts], equivalences),
            ([v.p_holm for v in verdicts], multipletests([test.pvalue for test in tests], method="holm")[1]),
            ([v.p_equivalence_holm for v in verdicts], multipletests(equivalences, method="holm")[1]),
            ([v.interval for v in verdicts], [tuple(test.confidence_interval(0.95)) for test in tests]),
        ]
        gaps += [float(numpy.abs(numpy.array(ours) - numpy.array(theirs)).max()) for ours, theirs in columns]
    return max(gaps)


def _power() -> float:
    from statsmodels.stats.power import ttest_power  # type: ignore[import-untyped]

    settings = [(effect, n, alpha) for effect in (0.3, 1.0, 1.5) for n in (3, 5, 8, 12) for alpha in (0.05, 0.01)]
    return max(abs(power(*setting) - ttest_power(*setting)) for setting in settings)


def _agreement(tables: int) -> Check:
    """Half of the tables with shared variances, some with noisy arms, some with further tests and missing cells."""
    same = 0
    for table in range(tables):
        arms, seeds, shared, margin = 1 + table % 8, 3 + table % 5, table % 2 == 0, 1.5
        values = differences((NORMAL, HALF_10)[table % 3 == 0], 1, arms, seeds, 0.5, "H agreement", table)
        values += 6 * uniform([1, arms, 1], "H effects", table) - 2
        if table % 4 == 0:
            values[0, -1] = numpy.nan
        others = uniform([1, 2], "H others", table)[:, : table % 3] ** 3
        same += statements(values, margin, shared, others) == one_at_a_time(values, margin, shared, others)
    return all_alike("H", "tables on which both forms of the verdict agree word for word", same, tables)


Statement = tuple[str, bool, bool, bool] | bool
"""The label, whether beyond the margin, leaning, and different within the margin; of a further test, whether seen."""


def statements(values: Array, margin: float, shared: bool, others: Array) -> list[Statement]:
    """Of one table by the form for many, from differences [1, arms, seeds] and the p of further tests [1, others]."""
    judged = judge(tests(values, shared), margin, ALPHA, others)
    within = judged.differs & judged.equivalent
    columns = judged.labels[0], judged.exceeds[0], judged.leaning[0], within[0]
    return [*zip(*(column.tolist() for column in columns), strict=True), *judged.others[0].tolist()]


def one_at_a_time(values: Array, margin: float, shared: bool, others: Array) -> list[Statement]:
    """The same by the engine."""
    rows = [[value for value in row if value == value] for row in values[0].tolist()]
    family = judge_family(one_by_one(rows, margin, [ALPHA] * len(rows), shared), others[0].tolist())
    of_arms = [(v.label, v.exceeds_margin, v.trend is not None, v.within_margin) for v in family.verdicts]
    return [*of_arms, *(p is not None and p < ALPHA for p in family.p_holm)]


SEEDS, ARMS = 5, 5


def further_seeds(grids: int, quick: bool) -> Iterator[Check]:
    """From five seeds, with the spread pooled over five arms; the true standard deviation is 1."""
    tables = 100 if quick else 1000
    inside, ratios = [], []
    for margin in (1.0,) if quick else (0.75, 1.0, 1.5):
        needed = seeds_needed(margin, ALPHA / ARMS)
        assert needed is not None, "the truth is decidable"
        for table in differences(NORMAL, tables, ARMS, SEEDS, 0.5, "E", str(margin)).tolist():
            pooled = pooled_spread(table)
            assert pooled is not None, "five seeds have a spread"
            ratios.append((seeds_needed(margin / pooled[0], ALPHA / ARMS) or 10_000) / needed)
            named, _ = more_seeds(pooled, SEEDS, margin, ALPHA / ARMS)
            inside.append(named is not None and named[0] <= needed - SEEDS <= named[1])
    middle = median(ratios)
    yield Check("E", "seeds needed by the pooled spread over seeds needed in truth, median", f"{middle:.3f}",
                "0.75 to 1.25", 0.75 <= middle <= 1.25)  # fmt: skip
    fraction = sum(inside) / len(inside)
    yield at_least("E", "ranges a-b that contain the truth (made for 80 %)", fraction, 0.75 - slack(len(inside), 0.2))


PROCESSES, ROUNDS = 5, 30


def timings(grids: int, quick: bool) -> Iterator[Check]:
    """Per process the median over rounds of log(time / time of the baseline), then a t over processes."""
    del quick
    slots = _machine(grids).reshape(grids, PROCESSES, ROUNDS, 2)
    first = uniform([grids, PROCESSES, ROUNDS], "G order") < 0.5
    ratio = numpy.where(first, 1, -1) * (slots[..., 0] - slots[..., 1])
    paired = (tests(numpy.median(ratio, axis=-1)[:, None], False).p < ALPHA).mean()
    yield at_most(
        "G", "false claim of speed, pairs in random order on a drifting machine", paired, 0.055 + slack(grids)
    )
    halves = _machine(grids).reshape(grids, PROCESSES, 2, ROUNDS)
    blocked = numpy.median(halves[:, :, 1], axis=-1) - numpy.median(halves[:, :, 0], axis=-1)
    rate = (tests(blocked[:, None], False).p < ALPHA).mean()
    yield caught("G", "one cell after the other", {"any false claim": float(rate)}, grids)


def _machine(grids: int) -> Array:
    """Log times of equal work, slot after slot: the machine warms up, drifts, and other programs slow some slots."""
    slots = 2 * ROUNDS
    noise = 0.03 * standard_normal([grids, PROCESSES, slots], "G noise")
    wander = 0.01 * numpy.cumsum(standard_normal([grids, PROCESSES, slots], "G wander"), axis=-1)
    bursts = 0.3 * (uniform([grids, PROCESSES, slots], "G bursts") < 0.05)
    return numpy.linspace(0, 0.1, slots) + noise + wander + bursts
