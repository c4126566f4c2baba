"""From grid.yaml to cells and runs: designs, labels, seeds, the manifest, and two spellings of one experiment."""

import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import pytest
import torch
from support.plans import BASE_YAML, GRID_YAML, factors, ids, plan

from ablation.config.experiment import rebuild
from ablation.errors import InputError
from ablation.grid import design
from ablation.grid.factors import describe, short_names
from ablation.grid.file import LARGEST_GRID, read_grid
from ablation.grid.planner import make_plan
from ablation.model.config import mixers_without_heads
from ablation.optim.schedule import Schedule
from ablation.registry import excluded_from_id, register


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def refusal(folder: Path, grid: str, **changes: Any) -> str:
    with pytest.raises(InputError) as caught:
        plan(folder, grid, **changes)
    return str(caught.value).removeprefix(f"{folder}/")


# --- cells -----------------------------------------------------------------------------------------------------------


def test_factorial_grid_has_every_combination_the_baseline_first(tmp_path):
    cells = plan(tmp_path, GRID_YAML).cells
    assert [tuple(level.value for level in cell.levels.values()) for cell in cells] == list(
        product(["pre_norm", "post_norm"], ["rope", "alibi", {"name": "rope", "theta": 5e5}])
    )


def test_label_lists_differences_from_the_fully_labeled_baseline(tmp_path):
    assert [cell.label for cell in plan(tmp_path, GRID_YAML).cells] == [
        "block=pre_norm position=rope",
        "position=alibi",
        "position=rope(theta=500000)",
        "block=post_norm",
        "block=post_norm position=alibi",
        "block=post_norm position=rope(theta=500000)",
    ]


def test_configurations_differ_in_the_levels_only(tmp_path):
    first, *others = [cell.runs[0].config for cell in plan(tmp_path, GRID_YAML).cells]
    assert (first.model.block.name, first.model.position.theta) == ("pre_norm", 1e4)
    assert others[1].model.position.theta == 5e5
    for config in others:
        model = config.model.model_copy(update={"block": first.model.block, "position": first.model.position})
        assert config.model_copy(update={"model": model}) == first


def test_baseline_follows_the_file(tmp_path):
    grid = GRID_YAML + "baseline: {model.block: post_norm, model.position: {name: rope, theta: 500_000.0}}\n"
    assert "is not a level" in refusal(tmp_path, grid)  # 500_000 is text in YAML 1.2
    planned = plan(tmp_path, grid.replace("_000.0", "000"))
    assert planned.cells[0].label == "block=post_norm position=rope(theta=500000)"
    assert planned.cells[-1].label == "block=pre_norm position=alibi"
    assert sorted(ids(planned)) == sorted(ids(plan(tmp_path, GRID_YAML)))


def test_baseline_may_be_named_by_its_label_or_by_its_value(tmp_path):
    levels = "{model.n_layers: [{value: 2, label: deep}, {value: 1, label: flat}], model.n_kv_heads: [2, null]}"
    for baseline in (
        "{model.n_layers: flat, model.n_kv_heads: null}",
        "{model.n_layers: 1.0, model.n_kv_heads: 'null'}",
    ):
        planned = plan(tmp_path, factors(levels, f"baseline: {baseline}\n"))
        assert planned.cells[0].label == "n_layers=flat n_kv_heads=null"
        assert planned.cells[0].runs[0].config.model.n_layers == 1


def test_labels_name_levels(tmp_path):
    levels = "[{name: rope, theta: 5e5, label: long}, {value: alibi, label: none at all}, {value: rope, label: 3}]"
    planned = plan(tmp_path, factors(f"{{model.position: {levels}}}"))
    assert [cell.label for cell in planned.cells] == ["position=long", "position=none at all", "position=3"]
    assert planned.cells[0].runs[0].config.model.position.theta == 5e5
    assert planned.manifest()["cells"][0]["settings"] == {"model.position": {"name": "rope", "theta": 5e5}}


