"""Parts of a factorial: which cells, what they can tell, and effects by least squares with the same sentences."""

from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy
import pandas
import pytest
import statsmodels.formula.api as smf
from hypothesis import given, settings
from hypothesis import strategies as st
from pydoe import fracfact_aliasing, fracfact_by_res
from support.plans import plan

from ablation.compare.comparison import compare
from ablation.compare.effects import main_effects
from ablation.compare.records import Comparison
from ablation.errors import InputError
from ablation.grid.design import Fractional
from ablation.report.table import TableData
from ablation.stats.least_squares import effect_weights, main_effects_model
from ablation.stats.optimal import d_optimal
from ablation.store.results import RunResult

quickly = settings(deadline=None, database=None, derandomize=True, max_examples=40)
PATHS = ("model.block", "model.position", "model.tie_embeddings", "model.n_heads", "optimizer.lr")
LEVELS = (("pre_norm", "post_norm"), ("rope", "alibi"), ("true", "false"), ("4", "2"), ("0.001", "0.01"))


def grid(n_factors: int, more: str = "") -> str:
    varied = "\n".join(f"  {path}: [{', '.join(levels)}]" for path, levels in zip(PATHS, LEVELS, strict=True))
    kept = "\n".join(varied.splitlines()[:n_factors])
    return f"name: part\nbase: base.yaml\nfactors:\n{kept}\nseeds: 4\n{more}"


def compared(folder: Path, text: str, rng: numpy.random.Generator) -> tuple[Comparison, pandas.DataFrame]:
    """A comparison of made-up losses, and the same losses as a table."""
    planned = plan(folder, text)
    results, rows = {}, []
    effects = {path: rng.normal(0, 0.3) for path in PATHS}
    for cell in planned.cells:
        for run in cell.runs:
            changed = [path for path, level in cell.levels.items() if level is not planned.cells[0].levels[path]]
            loss = 2 + run.seed / 10 + sum(effects[path] for path in changed) + rng.normal(0, 0.02)
            results[run.id] = RunResult(run.id, "completed", {"loss": loss, "exact_match": 1 - loss / 4})
            row = {path.rpartition(".")[2]: int(path in changed) for path in cell.levels}
            rows.append({**row, "seed": run.seed, "loss": loss})
    return compare(planned.manifest(), results, metric="loss"), pandas.DataFrame(rows)


@pytest.mark.parametrize("resolution", [3, 4, 5])
@pytest.mark.parametrize("n_factors", range(2, 9))
def test_fraction_has_the_baseline_first_and_is_balanced(n_factors: int, resolution: Any) -> None:
    design = Fractional(resolution=resolution)
    cells = design.combinations([2] * n_factors)
    assert cells[0] == (0,) * n_factors and len({*cells}) == len(cells) == design.count([2] * n_factors)
    for size in range(1, min(resolution, n_factors + 1)):  # any so many factors are crossed with each other
        for factors in combinations(range(n_factors), size):
            seen = [tuple(cell[factor] for factor in factors) for cell in cells]
            assert {seen.count(levels) for levels in product((0, 1), repeat=size)} == {len(cells) // 2**size}


@pytest.mark.parametrize(("n_factors", "resolution"), [(5, 3), (5, 4), (6, 4), (7, 4), (5, 5), (6, 3)])
def test_what_is_confounded_is_what_pydoe_says(n_factors: int, resolution: Any) -> None:
    """Of its own fraction: ours is of the same family, with other signs, by which pydoe tells effects apart."""
    design, expected = Fractional(resolution=resolution), set()
    for chain in fracfact_aliasing(fracfact_by_res(n_factors, resolution))[0]:
        words = frozenset(tuple(ord(x) - ord("a") for x in word) for word in chain.split(" = ") if len(word) < 3)
        if len(words) > 1:
            expected.add(words)
    assert {frozenset(group) for group in design.confounded([2] * n_factors)} == expected


def test_factors_that_do_not_vary_take_no_part() -> None:
    cells = Fractional(resolution=3).combinations([1, 2, 1, 2, 2])
    assert len(cells) == 4 and all(cell[0] == cell[2] == 0 for cell in cells)


@pytest.mark.parametrize(
    "more",
    [
        "design: {name: fractional, resolution: 3}\n",
        "exclude: [{model.block: post_norm, model.position: alibi}, {model.n_heads: 2, optimizer.lr: 0.01}]\n",
    ],
)
def test_effects_are_those_of_a_regression_with_blocks_of_seeds(tmp_path: Path, more: str) -> None:
    comparison, table = compared(tmp_path, grid(5, more), numpy.random.default_rng(0))
    fit = smf.ols("loss ~ C(seed) + block + position + tie_embeddings + n_heads + lr", table).fit()
    assert len(comparison.effects) == 5 and not comparison.interactions
    for effect in comparison.effects:
        contrast = effect.contrasts["loss"]
        assert contrast.delta == pytest.approx(fit.params[effect.name], abs=1e-12)
        assert contrast.interval is not None and contrast.interval[0] < fit.params[effect.name] < contrast.interval[1]
        assert effect.verdict is not None
    assert "as if no factors interacted" in (comparison.effects_model or "")
    assert TableData.of(comparison).effects is not None


@pytest.mark.parametrize(
    ("n_factors", "more", "left_out"),
    [
        (4, "exclude: [{model.block: post_norm, model.position: alibi, model.n_heads: 2}]\n", "a part"),
        (4, "design: {name: d_optimal, n: 13}\n", "a choice"),
        (5, "design: {name: fractional, resolution: 5}\n", "half, from which just as many effects are estimated"),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" not in value else "",
)
def test_interactions_are_those_of_a_regression_where_all_are_estimable(
    tmp_path: Path, n_factors: int, more: str, left_out: str
) -> None:
    comparison, table = compared(tmp_path, grid(n_factors, more), numpy.random.default_rng(1))
    names = [effect.name for effect in comparison.effects]
    # Codes of -1/2 and 1/2 make an effect the average over the levels of the other factors.
    centered = table.assign(**{name: table[name] - 0.5 for name in names})
    fit = smf.ols(f"loss ~ C(seed) + ({' + '.join(names)})**2", centered).fit()
    assert len(comparison.interactions) == n_factors * (n_factors - 1) // 2
    for effect in (*comparison.effects, *comparison.interactions):
        term = effect.name if effect.given is None else f"{effect.name}:{effect.given.name}"
        assert effect.contrasts["loss"].delta == pytest.approx(fit.params[term], abs=1e-12)
        assert effect.verdict is not None
    assert "as if no three factors interacted" in (comparison.effects_model or "")


def test_effect_that_is_not_estimable_is_named(tmp_path: Path) -> None:
    together = (
        "exclude: [{model.block: post_norm, model.position: rope}, {model.block: pre_norm, model.position: alibi}]"
    )
    comparison, _ = compared(tmp_path, grid(4, together), numpy.random.default_rng(0))
    reasons = {effect.name: effect.contrasts["loss"].reason_missing for effect in comparison.effects}
    cannot = "not estimable from these cells"
    assert reasons == {"block": cannot, "position": cannot, "tie_embeddings": None, "n_heads": None}


@quickly
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 1)), min_size=4, unique=True))
def test_weights_find_an_effect_and_ignore_all_others(others: list[tuple[int, int, int]]) -> None:
    cells = list(dict.fromkeys([(0, 0, 0), *others]))
    truth = {(0, 1): 3.0, (0, 2): -2.0, (1, 1): 0.5, (2, 1): 7.0}
    values = [10 + sum(truth.get((factor, level), 0.0) for factor, level in enumerate(cell)) for cell in cells]
    for effect, weights in effect_weights(cells).items():
        if weights is not None:
            found = sum(w * v for w, v in zip(weights, values, strict=True))
            assert sum(weights) == pytest.approx(0, abs=1e-9)
            assert found == pytest.approx(truth[effect[0]] if len(effect) == 1 else 0, abs=1e-9)


