"""Main effects and interactions of a full factorial: what a level does on average, and how that depends on others."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product
from typing import Any

from ..stats.contrast import Contrast, plural
from ..stats.factorial import Cell, Values, interaction, main_effect
from ..stats.sequential import ALPHA, alpha_at, seeds_at
from .attribution import in_order, indices
from .measures import TIMED, reason_missing
from .records import CellComparison, Effect, OtherFactor, WithoutDiverged


def main_effects(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[CellComparison],
    names: Sequence[str],
    design: Mapping[str, Any],
    looks: Sequence[int],
    quality: Collection[str],
) -> tuple[tuple[Effect, ...], tuple[Effect, ...], str | None]:
    """Main effects, two-way interactions, and the reason for having none although several factors vary.

    ``names`` are the measures, that of the table first, and ``quality`` those of quality; ``looks`` the planned interim
    looks.
    """
    varied = [factor for factor in factors if len(factor["levels"]) > 1]
    if len(varied) < 2:
        return (), (), None  # with one factor the main effects are the rows of the table
    planned = set(product(*(factor["levels"] for factor in varied)))
    existing = Counter(tuple(cell.levels[factor["path"]] for factor in varied) for cell in cells)
    if set(existing) != planned or max(existing.values()) > 1:
        return (), (), _reason_not_factorial(design, len(planned & set(existing)), len(planned))
    if len({cell.seeds for cell in cells}) > 1:
        return (), (), "cells have different numbers of seeds"
    n_seeds, alpha = len(cells[0].seeds), ALPHA
    if looks:
        n_seeds, alpha = seeds_at(n_seeds, looks), alpha_at(n_seeds, looks)
        if not n_seeds:
            return (), (), f"{plural(len(cells[0].seeds), 'seed')}: the first planned look is at {looks[0]}"
    by_seed = [name for name in names if name not in TIMED]
    table = _Table(varied, cells, n_seeds, 1 - alpha, quality)
    effects = tuple(
        _effect(table, index, level, by_seed) for index, factor in enumerate(varied) for level in in_order(factor)[1:]
    )
    interactions = tuple(
        _interaction(table, (one, other), levels, by_seed)
        for one, other in combinations(range(len(varied)), 2)
        for levels in product(in_order(varied[one])[1:], in_order(varied[other])[1:])
    )
    return effects, interactions, None


def _reason_not_factorial(design: Mapping[str, Any], n_existing: int, n_planned: int) -> str:
    """Why averages over the levels of the other factors would be over different sets of cells."""
    if design.get("uncrossed"):
        return f"design {design['name']}: {design['uncrossed']}"
    if design.get("excluded"):
        excluded = n_planned - n_existing
        return f"{excluded} of {n_planned} combinations are excluded: averages would be over different cells"
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
        return [indices(cell, self.factors) for cell in self.cells]

    def contrasts(
        self, names: Sequence[str], varied: Sequence[tuple[int, int]], compute: Callable[[Values], Contrast]
    ) -> dict[str, Contrast]:
        """The contrast of every measure; without one where a run is missing, as the averages would not be comparable.

        ``varied`` are the (factor, level) that it compares with the baseline's; cells at other levels of these factors
        do not matter.
        """
        contrasts = {}
        relevant, untrained = self.relevant(varied), self.nothing_learned(varied)
        for name in names:
            reasons = (cell.incomparable.get(name) for cell in relevant)
            reason = next(filter(None, reasons), None) or reason_missing(
                [run for cell in relevant for run in cell.results], name
            )
            values = self.values(name, range(self.n_seeds))
            contrasts[name] = compute(values) if reason is None else Contrast(None, 0, reason_missing=reason)
            if reason is None and untrained is not None and name in self.quality:
                contrasts[name] = replace(contrasts[name], interval=None, p=None, reason_missing=untrained)
        return contrasts

    def nothing_learned(self, varied: Sequence[tuple[int, int]]) -> str | None:
        """Why quality is not compared, as in ``cell``: the losses of untrained models say nothing."""
        changed = [factor for factor, _ in varied]
        matched: dict[Cell, Counter[int]] = defaultdict(Counter)  # how many diverged by seed, all other levels alike
        for cell in self.relevant(varied):
            seeds = [seed for seed, run in enumerate(cell.results[: self.n_seeds]) if run.status == "diverged"]
            if len(seeds) == self.n_seeds:
                return f"all {plural(self.n_seeds, 'run')} of {cell.label} diverged"
            at = indices(cell, self.factors)
            matched[tuple(level for factor, level in enumerate(at) if factor not in changed)].update(seeds)
        both = {seed for counts in matched.values() for seed, count in counts.items() if count > 1}
        return f"cells it compares both diverged in {len(both)} of {plural(self.n_seeds, 'seed')}" if both else None

    def relevant(self, varied: Sequence[tuple[int, int]]) -> list[CellComparison]:
        """The cells that a contrast averages over."""
        return [
            cell
            for at, cell in zip(self.at, self.cells, strict=True)
            if all(at[factor] in (0, level) for factor, level in varied)
        ]

    def values(self, name: str, seeds: Iterable[int]) -> Values:
        """By the indices of each cell's levels, the values at these indices of seeds."""
        seeds = list(seeds)
        return {
            at: [cell.metrics[name].values[seed] for seed in seeds]
            for at, cell in zip(self.at, self.cells, strict=True)
        }

    def without_diverged(
        self, name: str, contrast: Contrast, varied: Sequence[tuple[int, int]], compute: Callable[[Values], Contrast]
    ) -> WithoutDiverged | None:
        """The same contrast without the seeds in which a run diverged, where these seeds decide what it says."""
        diverged = [
            (seed, f"{cell.label}, seed {cell.seeds[seed]}")
            for cell in self.relevant(varied)
            for seed, run in enumerate(cell.results[: self.n_seeds])
            if run.status == "diverged"
        ]
        left_out = {seed for seed, _ in diverged}
        if not diverged or contrast.delta is None or len(left_out) == self.n_seeds:
            return None
        rest = compute(self.values(name, (seed for seed in range(self.n_seeds) if seed not in left_out)))
        if rest.delta is None:
            return None
        turned = rest.delta * contrast.delta < 0 or rest.excludes_zero != contrast.excludes_zero
        return WithoutDiverged(tuple(text for _, text in diverged), rest) if turned else None

    def count(self, levels: Mapping[str, str]) -> int:
        """The number of cells that have all these levels, by the factor's path."""
        return sum(all(cell.levels[path] == level for path, level in levels.items()) for cell in self.cells)


