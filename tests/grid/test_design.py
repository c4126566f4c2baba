"""Designs that do not cross every level with every other, and cells that are left out: what is run and what is said."""

import json
import re
from collections.abc import Mapping
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy
import pytest
import yaml
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import ttest_rel
from support.plans import BASE_YAML
from support.small_grids import Ablate, output, write_grid

from ablation.compare.attribution import attribute, reason_not_attributed
from ablation.compare.comparison import compare
from ablation.compare.records import Comparison
from ablation.errors import InputError
from ablation.grid.design import Cumulative, Factorial, OneAtATime
from ablation.grid.file import read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan
from ablation.report import footnotes
from ablation.report.html.data import ReportData
from ablation.report.html.page import sections
from ablation.report.render import crosstable
from ablation.report.render import json as document
from ablation.report.table import TableData
from ablation.store.results import RunResult
from ablation.store.runs import Store
from ablation.study.planned import describe

quickly = settings(deadline=None, database=None, derandomize=True, max_examples=60)
LEVEL_COUNTS = st.lists(st.integers(1, 4), min_size=1, max_size=5)
GRID_YAML = {
    "model.block": ["pre_norm", "post_norm"],
    "model.position": ["rope", "alibi", "none"],
    "model.norm": ["layer_norm", "rms_norm"],
}


