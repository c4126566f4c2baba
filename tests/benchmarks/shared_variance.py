# ruff: noqa: T201
"""How often a table whose cells share variances is wrong, and what it gains, on synthetic tables of known truth.

    python tests/benchmarks/shared_variance.py            # 2,000 tables per row, a minute or two
    python tests/benchmarks/shared_variance.py --full     # 20,000 tables per row, about 15 minutes

Prints, for variances of their own and shared ones, the percentage of tables with any false claim, with any false
"equivalent" and with any false claim where every cell outside the noisy group really differs; the coverage of 95 %
intervals in the group of cells where it is worst; and the power for one cell. Then the same for other forms of
sharing, for few cells, coarse measures, factorials in one family, two measures, and planned interim looks.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import combinations, product
from math import isclose, sqrt

import numpy
from numpy import float64
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from ablation.stats.sequential import ALPHA, ALPHAS, INTERIM_LOOKS
from ablation.stats.shared_variance import MINIMUM_CONTRASTS, mean_correlation, prior_of, share, shared_variances

Array = NDArray[float64]
Form = Callable[[Array, Array, Array], tuple[Array, Array]]
"""Variances and degrees of freedom (tables, contrasts), correlation (tables,) -> variances, degrees of freedom."""

BATCH = 2_000
MARGIN = 3.0  # of the equivalence test, in standard deviations of a run
SIZES = tuple(product((3, 5, 8), (6, 12, 25)))  # seeds, cells beside the baseline

# The standard deviation of a run by cell, the baseline first, or of random cells as chi-squared variances.
PATTERNS = (
    "normal", "chi2(4) variances", "chi2(2) variances", "one cell 3x", "one cell 5x", "a third 3x", "a third 5x",
    "half 10x", "baseline 3x", "baseline 5x", "skewed", "heavy tails", "one cell skewed",
)  # fmt: skip


def own(variances: Array, degrees: Array, correlation: Array) -> tuple[Array, Array]:
    """A paired t-test with the variance of each contrast alone."""
    return variances, degrees


def smyth(variances: Array, degrees: Array, correlation: Array) -> tuple[Array, Array]:
    """Smyth's moderated t (2004), without a bound."""
    center, prior = (numpy.minimum(array, 1e6)[:, None] for array in prior_of(variances, degrees))
    return (prior * center + degrees * variances) / (prior + degrees), prior + degrees


def capped(variances: Array, degrees: Array, correlation: Array) -> tuple[Array, Array]:
    """The same with a prior of at most half the degrees of freedom of a contrast."""
    center, prior = (array[:, None] for array in prior_of(variances, degrees))
    prior = numpy.minimum(prior, degrees / 2)
    return (prior * center + degrees * variances) / (prior + degrees), prior + degrees


def raised(variances: Array, degrees: Array, correlation: Array) -> tuple[Array, Array]:
    """Bounds 1 and 2 of ``shared_variance`` without the third: uncorrelated contrasts."""
    return share(variances, degrees, numpy.zeros_like(correlation))


FORMS: dict[str, Form] = {"own": own, "shared": share}
OTHERS: dict[str, Form] = {"own": own, "Smyth": smyth, "capped": capped, "raised": raised, "shared": share}


