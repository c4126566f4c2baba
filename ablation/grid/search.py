"""Search: which values of the settings that are tuned are tried next for a cell, by the outcome of those before."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from random import Random
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from ..errors import InputError
from ..registry import register
from ..rng import derive
from .tried import Tried, at

MISSING = "the search `optuna` needs Optuna: pip install 'transformer-ablation[tuning]'"


@dataclass(frozen=True)
class Trial:
    """Values of the settings, by path, with which a cell is trained on the tuning seeds."""

    values: Mapping[str, Any]
    share: float = 1.0
    """Of the steps of the cell's own training."""
    places: Mapping[str, float] = field(default_factory=dict, compare=False)
    """By path, where a sampler put it, from 0 to 1: evenly in the logarithm of a range, or along a list."""


@dataclass(frozen=True)
class Ended:
    """A trial all of whose runs have ended."""

    trial: Trial
    score: float | None
    """Mean of the metric over the tuning seeds, lower being better; None where a run failed or diverged."""


@dataclass(frozen=True)
class TriedInCells:
    """What the cells of a tuning study try, where the levels of its factors do not say it."""

    multiples: Mapping[int, str] = field(default_factory=dict)
    """By the index of a factor, the path whose value in each cell its levels multiply."""
    trials: Mapping[tuple[int, ...], Sequence[Trial]] | None = None
    """By the cell that is tuned, the trials of a search; the levels of the last factor are their numbers."""


class Searcher:
    """Base of the searches. Each gives every cell the same number of trials."""

    every_combination: ClassVar[bool] = False
    """Whether it tries the product of lists, which are levels of factors then: nothing else is asked of it."""
    independent: ClassVar[bool] = False
    """Whether no trial depends on another one, so that the best of so many can be predicted."""

    def next(self, settings: Mapping[str, Tried], ended: Sequence[Ended]) -> list[Trial]:
        """The trials that follow those that have ended; none where the search is over.

        Errors: InputError where a package is missing that it needs.
        """
        raise NotImplementedError

    def count(self, settings: Mapping[str, Tried]) -> int:
        """Number of trials of a cell."""
        raise NotImplementedError

    def cost(self, settings: Mapping[str, Tried]) -> float:
        """In whole trainings of a cell with one seed."""
        return self.count(settings)

    def in_words(self) -> str:
        """How values were found, after what was tried: ``, 8 at random``."""
        raise NotImplementedError


@register("searcher", "grid", source="Fisher 1935, The Design of Experiments")
class GridSearch(Searcher):
    """Every combination of the values that are listed, or taken evenly from a range with `n`: the default."""

    every_combination = True

    def in_words(self) -> str:
        return ""


@register("searcher", "random", source="Bergstra and Bengio 2012, JMLR 13")
class RandomSearch(Searcher):
    """``n`` settings at random, the same for every cell: from ranges evenly in the logarithm, or from lists."""

    independent = True

    def __init__(self, *, n: Annotated[int, Field(ge=2)] = 8):
        self.n = n

    def next(self, settings: Mapping[str, Tried], ended: Sequence[Ended]) -> list[Trial]:
        return [] if ended else _at_random(settings, self.n)

    def count(self, settings: Mapping[str, Tried]) -> int:
        return self.n

    def in_words(self) -> str:
        return f", {self.n} at random"


@register("searcher", "successive_halving", source="Jamieson and Talwalkar 2016, arXiv:1502.07943")
class SuccessiveHalving(Searcher):
    """``n`` settings at random with short trainings; the best ``1 / factor`` of them with ``factor`` times the steps.

    So it goes on for ``rounds``, the last of which has the cell's whole training. With ``factor`` 3 and 3 rounds nine
    settings cost as much as three whole trainings. What is best early need not be best at the end.
    """

    def __init__(
        self,
        *,
        n: Annotated[int, Field(ge=2)] = 9,
        factor: Annotated[int, Field(ge=2)] = 3,
        rounds: Annotated[int, Field(ge=2)] = 3,
    ):
        self.n, self.factor, self.rounds = n, factor, rounds

    def next(self, settings: Mapping[str, Tried], ended: Sequence[Ended]) -> list[Trial]:
        sizes, n_ended = self._sizes(), 0
        for number, size in enumerate(sizes):
            if n_ended == len(ended):
                share = self._share(number)
                if number == 0:
                    return [Trial(trial.values, share) for trial in _at_random(settings, size)]
                before = ended[n_ended - sizes[number - 1] : n_ended]
                return [Trial(each.trial.values, share) for each in sorted(before, key=_worst_last)[:size]]
            n_ended += size
        return []

    def count(self, settings: Mapping[str, Tried]) -> int:
        return sum(self._sizes())

    def cost(self, settings: Mapping[str, Tried]) -> float:
        return sum(size * self._share(number) for number, size in enumerate(self._sizes()))

    def in_words(self) -> str:
        return f", {' then '.join(map(str, self._sizes()))} by successive halving, each {self.factor} times longer"

    def _share(self, number: int) -> float:
        """Of the cell's own steps, in a round."""
        return self.factor ** (number + 1.0 - self.rounds)

    def _sizes(self) -> list[int]:
        """How many settings are trained in each round."""
        return [ceil(self.n / self.factor**number) for number in range(self.rounds)]


@register("searcher", "optuna", source="Akiba et al. 2019, arXiv:1907.10902")
class OptunaSearch(Searcher):
    """``n`` settings, one after the other for each cell, by a sampler of Optuna that learns from those before.

    The first quarter, at least two, is at random; the first ones are the same for every cell.
    """

    def __init__(self, *, n: Annotated[int, Field(ge=2)] = 12, sampler: Literal["tpe", "gp"] = "tpe"):
        self.n, self.sampler = n, sampler

    def next(self, settings: Mapping[str, Tried], ended: Sequence[Ended]) -> list[Trial]:
        if len(ended) == self.n:
            return []
        try:
            import optuna
        except ImportError:
            raise InputError(MISSING) from None
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(sampler=self._sampler(len(ended)), direction="minimize")
        places: dict[str, Any] = {path: optuna.distributions.FloatDistribution(0.0, 1.0) for path in settings}
        for one in ended:  # what is asked depends on these alone, so that it is the same when it is asked again
            state = optuna.trial.TrialState.FAIL if one.score is None else optuna.trial.TrialState.COMPLETE
            known = optuna.trial.create_trial(
                params=dict(one.trial.places), distributions=places, value=one.score, state=state
            )
            study.add_trial(known)
        asked = study.ask(places).params
        return [Trial({path: at(tried, asked[path]) for path, tried in settings.items()}, places=asked)]

    def count(self, settings: Mapping[str, Tried]) -> int:
        return self.n

    def in_words(self) -> str:
        return f", {self.n} one after the other by Optuna's {self.sampler} sampler"

    def _sampler(self, n_ended: int) -> Any:
        from optuna import samplers

        seed, first = derive(0, "search", n_ended) % 2**32, max(2, self.n // 4)
        if self.sampler == "tpe":
            return samplers.TPESampler(seed=seed, n_startup_trials=first)
        return samplers.GPSampler(seed=seed, n_startup_trials=first)


def _at_random(settings: Mapping[str, Tried], n: int) -> list[Trial]:
    """The first of more are the same ones."""
    rngs = {path: Random(derive(0, "search", path)) for path in settings}
    return [Trial({path: at(tried, rngs[path].random()) for path, tried in settings.items()}) for _ in range(n)]


def _worst_last(ended: Ended) -> float:
    return float("inf") if ended.score is None else ended.score
