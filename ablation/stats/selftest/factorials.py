"""Check I: full factorials, whose tables state cells, main effects and interactions, all of them in one family."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy

from ..factorial import Cell, interaction, main_effect
from ..sequential import ALPHA
from .base import Array, Check, Mask, caught, form, no_more_than_five
from .grids import ARM_5, BASELINE_5, HALF_10, HEAVY, NORMAL, SKEWED, runs
from .tables import Judged, Tests, judge, tests, together

DESIGNS = (2, 2), (2, 3, 2), (2, 3, 5)
MARGIN = 1.0


@dataclass(frozen=True)
class Factorial:
    """All contrasts of a full factorial as weights of its cells, in the order of ``cells``; level 0 is the baseline's.

    Each effect names the (factor, level) that it compares with the baseline's: one of a main effect, two of an
    interaction.
    """

    levels: tuple[int, ...]

    @cached_property
    def cells(self) -> list[Cell]:
        """Their levels, the baseline first."""
        return [*product(*map(range, self.levels))]

    @cached_property
    def effects(self) -> list[tuple[tuple[int, int], ...]]:
        """The main effects, then the interactions."""
        main = [((factor, level),) for factor, n in enumerate(self.levels) for level in range(1, n)]
        pairs = [(one, other) for one, other in combinations((e[0] for e in main), 2) if one[0] != other[0]]
        # Pair of factors by pair of factors, as tables list them.
        return [*main, *sorted(pairs, key=lambda pair: (pair[0][0], pair[1][0], pair[0][1], pair[1][1]))]

    @cached_property
    def n_main(self) -> int:
        return sum(len(effect) == 1 for effect in self.effects)

    @cached_property
    def weights(self) -> Array:
        """[effects, cells]."""
        return numpy.array([self._weights(effect) for effect in self.effects])

    def _weights(self, effect: tuple[tuple[int, int], ...]) -> Array:
        total = numpy.zeros(len(self.cells))
        for changed in product((False, True), repeat=len(effect)):
            at = {factor: level if there else 0 for (factor, level), there in zip(effect, changed, strict=True)}
            chosen = numpy.array([all(cell[f] == level for f, level in at.items()) for cell in self.cells])
            total += (-1) ** (len(effect) - sum(changed)) * chosen / chosen.sum()
        return total

    def contrasts(self, values: Array) -> tuple[Array, Array]:
        """Differences of the cells to the baseline, and of the effects, from runs [tables, cells, seeds]."""
        return values[:, 1:] - values[:, :1], self.weights @ values

    def tests(self, values: Array, shared: bool) -> tuple[Tests, Tests]:
        """Of cells and of effects; cells share variances among them, and effects, as variances of a run, among them."""
        cells, effects = self.contrasts(values)
        return tests(cells, shared), tests(effects, shared, numpy.linalg.norm(self.weights, axis=-1))

    def depends(self, judged: Judged) -> Mask:
        """Whether each main effect is said to depend on another factor, [tables, main effects]."""
        found = numpy.zeros((len(judged.differs), self.n_main), dtype=bool)
        shown = judged.differs[:, len(self.cells) - 1 :]
        for place, effect in enumerate(self.effects[self.n_main :], self.n_main):
            for of_level in effect:
                found[:, self.effects.index((of_level,))] |= shown[:, place]
        return found

    @property
    def name(self) -> str:
        return "x".join(map(str, self.levels))


def factorial_tables(grids: int, quick: bool) -> Iterator[Check]:
    """I: nothing differs, and a table states that a cell, an effect or an interaction does, or that one depends."""
    yield _agreement(5 if quick else 50)
    kinds = (NORMAL, HEAVY, SKEWED, ARM_5, HALF_10, BASELINE_5)
    separate, uncorrected = {}, {}
    for shared in (False, True):
        for kind in kinds if shared else (NORMAL,) if quick else (NORMAL, HALF_10):
            rates, depending = {}, {}
            for levels, seeds in product(DESIGNS, (5,) if quick else (3, 5, 8)):
                design = Factorial(levels)
                setting = f"{design.name}, {seeds} seeds"
                values = runs(kind, grids, len(design.cells) - 1, seeds, 0.5, "I")
                cells, effects = design.tests(values, shared)
                judged = judge(together(cells, effects), MARGIN)
                depends = design.depends(judged).any(-1)
                rates[setting] = float((judged.any_difference | depends).mean())
                depending[setting] = float(depends.mean())
                if kind == NORMAL and not shared and seeds == 5:
                    separate[design.name] = _separate_families(design, cells, effects)
                    uncorrected[design.name] = float((effects.p[:, design.n_main :] < ALPHA).any(-1).mean())
            variances = form(shared)
            what = f"any false statement on cells, effects and interactions, {variances}, {kind}"
            yield no_more_than_five("I", what, rates, grids)
            if kind == NORMAL:
                yield no_more_than_five("I", f'any "depends" in a table, {variances}', depending, grids)
    yield caught("I", "cells, main effects and interactions as three families", separate, grids)
    del uncorrected["2x2"]  # one interaction, which needs no correction
    yield caught("I", '"depends" by the uncorrected intervals', uncorrected, grids)


def _separate_families(design: Factorial, cells: Tests, effects: Tests) -> float:
    main, interactions = (
        Tests(effects.mean[:, part], effects.error[:, part], effects.degrees[:, part])
        for part in (slice(design.n_main), slice(design.n_main, None))
    )
    families = [judge(part, MARGIN).any_difference for part in (cells, main, interactions)]
    return float(numpy.logical_or.reduce(families).mean())


def _agreement(tables: int) -> Check:
    """The weights against ``stats.factorial``, which tables use."""
    gaps = []
    for levels in DESIGNS:
        design = Factorial(levels)
        found = runs(NORMAL, tables, len(design.cells) - 1, 5, 0.5, "I agreement")
        for table, effects in zip(found, design.contrasts(found)[1], strict=True):
            values = dict(zip(design.cells, table.tolist(), strict=True))
            for effect, differences in zip(design.effects, effects, strict=True):
                one = main_effect(values, *effect[0]) if len(effect) == 1 else interaction(values, effect[0], effect[1])
                gaps.append(float(numpy.abs(numpy.array(one.differences) - differences).max()))
    gap = max(gaps)
    return Check("I", "effects of random factorials as tables compute them", f"off by {gap:.1e}", "<= 1e-12",
                 gap <= 1e-12)  # fmt: skip
