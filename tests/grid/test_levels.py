"""Levels that set several paths, factors that go together or exist under others only, listed cells, overrides."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.plans import BASE_YAML, refusal
from support.plans import planned as plan
from support.small_grids import Ablate

from ablation.compare.claim import find_cell
from ablation.compare.comparison import compare
from ablation.errors import InputError
from ablation.grid.conditions import Condition, resolve
from ablation.grid.factors import INACTIVE
from ablation.grid.file import read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan

RIVALS = {
    "rival": [
        {"label": "attention", "set": {}},
        {"label": "lstm", "set": {"model.mixer": "lstm", "model.position": "none"}},
    ],
    "model.position": ["rope", "alibi"],
}
BOTH_SET = {
    "rival": [
        {"label": "attention", "set": {"model.mixer": "attention"}},
        {"label": "lstm", "set": {"model.mixer": "lstm", "model.position": "none"}},
    ],
    "model.position": ["rope", "alibi"],
}
WHEN = {"model.position": {"rival": "attention"}}


def labels(planned: Plan) -> list[str]:
    return [cell.label for cell in planned.cells]


def value(planned: Plan, label: str, path: str) -> Any:
    """Of a cell's configuration; the name of a component."""
    config: Any = next(cell for cell in planned.cells if cell.label == label).runs[0].config
    for key in path.split("."):
        config = getattr(config, key)
    return getattr(config, "name", config)


def test_lstm_stands_in_a_grid_beside_rope(tmp_path: Path) -> None:
    planned = plan(tmp_path, factors=RIVALS, when=WHEN)
    assert labels(planned) == ["rival=attention position=rope", "position=alibi", "rival=lstm"]
    assert (value(planned, "rival=lstm", "model.mixer"), value(planned, "rival=lstm", "model.position")) == (
        "lstm",
        "none",
    )
    assert value(planned, "position=alibi", "model.mixer") == "attention"
    manifest = planned.manifest()
    assert [factor["levels"] for factor in manifest["factors"]] == [["attention", "lstm"], ["rope", "alibi", "n/a"]]
    assert manifest["factors"][0]["paths"] == ["model.mixer", "model.position"]
    assert manifest["cells"][2]["settings"] == {"model.mixer": "lstm", "model.position": "none"}
    assert manifest["cells"][2]["levels"] == {"rival": "lstm", "model.position": "n/a"}


def test_cells_that_differ_in_an_inactive_factor_alone_are_one(tmp_path: Path) -> None:
    theta = {"model.position.theta": [1e4, 5e5, 1e6]}
    planned = plan(
        tmp_path,
        factors={"model.position": ["rope", "alibi"], **theta},
        when={"model.position.theta": {"model.position": "rope"}},
    )
    assert labels(planned) == ["position=rope theta=10000", "theta=500000", "theta=1e+06", "position=alibi"]


def test_factor_that_the_baseline_has_not_is_named_at_each_of_its_levels(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        factors={"model.position": ["alibi", "rope"], "model.position.theta": [1e4, 5e5]},
        when={"model.position.theta": {"model.position": ["rope"]}},
    )
    assert labels(planned) == ["position=alibi", "position=rope theta=10000", "position=rope theta=500000"]
    assert planned.manifest()["factors"][1]["baseline"] == "n/a"


def test_conditions_depend_on_conditions(tmp_path: Path) -> None:
    planned = plan(
        tmp_path,
        factors={**RIVALS, "model.position.theta": [1e4, 5e5]},
        when={"model.position.theta": {"model.position": "rope"}, **WHEN},
    )
    assert labels(planned) == [
        "rival=attention position=rope theta=10000", "theta=500000", "position=alibi", "rival=lstm",
    ]  # fmt: skip


def test_two_levels_that_set_the_same_are_refused_with_the_way_out(tmp_path: Path) -> None:
    said = refusal(tmp_path, factors=RIVALS)
    assert "rival=lstm and position=rope both set model.position (cell rival=lstm)" in said and "`when`" in said


def test_zipped_factors_vary_together(tmp_path: Path) -> None:
    factors = {"model.d_model": [16, 32], "model.n_heads": [2, 4], "model.norm": ["layer_norm", "rms_norm"]}
    planned = plan(tmp_path, factors=factors, zip=[["model.d_model", "model.n_heads"]])
    assert labels(planned) == [
        "d_model+n_heads=16+2 norm=layer_norm", "norm=rms_norm", "d_model+n_heads=32+4",
        "d_model+n_heads=32+4 norm=rms_norm",
    ]  # fmt: skip
    assert (value(planned, "d_model+n_heads=32+4", "model.d_model"), planned.cells[2].settings) == (
        32,
        {"model.d_model": 32, "model.n_heads": 4, "model.norm": "layer_norm"},
    )


