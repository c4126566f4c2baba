"""Searches: so many trials for every cell, asked again they answer the same, and what is better is gone on with."""

from math import log
from statistics import fmean
from typing import Any

import pytest

from ablation.grid.search import Ended, OptunaSearch, RandomSearch, Searcher, SuccessiveHalving, Trial
from ablation.grid.tried import RangeConfig, TimesConfig, Tried

RATE: dict[str, Tried] = {"optimizer.lr": RangeConfig(low=1e-4, high=1e-1)}
SEARCHES = [
    RandomSearch(n=7),
    SuccessiveHalving(n=9, factor=3, rounds=3),
    SuccessiveHalving(n=5, factor=2, rounds=4),
    *(OptunaSearch(n=7, sampler=sampler) for sampler in ("tpe", "gp")),
]


def searched(searcher: Searcher, settings: dict[str, Tried], score: Any) -> list[Ended]:
    """All trials, with the score of each."""
    ended = list[Ended]()
    while following := searcher.next(settings, ended):
        assert following == searcher.next(settings, ended)
        ended += [Ended(trial, score(trial)) for trial in following]
    return ended


def loss(trial: Trial) -> float:
    """Best at a rate of 3e-3."""
    return abs(log(trial.values["optimizer.lr"] / 3e-3))


@pytest.mark.parametrize("searcher", SEARCHES, ids=lambda searcher: searcher.in_words())
def test_all_trials_of_a_search_are_counted_and_within_the_range(searcher: Searcher) -> None:
    ended = searched(searcher, RATE, loss)
    assert len(ended) == searcher.count(RATE)
    assert all(1e-4 <= one.trial.values["optimizer.lr"] <= 1e-1 for one in ended)
    assert any(one.trial.share == 1 for one in ended)


@pytest.mark.parametrize("searcher", SEARCHES, ids=lambda searcher: searcher.in_words())
def test_trials_that_fail_do_not_end_a_search(searcher: Searcher) -> None:
    ended = searched(searcher, RATE, lambda trial: None if trial.values["optimizer.lr"] > 1e-2 else loss(trial))
    assert len(ended) == searcher.count(RATE)


@pytest.mark.parametrize("searcher", SEARCHES, ids=lambda searcher: searcher.in_words())
def test_lists_and_multiples_are_searched_too(searcher: Searcher) -> None:
    settings: dict[str, Tried] = {
        "optimizer.lr": TimesConfig(times=RangeConfig(low=0.1, high=10)),
        "optimizer.weight_decay": [0.0, 0.1],
        "schedule.warmup": RangeConfig(low=1, high=100, n=3),
    }
    ended = searched(searcher, settings, loss)
    assert {one.trial.values["optimizer.weight_decay"] for one in ended} == {0.0, 0.1}
    assert {one.trial.values["schedule.warmup"] for one in ended} <= {1, 10, 100}


def test_more_random_trials_begin_with_the_same_ones() -> None:
    assert RandomSearch(n=12).next(RATE, ())[:5] == RandomSearch(n=5).next(RATE, ())


def test_random_trials_of_one_setting_do_not_depend_on_the_others() -> None:
    both: dict[str, Tried] = {"training.gradient_clip": [0.5, 1.0], **RATE}
    alone = [trial.values["optimizer.lr"] for trial in RandomSearch(n=5).next(RATE, ())]
    assert [trial.values["optimizer.lr"] for trial in RandomSearch(n=5).next(both, ())] == alone


def test_halving_goes_on_with_the_best_third_at_three_times_the_steps() -> None:
    ended = searched(SuccessiveHalving(n=9, factor=3, rounds=3), RATE, loss)
    assert [one.trial.share for one in ended] == pytest.approx([1 / 9] * 9 + [1 / 3] * 3 + [1])
    best = sorted(loss(one.trial) for one in ended[:9])[:3]
    assert [loss(one.trial) for one in ended[9:12]] == best
    assert ended[12].trial.values == ended[9].trial.values


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_sampler_that_learns_ends_nearer_the_best_than_chance(sampler: Any) -> None:
    learned = [loss(one.trial) for one in searched(OptunaSearch(n=30, sampler=sampler), RATE, loss)][-10:]
    at_random = [loss(trial) for trial in RandomSearch(n=100).next(RATE, ())]
    assert fmean(learned) < fmean(at_random) / 2