def test_level_of_many_values_may_be_a_whole_section(tmp_path):
    levels = "[adamw, {value: {name: adamw, lr: 3e-4, betas: [0.9, 0.99]}, label: careful}]"
    config = plan(tmp_path, factors(f"{{optimizer: {levels}}}")).cells[1].runs[0].config
    assert (config.optimizer.lr, config.optimizer.betas) == (3e-4, (0.9, 0.99))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *[("rope", "rope"), (4, "4"), (1e-4, "0.0001"), (5e5, "500000"), (True, "true"), (None, "null")],
        ({"name": "rope"}, "rope"),
        ({"theta": 5e5, "name": "rope"}, "rope(theta=500000)"),
        ({"name": "a", "b": {"name": "c", "d": [1, 2.5]}, "e": False}, "a(b=c(d=[1, 2.5]), e=false)"),
    ],
)
def test_level_is_described_in_few_characters(value, text):
    assert describe(value) == text


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["model.block", "model.position"], ["block", "position"]),
        (["model.dropout", "model.mixer.dropout"], ["model.dropout", "mixer.dropout"]),
        (["a.b.c", "d.b.c", "d.c"], ["a.b.c", "d.b.c", "d.c"]),
        (["model.position", "model.position.theta"], ["position", "theta"]),
        (["seed"], ["seed"]),
        (["c", "b.c"], ["c", "b.c"]),
    ],
)
def test_short_names_are_the_shortest_distinct_suffixes(paths, names):
    assert short_names(paths) == dict(zip(paths, names, strict=True))


def test_labels_use_longer_names_where_two_paths_end_alike(tmp_path):
    planned = plan(tmp_path, factors("{model.dropout: [0.0, 0.1], model.mixer.dropout: [0.0, 0.1]}"))
    assert [cell.label for cell in planned.cells] == [
        "model.dropout=0 mixer.dropout=0",
        "mixer.dropout=0.1",
        "model.dropout=0.1",
        "model.dropout=0.1 mixer.dropout=0.1",
    ]


def test_path_may_lead_into_a_component_that_is_a_bare_name(tmp_path):
    for path, levels in {
        "model.position.theta": [1e4, 2e4],
        "model.feedforward.expansion": [4, 2],
        "model.mixer.backend": ["sdpa", "manual"],  # a default that the file does not name
        "optimizer.betas": [[0.9, 0.95], [0.8, 0.9]],
    }.items():
        *above, last = path.split(".")
        for level, cell in zip(levels, plan(tmp_path, factors(json.dumps({path: levels}))).cells, strict=True):
            node: Any = cell.runs[0].config
            for key in above:
                node = getattr(node, key)
            given = getattr(node, last)
            assert getattr(given, "name", list(given) if isinstance(given, tuple) else given) == level


def test_component_and_its_field_may_vary_where_every_level_has_it(tmp_path):
    grid = factors(
        "{model.feedforward.expansion: [2, 4], model.feedforward: [{name: mlp, activation: silu}, glu]}", "seeds: 1\n"
    )
    got = [cell.runs[0].config.model.feedforward for cell in plan(tmp_path, grid).cells]
    assert [(part.name, part.expansion) for part in got] == [("mlp", 2), ("glu", 2), ("mlp", 4), ("glu", 4)]


# --- set -------------------------------------------------------------------------------------------------------------


def test_command_line_goes_over_set_and_set_over_the_base(tmp_path):
    grid = factors(
        "{model.block: [pre_norm]}", "set: {training.max_steps: 20, model.position.theta: 3, model.position: rope}\n"
    )
    config = plan(tmp_path, grid, ["training.max_steps = 30", "task.length=6"]).runs[0].config
    assert (config.training.max_steps, config.task.length, config.training.evaluate_every) == (30, 6, 5)
    assert config.model.position.theta == 3  # whole components first, whatever the order


def test_relative_path_of_data_is_resolved_from_its_file(tmp_path, monkeypatch):
    text = BASE_YAML.replace("{name: copy, symbols: 4, length: 8, batch_size: 4, validation_examples: 8}", "DATA")
    folders = [tmp_path / name for name in ("bases", "grids", "here")]
    for number, folder in enumerate(folders):
        (folder / "texts").mkdir(parents=True)
        (folder / "texts" / "a.txt").write_text("abcdefgh"[: number + 2] * 100)
    (folders[0] / "base.yaml").write_text(text.replace("DATA", "{name: text, path: texts/a.txt, length: 4}"))
    monkeypatch.chdir(folders[2])

    def path(more: str, settings: Sequence[str] = (), levels: str = "{model.block: [pre_norm]}") -> Path:
        written = f"name: study\nbase: ../bases/base.yaml\nfactors: {levels}\n{more}"
        (folders[1] / "grid.yaml").write_text(written)
        run = make_plan(read_grid(Path("../grids/grid.yaml")), settings).runs[0]
        found: Path = run.config.task.path  # type: ignore[attr-defined]
        assert found.is_absolute()
        return found.resolve()

    bases, grids, here = (folder.resolve() / "texts" / "a.txt" for folder in folders)
    assert path("") == bases
    assert path("set: {task.length: 5}\n") == bases
    assert path("set: {task.path: texts/a.txt}\n") == grids
    assert path("set: {task: {name: text, path: texts/a.txt, length: 4}}\n") == grids
    assert path("", levels="{task.path: [texts/a.txt]}") == grids
    assert path("", ["task.path=texts/a.txt"]) == here
    assert path("set: {task.path: texts/a.txt}\n", ["task.path=texts/a.txt", "task.length=5"]) == here
    assert path("", [f"task.path={grids}"]) == grids


