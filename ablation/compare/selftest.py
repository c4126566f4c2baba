"""Check N of the self-test: tables that are made from runs state what the synthetic grids of ``stats.selftest`` do.

What the other checks simulate is how the statistics decide. Here made-up runs go the way of real ones, from a manifest
and results through ``compare``: which contrasts a table has, in which family, and what diverged runs leave of them.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy

from ..stats.selftest.base import Array, Check, Mask, all_alike
from ..stats.selftest.divergences import ARMS, diverging_runs, state
from ..stats.selftest.factorials import DESIGNS, Factorial
from ..stats.selftest.grids import HALF_10, NORMAL, runs, standard_normal, uniform
from ..stats.selftest.tables import Judged, judge, together
from ..stats.sequential import INTERIM_LOOKS, alpha_at
from ..stats.verdict import Verdict
from ..store.results import RunResult
from .comparison import compare
from .records import Comparison

MARGIN = 1.0
UNTRAINED = 20.0
"""Loss of a model that has learned nothing, in the made-up runs."""


def tables_from_runs(quick: bool = False) -> Iterator[Check]:
    """N: the contrasts, families and labels of whole tables, and no verdict on quality where nothing was learned."""
    tables = 8 if quick else 100
    yield _factorials(tables)
    yield _looks(tables)
    yield _partly_diverged(tables)
    yield _all_diverged(tables)


def study(values: Array, levels: Sequence[int], diverged: Mask | None = None, **more: Any) -> Comparison:
    """The comparison of a full factorial from losses [cells, seeds], and which runs diverged at that loss."""
    factors = [
        {"path": f"model.f{factor}", "name": f"f{factor}", "levels": [*map(str, range(n))], "baseline": "0"}
        for factor, n in enumerate(levels)
    ]
    cells, results = [], {}
    for place, at in enumerate(Factorial(tuple(levels)).cells):
        by_path = {f"model.f{factor}": str(level) for factor, level in enumerate(at)}
        ids = [f"{place:016x}{seed:016x}" for seed in range(values.shape[-1])]
        planned = [{"seed": seed, "id": run} for seed, run in enumerate(ids)]
        cells.append({"label": " ".join(map(str, at)), "settings": by_path, "levels": by_path, "runs": planned})
        for seed, run in enumerate(ids):
            loss = float(values[place, seed])
            if diverged is not None and diverged[place, seed]:
                results[run] = RunResult(run, "diverged", {"loss": 1e6}, initial_loss=loss)
            else:
                results[run] = RunResult(run, "completed", {"loss": loss})
    manifest = {
        "grid": "selftest", "metric": "loss", "better": "lower", "margins": {"loss": MARGIN}, "factors": factors,
        "seeds": [*range(values.shape[-1])], "cells": cells,
    }  # fmt: skip
    return compare({**manifest, **more}, results)


def of_table(comparison: Comparison) -> list[Any]:
    """What the table states of every cell, main effect and interaction, and of the divergence of every cell."""
    verdicts = [cell.metrics["loss"].verdict for cell in comparison.cells[1:]]
    verdicts += [effect.verdict for effect in (*comparison.effects, *comparison.interactions)]
    return [*map(_words, verdicts), *(bool(c.divergence and c.divergence.differs) for c in comparison.cells[1:])]


def _words(verdict: Verdict | None) -> tuple[str, bool, bool, bool]:
    assert verdict is not None, "every contrast of the made-up runs is judged"
    label = "inconclusive" if verdict.label == "diverged" else verdict.label
    return label, verdict.exceeds_margin, verdict.trend is not None, verdict.within_margin


def of_simulation(judged: Judged, cells: int) -> list[Any]:
    """The same of the first of simulated tables."""
    within = judged.differs & judged.equivalent
    columns = judged.labels[0], judged.exceeds[0], judged.leaning[0], within[0]
    divergence = judged.others[0].tolist() or [False] * cells
    return [*zip(*(column.tolist() for column in columns), strict=True), *divergence]


def _factorials(tables: int) -> Check:
    same = 0
    for table in range(tables):
        design, shared = Factorial(DESIGNS[table % 3]), table % 2 == 0
        values = _with_effects(design, (NORMAL, HALF_10)[table % 2], 5, table)
        judged = judge(together(*design.tests(-values, shared)), MARGIN)
        found = study(values[0], design.levels, variance="shared" if shared else "own")
        same += of_table(found) == of_simulation(judged, len(design.cells) - 1)
    return all_alike("N", "factorials whose tables state what is simulated, effects included", same, tables)


def _looks(tables: int) -> Check:
    same = 0
    for table in range(tables):
        design, seeds = Factorial(DESIGNS[table % 2]), INTERIM_LOOKS[table % 3]
        values = _with_effects(design, NORMAL, seeds + 1, table)  # the last seed waits for the next look
        judged = judge(together(*design.tests(-values[..., :seeds], True)), MARGIN, alpha_at(seeds))
        found = study(values[0], design.levels, interim_looks=INTERIM_LOOKS)
        same += of_table(found) == of_simulation(judged, len(design.cells) - 1)
    return all_alike("N", "factorials at planned looks whose tables state what is simulated", same, tables)


def _with_effects(design: Factorial, kind: str, seeds: int, table: int) -> Array:
    values = runs(kind, 1, len(design.cells) - 1, seeds, 0.5, "N", table)
    jumps = 6 * (uniform([len(design.cells), 1], "N effects", table) < 0.3)
    return 3.0 + values + jumps * (1 - 2.0 * (table % 4 < 2))


def _partly_diverged(tables: int) -> Check:
    same = 0
    for table in range(tables):
        rates = [0.3, *[(0.3, 1.0)[table % 2]] * (ARMS // 2), *[0.3] * (ARMS - ARMS // 2)]
        many_values, many_diverged = diverging_runs(table + 1, rates, 5)
        values, diverged = 9.0 + many_values[-1:], many_diverged[-1:]
        values[:, 1:] -= numpy.where(diverged[:, 1:], 0.0, 6.0)  # better wherever both learned something
        found = study(values[0], [1 + ARMS], diverged[0])
        same += of_table(found) == of_simulation(state(values, diverged), ARMS)
    return all_alike("N", "grids with diverged runs whose tables state what is simulated", same, tables)


def _all_diverged(tables: int) -> Check:
    """Every run diverges at once, and untrained losses differ, as other initializations make them."""
    said = set()
    for table in range(tables):
        levels = ([6], [2, 2], [2, 3, 2])[table % 3]
        cells = len(Factorial(tuple(levels)).cells)
        offsets = numpy.linspace(0, 2, cells)[:, None]
        values = UNTRAINED + offsets + 0.1 * standard_normal([cells, 5], "N untrained", table)
        found = study(values, levels, numpy.ones((cells, 5), dtype=bool))
        verdicts = [cell.metrics["loss"].verdict for cell in found.cells[1:]]
        verdicts += [effect.verdict for effect in (*found.effects, *found.interactions)]
        said |= {verdict.label for verdict in verdicts if verdict is not None}
    stated = ", ".join(sorted(said))
    return Check("N", "verdicts on quality in grids in which every run diverged", stated, "diverged, inconclusive",
                 said <= {"diverged", "inconclusive"})  # fmt: skip
