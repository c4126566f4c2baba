"""The Python interface: a study is run, compared and loaded again, as data frames and as a table."""

import io
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT, ids_of, plan_of, trouble, write_grid, write_results, write_trouble

import ablation
from ablation.errors import InputError, StorageError
from ablation.model import counts
from ablation.model.counts import InferenceCost
from ablation.store.runs import Store
from ablation.study.untrained import WorkCounter
from ablation.tracking.mirror import Mirror


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ablation.Study:
    """A grid of two cells and two seeds, trained with a value from Python."""
    folder = tmp_path_factory.mktemp("study")
    grid = write_grid(folder, {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": [1e-3, 1e-2]}, seeds=2)
    study = ablation.Study(grid, set={"training.max_steps": 4}, runs=folder / "runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        summary = study.run(workers=2)
    assert summary.as_dict() | {"seconds": 0} == {
        "grid": "small",
        "planned": 8,
        "cached": 0,
        "executed": 8,
        "completed": 8,
        "diverged": 0,
        "failed": 0,
        "missing": 0,
        "seconds": 0,
        "directory": str(folder / "runs" / "small"),
    }
    return study


@pytest.fixture(scope="module")
def results(study: ablation.Study) -> ablation.Results:
    return study.compare()


def test_run_of_a_trained_study_trains_nothing(study: ablation.Study, capfd: pytest.CaptureFixture[str]) -> None:
    summary = study.run()
    assert (summary.cached, summary.executed, summary.interrupted) == (8, 0, False)
    assert capfd.readouterr() == ("", ""), "nothing is printed"


def test_run_calls_its_listener_and_messages(tmp_path: Path) -> None:
    events: list[Any] = []

    class Listener:
        def __init__(self, plan: Any, store: Any, n_runs: int, workers: int) -> None:
            events.append((plan.name, n_runs, workers))

        def __enter__(self) -> "Listener":
            return self

        def __exit__(self, *_: object) -> None:
            events.append("end")

        def started(self, run: Any) -> None: ...
        def tick(self) -> None: ...
        def ended(self, run: Any, end: Any, again: bool) -> None:
            events.append(end.status)

    study = ablation.Study(write_grid(tmp_path), runs=tmp_path / "runs")
    study.run(workers=1, listener=Listener)
    assert events == [("small", 2, 1), "completed", "completed", "end"]


def test_what_came_out_is_known_before_wandb_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[Any] = []
    close = Mirror.close

    def closed(self: Mirror, timeout: float) -> None:
        events.append("closed")
        close(self, timeout)

    monkeypatch.setattr(Mirror, "close", closed)
    study = ablation.Study(write_grid(tmp_path), runs=tmp_path / "runs")
    study.run(workers=1, on_comparison=lambda comparison: events.append(comparison.grid))
    assert events == ["small", "closed"]


def test_frame_has_the_values_of_the_table(results: ablation.Results) -> None:
    frame, table = results.frame(), json.loads(results.table("json"))
    assert list(frame.columns) == ["block", "lr", "cell", "seed", "run", "status", "metric", "value"]
    for cell in table["cells"]:
        rows = frame[frame.cell == cell["label"]]
        assert set(rows.run) == set(cell["run_ids"])
        for name, metric in cell["metrics"].items():
            if metric["values"]:
                values = rows[rows.metric == name].sort_values("seed").value.tolist()
                assert values == pytest.approx([math.nan if v is None else v for v in metric["values"]], nan_ok=True)
    assert set(frame.status) == {"completed"}


def test_frame_has_the_values_of_levels(results: ablation.Results) -> None:
    frame = results.frame()
    assert frame.lr.dtype == float and set(frame.lr) == {1e-3, 1e-2}
    assert set(frame.block) == {"pre_norm", "post_norm"}


def test_frame_of_an_untrained_study_has_no_values(tmp_path: Path) -> None:
    frame = ablation.Study(write_grid(tmp_path), runs=tmp_path / "runs").compare().frame()
    assert set(frame.status) == {"missing"}
    assert frame[frame.metric == "exact_match"].value.isna().all()


def test_frame_names_a_factor_by_its_path_where_the_name_is_taken(tmp_path: Path) -> None:
    write_grid(tmp_path)
    write_results(tmp_path)
    manifest = tmp_path / "runs" / "small" / "manifest.json"
    content = json.loads(manifest.read_text())
    content["factors"][0]["name"] = "value"
    manifest.write_text(json.dumps(content))
    frame = ablation.load(tmp_path / "runs" / "small").frame()
    assert next(iter(frame.columns)) == "model.block"


def test_curves_have_a_row_per_evaluation(study: ablation.Study, results: ablation.Results) -> None:
    curves = results.curves("loss")
    assert list(curves.columns) == ["block", "lr", "cell", "seed", "step", "tokens", "seconds", "value"]
    assert len(curves) == 8 * 1 and set(curves.step) == {4}
    last = results.frame().query("metric == 'loss'").value
    assert sorted(curves.value) == pytest.approx(sorted(last))
    assert len(results.curves("train/loss")) == 8 * 2
    with pytest.raises(InputError, match="did you mean 'validation/loss'"):
        results.curves("los")


def test_results_show_themselves(results: ablation.Results) -> None:
    from rich.console import Console

    html = results._repr_html_()
    assert html.count("<tr>") == 5 and "<th>cell</th>" in html and "block=post_norm" in html
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(results)
    assert "block=post_norm" in console.export_text()
    assert repr(results) == "Results('small', 4 cells, 2 seeds, by 'exact_match')"
    assert results.table().startswith(results.table("markdown")[:20])
    with pytest.raises(InputError, match="did you mean 'latex'"):
        results.table("latx")


def test_html_escapes_labels(tmp_path: Path) -> None:
    write_grid(tmp_path, {"optimizer.lr": [1e-3, {"value": 1e-2, "label": "<b>high</b>"}]})
    write_results(tmp_path)
    html = ablation.load(tmp_path / "runs" / "small")._repr_html_()
    assert "<b>" not in html and "&lt;b&gt;high" in html


def test_results_select_and_find_cells(results: ablation.Results) -> None:
    selected = results.select(["post_norm"]).cells[1:]
    assert [cell.label for cell in selected] == [
        "block=post_norm",
        "block=post_norm lr=0.01",
    ]
    assert results.cell("lr=0.01 block=post_norm").label == "block=post_norm lr=0.01"
    with pytest.raises(InputError, match="is the baseline"):
        results.cell(results.baseline.label)


def test_load_gives_what_compare_gives(study: ablation.Study, results: ablation.Results) -> None:
    loaded = ablation.load(study.store.root / "small")
    assert loaded.frame().equals(results.frame())
    assert loaded.table("json") == results.table("json")
    assert [effect.level for effect in loaded.effects] == [effect.level for effect in results.effects]


def test_load_needs_neither_grid_file_nor_torch(tmp_path: Path) -> None:
    write_grid(tmp_path)
    write_results(tmp_path)
    (tmp_path / "small.yaml").unlink()
    program = """
import sys
import ablation
results = ablation.load("runs/small")
assert len(results.frame()) and results.curves().empty and results.table() and results._repr_html_()
print(sorted({"torch", "lightning", "wandb", "typer"} & set(sys.modules)))
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


def test_load_refuses_what_is_no_folder_of_a_grid(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no manifest\.json; give the folder of a grid"):
        ablation.load(tmp_path)
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(StorageError, match="damaged"):
        ablation.load(tmp_path)


def test_compare_follows_the_settings_of_the_study(study: ablation.Study) -> None:
    same = ablation.Study(study.grid, ["training.max_steps=4"], runs=study.store.root)
    other = ablation.Study(study.grid, {"training.max_steps": 5}, runs=study.store.root)
    fewer = ablation.Study(study.grid, {"training.max_steps": 4}, seeds=1, runs=study.store.root)
    assert same.manifest == study.manifest
    assert same.status().over and fewer.status().over and not other.status().over
    assert len(fewer.compare().seeds) == 1
    assert set(other.compare().frame().status) == {"missing"}


def test_status_counts_runs(study: ablation.Study) -> None:
    assert study.status().as_dict()["states"] == {"completed": 8}
    assert [cell.label for cell in study.plan().cells] == [cell.label for cell in study.compare().cells]


def test_summary_counts_failures_and_stale_code(tmp_path: Path, scratch_registry: Any) -> None:
    plugin = write_trouble(tmp_path)
    study = ablation.Study(write_grid(tmp_path, trouble("fail")), plugins=[plugin], runs=tmp_path / "runs")
    summary = study.run()
    assert (summary.completed, summary.failed, summary.stale_code) == (1, 1, 0)
    assert set(study.compare().frame().status) == {"completed", "failed"}
    with pytest.raises(InputError, match="did you mean 'failed'"):
        study.run(retry=["fail"])


def test_run_writes_the_tables(study: ablation.Study, results: ablation.Results) -> None:
    folder = study.store.grid_directory("small")
    assert (folder / "table.md").read_text() == results.table("markdown")
    assert set(ids_of(study.store.root)) == {cell.label for cell in results.cells}


def test_the_cost_of_a_model_is_counted_once_for_all_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []

    def count(model: Any, task: Any) -> InferenceCost:
        counted.append(model.norm.name)
        return InferenceCost(len(counted), None, None)

    monkeypatch.setattr(counts, "count_inference_cost", count)
    plan = plan_of(write_grid(tmp_path, {"model.norm": ["layer_norm", "rms_norm"], "optimizer.lr": [1e-3, 1e-2, 2e-2]}))
    costs = WorkCounter(plan, Store(tmp_path / "runs")).finish()
    assert counted == ["layer_norm", "rms_norm"]
    by_norm = {cell.label: 2 if cell.runs[0].config.model.norm.name == "rms_norm" else 1 for cell in plan.cells}
    assert {label: cost["flops_per_token"] for label, cost in costs.items()} == by_norm and len(by_norm) == 6


def test_what_was_counted_is_kept_until_the_code_or_the_model_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, store = plan_of(write_grid(tmp_path, {"model.norm": ["layer_norm", "rms_norm"]})), Store(tmp_path)
    first = WorkCounter(plan, store).finish()

    def refuse(model: Any, task: Any) -> InferenceCost:
        raise ValueError("counted again")

    monkeypatch.setattr(counts, "count_inference_cost", refuse)
    assert WorkCounter(plan, store).finish() == first
    (tmp_path / ".costs.json").write_text('{"damaged')
    assert all("counted again" in cost["note"] for cost in WorkCounter(plan, store).finish().values())


@pytest.mark.parametrize("value", [0, -1, 1.5, True, [3, 4]])
def test_numbers_are_checked_as_those_of_the_command(tmp_path: Path, value: Any) -> None:
    grid = write_grid(tmp_path)
    with pytest.raises(InputError, match=r"--seeds .*: must be a whole number, at least 1"):
        ablation.Study(grid, seeds=value)
    with pytest.raises(InputError, match=r"--workers .*: must be a whole number, at least 1"):
        ablation.Study(grid, runs=tmp_path / "runs").run(workers=value)


def test_plan_is_shown_in_a_line(tmp_path: Path) -> None:
    assert repr(ablation.Study(write_grid(tmp_path, seeds=2)).plan()) == "Plan('small', 2 cells, 4 runs)"
