"""Screens, effects averaged over orders, and samples of ranges: their cells, and what is said of their results."""

from itertools import permutations
from math import factorial
from pathlib import Path
from typing import Any

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from support.plans import factors, plan

from ablation.compare.comparison import compare
from ablation.compare.noise import noise_floor
from ablation.compare.records import Comparison
from ablation.errors import InputError
from ablation.grid.design import AveragedOrders, LatinHypercube
from ablation.grid.plan import Plan
from ablation.report.footnotes import notes
from ablation.report.summary import summary
from ablation.stats.shapley import order_weights
from ablation.store.results import RunResult

THREE = "{model.block: [pre_norm, post_norm], model.position: [rope, alibi], model.norm: [layer_norm, rms_norm]}"


def compared(planned: Plan, losses: dict[str, list[float]]) -> Comparison:
    """With these losses by cell and seed; exact where only one is given for all."""
    results = {
        run.id: RunResult(run.id, "completed", {"loss": loss}, directions={"loss": "lower"})
        for cell in planned.cells
        for run, loss in zip(cell.runs, losses[cell.label], strict=True)
    }
    return compare({**planned.manifest(), "metric": "loss", "better": "lower"}, results)


def test_a_screen_has_one_seed_for_each_change(tmp_path: Path) -> None:
    planned = plan(tmp_path, factors(THREE, "design: screen\nseeds: 4\n"))
    assert [len(cell.runs) for cell in planned.cells] == [4, 1, 1, 1]
    assert len({run.id for run in planned.runs}) == 7


def test_a_screen_says_what_is_outside_the_noise_of_the_baseline(tmp_path: Path) -> None:
    planned = plan(tmp_path, factors(THREE, "design: screen\nseeds: 4\n"))
    baseline, *others = (cell.label for cell in planned.cells)
    noise = [1.0, 1.1, 0.9, 1.0]
    bound = student.ppf(1 - 0.05 / 2 / 3, 3) * numpy.std(noise, ddof=1) * (1 + 1 / 4) ** 0.5
    comparison = compared(planned, {baseline: noise, others[0]: [1 + 1.01 * bound], others[1]: [1 - 0.99 * bound],
                                    others[2]: [1.0]})  # fmt: skip
    floor = noise_floor(comparison)
    assert floor is not None
    assert floor.bound == pytest.approx(bound)
    assert [*floor.outside] == [others[0]]
    assert f"is 1 of 3 changes in loss: {others[0]} +" in summary(comparison)
    assert all(verdict.label == "inconclusive" for verdict in comparison.verdicts)


@given(n=st.integers(1, 5), orders=st.integers(2, 8))
def test_every_order_is_walked_from_the_baseline_and_no_cell_is_there_twice(n: int, orders: int) -> None:
    design = AveragedOrders(n=orders)
    cells, chosen = design.combinations([2] * n), design.orders([2] * n)
    assert cells[0] == (0,) * n
    assert len({*cells}) == len(cells) == design.count([2] * n)
    assert len(chosen) == min(orders, factorial(n))
    assert all(sorted(order) == list(range(n)) for order in chosen)
    weights = order_weights(cells, chosen)
    total = numpy.sum([weights[factor, 1] for factor in range(n)], axis=0)
    assert total == pytest.approx([{0: -1, n: 1}.get(sum(cell), 0) for cell in cells])


def test_over_all_orders_an_effect_is_its_shapley_value(tmp_path: Path) -> None:
    """The average over all orders of what a change adds, written out."""
    planned = plan(tmp_path, factors(THREE, "design: {name: averaged_orders, n: 6}\nseeds: 3\n"))
    rng = numpy.random.default_rng(0)
    value = {cell.label: list(rng.normal(size=3)) for cell in planned.cells}
    comparison = compared(planned, value)
    baselines = [factor["baseline"] for factor in comparison.factors]
    of = {
        tuple(level.label != first for level, first in zip(cell.levels.values(), baselines, strict=True)): numpy.array(
            value[cell.label]
        )
        for cell in planned.cells
    }
    assert len(of) == 8
    for factor, effect in enumerate(comparison.effects):
        steps = []
        for order in permutations(range(3)):
            before = order[: order.index(factor)]
            at = tuple(index in before for index in range(3))
            steps.append(of[tuple(index in (*before, factor) for index in range(3))] - of[at])
        assert effect.contrasts["loss"].differences == pytest.approx(numpy.mean(steps, axis=0))
    assert any("averaged over 6 orders" in line for line in notes(comparison, ""))


@given(n=st.integers(2, 20), n_factors=st.integers(1, 4))
def test_every_part_of_every_range_has_one_cell(n: int, n_factors: int) -> None:
    points = numpy.array(LatinHypercube(n=n).points(n_factors))
    for column in points.T:
        assert sorted((column * n).astype(int)) == list(range(n))


def test_cells_lie_within_the_ranges_and_the_baseline_in_their_middle(tmp_path: Path) -> None:
    ranges = "{optimizer.lr: [1e-4, 1e-2], model.dropout: [0.0, 0.2], model.n_layers: [1, 5]}"
    planned = plan(tmp_path, factors(ranges, "design: {name: latin_hypercube, n: 9}\nseeds: 1\n"))
    configs = [cell.runs[0].config for cell in planned.cells]
    assert (configs[0].optimizer.lr, configs[0].model.dropout, configs[0].model.n_layers) == (1e-3, 0.1, 3)
    assert all(1e-4 <= config.optimizer.lr <= 1e-2 for config in configs)
    assert {config.model.n_layers for config in configs} == {1, 2, 3, 4, 5}
    losses = {cell.label: [config.optimizer.lr] for cell, config in zip(planned.cells, configs, strict=True)}
    comparison = compared(planned, losses)
    assert any("lr +1.00" in line for line in notes(comparison, ""))
    assert summary(comparison).startswith("Over the ranges loss follows lr most: rank correlation +1.00 over 10 cells.")


@pytest.mark.parametrize("levels", ["[1e-2, 1e-4]", "[1e-4]", "[1e-4, 1e-3, 1e-2]", "[a, b]", "[true, false]"])
def test_what_is_no_range_is_refused(tmp_path: Path, levels: Any) -> None:
    with pytest.raises(InputError, match="needs the two ends of a range"):
        plan(tmp_path, factors(f"{{optimizer.lr: {levels}}}", "design: latin_hypercube\n"))
