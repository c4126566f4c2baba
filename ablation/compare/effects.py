"""Main effects and interactions of a full factorial: what a level does on average, and how that depends on others."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from math import sqrt
from typing import Any

from ..stats.contrast import Contrast, Pairs, paired_all, plural
from ..stats.factorial import Cell, Layout, Means, weighted
from ..stats.least_squares import Varied, effect_weights
from ..stats.sequential import ALPHA, alpha_at, seeds_at
from ..stats.shapley import order_weights
from .attribution import in_order
from .measures import SPEED_NOTE, SWEPT, TIMED, TOKENS_PER_SECOND, unfinished_in_words, without
from .on_demand import OnDemand
from .records import CellComparison, Effect, OtherFactor, WithoutDiverged


@dataclass(frozen=True)
class Effects:
    """The effects of a grid's factors."""

    main: tuple[Effect, ...] = ()
    interactions: tuple[Effect, ...] = ()
    reason_missing: str | None = None
    """Why there are none although several factors vary."""
    model: str | None = None
    """What main effects rest on where they are no averages over all combinations."""


def main_effects(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[CellComparison],
    names: Sequence[str],
    design: Mapping[str, Any],
    looks: Sequence[int],
    quality: Collection[str],
) -> Effects:
    """Main effects and two-way interactions: averages of a full factorial; of a part of one by least squares.

    ``names`` are the measures, that of the table first, and ``quality`` those of quality; ``looks`` the planned interim
    looks.
    """
    varied = [factor for factor in factors if len(factor["levels"]) > 1]
    if len(varied) < 2:
        return Effects()  # with one factor the main effects are the rows of the table
    planned = set(product(*(factor["levels"] for factor in varied)))
    existing = Counter(tuple(cell.levels[factor["path"]] for factor in varied) for cell in cells)
    n_parameters = 1 + sum(len(factor["levels"]) - 1 for factor in varied)
    paths = [factor["path"] for factor in varied]
    orders = [[paths.index(path) for path in order if path in paths] for order in design.get("orders") or ()]
    if max(existing.values()) > 1 or (
        not orders and set(existing) != planned and (design.get("uncrossed") or len(existing) <= n_parameters)
    ):
        return Effects(reason_missing=_reason_not_factorial(design, len(planned & set(existing)), len(planned)))
    if len({cell.seeds for cell in cells}) > 1:
        return Effects(reason_missing="cells have different numbers of seeds")
    n_seeds, alpha = len(cells[0].seeds), ALPHA
    if looks:
        n_seeds, alpha = seeds_at(n_seeds, looks), alpha_at(n_seeds, looks)
        if not n_seeds:
            reason = f"{plural(len(cells[0].seeds), 'seed')}: the first planned look is at {looks[0]}"
            return Effects(reason_missing=reason)
    table = _Table(varied, cells, n_seeds, 1 - alpha, quality)
    levels = [
        (index, in_order(factor).index(level)) for index, factor in enumerate(varied) for level in in_order(factor)[1:]
    ]
    if orders:
        by_order = order_weights(table.at, orders)
        averaged = [_Fitted(table, (level,), by_order.get(level)) for level in levels]
        model = f"Shapley: what each change adds to those before it, averaged over {plural(len(orders), 'order')}"
        return Effects(main=_effects(table, averaged, names), model=model)
    both = [
        ((one, first), (other, second))
        for one, other in combinations(range(len(varied)), 2)
        for first in range(1, len(varied[one]["levels"]))
        for second in range(1, len(varied[other]["levels"]))
    ]
    if set(existing) != planned:
        return _by_least_squares(table, levels, both, names, f"{len(existing)} of {len(planned)} combinations")
    asked = [_Asked(table, effect) for effect in (*((level,) for level in levels), *both)]
    effects = _effects(table, asked, names)
    return Effects(effects[: len(levels)], effects[len(levels) :])


def _by_least_squares(
    table: "_Table", levels: Sequence[tuple[int, int]], both: Sequence[Varied], names: Sequence[str], cells: str
) -> Effects:
    weights = effect_weights(table.at)
    two = any(len(effect) == 2 for effect in weights)
    asked: list[Varied] = [*((level,) for level in levels), *(both if two else ())]
    effects = _effects(table, [_Fitted(table, effect, weights.get(effect)) for effect in asked], names)
    model = f"least squares over {cells}, as if {'no three' if two else 'no'} factors interacted"
    return Effects(effects[: len(levels)], effects[len(levels) :], model=model)


