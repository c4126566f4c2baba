"""Edits while a grid runs change nothing of that command: neither what is trained nor what is written down."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_grids import NORMS, all_numbers, trouble, write_grid, write_trouble

import ablation
from ablation.errors import StorageError
from ablation.store.results import RunEnd
from ablation.store.runs import Store


class AfterFirstRun:
    """A listener that does something as soon as the first run has ended."""

    def __init__(self, act: Callable[[], Any]):
        self.act, self.ends = act, list[RunEnd]()

    def __call__(self, plan: Any, store: Any, n_runs: int, workers: int) -> "AfterFirstRun":
        return self

    def __enter__(self) -> "AfterFirstRun":
        return self

    def __exit__(self, *_: object) -> None: ...
    def started(self, run: Any) -> None: ...
    def tick(self) -> None: ...
    def ended(self, run: Any, end: RunEnd, again: bool) -> None:
        if not self.ends:
            self.act()
        self.ends.append(end)


def test_grid_edited_while_it_runs_is_written_down_as_planned(tmp_path: Path) -> None:
    grid, runs = write_grid(tmp_path), tmp_path / "runs"
    planned, base = grid.read_bytes(), tmp_path / "base.yaml"

    def edit() -> None:
        write_grid(tmp_path, {"model.block": [*NORMS["model.block"], "sandwich"]})
        base.write_bytes(base.read_bytes() + b"\n# another\n")

    summary = ablation.Study(grid, runs=runs).run(workers=1, listener=AfterFirstRun(edit))
    assert (summary.planned, summary.completed) == (2, 2)
    assert (runs / "small" / "grid.yaml").read_bytes() == planned
    manifest = json.loads((runs / "small" / "manifest.json").read_text())
    assert [cell["levels"] for cell in manifest["cells"]] == [{"model.block": level} for level in NORMS["model.block"]]
    assert len(summary.comparison.cells) == 2
    # The edited file is another grid, which a table is planned anew for.
    assert len(ablation.Study(grid, runs=runs).compare().cells) == 3


def test_grid_edited_while_it_is_tuned_is_trained_as_planned(tmp_path: Path) -> None:
    grid, base, runs = write_grid(tmp_path), tmp_path / "base.yaml", tmp_path / "runs"
    written = {**yaml.safe_load(grid.read_text()), "tune": {"settings": {"optimizer.lr": [0.01, 0.02]}, "seeds": 1}}
    grid.write_text(yaml.safe_dump(written, sort_keys=False))
    planned = grid.read_bytes()

    def edit() -> None:
        grid.write_text(yaml.safe_dump({**written, "seeds": 3}, sort_keys=False))
        base.write_text(base.read_text().replace("max_steps: ", "max_steps: 1"))

    summary = ablation.Study(grid, runs=runs).run(workers=1, listener=AfterFirstRun(edit))
    assert (summary.planned, summary.completed) == (2, 2)
    assert (runs / "small" / "grid.yaml").read_bytes() == planned
    records = [json.loads(file.read_text()) for file in (runs / "store").glob("*/*/run.json")]
    assert len(records) == 2 + 4
    assert len({record["config"]["training"]["max_steps"] for record in records}) == 1


def test_plugin_edited_while_its_grid_is_tuned_is_trained_as_planned(tmp_path: Path, scratch_registry: Any) -> None:
    plugin, grid, runs = write_trouble(tmp_path), write_grid(tmp_path, trouble()), tmp_path / "runs"
    tune = {"settings": {"optimizer.lr": [0.01, 0.02]}, "seeds": 1}
    grid.write_text(yaml.safe_dump({**yaml.safe_load(grid.read_text()), "tune": tune}, sort_keys=False))
    listener = AfterFirstRun(lambda: plugin.write_text("raise SystemExit('edited')"))
    summary = ablation.Study(grid, plugins=[plugin], runs=runs).run(workers=1, listener=listener)
    assert (summary.planned, summary.completed) == (1, 1)


def test_plugin_edited_while_its_grid_runs_changes_no_run(tmp_path: Path, scratch_registry: Any) -> None:
    plugin, grid = write_trouble(tmp_path), write_grid(tmp_path, trouble("fail"))
    text, runs = plugin.read_text(), tmp_path / "runs"
    line = text.splitlines().index('        raise RuntimeError("[bold]no[/bold] luck\\nat all")') + 1
    listener = AfterFirstRun(lambda: plugin.write_text("\n" * 100 + "raise SystemExit('edited')"))
    summary = ablation.Study(grid, plugins=[plugin], runs=runs).run(workers=1, listener=listener)
    assert [end.status for end in listener.ends] == ["completed", "failed"]
    assert listener.ends[1].reason == "RuntimeError: [bold]no[/bold] luck at all", "as planned"
    (copy,) = (runs / "small" / "plugins").iterdir()
    assert copy.read_text() == text
    store = Store(runs)
    (failed,) = (run.id for cell in summary.comparison.cells for run in cell.results if run.status == "failed")
    at, log = store.failed_at(failed)
    assert at == f"{plugin}:{line}", "the file that was written, not its copy"
    assert f'File "{plugin}", line {line}, in fail' in log.read_text()


def test_damaged_copy_of_a_plugin_leaves_its_runs_missing(tmp_path: Path, scratch_registry: Any) -> None:
    plugin, runs = write_trouble(tmp_path), tmp_path / "runs"
    grid = write_grid(tmp_path, trouble(), seeds=2)

    def damage() -> None:
        (copy,) = (runs / "small" / "plugins").iterdir()
        copy.write_text("other")

    study, listener = ablation.Study(grid, plugins=[plugin], runs=runs), AfterFirstRun(damage)
    summary = study.run(workers=1, listener=listener)
    assert (summary.completed, summary.missing, summary.failed) == (1, 1, 0)
    reason = listener.ends[1].reason or ""
    assert "plugins/" in reason and f"damaged: not the copy of {plugin}" in reason and "\n" not in reason
    again = study.run(workers=1)
    assert (again.executed, again.completed) == (1, 2), "the copy is made anew"


def test_failed_run_is_tried_again_once_its_plugin_is_mended(tmp_path: Path, scratch_registry: Any) -> None:
    plugin, grid = write_trouble(tmp_path), write_grid(tmp_path, trouble("fail"))
    study, said = ablation.Study(grid, plugins=[plugin], runs=tmp_path / "runs"), list[str]()
    assert study.run(workers=1).failed == 1
    again = study.run(workers=1, on_message=said.append)
    assert (again.executed, again.failed) == (0, 1)
    (line,) = (line for line in said if "--retry" in line)
    assert line.startswith("1 of 2 runs failed: RuntimeError: [bold]no[/bold] luck at all in ")
    assert f"{plugin}:" in line and "log.txt" in line and line.endswith("--retry failed tries them again")
    assert Path(line.partition("log: ")[2].partition(";")[0]).is_file()

    plugin.write_text(plugin.read_text().replace("raise RuntimeError", "return 1.0 or RuntimeError"))
    del scratch_registry["schedule"]["trouble"]  # as in a new process
    mended = study.run(workers=1, on_message=said.append)
    assert (mended.executed, mended.failed, mended.completed) == (1, 0, 2)


FULL = '''
"""{folder}"""
import errno
from ablation.training import metrics_log, run

def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")

if {what!r} == "rows":
    metrics_log.MetricsLog.write = fail
else:
    run.save_weights = fail
'''


@pytest.mark.parametrize("what", ["rows", "weights"])
def test_full_disk_stops_the_grid_and_leaves_the_run_missing(
    tmp_path: Path, scratch_registry: Any, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    from ablation.training import metrics_log, run

    monkeypatch.setattr(run, "save_weights", run.save_weights)  # what the plugin does here is undone
    monkeypatch.setattr(metrics_log.MetricsLog, "write", metrics_log.MetricsLog.write)
    plugin, grid = tmp_path / "full.py", write_grid(tmp_path, seeds=3)
    plugin.write_text(FULL.format(folder=tmp_path, what=what))
    study = ablation.Study(grid, plugins=[plugin], runs=tmp_path / "runs")
    with pytest.raises(StorageError, match=r"cannot be written \(No space left on device\)") as caught:
        study.run(workers=1)
    assert "\n" not in str(caught.value)
    statuses = set(study.status().statuses.values())
    assert statuses <= {"missing", "stopped"} and not list((tmp_path / "runs" / "store").glob("*/*/failure.json"))
    assert ablation.Study(grid, runs=tmp_path / "runs").run(workers=2).completed == 6


def test_grid_is_trained_without_any_hard_link(
    tmp_path: Path, scratch_registry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on SMB, exFAT and some FUSE file systems."""
    plugin, grid = tmp_path / "links.py", write_grid(tmp_path)
    monkeypatch.setattr(os, "link", os.link)
    plugin.write_text(f'"""{tmp_path}"""\nimport os\ndef fail(*_, **__):\n    raise PermissionError\nos.link = fail\n')
    summary = ablation.Study(grid, plugins=[plugin], runs=tmp_path / "runs").run()
    assert summary.completed == 2 and len(all_numbers(tmp_path / "runs")) == 2