def test_baseline_of_one_zipped_factor_is_that_of_the_others(tmp_path: Path) -> None:
    factors, zipped = {"model.d_model": [16, 32], "model.n_heads": [2, 4]}, [["model.d_model", "model.n_heads"]]
    planned = plan(tmp_path, factors=factors, zip=zipped, baseline={"model.n_heads": 4})
    assert labels(planned) == ["d_model+n_heads=32+4", "d_model+n_heads=16+2"]
    said = refusal(tmp_path, factors=factors, zip=zipped, baseline={"model.n_heads": 4, "model.d_model": 16})
    assert "d_model+n_heads has no level with all of these" in said


def test_cells_are_listed_instead_of_a_design(tmp_path: Path) -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "model.position": ["rope", "alibi", "none"]}
    cells = [{"model.position": "alibi", "model.block": "post_norm"}, {"model.position": "none"}]
    planned = plan(tmp_path, factors=factors, cells=cells)
    assert labels(planned) == ["block=pre_norm position=rope", "block=post_norm position=alibi", "position=none"]
    assert planned.design()["uncrossed"] == "its cells are listed one by one"
    assert "cells[1]: is the same cell as number 1" in refusal(tmp_path, factors=factors, cells=[cells[0], cells[0]])
    assert "is the baseline" in refusal(tmp_path, factors=factors, cells=[{"model.position": "rope"}])
    assert "takes the place of a design" in refusal(tmp_path, factors=factors, cells=cells, design="factorial")


def test_override_sets_more_in_the_cells_that_it_names(tmp_path: Path) -> None:
    overrides = [{"cells": {"model.block": "post_norm"}, "set": {"optimizer.lr": 0.1}}]
    factors = {"model.block": ["pre_norm", "post_norm"], "model.position": ["rope", "alibi"]}
    planned = plan(tmp_path, factors=factors, overrides=overrides)
    rates = {cell.label: cell.runs[0].config.optimizer.lr for cell in planned.cells}
    assert [rate == 0.1 for rate in rates.values()] == [False, False, True, True]
    manifest = planned.manifest()
    assert [cell["beside"] for cell in manifest["cells"]] == [[], [], *[["optimizer.lr 0.001 -> 0.1"]] * 2]
    assert manifest["cells"][3]["settings"]["optimizer.lr"] == 0.1
    varied = [{"cells": {"model.block": "post_norm"}, "set": {"model.position": "none"}}]
    assert "is varied by the factor position" in refusal(tmp_path, factors=factors, overrides=varied)