def _effects(table: "_Table", asked: "Sequence[_Asked]", names: Sequence[str]) -> tuple[Effect, ...]:
    untimed = [name for name in names if name not in TIMED]
    of_all = OnDemand(untimed, lambda name: table.contrasts(asked, name))
    return tuple(
        effect.effect(OnDemand(untimed, lambda name, index=index: of_all[name][index]))  # type: ignore[misc]
        for index, effect in enumerate(asked)
    )


def _reason_not_factorial(design: Mapping[str, Any], n_existing: int, n_planned: int) -> str:
    """Why averages over the levels of the other factors would be over different sets of cells."""
    if design.get("uncrossed"):
        return f"design {design['name']}: {design['uncrossed']}"
    # With no more cells than effects, these would be the differences of single cells.
    return f"not a full factorial: {n_existing} of {n_planned} combinations of levels exist"


@dataclass(frozen=True)
class _Table:
    """All cells of the factorial, by the indices of their levels."""

    factors: Sequence[Mapping[str, Any]]
    cells: Sequence[CellComparison]
    n_seeds: int
    """How many seeds are tested: those of the last planned look."""
    confidence: float
    quality: Collection[str]

    @cached_property
    def at(self) -> list[Cell]:
        """The indices of each cell's levels."""
        orders = [{level: index for index, level in enumerate(in_order(factor))} for factor in self.factors]
        paths = [factor["path"] for factor in self.factors]
        return [
            tuple([order[cell.levels[path]] for path, order in zip(paths, orders, strict=True)]) for cell in self.cells
        ]

    @cached_property
    def layout(self) -> Layout:
        return Layout(self.at)

    @cached_property
    def diverged(self) -> dict[int, list[int]]:
        """The seeds in which runs diverged, by the position of the cell; without cells of which none did."""
        seeds = (
            [seed for seed, run in enumerate(cell.results[: self.n_seeds]) if run.status == "diverged"]
            for cell in self.cells
        )
        return {position: of_cell for position, of_cell in enumerate(seeds) if of_cell}

    def means(self, name: str, seeds: Sequence[int]) -> Means:
        """Of a measure, over these indices of seeds."""
        values = [cell.metrics[name].values for cell in self.cells]
        return Means(self.layout, [[of_cell[seed] for seed in seeds] for of_cell in values])

    def contrasts(self, effects: "Sequence[_Asked]", name: str) -> list[Contrast]:
        """A measure's contrast of every effect, all computed at once.

        Without one where a run is missing, as the averages would not be comparable.
        """
        means, reasons = self.means(name, range(self.n_seeds)), [effect.reason_missing(name) for effect in effects]
        tested = iter(paired_all([e.pairs(means) for e, reason in zip(effects, reasons, strict=True) if not reason]))
        found = []
        for effect, reason in zip(effects, reasons, strict=True):
            contrast = Contrast(None, 0, reason_missing=reason) if reason else next(tested)
            if not reason and effect.nothing_learned is not None and name in self.quality:
                contrast = replace(contrast, interval=None, p=None, reason_missing=effect.nothing_learned)
            found.append(contrast)
        return found