def test_paths_of_components_are_resolved_from_their_file(tmp_path, monkeypatch, scratch_registry):
    @register("schedule", "with_files")
    class WithFiles(Schedule):
        def __init__(
            self,
            *,
            file: Path = Path("default"),
            more: Annotated[list[Path], excluded_from_id] = [],  # noqa: B006
            word: str = "",
        ):
            super().__init__(warmup_ratio=0.0)

    rebuild()
    for folder in ("bases", "grids", "here"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            text = "text,class\n" + "".join(f"{name} {n},{'xy'[n % 2]}\n" for n in range(20))
            (tmp_path / folder / f"{name}.csv").write_text(text)
    data = "{name: copy, symbols: 4, length: 8, batch_size: 4, validation_examples: 8}"
    text = BASE_YAML.replace(data, "{name: classification, path: a.csv, validation_path: b.csv}")
    (tmp_path / "bases" / "base.yaml").write_text(text.replace("decoder", "encoder"))
    monkeypatch.chdir(tmp_path / "here")

    def config(more: str, settings: Sequence[str] = ()) -> Any:
        written = f"name: study\nbase: ../bases/base.yaml\nfactors: {{model.block: [pre_norm]}}\n{more}"
        (tmp_path / "grids" / "grid.yaml").write_text(written)
        return make_plan(read_grid(Path("../grids/grid.yaml")), settings).runs[0].config

    def place(path: Path) -> str:
        assert path.is_absolute()
        return str(path.resolve().relative_to(tmp_path.resolve()))

    from_base, from_grid = config(""), config("set: {task.validation_path: b.csv}\n")
    from_here = config("", ["task.validation_path=b.csv"])
    assert [place(found.task.validation_path) for found in (from_base, from_grid, from_here)] == [
        str(Path(folder, "b.csv")) for folder in ("bases", "grids", "here")
    ]
    assert {place(found.task.path) for found in (from_base, from_grid, from_here)} == {str(Path("bases", "a.csv"))}
    written = "set: {schedule: {name: with_files, file: f, more: [g, h], word: w}}\n"
    schedule = config(written, ["schedule.more=[i]"]).schedule
    assert (place(schedule.file), [place(path) for path in schedule.more]) == (
        str(Path("grids", "f")),
        [str(Path("here", "i"))],
    )
    assert schedule.word == "w", "a text is not a path"


def test_path_that_only_begins_like_a_factor_may_be_set(tmp_path):
    (tmp_path / "a.txt").write_text("abc" * 500)
    text = "set: {task: {name: text, path: a.txt, length: 8}, task.validation_windows: 4}\nallow: [validation]\n"
    config = plan(tmp_path, factors("{task.validation: [0.1, 0.2]}", text)).runs[0].config
    assert config.task.validation_windows == 4


def test_base_defaults_to_the_file_above_the_grid(tmp_path):
    (tmp_path / "grids").mkdir()
    (tmp_path / "base.yaml").write_text(BASE_YAML)
    (tmp_path / "grids" / "grid.yaml").write_text("name: study\nfactors: {model.n_layers: [1, 2]}\n")
    assert make_plan(read_grid(tmp_path / "grids" / "grid.yaml")).cells[1].runs[0].config.model.n_layers == 2


# --- seeds and runs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "more", "n_seeds", "expected"),
    [
        ("3", (), None, [0, 1, 2]),
        ("3", (), 2, [0, 1]),
        ("3", (), 5, [0, 1, 2, 3, 4]),
        ("3", ("seed=7",), None, [7, 8, 9]),
        ("[5, 3]", (), None, [5, 3]),
        ("[5, 3]", ("seed=7",), None, [5, 3]),
        ("[5, 3]", (), 1, [5]),
    ],
)
def test_seeds_are_counted_from_that_of_the_base_or_listed(tmp_path, written, more, n_seeds, expected):
    planned = plan(tmp_path, factors("{model.n_layers: [1, 2]}", f"seeds: {written}\n"), more, n_seeds)
    assert list(planned.seeds) == expected
    assert [[run.seed for run in cell.runs] for cell in planned.cells] == [expected, expected]