def plan(folder: Path, **grid: Any) -> Plan:
    (folder / "base.yaml").write_text(BASE_YAML)
    written = {"name": "study", "base": "base.yaml", "factors": GRID_YAML, "seeds": 1, **grid}
    (folder / "grid.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return make_plan(read_grid(folder / "grid.yaml"))


def labels(planned: Plan) -> list[str]:
    return [cell.label for cell in planned.cells]


def refusal(folder: Path, **grid: Any) -> str:
    with pytest.raises(InputError) as caught:
        plan(folder, **grid)
    return str(caught.value).rpartition("grid.yaml:")[2].partition(": ")[2]


# --- cells -----------------------------------------------------------------------------------------------------------


@quickly
@given(LEVEL_COUNTS)
def test_one_at_a_time_has_the_baseline_and_each_other_level(n_levels: list[int]) -> None:
    first, *others = OneAtATime().combinations(n_levels)
    assert not any(first)
    changed = [[(place, level) for place, level in enumerate(cell) if level] for cell in others]
    assert all(len(pairs) == 1 for pairs in changed)
    assert [pair for (pair,) in changed] == [(p, level) for p, n in enumerate(n_levels) for level in range(1, n)]
    assert 1 + len(others) == OneAtATime().count(n_levels) == 1 + sum(n - 1 for n in n_levels)


@quickly
@given(st.lists(st.integers(1, 2), min_size=1, max_size=6))
def test_cumulative_changes_one_more_factor_per_cell_in_file_order(n_levels: list[int]) -> None:
    cells = Cumulative().combinations(n_levels)
    varied = [place for place, n in enumerate(n_levels) if n == 2]
    for number, cell in enumerate(cells):
        assert [place for place, level in enumerate(cell) if level] == varied[:number]
    assert len(cells) == Cumulative().count(n_levels) == 1 + len(varied)


@quickly
@given(LEVEL_COUNTS)
def test_factorial_counts_what_it_lists(n_levels: list[int]) -> None:
    assert len(set(Factorial().combinations(n_levels))) == Factorial().count(n_levels) == prod(n_levels)


@quickly
@given(data=st.data())
def test_exclusion_leaves_out_the_cells_with_all_its_levels(data: Any, tmp_path_factory) -> None:
    counts = data.draw(st.lists(st.integers(2, 3), min_size=2, max_size=3))
    written = {f"f{place}": list(range(n)) for place, n in enumerate(counts)}
    design = data.draw(st.sampled_from([Factorial(), OneAtATime()]))
    name = {"Factorial": "factorial", "OneAtATime": "one_at_a_time"}[type(design).__name__]
    one = st.dictionaries(st.sampled_from(list(written)), st.integers(0, 2), min_size=1)
    exclude = data.draw(st.lists(one, min_size=1, max_size=3))
    every = design.combinations(counts)

    def out(cell: Any, pairs: dict[str, int]) -> bool:
        return all(cell[int(path[1:])] == level for path, level in pairs.items())

    assume(not any(out(every[0], pairs) for pairs in exclude))
    assume(all(any(out(cell, pairs) for cell in every) for pairs in exclude))
    file = tmp_path_factory.mktemp("grid") / "grid.yaml"
    file.write_text(yaml.safe_dump({"name": "g", "factors": written, "design": name, "exclude": exclude}))
    grid = read_grid(file)
    kept = [cell for cell in every if not any(out(cell, pairs) for pairs in exclude)]
    assert grid.combinations() == kept
    assert grid.n_cells == len(kept)
    assert [one.n_cells for one in grid.exclusions] == [sum(out(cell, pairs) for cell in every) for pairs in exclude]


def test_cells_of_one_at_a_time_are_named_by_their_one_change(tmp_path):
    planned = plan(tmp_path, design="one_at_a_time")
    assert labels(planned)[1:] == ["block=post_norm", "position=alibi", "position=none", "norm=rms_norm"]
    assert planned.grid.n_cells == 5


def test_one_at_a_time_leaves_one_out_from_a_full_baseline(tmp_path):
    two = {path: levels[:2] for path, levels in GRID_YAML.items()}
    baseline = {path: levels[1] for path, levels in two.items()}
    planned = plan(tmp_path, design="one_at_a_time", factors=two, baseline=baseline)
    assert labels(planned)[1:] == ["block=pre_norm", "position=rope", "norm=layer_norm"]


def test_cumulative_steps_lead_away_from_the_baseline(tmp_path):
    two = {path: levels[:2] for path, levels in GRID_YAML.items()}
    planned = plan(tmp_path, design="cumulative", factors=two, baseline={"model.position": "alibi"})
    assert labels(planned)[1:] == [
        "block=post_norm",
        "block=post_norm position=rope",
        "block=post_norm position=rope norm=rms_norm",
    ]


def test_runs_of_all_designs_are_those_of_the_factorial(tmp_path):
    two = {path: levels[:2] for path, levels in GRID_YAML.items()}
    every = {run.id for run in plan(tmp_path, factors=two).runs}
    for design in ("one_at_a_time", "cumulative"):
        assert {run.id for run in plan(tmp_path, factors=two, design=design).runs} < every


def test_exclusions_take_levels_by_value_and_by_label(tmp_path):
    positions = ["rope", {"name": "rope", "theta": 5e5, "label": "long"}, "alibi"]
    few = {"model.block": GRID_YAML["model.block"], "model.position": positions}
    expected = ["block=pre_norm position=rope", "position=long", "position=alibi", "block=post_norm",
                "block=post_norm position=alibi"]  # fmt: skip
    for level in ("long", {"name": "rope", "theta": 5e5}):
        exclude = [{"model.block": "post_norm", "model.position": level}]
        assert labels(plan(tmp_path, factors=few, exclude=exclude)) == expected


def test_exclusion_can_separate_two_spellings_of_one_experiment(tmp_path):
    heads = {"model.mixer": ["attention", "lstm"], "model.n_heads": [4, 2]}
    changes = {"set": {"model.position": "none"}, "factors": heads}
    assert "are the same experiment" in refusal(tmp_path, **changes)
    assert len(plan(tmp_path, **changes, exclude=[{"model.mixer": "lstm", "model.n_heads": 2}]).cells) == 3


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"design": "cumulative"},
            "factors.model.position: has 3 levels; the design 'cumulative' allows at most 2 per factor",
        ),
        (
            {"exclude": [{"model.blok": "post_norm"}]},
            "exclude[0].model.blok: is not a factor; factors: model.block, model.position, model.norm; "
            "did you mean 'model.block'?",
        ),
        (
            {"exclude": [{"model.block": "post_norm"}, {"model.position": "alib"}]},
            "exclude[1].model.position: 'alib' is not a level; levels: rope, alibi, none; did you mean 'alibi'?",
        ),
        (
            {"exclude": [{"model.block": "pre_norm", "model.norm": "layer_norm"}]},
            "exclude[0]: block=pre_norm norm=layer_norm excludes the baseline",
        ),
        (
            {"exclude": [{"model.block": "post_norm", "model.norm": "rms_norm"}], "design": "one_at_a_time"},
            "exclude[0]: no cell of the design 'one_at_a_time' has block=post_norm norm=rms_norm",
        ),
        ({"exclude": [{}]}, "exclude[0]: must have a length of at least 1, not 0"),
        ({"exclude": {"model.block": "post_norm"}}, "exclude: must be a list, not a mapping"),
        ({"design": "one_at_a_tim"}, "design: 'one_at_a_tim' is not a design; allowed: ~ 'one_at_a_time'?"),
    ],
)
def test_invalid_exclusion_or_design_is_refused_in_one_line(tmp_path, changes, expected):
    start, _, end = expected.partition("~")
    said = refusal(tmp_path, **changes)
    assert said.startswith(start) and said.endswith(end) and "\n" not in said
    assert "~" in expected or said == expected