def test_plan_says_why_a_combination_is_left_out(tmp_path: Path, ablate: Ablate) -> None:
    plan(
        tmp_path,
        factors={"model.block": ["pre_norm", "post_norm"], "model.position": ["rope", "alibi"]},
        exclude=[{"model.block": "post_norm", "model.position": "alibi", "reason": "diverges at this rate"}],
    )
    assert "excluded: block=post_norm position=alibi (1 cell): diverges at this rate" in ablate("plan", "grid.yaml").out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"when": {"model.position": {"rivl": "attention"}}}, "rivl: is not a factor"),
        ({"when": {"positon": {"rival": "attention"}}}, "when.positon: is not a factor"),
        ({"when": {"model.position": {"rival": "gru"}}}, "'gru' is not a level; levels: attention, lstm"),
        ({"when": {"rival": {"model.position": "rope"}, **WHEN}}, "depend on each other in a circle"),
        ({"zip": [["rival", "model.norm"]]}, "zip[0][1]: 'model.norm' is not a factor"),
        ({"zip": [["rival"]]}, "needs two factors or more"),
        ({"set": {"model.mixer": "gru"}, "when": WHEN, "factors": BOTH_SET}, "is also set by the factor rival"),
        ({"factors": {"a b": [{"label": "x", "set": {}}]}}, "the name of a factor is of letters"),
        ({"factors": {"a": [{"label": "x", "set": {}}, {"label": "y", "set": {"seed": 3}}]}}, "seeds are replicates"),
        ({"factors": {"a": [{"label": "x", "set": {}}, {"set": {"model.mixer": "lstm"}}]}}, "needs a label"),
        ({"factors": {"a": [{"label": "x", "set": {}}, {"label": "y", "set": {"model.mxer": 1}}]}}, "'mixer'?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(tmp_path: Path, changes: dict[str, Any], expected: str) -> None:
    assert expected in refusal(tmp_path, **{"factors": RIVALS, **changes})


@pytest.mark.parametrize(
    ("design", "baseline", "others"),
    [
        ("leave_one_out", "norm=layer_norm tie_embeddings=true", ["norm=none", "tie_embeddings=false"]),
        ("add_one", "norm=none tie_embeddings=false", ["norm=layer_norm", "tie_embeddings=true"]),
        ({"name": "cumulative", "order": "reverse"}, "norm=layer_norm tie_embeddings=true",
         ["tie_embeddings=false", "norm=none tie_embeddings=false"]),
    ],
)  # fmt: skip
def test_designs_of_parts(tmp_path: Path, design: Any, baseline: str, others: list[str]) -> None:
    factors = {"model.norm": ["layer_norm", "none"], "model.tie_embeddings": [True, False]}
    planned = plan(tmp_path, factors=factors, design=design)
    assert labels(planned) == [baseline, *others]


def test_add_one_has_its_own_baseline(tmp_path: Path) -> None:
    factors = {"model.norm": ["layer_norm", "none"], "model.tie_embeddings": [True, False]}
    said = refusal(tmp_path, factors=factors, design="add_one", baseline={"model.norm": "layer_norm"})
    assert "is the last level of every factor in the design 'add_one'" in said


def test_main_effects_give_way_where_factors_exist_under_some_levels_only(tmp_path: Path) -> None:
    planned = plan(tmp_path, factors=RIVALS, when=WHEN, seeds=3)
    comparison = compare(planned.manifest(), {})
    assert comparison.effects_reason_missing == "design factorial: position exists under some levels only"
    assert find_cell(comparison, {"rival": "lstm"}).label == "rival=lstm"
    with pytest.raises(InputError, match="no cell"):
        find_cell(comparison, {"rival": "lstm", "position": "alibi"})


@settings(deadline=None, database=None, derandomize=True, max_examples=60)
@given(st.data())
def test_resolved_cells_have_a_level_exactly_where_the_condition_holds(data: st.DataObject) -> None:
    cell = data.draw(st.lists(st.integers(0, 2), min_size=4, max_size=4).map(tuple))
    needed = [data.draw(st.frozensets(st.integers(0, 2), min_size=1)) for _ in range(2)]
    conditions = [Condition(1, {0: needed[0]}), Condition(2, {1: needed[1], 0: needed[0]})]
    resolved = resolve(cell, conditions)
    assert (resolved[0], resolved[3]) == (cell[0], cell[3])
    for condition in conditions:
        assert resolved[condition.factor] == (cell[condition.factor] if condition.holds(resolved) else INACTIVE)
    assert resolve(resolved, conditions) == resolved


def test_what_only_some_levels_set_is_common_to_the_others(tmp_path: Path) -> None:
    drop = [{"label": "none", "set": {}}, {"label": "dropout", "set": {"model.dropout": 0.1}}]
    planned = plan(tmp_path, factors={"change": drop}, set={"model.dropout": 0.05})
    assert [value(planned, label, "model.dropout") for label in labels(planned)] == [0.05, 0.1]


@pytest.mark.parametrize(
    ("text", "question"),
    [
        ("# $schema=x\n# Does it help?\n# Or so?\nname: a\n", "Does it help?"),
        ("# No question.\nname: a\n# Really?\n", None),
        ("# Does it help?\nname: a\nquestion: What helps?\n", "What helps?"),
        ("name: a\n", None),
    ],
)
def test_question_is_that_of_the_file_or_its_first_comment(tmp_path: Path, text: str, question: str | None) -> None:
    (tmp_path / "base.yaml").write_text(BASE_YAML)
    (tmp_path / "grid.yaml").write_text(f"{text}base: base.yaml\nfactors: {{model.n_heads: [4, 2]}}\nseeds: 1\n")
    planned = make_plan(read_grid(tmp_path / "grid.yaml"))
    assert planned.manifest()["question"] == question
    assert compare(planned.manifest(), {}).question == question