def test_seeds_default_to_five(tmp_path):
    assert plan(tmp_path, factors("{model.n_layers: [1, 2]}")).seeds == (0, 1, 2, 3, 4)


def test_more_seeds_than_are_listed_are_refused(tmp_path):
    message = refusal(tmp_path, factors("{model.n_layers: [1, 2]}", "seeds: [5, 3]\n"), n_seeds=3)
    assert message == f"--seeds 3: {tmp_path}/grid.yaml lists only 2"


def test_runs_are_ordered_seed_by_seed(tmp_path):
    planned = plan(tmp_path, factors("{model.n_layers: [1, 2, 3]}", "seeds: 2\n"))
    assert [(run.seed, run.config.model.n_layers) for run in planned.runs] == list(product([0, 1], [1, 2, 3]))
    assert len(set(ids(planned))) == 6


# --- limits ----------------------------------------------------------------------------------------------------------


def test_grid_that_is_too_large_is_counted_and_not_expanded(tmp_path, monkeypatch):
    monkeypatch.setattr(design.Factorial, "combinations", lambda *_: pytest.fail("expanded"))
    levels = {f"model.a{number}": list(range(1000)) for number in range(4)}
    message = refusal(tmp_path, factors(json.dumps(levels)))
    assert message == "grid.yaml:3:1: factors: 1,000,000,000,000 cells; at most 100,000 runs are allowed"


@pytest.mark.parametrize("seeds", [50_001, 10**30])
def test_so_is_one_with_too_many_seeds(tmp_path, monkeypatch, seeds):
    monkeypatch.setattr(design.Factorial, "combinations", lambda *_: pytest.fail("expanded"))
    grid = factors("{model.n_layers: [1, 2]}", f"seeds: {seeds}\n")
    what = f"2 cells with {seeds:,} seeds each; at most 100,000 runs are allowed"
    assert refusal(tmp_path, grid) == f"grid.yaml:4:1: seeds: {what}"
    assert refusal(tmp_path, grid, n_seeds=seeds) == f"--seeds {seeds}: {what}"


def test_largest_grid_is_still_read(tmp_path):
    (tmp_path / "grid.yaml").write_text(factors(json.dumps({"a.b": list(range(1000)), "c.d": list(range(100))})))
    assert read_grid(tmp_path / "grid.yaml").n_cells == LARGEST_GRID


# --- twins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        (
            "{model.position: [rope, {name: rope, theta: 1e4}]}",
            "grid.yaml:3:34: position=rope and position=rope(theta=10000) are the same experiment",
        ),
        (
            "{model.position: [rope, alibi, {name: rope, theta: 1e4}], model.n_layers: [1, 2]}",
            "grid.yaml:3:41: position=rope and position=rope(theta=10000) are the same experiment",
        ),
        (
            "{model.position: [alibi, {name: rope, theta: 1e4}, {value: rope, label: turned}]}",
            "grid.yaml:3:62: position=rope(theta=10000) and position=turned are the same experiment",
        ),
        (
            "{model.position: [rope, {name: rope, theta: 5e5}], model.position.theta: [1e4, 2e4]}",
            "grid.yaml:3:34: position=rope and position=rope(theta=500000) are the same experiment",
        ),
        ("{training.log_every: [1, 2]}", "grid.yaml:3:35: log_every=1 and log_every=2 are the same experiment"),
        ("{tracking.project: [a, b]}", "grid.yaml:3:33: project=a and project=b are the same experiment"),
    ],
)
def test_duplicate_experiments_are_refused(tmp_path, levels, expected):
    assert refusal(tmp_path, factors(levels)) == expected