def test_manifest_records_the_design_and_lists_no_unused_level(tmp_path):
    manifest = plan(tmp_path, exclude=[{"model.position": "none"}]).manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["design"] == {
        "name": "factorial",
        "uncrossed": None,
        "stepwise": False,
        "orders": [],
        "confounded": [],
        "conditions": [],
        "overrides": [],
        "excluded": [{"label": "position=none", "cells": 4, "reason": None}],
    }
    assert [factor["levels"] for factor in manifest["factors"]] == [
        ["pre_norm", "post_norm"], ["rope", "alibi"], ["layer_norm", "rms_norm"]
    ]  # fmt: skip


def test_plan_shows_the_design_and_what_is_excluded(tmp_path):
    planned = plan(tmp_path, design="one_at_a_time", exclude=[{"model.position": "none"}])
    described = describe(planned, Store(tmp_path / "runs"))
    assert described["design"] == planned.design()
    assert described["planned"] == 4
    assert described["factors"]["model.position"] == ["rope", "alibi"], "that no cell has the third is not varied"


# --- what is said of them ---------------------------------------------------------------------------------------------


def compared(
    planned: Plan,
    n_seeds: int = 4,
    missing: tuple[str, int] | None = None,
    fewer: Mapping[str, int] = MappingProxyType({}),
    **changes: Any,
) -> Comparison:
    """The plan's cells with losses made up from their levels and seeds; ``fewer`` seeds of some, by their labels."""
    manifest = {**planned.manifest(), "metric": "loss", "better": "lower", "seeds": list(range(n_seeds)), **changes}
    noise, outcomes = numpy.random.default_rng(0), {}
    for cell in manifest["cells"]:
        cell["runs"] = [
            {"seed": seed, "id": f"{cell['label']} {seed}"} for seed in range(fewer.get(cell["label"], n_seeds))
        ]
        for run in cell["runs"]:
            loss = 2 + 0.1 * len(cell["label"]) + 0.05 * run["seed"] + noise.normal(scale=0.01)
            if (cell["label"], run["seed"]) != missing:
                outcomes[run["id"]] = RunResult(run["id"], "completed", {"loss": float(loss), "parameters": 9.0})
    return compare(manifest, outcomes)


def two_levels(folder: Path, **changes: Any) -> Plan:
    return plan(folder, factors={path: levels[:2] for path, levels in GRID_YAML.items()}, **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"design": "one_at_a_time"}, "design one_at_a_time: levels are compared at the baseline only"),
        ({"design": "cumulative"}, "design cumulative: each level is compared only with those added before it present"),
        (
            {
                "exclude": [
                    {"model.block": "post_norm", "model.norm": "rms_norm"},
                    {"model.block": "post_norm", "model.position": "alibi"},
                    {"model.position": "alibi", "model.norm": "rms_norm"},
                ]
            },
            "not a full factorial: 4 of 8 combinations of levels exist",
        ),
    ],
)
def test_uncrossed_design_has_no_main_effects_and_gives_the_reason(tmp_path, changes, said):
    found = compared(two_levels(tmp_path, **changes))
    assert (found.effects, found.interactions, found.effects_reason_missing) == ((), (), said)
    lines = footnotes.notes(found, "")
    assert sum("no main effects" in line for line in lines) == 1
    assert found.steps or f"no main effects — {said}" in lines
    assert not found.steps or any(re.match("step by step: .* of this order only: no main effects$", x) for x in lines)


def test_factorial_without_one_level_is_the_factorial_of_the_rest(tmp_path):
    found = compared(plan(tmp_path, exclude=[{"model.position": "none"}]))
    assert found.effects_reason_missing is None
    assert [(effect.level, effect.cells) for effect in found.effects] == [("post_norm", 4), ("alibi", 4),
                                                                          ("rms_norm", 4)]  # fmt: skip


def test_single_factor_needs_no_crossing(tmp_path):
    one = {"model.position": GRID_YAML["model.position"]}
    found = compared(plan(tmp_path, factors=one, design="one_at_a_time"))
    assert (found.effects, found.effects_reason_missing) == ((), None)
    assert not crosstable.pivot(found, "position").notes


