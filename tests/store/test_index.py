"""The index of runs: it says what their files say, whatever becomes of it or of them."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ablation.store import index
from ablation.store.index import NAME, read_results
from ablation.store.results import RunResult, read_result

N_RUNS = 60


def write(directory: Path, run_id: str, loss: float) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    result = {
        "schema": 1, "id": run_id, "status": "completed", "reason": None, "stability": {"initial_loss": 3.0},
        "quality": {"primary": "loss", "better": "lower", "directions": {"loss": "lower"}, "final": {"loss": loss}},
        "efficiency": {"parameters": 10, "tokens": 20, "training_seconds": 1.5, "tokens_per_second": 3.25},
    }  # fmt: skip
    staged = directory / "staged"
    staged.write_text(json.dumps(result))
    staged.replace(directory / "result.json")
    (directory / "metrics.jsonl").write_text('{"step": 1, "tokens": 5, "seconds": 0.1, "validation/loss": 2.5}\n')


@pytest.fixture
def directories(tmp_path: Path) -> dict[str, Path]:
    ids = {f"{number:032x}": tmp_path / "store" / f"{number:02x}" for number in range(N_RUNS)}
    for number, (run_id, directory) in enumerate(ids.items()):
        write(directory, run_id, number / 7)
    return ids


def fields(result: RunResult) -> dict[str, Any]:
    return asdict(replace(result, example_losses=None))


def read(root: Path, directories: dict[str, Path]) -> dict[str, Any]:
    return {run_id: fields(result) for run_id, result in read_results(root, directories).items()}


def test_indexed_results_are_those_of_the_files(tmp_path: Path, directories: dict[str, Path]) -> None:
    direct = {run_id: fields(read_result(directory, run_id)) for run_id, directory in directories.items()}
    assert read(tmp_path, directories) == direct
    assert (tmp_path / NAME).is_file()
    assert read(tmp_path, directories) == direct


def test_indexed_results_are_not_read_again(
    tmp_path: Path, directories: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(tmp_path, directories)
    seen = []

    def noting(directory: Path, run_id: str) -> RunResult:
        seen.append(run_id)
        return read_result(directory, run_id)

    monkeypatch.setattr(index, "read_result", noting)
    write(directories[f"{7:032x}"], f"{7:032x}", 99.0)
    assert read(tmp_path, directories)[f"{7:032x}"]["metrics"]["loss"] == 99.0
    assert seen == [f"{7:032x}"]


@pytest.mark.parametrize("damage", ["deleted", "cut", "overwritten", "empty", "one number", "another version"])
def test_index_that_is_damaged_is_made_anew(tmp_path: Path, directories: dict[str, Path], damage: str) -> None:
    whole, file = read(tmp_path, directories), tmp_path / NAME
    content = file.read_bytes()
    match damage:
        case "deleted":
            file.unlink()
        case "cut":
            file.write_bytes(content[: len(content) // 2])
        case "overwritten":
            file.write_bytes(b"SQLite format 3\0" + b"x" * 5000)
        case "empty":
            file.write_bytes(b"")
        case "one number":
            assert content.count(b'"loss": 1.0,') > 0
            file.write_bytes(content.replace(b'"loss": 1.0,', b'"loss": 8.0,'))
        case "another version":
            import sqlite3

            with sqlite3.connect(file) as opened:
                opened.execute("PRAGMA user_version = 1")
                opened.execute("UPDATE runs SET state = 'x'")
    assert read(tmp_path, directories) == whole
    assert read(tmp_path, directories) == whole


def test_damaged_and_missing_runs_are_not_in_the_index(tmp_path: Path, directories: dict[str, Path]) -> None:
    (directories[f"{1:032x}"] / "result.json").write_text("{")
    (directories[f"{2:032x}"] / "result.json").unlink()
    found = read(tmp_path, directories)
    assert set(directories) - set(found) == {f"{1:032x}", f"{2:032x}"}


def test_folder_that_cannot_be_written_is_read_without_an_index(tmp_path: Path, directories: dict[str, Path]) -> None:
    (tmp_path / NAME).mkdir()
    assert len(read(tmp_path, directories)) == N_RUNS