@pytest.mark.parametrize(
    ("levels", "more", "expected"),
    [
        (
            "{model.n_heads: [4, 2]}",
            "set: {model.mixer: lstm, model.position: none}\n",
            "grid.yaml:3:30: n_heads=4 and n_heads=2 are the same experiment in effect: lstm has no heads",
        ),
        (
            "{model.mixer: [attention, hyena], model.n_heads: [4, 2]}",
            "set: {model.position: learned}\n",
            "grid.yaml:3:63: n_heads=4 and n_heads=2 are the same experiment in effect: hyena has no heads",
        ),
        (
            "{model.n_kv_heads: [null, 2, 4]}",
            "",
            "grid.yaml:3:39: n_kv_heads=null and n_kv_heads=4 are the same experiment in effect: "
            "n_kv_heads null means n_heads",
        ),
        (
            "{model.d_head: [null, 8, 4]}",
            "",
            "grid.yaml:3:35: d_head=null and d_head=4 are the same experiment in effect: "
            "d_head null means d_model / n_heads",
        ),
        (
            "{model.d_head: [8, null], model.mixer: [attention, lstm]}",
            "set: {model.position: none}\n",
            "grid.yaml:3:26: model: d_head 8 has no effect: lstm has no heads; set it to null (cell mixer=lstm)",
        ),
    ],
)
def test_cells_that_differ_only_in_unused_settings_are_refused(tmp_path, levels, more, expected):
    assert refusal(tmp_path, factors(levels, more)) == expected


def test_heads_may_vary_where_a_component_uses_them(tmp_path, configure):
    grid = factors("{model.n_heads: [4, 2], model.mixer: [attention, delta]}", "set: {model.position: none}\n")
    assert len(plan(tmp_path, grid).cells) == 4
    changes = {"model.mixer": "lstm", "model.position": "none"}
    assert mixers_without_heads(configure(changes).model) == "lstm"
    across = {"model.architecture": "encoder_decoder"}  # which looks at the source through attention
    assert mixers_without_heads(configure(changes | across).model) is None


def test_equal_data_files_are_the_same_experiment(tmp_path):
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text("abc" * 1000)
    grid = factors("{task.path: [a.txt, b.txt]}", "set: {task: {name: text, length: 8}}\n")
    assert refusal(tmp_path, grid) == "grid.yaml:3:30: path=a.txt and path=b.txt are the same experiment"


# --- manifest --------------------------------------------------------------------------------------------------------


def test_manifest_has_all_that_a_table_needs(tmp_path):
    planned = plan(tmp_path, GRID_YAML + "baseline: {model.block: post_norm}\n")
    manifest = planned.manifest()
    assert json.loads(json.dumps(manifest, allow_nan=False)) == manifest
    assert {"schema", "grid", "metric", "better", "seeds", "factors", "cells"} <= set(manifest)
    assert (manifest["schema"], manifest["grid"], manifest["seeds"]) == (1, "study", [0, 1])
    assert (manifest["metric"], manifest["better"]) == ("exact_match", "higher")
    assert manifest["factors"] == [
        {
            "path": "model.block",
            "name": "block",
            "levels": ["post_norm", "pre_norm"],
            "baseline": "post_norm",
            "paths": ["model.block"],
        },
        {
            "path": "model.position",
            "name": "position",
            "levels": ["rope", "alibi", "rope(theta=500000)"],
            "baseline": "rope",
            "paths": ["model.position"],
        },
    ]
    assert len(manifest["cells"]) == 6
    for cell, written in zip(planned.cells, manifest["cells"], strict=True):
        assert {"label", "settings", "levels", "runs"} <= set(written)
        assert written["label"] == cell.label
        assert list(written["settings"]) == list(written["levels"]) == ["model.block", "model.position"]
        assert written["runs"] == [{"seed": run.seed, "id": run.id} for run in cell.runs]
    assert manifest["cells"][2]["settings"] == {
        "model.block": "post_norm",
        "model.position": {"name": "rope", "theta": 5e5},
    }
    assert manifest["cells"][2]["levels"]["model.position"] == "rope(theta=500000)"


def test_counts_are_those_of_the_cells_own_model(tmp_path):
    one, two = plan(tmp_path, factors("{model.n_layers: [1, 2]}")).cells
    assert two.counts.parameters - one.counts.parameters == 16 * 16 * 4 + 2 * 16 * 64 + 2 * 2 * 16
