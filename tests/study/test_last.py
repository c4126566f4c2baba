"""Run where nothing has changed: the answer of the last run, without planning; and that whatever changes is noticed."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import Ablate, ids_of, plan_of, write_grid, write_results

from ablation.store.code import code_version
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study import last
from ablation.study import study as module

TASK = {"name": "text", "path": "text.txt", "length": 8, "batch_size": 4}


class PlannedError(Exception):
    """Somebody has planned."""


@pytest.fixture
def folder(tmp_path: Path, ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A grid on a text of its own, all of whose runs are there, which was run twice."""
    (tmp_path / "text.txt").write_text("to be or not to be, that is the question. " * 200)
    grid = write_grid(tmp_path, settings={"task": TASK, "tracking.mode": "disabled"}, seeds=2)
    for file in (tmp_path / "text.txt", grid, tmp_path / "base.yaml"):
        os.utime(file, (time.time() - 60,) * 2)
    monkeypatch.setattr(last, "SETTLED", -60.0)  # the files are new, but nobody writes them meanwhile
    write_results(tmp_path)
    store = Store(tmp_path / "runs")
    for each in plan_of(grid).runs:
        known = {"schema": 1, "id": each.id, "seed": each.seed, "config": {}, "identity": each.identity}
        known |= {"code": code_version(each.config), "data": each.data}
        write_json(store.directory(each.id) / "run.json", known)
    run(ablate)
    return tmp_path


def run(ablate: Ablate, *words: str) -> str:
    answer = ablate("run", "small.yaml", *words)
    assert answer.code == 0, answer.err
    return answer.out


@pytest.fixture
def unplanned(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(*_: Any, **__: Any) -> None:
        raise PlannedError

    monkeypatch.setattr(module, "load_plan", plan)


def test_nothing_is_planned_where_nothing_has_changed(folder: Path, ablate: Ablate, unplanned: None) -> None:
    written = {file: file.stat().st_mtime_ns for file in (folder / "runs").rglob("*") if file.is_file()}
    first = run(ablate)
    assert "loss" in first and "2 cells, 2 seeds" in first and run(ablate) == first
    assert first.replace("W&B: off\n", "") == ablate("table", "small.yaml").out
    counts = json.loads(run(ablate, "--json"))
    assert counts | {"seconds": 0} == {
        "grid": "small", "planned": 4, "cached": 4, "executed": 0, "completed": 4, "diverged": 0, "failed": 0,
        "missing": 0, "seconds": 0, "directory": "runs/small",
    }  # fmt: skip
    assert written == {file: file.stat().st_mtime_ns for file in written}


def of_first_run(folder: Path, name: str) -> Path:
    return Store(folder / "runs").directory(next(iter(ids_of(folder / "runs").values()))[0]) / name


def appended(name: str) -> Callable[[Path], None]:
    def append(folder: Path) -> None:
        with (folder / name).open("a") as stream:
            stream.write("\n")

    return append


def rewrite_data(folder: Path) -> None:
    """With a text of the same length and time."""
    file = folder / "text.txt"
    status, text = file.stat(), file.read_text()
    file.write_text(text.replace("question", "quandary"))
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES: Mapping[str, Callable[[Path], None]] = {
    "grid": appended("small.yaml"),
    "base": appended("base.yaml"),
    "data": rewrite_data,
    "manifest": appended("runs/small/manifest.json"),
    "looks": appended("runs/small/looks.jsonl"),
    "table": lambda folder: (folder / "runs/small/table.md").unlink(),
    "timings": lambda folder: (folder / "runs/small/bench.json").touch(),
    "answer": lambda folder: (folder / "runs/small/.last.json").write_text('{"known": {"settings": []}}'),
    "no answer": lambda folder: (folder / "runs/small/.last.json").unlink(),
    "result": lambda folder: os.utime(of_first_run(folder, "result.json")),
    "damage": lambda folder: of_first_run(folder, "result.json").write_text("{}"),
    "run": lambda folder: shutil.rmtree(of_first_run(folder, "")),
    "attempt": lambda folder: (folder / f"runs/store/attempts/{of_first_run(folder, '').name}.1").mkdir(parents=True),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_planned_anew(folder: Path, ablate: Ablate, unplanned: None, change: str) -> None:
    CHANGES[change](folder)
    with pytest.raises(PlannedError):
        run(ablate)


@pytest.mark.parametrize(
    "words", [("--seeds", "2"), ("--set", "training.max_steps=6"), ("--retry", "failed"), ("--until-decided",)]
)
def test_another_request_is_planned(folder: Path, ablate: Ablate, unplanned: None, words: tuple[str, ...]) -> None:
    with pytest.raises(PlannedError):
        run(ablate, *words)


def test_other_code_is_planned(folder: Path, ablate: Ablate, unplanned: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(last, "package", lambda: "of another version")
    with pytest.raises(PlannedError):
        run(ablate)


def test_data_that_may_have_changed_meanwhile_are_read_again(
    folder: Path, ablate: Ablate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last, "SETTLED", 2.0)
    (folder / "runs/small/.last.json").unlink()
    (folder / "text.txt").touch()
    run(ablate)
    assert not (folder / "runs/small/.last.json").exists()


def test_the_table_is_as_wide_as_the_terminal_now(
    folder: Path, ablate: Ablate, monkeypatch: pytest.MonkeyPatch, unplanned: None
) -> None:
    wide = run(ablate)
    monkeypatch.setenv("COLUMNS", "70")
    narrow = run(ablate)
    assert narrow != wide and max(map(len, narrow.splitlines())) <= 70 and run(ablate) == narrow
