"""Attribution: what each factor contributes to a cell's difference, and each cell's difference to the one before it."""

from collections.abc import Mapping, Sequence
from itertools import pairwise, product
from typing import Any

from ..stats.contrast import Contrast, paired, plural
from ..stats.factorial import MAX_FACTORS, Cell, shapley
from ..stats.sequential import ALPHA, alpha_at, seeds_at
from .measures import reason_missing
from .records import CellComparison, Comparison, Step


def indices(cell: CellComparison, factors: Sequence[Mapping[str, Any]]) -> Cell:
    """The index of its level in each factor; 0 is the baseline's."""
    return tuple(in_order(factor).index(cell.levels[factor["path"]]) for factor in factors)


def in_order(factor: Mapping[str, Any]) -> list[str]:
    """The levels of a factor, the baseline's first."""
    return sorted(factor["levels"], key=lambda level: level != factor["baseline"])


def attribute(comparison: Comparison, cell: CellComparison) -> list[tuple[str, Contrast]]:
    """The contribution of each changed ``factor=level`` to the cell's difference.

    As effects, with the seeds and the confidence of the last planned look. Empty where one factor changed, and where
    there is a ``reason_not_attributed``.
    """
    factors = comparison.factors
    target = indices(cell, factors)
    if _n_changed(target) < 2 or reason_not_attributed(comparison, cell):
        return []
    looks, n_seeds, alpha = comparison.interim_looks, len(cell.seeds), ALPHA
    if looks:
        n_seeds, alpha = seeds_at(n_seeds, looks), alpha_at(n_seeds, looks)
    tested = [comparison.seeds.index(seed) for seed in cell.seeds[:n_seeds]]
    values = {
        indices(other, factors): [other.metrics[comparison.metric].values[seed] for seed in tested]
        for other in comparison.cells
    }
    names = [f"{factor['name']}={cell.levels[factor['path']]}" for factor in factors]
    return [(names[index], contrast) for index, contrast in shapley(values, target, 1 - alpha).items()]


def reason_not_attributed(comparison: Comparison, cell: CellComparison) -> str | None:
    """Why the difference of the cell cannot be attributed to its factors, None where it can."""
    target = indices(cell, comparison.factors)
    if _n_changed(target) > 1 and comparison.design.get("uncrossed"):
        return f"the design {comparison.design['name']} does not cross them"
    if _n_changed(target) > MAX_FACTORS:
        return f"{_n_changed(target)} factors changed; at most {MAX_FACTORS} can be attributed"
    if _n_changed(target) < 2:
        return None
    existing = {indices(other, comparison.factors): other for other in comparison.cells}
    needed = list(product(*(dict.fromkeys((0, index)) for index in target)))
    absent = sum(at not in existing for at in needed)
    if absent:
        return f"{absent} of the {len(needed)} cells from the baseline to it are not in the grid"
    on_the_way = [existing[at] for at in needed]
    for other in on_the_way:
        reason = reason_missing(other.results, comparison.metric)
        if reason is not None:
            return f"they need every run of the {len(needed)} cells from the baseline to it; {other.label}: {reason}"
    if len({other.seeds for other in on_the_way}) > 1:
        return f"the {len(needed)} cells from the baseline to it have different numbers of seeds"
    looks, n_seeds = comparison.interim_looks, len(cell.seeds)
    if looks and not seeds_at(n_seeds, looks):
        return f"{plural(n_seeds, 'seed')}: the first planned look is at {looks[0]}"
    return None


def _n_changed(target: Cell) -> int:
    return sum(index != 0 for index in target)


def steps(
    factors: Sequence[Mapping[str, Any]],
    cells: Sequence[CellComparison],
    names: Sequence[str],
    seeds: Sequence[int],
    looks: Sequence[int],
) -> tuple[Step, ...]:
    """Each cell against the one before it, paired by seed, with the confidence of its interim look.

    ``seeds`` are the grid's; where one of the two was decided early, the seeds that both have are paired.
    """
    result = []
    for before, cell in pairwise(cells):
        changed = [f for f in factors if cell.levels[f["path"]] != before.levels[f["path"]]]
        change = " ".join(f"{factor['name']}={cell.levels[factor['path']]}" for factor in changed)
        result.append(Step(change, cell.label, before.label, _step(before, cell, names, seeds, looks)))
    return tuple(result)


def _step(
    before: CellComparison, cell: CellComparison, names: Sequence[str], seeds: Sequence[int], looks: Sequence[int]
) -> dict[str, Contrast]:
    common = [index for index, seed in enumerate(seeds) if seed in before.seeds and seed in cell.seeds]
    runs = [each.results[each.seeds.index(seeds[index])] for each in (before, cell) for index in common]
    n_seeds, alpha, reason = len(common), ALPHA, None
    if looks:
        if seeds_at(n_seeds, looks):
            n_seeds, alpha = seeds_at(n_seeds, looks), alpha_at(n_seeds, looks)
        else:
            reason = f"{plural(n_seeds, 'seed')}: the first planned look is at {looks[0]}"
    return {
        name: paired(
            [cell.metrics[name].values[index] for index in common[:n_seeds]],
            [before.metrics[name].values[index] for index in common[:n_seeds]],
            reason or reason_missing(runs, name),
            1 - alpha,
        )
        for name in names
    }