def test_whole_factorial_has_the_weights_of_averages() -> None:
    cells = list(product(range(2), range(3)))
    weights = effect_weights(cells)
    assert weights[(0, 1),] == pytest.approx([-1 / 3] * 3 + [1 / 3] * 3)
    assert weights[(1, 2),] == pytest.approx([-1 / 2, 0, 1 / 2] * 2)
    assert weights[(0, 1), (1, 2)] == pytest.approx([1, 0, -1, -1, 0, 1])
    assert main_effects([], [], [], {}, [], []).main == ()


ALLOWED = st.lists(st.tuples(*[st.integers(0, 2)] * 3), min_size=12, max_size=27, unique=True)


def optimal(cells: list[tuple[int, ...]], n: int) -> list[tuple[int, ...]]:
    return [cells[index] for index in d_optimal(main_effects_model(cells)[1], n)]


def information(cells: list[tuple[int, ...]], of: list[tuple[int, ...]]) -> float:
    rows = main_effects_model(of)[1][[of.index(cell) for cell in cells]]
    return float(numpy.linalg.slogdet(rows.T @ rows + 1e-6 * numpy.eye(rows.shape[1]))[1])


@quickly
@given(ALLOWED, st.integers(8, 11), st.randoms(use_true_random=False))
def test_optimal_choice_has_more_information_than_chance(cells: list[tuple[int, ...]], n: int, random: Any) -> None:
    chosen = optimal(cells, n)
    assert chosen[0] == cells[0] and len({*chosen}) == n and {*chosen} <= {*cells} and optimal(cells, n) == chosen
    by_chance = [information([cells[0], *random.sample(cells[1:], n - 1)], cells) for _ in range(9)]
    assert information(chosen, cells) >= sorted(by_chance)[6]


def test_optimal_half_of_a_factorial_is_as_good_as_the_fraction() -> None:
    cells = list(product(range(2), repeat=4))
    fraction = Fractional(resolution=4).combinations([2] * 4)
    assert information(optimal(cells, 8), cells) == pytest.approx(information(fraction, cells), abs=1e-9)


def test_d_optimal_grid_runs_the_allowed_cells(tmp_path: Path) -> None:
    more = "design: {name: d_optimal, n: 8}\nexclude: [{model.block: post_norm, model.position: alibi}]\n"
    comparison, table = compared(tmp_path, grid(5, more), numpy.random.default_rng(0))
    assert len(comparison.cells) == 8 and not ((table.block == 1) & (table.position == 1)).any()
    assert all(effect.contrasts["loss"].interval is not None for effect in comparison.effects)
    fit = smf.ols("loss ~ C(seed) + block + position + tie_embeddings + n_heads + lr", table).fit()
    assert comparison.effects[0].contrasts["loss"].delta == pytest.approx(fit.params["block"], abs=1e-12)


def test_too_few_cells_for_the_effects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="design: n: 5 cells are too few for 5 effects; at least 6 are needed"):
        plan(tmp_path, grid(5, "design: {name: d_optimal, n: 5}\n"))


def test_more_cells_than_there_are_combinations_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="design: n: 33 is more than the 32 combinations that there are"):
        plan(tmp_path, grid(5, "design: {name: d_optimal, n: 33}\n"))
