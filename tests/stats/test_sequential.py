"""Planned looks: what each may spend, and who goes on."""

import numpy
import pytest

from ablation.stats.family import Hypothesis, adjust_family
from ablation.stats.sequential import (
    ALPHAS,
    INTERIM_LOOKS,
    InterimLook,
    alpha_at,
    alphas,
    decided,
    next_interim_look,
    seeds_at,
)

BETTER, OPEN, SAME = adjust_family(
    [Hypothesis(row, 1.0) for row in [(5.0, 5.1, 5.2, 4.9, 5.0), (1.0, -1.0, 2.0, 0.0, 0.5), (0.0, 0.0, 0.0, 0.0, 0.0)]]
)


def test_looks_spend_five_percent_together():
    assert alphas(INTERIM_LOOKS) == ALPHAS
    for looks in [(5,), (5, 10), (3, 5, 8, 12), tuple(range(3, 13))]:
        shares = alphas(looks)
        assert len(shares) == len(looks) and all(share > 0 for share in shares)
        assert sum(shares) == pytest.approx(0.05)
        assert list(shares) == pytest.approx(sorted(shares))


def test_more_looks_spend_in_proportion():
    shares = alphas((3, 5, 8, 12, 14, 16))
    assert [first + second for first, second in zip(shares[::2], shares[1::2], strict=True)] == pytest.approx(ALPHAS)
    assert alphas((5,)) == (0.05,)


@pytest.mark.parametrize(
    ("seeds", "judged", "alpha"), [(0, 0, 0), (4, 0, 0), (5, 5, 0.01), (7, 5, 0.01), (8, 8, 0.015), (20, 12, 0.025)]
)
def test_seeds_between_looks_do_not_count(seeds, judged, alpha):
    assert seeds_at(seeds) == judged
    assert alpha_at(seeds) == alpha


def test_every_verdict_but_inconclusive_is_decided():
    assert decided(BETTER) and decided(SAME) and not decided(OPEN)


def test_open_arms_and_the_baseline_alone_get_more_seeds():
    verdicts = {"a": [BETTER], "b": [OPEN], "c": [BETTER, OPEN], "d": [SAME, BETTER]}
    assert next_interim_look(verdicts, "base", 5) == InterimLook(8, ("base", "b", "c"))
    assert next_interim_look(verdicts, "base", 8) == InterimLook(12, ("base", "b", "c"))


def test_last_look_or_full_decision_ends_the_schedule():
    assert next_interim_look({"a": [OPEN]}, "base", 12) is None
    assert next_interim_look({"a": [BETTER], "b": [SAME]}, "base", 5) is None


@pytest.mark.parametrize("seed", range(20))
def test_decided_arm_stays_decided_when_others_get_more_seeds(seed):
    noise = numpy.random.default_rng(seed)
    differences = noise.normal(0, 1, (6, 12)) + noise.choice([0, 1.0, 2.0, 4.0], (6, 1))
    seeds = [5] * 6
    before: list[str] = []
    for look in INTERIM_LOOKS:
        verdicts = adjust_family(
            [Hypothesis(tuple(row[:n]), 2.5, alpha_at(n)) for row, n in zip(differences, seeds, strict=True)]
        )
        assert all(decided(new) for new, old in zip(verdicts, before, strict=False) if old != "inconclusive")
        before = [verdict.label for verdict in verdicts]
        following = next_interim_look({str(arm): [verdict] for arm, verdict in enumerate(verdicts)}, "base", look)
        if following is not None:
            seeds = [following.seeds if str(arm) in following.arms else n for arm, n in enumerate(seeds)]