def test_step_is_paired_t_of_cell_against_cell_before_it(tmp_path):
    found = compared(two_levels(tmp_path, design="cumulative"))
    assert [step.change for step in found.steps] == ["block=post_norm", "position=alibi", "norm=rms_norm"]
    for step, before, cell in zip(found.steps, found.cells, found.cells[1:], strict=False):
        assert (step.before, step.cell) == (before.label, cell.label)
        test = ttest_rel(cell.metrics["loss"].values, before.metrics["loss"].values)
        contrast = step.contrasts["loss"]
        assert contrast.interval == pytest.approx(tuple(test.confidence_interval(0.95)))
        assert contrast.p == pytest.approx(test.pvalue)
    whole = found.cells[-1].metrics["loss"].contrast
    assert whole is not None and whole.delta is not None
    assert sum(step.contrasts["loss"].delta or 0 for step in found.steps) == pytest.approx(whole.delta)


def test_step_with_a_missing_run_has_no_interval_and_a_footnote(tmp_path):
    found = compared(two_levels(tmp_path, design="cumulative"), missing=("block=post_norm", 1))
    first, second, third = (step.contrasts["loss"] for step in found.steps)
    assert first.interval is None and second.interval is None and third.interval is not None
    said = "no interval for the step block=post_norm; position=alibi — 1 of 8 runs not finished"
    assert said in footnotes.notes(found, "")


def test_step_spends_the_alpha_of_its_interim_look(tmp_path):
    planned = two_levels(tmp_path, design="cumulative")
    early, late = (compared(planned, n, interim_looks=[4, 6, 8]).steps[0].contrasts["loss"] for n in (3, 5))
    assert (early.interval, early.reason_missing) == (None, "3 seeds: the first planned look is at 4")
    values = [cell.metrics["loss"].values[:4] for cell in compared(planned, 5).cells[:2]]
    assert late.interval == pytest.approx(tuple(ttest_rel(values[1], values[0]).confidence_interval(0.99)))


@pytest.mark.parametrize(("looks", "judged", "confidence"), [([], 5, 0.95), ([4, 6, 8], 4, 0.99)])
def test_step_uses_the_seeds_common_to_both_cells(tmp_path, looks, judged, confidence):
    planned = two_levels(tmp_path, design="cumulative")
    found = compared(planned, 6, fewer={"block=post_norm": 5}, interim_looks=looks)
    baseline, early, late, _ = found.cells
    assert (len(early.seeds), len(late.seeds)) == (5, 6)
    for step, before, cell in zip(found.steps, (baseline, early), (early, late), strict=False):
        values = [each.metrics["loss"].values[:judged] for each in (before, cell)]
        expected = ttest_rel(values[1], values[0]).confidence_interval(confidence)
        assert step.contrasts["loss"].interval == pytest.approx(tuple(expected))
        assert step.contrasts["loss"].pairs == judged


def test_other_designs_have_no_steps(tmp_path):
    assert compared(two_levels(tmp_path, design="one_at_a_time")).steps == ()
    assert document.document(TableData.of(compared(two_levels(tmp_path))))["steps"] == []


def test_manifest_without_a_design_is_still_compared(tmp_path):
    manifest = two_levels(tmp_path).manifest()
    del manifest["design"]
    assert compare({**manifest, "metric": "loss"}, {}).design == {}


def test_attribution_needs_all_cells_on_the_way_or_gives_a_reason(tmp_path):
    found = compared(plan(tmp_path, exclude=[{"model.position": "none", "model.block": "post_norm"}]))
    by_label = {cell.label: cell for cell in found.cells}
    assert len(attribute(found, by_label["block=post_norm position=alibi"])) == 2
    road = compared(two_levels(tmp_path, design="cumulative"))
    assert attribute(road, road.cells[2]) == []
    assert reason_not_attributed(road, road.cells[2]) == "the design cumulative does not cross them"
    assert reason_not_attributed(road, road.cells[1]) is None
    holed = compared(two_levels(tmp_path, exclude=[{"model.block": "post_norm", "model.norm": "layer_norm"}]))
    lacking = "2 of the 8 cells from the baseline to it are not in the grid"
    assert reason_not_attributed(holed, holed.cells[-1]) == lacking


def test_pivot_is_refused_where_the_design_leaves_it_empty(tmp_path):
    with pytest.raises(InputError, match=r"^--pivot block: design one_at_a_time: levels are compared at the baseline"):
        crosstable.pivot(compared(plan(tmp_path, design="one_at_a_time")), "block")


