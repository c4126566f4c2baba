"""The way from the baseline to a cell: what each of the factors in which they differ has contributed."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

from ..stats.contrast import Contrast, paired, plural
from ..stats.factorial import MOST_FACTORS, Cell, shapley
from ..stats.sequential import ALPHA, alpha_at, seeds_at
from .measures import reason_missing
from .records import CellComparison, Comparison, Step


def indices(cell: CellComparison, factors: Sequence[Mapping[str, Any]]) -> Cell:
    """Of its levels, factor by factor; 0 is the baseline's."""
    return tuple(in_order(factor).index(cell.levels[factor["path"]]) for factor in factors)


def in_order(factor: Mapping[str, Any]) -> list[str]:
    """Its levels, the baseline's first."""
    return sorted(factor["levels"], key=lambda level: level != factor["baseline"])


def attribute(comparison: Comparison, cell: CellComparison) -> list[tuple[str, Contrast]]:
    """By ``factor=level``, its share of the cell's difference; empty where one factor changed, or ``why_not_attributed``."""
    factors = comparison.factors
    target = indices(cell, factors)
    if _changed(target) < 2 or why_not_attributed(comparison, cell):
        return []
    values = {indices(other, factors): other.metrics[comparison.metric].values for other in comparison.cells}
    names = {place: f"{factor['name']}={cell.levels[factor['path']]}" for place, factor in enumerate(factors)}
    return [(names[place], contrast) for place, contrast in shapley(values, target).items()]


def why_not_attributed(comparison: Comparison, cell: CellComparison) -> str | None:
    """Why the difference of the cell cannot be shared out to its factors, if it cannot."""
    target = indices(cell, comparison.factors)
    if _changed(target) > 1 and comparison.design.get("uncrossed"):
        return f"the design {comparison.design['name']} does not cross them"
    if _changed(target) > MOST_FACTORS:
        return f"{_changed(target)} factors changed; at most {MOST_FACTORS} can be shared out"
    there = {indices(other, comparison.factors) for other in comparison.cells}
    way = set(product(*({0, index} for index in target)))
    if way <= there:
        return None
    return f"{len(way - there)} of the {len(way)} cells from the baseline to it are not in the grid"


def _changed(target: Cell) -> int:
    return sum(index != 0 for index in target)


def steps(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[CellComparison],
    names: Sequence[str],
    seeds: Sequence[int],
    looks: Sequence[int],
) -> tuple[Step, ...]:
    """Each cell against the one before it, paired by seed, with what a look may spend of the confidence.

    ``seeds`` are the grid's; where one of the two was decided early, the pairs are those of the seeds both have.
    """
    found = []
    for before, cell in pairwise(cells):
        changed = [f for f in factors if cell.levels[f["path"]] != before.levels[f["path"]]]
        words = " ".join(f"{factor['name']}={cell.levels[factor['path']]}" for factor in changed)
        found.append(Step(words, cell.label, before.label, _step(before, cell, names, seeds, looks)))
    return tuple(found)


def _step(
    before: CellComparison, cell: CellComparison, names: Sequence[str], seeds: Sequence[int], looks: Sequence[int]
) -> dict[str, Contrast]:
    places = [place for place, seed in enumerate(seeds) if seed in before.seeds and seed in cell.seeds]
    runs = [each.results[each.seeds.index(seeds[place])] for each in (before, cell) for place in places]
    n_seeds, alpha, why = len(places), ALPHA, None
    if looks:
        if seeds_at(n_seeds, looks):
            n_seeds, alpha = seeds_at(n_seeds, looks), alpha_at(n_seeds, looks)
        else:
            why = f"{plural(n_seeds, 'seed')}: the first planned look is at {looks[0]}"
    return {
        name: paired(
            [cell.metrics[name].values[place] for place in places[:n_seeds]],
            [before.metrics[name].values[place] for place in places[:n_seeds]],
            why or reason_missing(runs, name),
            1 - alpha,
        )
        for name in names
    }
