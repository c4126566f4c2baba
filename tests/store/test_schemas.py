"""What stored files hold is checked where they are read: damaged JSON is answered in one line that names the place."""

import json
import os
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from support.runs import RESULT as RESULT_OF_A_RUN
from support.runs import leave
from support.small_grids import Ablate, one_line, plan_of, write_grid, write_results

from ablation.errors import StorageError
from ablation.grid.plan import SCHEMA
from ablation.store.attempts import begin
from ablation.store.files import read_json
from ablation.store.runs import Store
from ablation.store.schemas import BENCH, MANIFEST, MANIFEST_SCHEMA, RESULT, RUN, check_file
from ablation.study.manifest import read_manifest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A grid of two cells with made-up results."""
    write_grid(tmp_path, seeds=2)
    write_results(tmp_path)
    return tmp_path


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


Change = Callable[[dict[str, Any]], object]
WRONG: list[tuple[Change, str]] = [
    (lambda m: m.pop("metric"), "metric: is missing"),
    (lambda m: m.update(schema=2), "of schema 2, where this version reads 1; a later version of ablation wrote it"),
    (lambda m: m.update(schema="1"), "of schema '1', where this version reads 1"),
    (lambda m: m.update(grid="../../elsewhere"), "grid: must be 1 to 80 letters, digits"),
    (lambda m: m.update(grid="nul"), "grid: 'nul' is a device in Windows"),
    (lambda m: m.update(seeds=[]), "seeds: is empty"),
    (lambda m: m.update(seeds=[0, 0]), "seeds: one appears twice"),
    (lambda m: m.update(better=None), "better: null is not known; allowed: lower, higher"),
    (lambda m: m.update(interim_looks={}), "interim_looks: must be a list, not a mapping"),
    (lambda m: m["cells"].__setitem__(1, None), r"cells\[1\]: must be a mapping, not null"),
    (lambda m: m["cells"].clear(), "cells: is empty"),
    (lambda m: m["cells"][1].update(label="x\x1b[31m\n", runs=3), r"cells\[1\].runs: must be a list, not 3"),
    (lambda m: m["cells"][1]["runs"][0].update(id="../../x"), r"cells\[1\].runs\[0\].id: must be the id of a run"),
    (
        lambda m: m["cells"][1]["runs"][0].update(seed=True),
        r"cells\[1\].runs\[0\].seed: must be a whole number, not true",
    ),
    (lambda m: m["cells"][1]["runs"][0].update(seed=9), r"cells\[1\].runs: each seed of the grid at most once"),
    (lambda m: m["cells"][1]["levels"].clear(), r"cells\[1\].levels: must be those of all factors"),
    (lambda m: m["cells"][1]["levels"].update({"model.block": "x"}), r"cells\[1\].levels: one is not among those"),
    (lambda m: m["cells"][1].update(label=m["cells"][0]["label"]), r"cells\[1\].label: appears twice"),
    (lambda m: m["cells"][0].update(counts=nested(60)), r"cells\[0\].counts: must be a mapping, not a list"),
    (lambda m: m["cells"][0]["settings"].update({"model.block": nested(60)}), "nested deeper than 50 levels"),
    (lambda m: m["factors"][0].update(baseline="other"), r"factors\[0\].baseline: is none of its levels"),
    (lambda m: m["factors"].append(m["factors"][0]), "factors: a path appears twice"),
]


@pytest.mark.parametrize(("change", "expected"), WRONG)
def test_damaged_manifest_is_named_with_the_place(folder: Path, change: Change, expected: str) -> None:
    file = folder / "runs" / "small" / "manifest.json"
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))
    with pytest.raises(StorageError, match=expected) as caught:
        read_manifest(file.parent)
    assert str(caught.value).startswith(f"{file}: damaged (") and "\n" not in str(caught.value)


def test_commands_answer_a_damaged_manifest_in_one_line(folder: Path, ablate: Ablate) -> None:
    file = folder / "runs" / "small" / "manifest.json"
    manifest = json.loads(file.read_text())
    for content in (json.dumps({**manifest, "cells": [None]}), "null", "[" * 100_000, '{"cells": 1e400}'):
        file.write_text(content)
        for command in (("table", "small"), ("status", "small"), ("report", "small"), ("generate", "small:x")):
            prompt = ("--prompt", "x") if command[0] == "generate" else ()
            answer = ablate(*command, *prompt)
            assert answer.code == 5 and "runs/small/manifest.json: damaged" in one_line(answer)


@pytest.mark.parametrize("name", ["..", "../small", "/etc", "a/b", "store", "", "x\0"])
def test_name_of_a_grid_reaches_no_other_folder(folder: Path, ablate: Ablate, name: str) -> None:
    for words in (("generate", f"{name}:x", "--prompt", "x"), ("show", f"{name}:x")):
        answer = ablate(*words)
        assert answer.code == 2 and ("name: " in one_line(answer) or "RUN" in one_line(answer))


def test_files_of_earlier_versions_are_read(folder: Path) -> None:
    directory = folder / "runs" / "small"
    manifest = json.loads((directory / "manifest.json").read_text())
    for name in ("margins", "interim_looks", "variance", "claim", "data", "design", "file", "settings"):
        del manifest[name]
    for cell in manifest["cells"]:
        for name in ("counts", "measured_on", "work"):
            cell.pop(name, None)
    (directory / "manifest.json").write_text(json.dumps(manifest))
    assert read_manifest(directory) == manifest
    import ablation

    assert len(ablation.load(directory).cells) == 2


def test_result_of_a_run_that_went_on_fits() -> None:
    assert RESULT({**RESULT_JSON, "record": {"host": "a", "threads": 1, "resumed_at": [50, 100]}}) is None


def test_what_a_plan_writes_fits(folder: Path) -> None:
    plan, store = plan_of(folder / "small.yaml"), Store(folder / "runs")
    assert MANIFEST({**plan.manifest(), "sources": {}}) is None
    assert RUN(read_json(begin(store.order(plan.runs[0])) / "run.json")) is None
    assert SCHEMA == MANIFEST_SCHEMA


RESULT_JSON: dict[str, Any] = {
    "schema": 1,
    "id": "0" * 32,
    "status": "completed",
    "quality": {"final": {"loss": 1.0}, "by_position": {"": {"position": [1.0], "loss": [2.0]}}},
    "stability": {"gradient_by_depth": [1.0, None]},
    "efficiency": {"training_seconds": 1.0},
}
BENCH_JSON: dict[str, Any] = {"schema": 1, "cells": [{"label": "a", "measures": {"decode": None}}]}


@pytest.mark.parametrize(
    ("good", "check", "path", "value", "expected"),
    [
        (RESULT_JSON, RESULT, ("reason",), 3, "reason: must be a text, not 3"),
        (RESULT_JSON, RESULT, ("quality", "final"), None, "quality.final: must be a mapping, not null"),
        (RESULT_JSON, RESULT, ("record",), {"host": {}}, "record.host: must be a text or a number, not a mapping"),
        (BENCH_JSON, BENCH, ("record",), {"host": [1]}, "record.host: must be a text or a number, not a list"),
        (RESULT_JSON, RESULT, ("quality", "directions"), {"loss": "up"}, "quality.directions.loss: 'up' is not known"),
        (
            RESULT_JSON,
            RESULT,
            ("quality", "by_position", "", "loss"),
            ["x"],
            r"by_position..loss\[0\]: must be a number",
        ),
        (RESULT_JSON, RESULT, ("stability",), [], "stability: must be a mapping, not a list"),
        (
            RESULT_JSON,
            RESULT,
            ("stability", "gradient_by_depth"),
            [nested(2)],
            r"gradient_by_depth\[0\]: must be a number",
        ),
        (RESULT_JSON, RESULT, ("efficiency", "training_seconds"), "1", "training_seconds: must be a number"),
        (
            RESULT_JSON,
            RESULT,
            ("efficiency", "tokens"),
            10**400,
            "efficiency.tokens: has a number of more than 64 bits",
        ),
        (BENCH_JSON, BENCH, ("cells",), None, "cells: must be a list, not null"),
        (
            BENCH_JSON,
            BENCH,
            ("cells",),
            [{"label": "a", "measures": {"decode": 3}}],
            "decode: must be a mapping, not 3",
        ),
        (BENCH_JSON, BENCH, ("cells",), [{"label": "a", "measures": {}, "notes": []}], "notes: must be a mapping"),
    ],
)
def test_damaged_part_is_named(good: Any, check: Any, path: tuple[str, ...], value: Any, expected: str) -> None:
    document = deepcopy(good)
    check_file(Path("x.json"), document, check, 1)
    owner = document
    for key in path[:-1]:
        owner = owner[key]
    owner[path[-1]] = value
    with pytest.raises(StorageError, match=expected) as caught:
        check_file(Path("x.json"), document, check, 1)
    assert str(caught.value).startswith("x.json: damaged (")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="Windows has no pipes with a name")
def test_pipe_in_place_of_a_result_is_not_waited_for(folder: Path) -> None:
    plan, store = plan_of(folder / "small.yaml"), Store(folder / "runs")
    file = store.directory(plan.runs[0].id) / "result.json"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(StorageError, match=r"result\.json: damaged \(a device or pipe"):
        store.status(plan.runs[0].id)


def test_plan_shows_runs_without_their_seconds(folder: Path, ablate: Ablate) -> None:
    plan, store = plan_of(folder / "small.yaml"), Store(folder / "runs")
    leave(store, plan.runs[0], RESULT_OF_A_RUN)
    assert ablate("plan", folder / "small.yaml").code == 0