def test_pivot_names_the_excluded_cells(tmp_path, capsys):
    few = {path: GRID_YAML[path] for path in ("model.block", "model.position")}
    exclude = [{"model.block": "post_norm", "model.position": "none"}]
    crossed = crosstable.pivot(compared(plan(tmp_path, factors=few, exclude=exclude)), "block")
    assert [metric is None for row in crossed.rows.values() for metric in row] == [False] * 5 + [True]
    crosstable.show(crossed)
    assert "empty: excluded (block=post_norm position=none)" in capsys.readouterr().out


RATES = [1e-4, 1e-3, 1e-2, 1e-1]


def swept(folder: Path, **changes: Any) -> Comparison:
    factors = {"optimizer.lr": RATES, "model.norm": GRID_YAML["model.norm"], "model.block": GRID_YAML["model.block"]}
    planned = plan(folder, factors=factors, **changes)
    manifest = {**planned.manifest(), "metric": "loss", "better": "lower", "seeds": [0, 1, 2]}
    outcomes = {}
    for cell in manifest["cells"]:
        cell["runs"] = [{"seed": seed, "id": f"{cell['label']} {seed}"} for seed in range(3)]
        for run in cell["runs"]:
            loss = 2 + 0.1 * len(cell["label"]) + 0.05 * run["seed"] ** 2
            outcomes[run["id"]] = RunResult(run["id"], "completed", {"loss": loss}, initial_loss=4.0)
    return compare(manifest, outcomes)


def test_sensitivity_is_compared_between_cells_with_every_rate(tmp_path):
    name = "learning_rate_sensitivity"
    exclude = [{"optimizer.lr": 0.1, "model.norm": "rms_norm", "model.block": "post_norm"}]
    found = swept(tmp_path, exclude=exclude)
    having = {cell.label: cell.metrics[name] for cell in found.cells}
    lacking = [label for label, metric in having.items() if metric.mean is None]
    assert lacking == [cell.label for cell in found.cells if "post_norm" in cell.label and "rms" in cell.label]
    assert {having[label].contrast for label in lacking} == {None}
    assert found.primary["stability"] == name


def test_sensitivity_without_comparison_is_left_out(tmp_path):
    assert "learning_rate_sensitivity" not in swept(tmp_path, design="one_at_a_time").names


# --- from end to end --------------------------------------------------------------------------------------------------


def study(folder: Path, name: str, **changes: Any) -> Path:
    levels = {"model.block": ["pre_norm", "post_norm"], "model.position": ["sinusoidal", "alibi"]}
    file = write_grid(folder, levels, {"training.max_steps": 4}, name=name, seeds=3)
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **changes}, sort_keys=False))
    return file


@pytest.mark.slow
def test_uncrossed_grids_are_trained_and_reported_in_every_format(ablate: Ablate, tmp_path: Path) -> None:
    road = study(tmp_path, "road", design="cumulative", metric="loss")
    output(ablate("run", road))
    whole = output(ablate("table", road))
    assert re.search(r"step by step.*\n.*\n\+ block=post_norm +[-+]\d.*\n\+ position=alibi +[-+]\d", whole)
    assert "| + position=alibi |" in output(ablate("table", road, "--format", "markdown"))
    steps = json.loads(output(ablate("table", road, "--json")))["steps"]
    assert [step["change"] for step in steps] == ["block=post_norm", "position=alibi"]
    said = " ".join(output(ablate("explain", road, "position=alibi")).split())
    assert "no effects of single factors: the design cumulative does not cross them" in said
    assert f"against the cell before it (position=alibi), without a verdict: loss {steps[1]['metrics']['loss']['delta']:+.4g}" in said  # fmt: skip # noqa: E501
    figures = {figure.name for _, found in drawn(tmp_path, "road") for figure in found}
    assert "steps" in figures and not figures & {"interaction", "effects"}
    output(ablate("report", road))

    alone = study(tmp_path, "alone", design="one_at_a_time", metric="loss", exclude=[{"model.position": "alibi"}])
    assert "design: one_at_a_time" in output(ablate("plan", alone))
    assert "0 to train" in output(ablate("plan", alone)), "a run that a roadmap has trained is not trained again"
    output(ablate("run", alone))
    assert "step by step" not in output(ablate("table", alone))
    assert "steps" not in {figure.name for _, found in drawn(tmp_path, "alone") for figure in found}


def drawn(folder: Path, name: str) -> Any:
    from ablation.store.runs import Store
    from ablation.study.manifest import compare_runs, read_manifest

    manifest = read_manifest(folder / "runs" / name)
    assert manifest is not None
    return sections(ReportData(manifest, compare_runs(manifest, Store(folder / "runs")), folder / "runs"))