class _Asked:
    """One effect of a table: ``varied`` are the (factor, level) that it compares with the baseline's, one or two.

    Cells at other levels of these factors do not matter.
    """

    def __init__(self, table: _Table, varied: tuple[tuple[int, int], ...]):
        self.table, self.varied = table, varied
        groups = table.layout.groups(tuple([factor for factor, _ in varied]))
        compared = product(*((0, level) for _, level in varied))
        self.relevant = sorted(position for levels in compared for position in groups[levels])
        """The positions of the cells that it averages over."""

    @property
    def n_cells(self) -> int:
        """How many cells have the level, or both levels."""
        groups = self.table.layout.groups(tuple(factor for factor, _ in self.varied))
        return len(groups[tuple(level for _, level in self.varied)])

    @property
    def norm(self) -> float:
        """Of the weights of cells: two means over so many cells each, or four."""
        return sqrt(2 * len(self.varied) / self.n_cells)

    def pairs(self, means: Means) -> Pairs:
        if len(self.varied) == 1:
            return means.main_effect(*self.varied[0], self.table.confidence)
        one, other = self.varied
        return means.interaction(one, other, self.table.confidence)

    def reason_missing(self, name: str) -> str | None:
        for position in self._incomparable:
            if reason := self.table.cells[position].incomparable.get(name):
                return reason
        if name == TOKENS_PER_SECOND:
            return SPEED_NOTE
        if name in SWEPT or not self._unfinished:
            return None
        counts = Counter[str]()
        for position in self._unfinished:
            counts.update(without(self.table.cells[position].results, name))
        return unfinished_in_words(counts, self._n_runs)

    @cached_property
    def _incomparable(self) -> list[int]:
        return [position for position in self.relevant if self.table.cells[position].incomparable]

    @cached_property
    def _unfinished(self) -> list[int]:
        """The cells of which not every run was completed."""
        cells = self.table.cells
        return [
            position for position in self.relevant if any(run.status != "completed" for run in cells[position].results)
        ]

    @cached_property
    def _n_runs(self) -> int:
        return sum(len(self.table.cells[position].results) for position in self.relevant)

    @cached_property
    def nothing_learned(self) -> str | None:
        """Why quality is not compared, as in ``cell``: the losses of untrained models say nothing."""
        table, changed = self.table, [factor for factor, _ in self.varied]
        matched: dict[Cell, Counter[int]] = defaultdict(Counter)  # how many diverged by seed, all other levels alike
        for position in self._diverged:
            seeds = table.diverged[position]
            if len(seeds) == table.n_seeds:
                return f"all {plural(table.n_seeds, 'run')} of {table.cells[position].label} diverged"
            at = table.at[position]
            matched[tuple(level for factor, level in enumerate(at) if factor not in changed)].update(seeds)
        both = {seed for counts in matched.values() for seed, count in counts.items() if count > 1}
        return f"cells it compares both diverged in {len(both)} of {plural(table.n_seeds, 'seed')}" if both else None

    @cached_property
    def _diverged(self) -> list[int]:
        return [position for position in self.relevant if position in self.table.diverged]

    def without_diverged(self, name: str, contrast: Contrast) -> WithoutDiverged | None:
        """The same contrast without the seeds in which a run diverged, where these seeds decide what it says."""
        table = self.table
        diverged = [(seed, table.cells[position]) for position in self._diverged for seed in table.diverged[position]]
        left_out = {seed for seed, _ in diverged}
        if not diverged or contrast.delta is None or len(left_out) == table.n_seeds:
            return None
        (rest,) = paired_all([self.pairs(table.means(name, [s for s in range(table.n_seeds) if s not in left_out]))])
        if rest.delta is None:
            return None
        turned = rest.delta * contrast.delta < 0 or rest.excludes_zero != contrast.excludes_zero
        texts = (f"{cell.label}, seed {cell.seeds[seed]}" for seed, cell in diverged)
        return WithoutDiverged(tuple(texts), rest) if turned else None

    def effect(self, contrasts: Mapping[str, Contrast]) -> Effect:
        """With its contrasts, those of the table's measure first."""
        factors = [self.table.factors[factor] for factor, _ in self.varied]
        levels = [in_order(self.table.factors[factor])[level] for factor, level in self.varied]
        others = [
            OtherFactor(factor["path"], factor["name"], level, factor["baseline"])
            for factor, level in zip(factors, levels, strict=True)
        ]
        name = next(iter(contrasts))
        return Effect(
            others[0].path,
            others[0].name,
            others[0].level,
            others[0].baseline,
            self.n_cells,
            contrasts,
            others[1] if len(others) > 1 else None,
            without_diverged=self.without_diverged(name, contrasts[name]),
            norm=self.norm,
        )


class _Fitted(_Asked):
    """An effect as a weighted sum: ``weights`` of the cells, None where it is not estimable."""

    def __init__(self, table: _Table, varied: Varied, weights: list[float] | None):
        self.table, self.varied, self.weights = table, varied, weights
        self.relevant = [] if weights is None else [index for index, weight in enumerate(weights) if weight]

    @property
    def n_cells(self) -> int:
        return sum(all(at[factor] == level for factor, level in self.varied) for at in self.table.at)

    @property
    def norm(self) -> float:
        return sqrt(sum(weight**2 for weight in self.weights or ()))

    def pairs(self, means: Means) -> Pairs:
        sides = []
        for sign in (1, -1):
            places = [(index, sign * weight) for index, weight in enumerate(self.weights or ()) if sign * weight > 0]
            sides.append(weighted([means.values[index] for index, _ in places], [weight for _, weight in places]))
        return Pairs(sides[0], sides[1], confidence=self.table.confidence)

    def reason_missing(self, name: str) -> str | None:
        if self.weights is None:
            return "not estimable from these cells"
        return super().reason_missing(name)