def group(pattern: str, cells: int) -> int:
    """How many cells, the first ones, have the noise of their own that the pattern names; else all."""
    if pattern.startswith("one cell"):
        return 1
    if pattern.startswith("a third"):
        return max(1, cells // 3)
    return cells // 2 if pattern.startswith("half") else cells


def runs(random: numpy.random.Generator, pattern: str, tables: int, cells: int, seeds: int) -> Array:
    """A measure in every run, (tables, 1 + cells, seeds): the baseline first, no true difference, deviation 1."""
    size = (tables, 1 + cells, seeds)
    noise = random.standard_normal(size)
    if pattern == "skewed":
        noise = random.exponential(1, size) - 1
    elif pattern == "heavy tails":
        noise = random.standard_t(3, size) / sqrt(3)
    deviation = numpy.ones((tables, 1 + cells))
    if pattern.startswith("chi2"):
        degrees = int(pattern[5])
        deviation = numpy.sqrt(degrees / random.chisquare(degrees, (tables, 1 + cells)))
    elif pattern == "one cell skewed":  # lognormal, as if now and then a run is far worse
        noise[:, 1] = (random.lognormal(0, 0.75, (tables, seeds)) - numpy.exp(0.28125)) / sqrt(1.32516)
    elif pattern.endswith("x"):
        noisy = slice(0, 1) if pattern.startswith("baseline") else slice(1, 1 + group(pattern, cells))
        deviation[:, noisy] = float(pattern.split()[-1][:-1])
    seed_effect = random.standard_normal((tables, 1, seeds))  # correlation .5 between cells; pairing removes it
    return noise * deviation[:, :, None] + seed_effect


def batches(tables: int, *key: int) -> Iterator[tuple[int, numpy.random.Generator]]:
    for start in range(0, tables, BATCH):
        yield min(BATCH, tables - start), numpy.random.default_rng([*key, start])


def holm(p: Array) -> Array:
    """Holm's adjusted p over the last axis."""
    order = numpy.argsort(p, axis=-1)
    factors = p.shape[-1] - numpy.arange(p.shape[-1])
    ascending = numpy.maximum.accumulate(numpy.take_along_axis(p, order, -1) * factors, axis=-1)
    adjusted = numpy.empty_like(p)
    numpy.put_along_axis(adjusted, order, ascending, -1)
    return adjusted


def any_below(p: Array, alpha: float = ALPHA) -> Array:
    """Whether Holm rejects anything, by table."""
    return p.min(axis=-1) * p.shape[-1] < alpha


def tested(differences: Array, form: Form) -> tuple[Array, Array, Array]:
    """Means, standard errors and degrees of freedom, each (tables, contrasts)."""
    seeds = differences.shape[-1]
    variances = differences.var(axis=-1, ddof=1)
    degrees = numpy.full_like(variances, seeds - 1)
    if variances.shape[-1] >= MINIMUM_CONTRASTS:
        variances, degrees = form(variances, degrees, mean_correlation(differences))
    return differences.mean(axis=-1), numpy.sqrt(variances / seeds), degrees


def two_sided(mean: Array, error: Array, degrees: Array) -> Array:
    return 2 * stdtr(degrees, -numpy.abs(mean) / error)


def equivalence(mean: Array, error: Array, degrees: Array, margin: float) -> Array:
    """Two one-sided tests: the larger p."""
    return numpy.maximum(stdtr(degrees, -(mean + margin) / error), stdtr(degrees, -(margin - mean) / error))


def rates(pattern: str, seeds: int, cells: int, tables: int, forms: dict[str, Form]) -> dict[str, Array]:
    """By form: any false claim, any false equivalence, any false claim in the group alone, worst coverage; percent."""
    noisy = group(pattern, cells)
    counts = {name: numpy.zeros(3) for name in forms}
    covered = {name: numpy.zeros(cells) for name in forms}
    for batch, random in batches(tables, 1, seeds, cells, PATTERNS.index(pattern)):
        values = runs(random, pattern, batch, cells, seeds)
        differences = values[:, 1:] - values[:, :1]
        for name, form in forms.items():
            mean, error, degrees = tested(differences, form)
            p = two_sided(mean, error, degrees)
            at_margin = equivalence(mean + MARGIN, error, degrees, MARGIN)
            counts[name] += [any_below(p).sum(), any_below(at_margin).sum(), any_below(p[:, :noisy]).sum()]
            covered[name] += (p >= ALPHA).sum(axis=0)
    worst = {n: min(c[:noisy].mean(), c[noisy:].mean() if noisy < cells else tables) for n, c in covered.items()}
    return {name: 100 * numpy.array([*counts[name], worst[name]]) / tables for name in forms}


def power(pattern: str, seeds: int, cells: int, tables: int, size: float, forms: dict[str, Form]) -> dict[str, float]:
    """By form: how often the last cell, which differs by ``size`` standard deviations of a run, is found; percent."""
    found = dict.fromkeys(forms, 0.0)
    for batch, random in batches(tables, 2, seeds, cells, PATTERNS.index(pattern)):
        values = runs(random, pattern, batch, cells, seeds)
        values[:, -1] += size
        for name, form in forms.items():
            p = two_sided(*tested(values[:, 1:] - values[:, :1], form))
            found[name] += 100 * float((holm(p)[:, -1] < ALPHA).sum()) / tables
    return found


def print_rates(tables: int, forms: dict[str, Form], sizes: tuple[tuple[int, int], ...]) -> None:
    print("\nany false claim / any false equivalence / any false claim, all others differ / worst coverage, in %")
    for (seeds, cells), pattern in product(sizes, PATTERNS):
        row = rates(pattern, seeds, cells, tables, forms)
        numbers = " | ".join(f"{name} " + " / ".join(f"{x:4.1f}" for x in values) for name, values in row.items())
        print(f"{seeds} seeds, {cells:2} cells, {pattern:18} {numbers}", flush=True)


def print_power(tables: int, forms: dict[str, Form], sizes: tuple[tuple[int, int], ...]) -> None:
    print("\npower in % for one cell (a quiet one) at 3 and 5 standard deviations of a run")
    for (seeds, cells), pattern in product(sizes, ("normal", "chi2(4) variances", "one cell 5x", "a third 5x")):
        three, five = (power(pattern, seeds, cells, tables, size, forms) for size in (3, 5))
        numbers = " | ".join(f"{name} {three[name]:3.0f} / {five[name]:3.0f}" for name in forms)
        print(f"{seeds} seeds, {cells:2} cells, {pattern:18} {numbers}", flush=True)


def print_coarse(tables: int) -> None:
    """Measures in steps of a standard deviation and more, where cells tie and some have no variance."""
    print("\ncoarse measures, any false claim / worst coverage in %: own, shared (contrasts without noise untested)")
    for (seeds, cells), step in product(((3, 12), (5, 12), (8, 12)), (0.5, 1.0, 2.0)):
        random = numpy.random.default_rng([3, seeds, cells])
        false, covered, total = numpy.zeros(2), numpy.zeros(2), 0
        for _ in range(tables):
            values = numpy.round(random.standard_normal((1 + cells, seeds)) / step) * step
            differences = values[1:] - values[0]
            noisy = [
                (d.mean(), v) for d, v in zip(differences, shared_variances(differences.tolist()), strict=True) if v
            ]
            if not noisy:
                continue
            mean = numpy.array([m for m, _ in noisy])
            ps = [
                two_sided(mean, numpy.sqrt(numpy.array(value) / seeds), numpy.array(degrees))
                for value, degrees in (
                    ([v.own for _, v in noisy], [seeds - 1.0] * len(noisy)),
                    ([v.value for _, v in noisy], [v.degrees for _, v in noisy]),
                )
            ]
            false += [p.min() * cells < ALPHA for p in ps]
            covered += [(p >= ALPHA).sum() for p in ps]
            total += len(noisy)
        numbers = " | ".join(
            f"{100 * f / tables:.1f} / {100 * c / total:.1f}" for f, c in zip(false, covered, strict=True)
        )
        print(f"{seeds} seeds, {cells} cells, steps of {step} SD: {numbers}", flush=True)


def weights(levels: tuple[int, ...]) -> dict[str, Array]:
    """Contrasts of a full factorial as weights of its cells: cells - baseline; main effects, then interactions."""
    grid = list(product(*map(range, levels)))

    def mean(**fixed: int) -> Array:
        chosen = numpy.array([all(cell[int(f[1:])] == level for f, level in fixed.items()) for cell in grid])
        return chosen / chosen.sum()

    main = [mean(**{f"f{f}": level}) - mean(**{f"f{f}": 0}) for f, n in enumerate(levels) for level in range(1, n)]
    pairs = [
        mean(**{f"f{a}": i, f"f{b}": j}) - mean(**{f"f{a}": i, f"f{b}": 0})
        - mean(**{f"f{a}": 0, f"f{b}": j}) + mean(**{f"f{a}": 0, f"f{b}": 0})
        for a, b in combinations(range(len(levels)), 2)
        for i, j in product(range(1, levels[a]), range(1, levels[b]))
    ]  # fmt: skip
    of_cells = numpy.eye(len(grid))[1:] - numpy.eye(len(grid))[0]
    return {"cells": of_cells, "effects": numpy.array(main + pairs)}


def print_factorial(tables: int) -> None:
    """Cells, main effects and interactions in one Holm family. What effects share is the variance of a run."""
    print(
        "\nfactorials, one family, variances of cells/effects: any false claim, any false interaction or main effect,"
    )
    print("least coverage of an effect, power of a main effect of 1.5 SD, in %")
    forms: dict[str, tuple[Form, Form]] = {
        "own/own": (own, own),
        "shared/own": (share, own),
        "shared/shared": (share, share),
    }
    patterns = ("normal", "chi2(2) variances", "one cell 5x", "a third 5x", "half 10x", "baseline 5x", "skewed")
    for levels, seeds, pattern in product(((2, 2), (2, 3, 2), (2, 3, 5)), (3, 5, 8), patterns):
        kinds = {kind: weight / norm(weight) for kind, weight in weights(levels).items()}
        cells = len(kinds["cells"])
        effect = kinds["effects"][0] @ numpy.array([1.5 * (cell[0] == 1) for cell in product(*map(range, levels))])
        counts = {name: numpy.zeros(3) for name in forms}
        covered = {name: numpy.zeros(sum(map(len, kinds.values())) - cells) for name in forms}
        for batch, random in batches(tables, 4, seeds, cells, patterns.index(pattern)):
            values = runs(random, pattern, batch, cells, seeds)
            contrasts = {kind: numpy.einsum("kc,tcs->tks", weight, values) for kind, weight in kinds.items()}
            for name, (of_cells, of_effects) in forms.items():
                found = [tested(c, of_cells if kind == "cells" else of_effects) for kind, c in contrasts.items()]
                mean, error, degrees = (numpy.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
                p = two_sided(mean, error, degrees)
                false = holm(p) < ALPHA
                mean[:, cells] += effect
                power = holm(two_sided(mean, error, degrees))[:, cells] < ALPHA
                counts[name] += [false.any(axis=1).sum(), false[:, cells:].any(axis=1).sum(), power.sum()]
                covered[name] += (p[:, cells:] >= ALPHA).sum(axis=0)
        numbers = " | ".join(
            f"{name} {false:4.1f}, {of_effects:4.1f}, {100 * covered[name].min() / tables:.1f}, {power:3.0f}"
            for name, (false, of_effects, power) in ((n, 100 * c / tables) for n, c in counts.items())
        )
        print(f"{'x'.join(map(str, levels)):6} {seeds} seeds, {pattern:18} {numbers}", flush=True)


def norm(weight: Array) -> Array:
    return numpy.sqrt((weight**2).sum(axis=1, keepdims=True))


def print_two_measures(tables: int) -> None:
    """Two measures of the same runs, correlated by .5, that share each for itself and are one family."""
    print("\ntwo measures, 12 cells each, any false claim in %")
    for seeds, pattern in product((3, 5, 8), ("normal", "a third 3x", "a third 5x", "half 10x")):
        counts = dict.fromkeys(FORMS, 0)
        for batch, random in batches(tables, 5, seeds, PATTERNS.index(pattern)):
            first, other = (runs(random, pattern, batch, 12, seeds) for _ in range(2))
            second = 0.5 * first + sqrt(0.75) * other
            for name, form in FORMS.items():
                ps = [two_sided(*tested(v[:, 1:] - v[:, :1], form)) for v in (first, second)]
                counts[name] += int(any_below(numpy.concatenate(ps, axis=1)).sum())
        print(f"{seeds} seeds, {pattern:18} " + " | ".join(f"{n} {100 * c / tables:.1f}" for n, c in counts.items()))


def looks(pattern: str, cells: int, tables: int, form: Form, shift: float, margin: float) -> Array:
    """With interim looks, in %: tables with a claim, with an "equivalent", and cells whose intervals always cover.

    A cell that is decided gets no more seeds and is not tested again; its variance stays among those that are shared.
    """
    counts = numpy.zeros(3)
    noisy = group(pattern, cells)
    for batch, random in batches(tables, 6, cells, PATTERNS.index(pattern)):
        values = runs(random, pattern, batch, cells, max(INTERIM_LOOKS))
        differences = values[:, 1:] - values[:, :1] + shift
        still_open = numpy.ones((batch, cells), dtype=bool)
        claimed, equivalent, covered = (numpy.zeros((batch, cells), dtype=bool) for _ in range(3))
        covered[:] = True
        correlation = mean_correlation(differences[..., : INTERIM_LOOKS[0]])
        variances, degrees, means, alpha = (numpy.zeros((batch, cells)) for _ in range(4))
        for seeds, level in zip(INTERIM_LOOKS, ALPHAS, strict=True):
            seen = differences[..., :seeds]
            variances = numpy.where(still_open, seen.var(axis=-1, ddof=1), variances)
            degrees = numpy.where(still_open, seeds - 1.0, degrees)
            means = numpy.where(still_open, seen.mean(axis=-1), means)
            alpha = numpy.where(still_open, level, alpha)
            value, total = form(variances, degrees, correlation)
            error = numpy.sqrt(value / (degrees + 1))
            differs = (holm(two_sided(means, error, total)) < alpha) & still_open
            same = (holm(equivalence(means, error, total, margin)) < alpha) & still_open
            width = -stdtrit(total, alpha / 2) * error
            covered &= (numpy.abs(means - shift) <= width) | ~still_open
            claimed, equivalent = claimed | differs, equivalent | same
            still_open &= ~(differs | same)
        worst = min(covered[:, :noisy].mean(), covered[:, noisy:].mean() if noisy < cells else 1.0) * batch
        counts += [claimed.any(axis=1).sum(), equivalent.any(axis=1).sum(), worst]
    return 100 * counts / tables


def print_looks(tables: int) -> None:
    print("\nlooks at 5, 8, 12 seeds, in %: any false claim, any false equivalence, worst coverage over all looks")
    margin = 2 * sqrt(2)
    for cells, pattern in product((6, 12, 25), PATTERNS):
        parts = []
        for name, form in FORMS.items():
            null = looks(pattern, cells, tables, form, 0.0, margin)
            boundary = looks(pattern, cells, tables, form, margin, margin)
            parts.append(f"{name} {null[0]:.1f}, {boundary[1]:.1f}, {null[2]:.1f}")
        print(f"{cells:2} cells, {pattern:18} " + " | ".join(parts), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--full", action="store_true", help="20,000 tables per row instead of 2,000")
    parser.add_argument("--tables", type=int, help="tables per row")
    tables = (options := parser.parse_args()).tables or (20_000 if options.full else 2_000)
    assert isclose(sum(ALPHAS), ALPHA)
    print(f"{tables:,} tables per row: a rate of 5 % has a standard error of {100 * sqrt(0.05 * 0.95 / tables):.2f}")
    print_rates(tables, FORMS, SIZES)
    print_power(tables // 2, FORMS, SIZES)
    print("\nOther forms: Smyth (no bound), capped (d0 <= d / 2), raised (and never lowered), shared (with bound 3)")
    print_rates(tables // 2, OTHERS, ((3, 6), (5, 12)))
    print_power(tables // 2, OTHERS, ((3, 6), (5, 12), (5, 25)))
    print("\nFew cells")
    print_rates(tables, FORMS, ((3, MINIMUM_CONTRASTS), (5, MINIMUM_CONTRASTS)))
    print_coarse(tables // 2)
    print_factorial(tables // 2)
    print_two_measures(tables)
    print_looks(tables // 2)


if __name__ == "__main__":
    main()