def _effect(table: _Table, factor_index: int, level: str, names: Sequence[str]) -> Effect:
    factor = table.factors[factor_index]
    index = in_order(factor).index(level)
    varied = [(factor_index, index)]

    def compute(values: Values) -> Contrast:
        return main_effect(values, factor_index, index, table.confidence)

    contrasts = table.contrasts(names, varied, compute)
    path = factor["path"]
    return Effect(
        path,
        factor["name"],
        level,
        factor["baseline"],
        table.count({path: level}),
        contrasts,
        without_diverged=table.without_diverged(names[0], contrasts[names[0]], varied, compute),
    )


def _interaction(table: _Table, pair: tuple[int, int], levels: tuple[str, str], names: Sequence[str]) -> Effect:
    one, other = (table.factors[index] for index in pair)
    first, second = (
        (index, in_order(factor).index(level)) for index, factor, level in zip(pair, (one, other), levels, strict=True)
    )

    def compute(values: Values) -> Contrast:
        return interaction(values, first, second, table.confidence)

    contrasts = table.contrasts(names, [first, second], compute)
    n_cells = table.count({one["path"]: levels[0], other["path"]: levels[1]})
    given = OtherFactor(other["path"], other["name"], levels[1], other["baseline"])
    return Effect(
        one["path"],
        one["name"],
        levels[0],
        one["baseline"],
        n_cells,
        contrasts,
        given,
        without_diverged=table.without_diverged(names[0], contrasts[names[0]], [first, second], compute),
    )
