"""The summary run of a grid: one in W&B, written anew, with the comparison as a table and its files as an artifact."""

from pathlib import Path
from typing import Any

import pytest
from support.small_grids import NORMS, Ablate, output, write_grid
from support.wandb_stub import Server

from ablation.tracking import offline as wandb_reader
from ablation.tracking import verify
from ablation.tracking.mode import Mode
from ablation.tracking.summary_run import GridSummary, mirror_summary


def written(root: Path) -> list[wandb_reader.Record]:
    return [wandb_reader.read(file) for file in sorted(root.glob("wandb/offline-run-*summary*/*.wandb"))]


def summary_of(folder: Path, notes: str = "The change improves loss.") -> GridSummary:
    file = folder / "table.md"
    file.write_text("a table")
    rows = [["a", 2.5, None], ["b", 2.25, "better"]]
    return GridSummary("study", notes, ["cell", "loss mean", "loss verdict"], rows, {"cells": 2}, [file], ["paper"])


def test_offline_there_is_one_and_it_is_written_anew(tmp_path: Path) -> None:
    reports: list[str] = []
    for notes in ("first", "second"):
        assert mirror_summary(summary_of(tmp_path, notes), tmp_path, "ablation", Mode("offline"), reports.append)
    (record,) = written(tmp_path)
    assert (record.name, record.job_type, set(record.tags)) == ("study: summary", "summary", {"study", "paper"})
    assert record.summary["cells"] == 2
    assert (record.summary["comparison/nrows"], record.summary["comparison/ncols"]) == (2, 3)
    assert (record.exit_code, reports) == (0, [])


def test_online_its_table_and_its_files_arrive(tmp_path: Path, server: Server) -> None:
    reports: list[str] = []
    assert mirror_summary(summary_of(tmp_path), tmp_path, "ablation", Mode("online"), reports.append)
    (run,) = server.runs.values()
    assert (run.fields["jobType"], run.exit_code, reports) == ("summary", 0, [])
    assert run.fields["notes"] == "The change improves loss."
    assert len(server.artifacts) == 2, "the table and the files"


def test_what_goes_wrong_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reports: list[str] = []

    def refuse(*_: Any) -> None:
        raise RuntimeError("no\nservice")

    monkeypatch.setattr("ablation.tracking.session.Session.begin", refuse)
    assert not mirror_summary(summary_of(tmp_path), tmp_path, "ablation", Mode("offline"), reports.append)
    assert reports == ["W&B: the summary of study was not written: RuntimeError: no"]


def test_a_command_writes_it_after_training_and_not_without(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, {"tracking.mode": "offline"}, seeds=3)
    output(ablate("run", grid))
    (record,) = written(tmp_path / "runs")
    assert record.summary["comparison/nrows"] == 2
    before = next((tmp_path / "runs").glob("wandb/offline-run-*summary*")).name
    output(ablate("run", grid))
    assert next((tmp_path / "runs").glob("wandb/offline-run-*summary*")).name == before


def test_it_follows_the_table_though_nothing_was_trained(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, {"tracking.mode": "offline"}, seeds=3)
    for seeds in ("4", "3"):
        output(ablate("run", grid, "--seeds", seeds))
        (record,) = written(tmp_path / "runs")
        assert record.summary["seeds"] == int(seeds)


def test_sync_reads_back_what_arrived_and_exits_with_1_where_something_is_missing(
    ablate: Ablate, tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "PAUSES", (0.0,))
    grid = write_grid(tmp_path, NORMS, {"tracking.mode": "online"}, seeds=3)
    output(ablate("run", grid))
    answer = ablate("sync", grid)
    assert (answer.code, answer.err) == (0, "")
    assert "runs were read back and are complete" in answer.out
    assert ablate("sync", "small").code == 0, "by its name"
    lost = next(name for name in server.runs if not name.startswith("summary"))
    del server.runs[lost]
    answer = ablate("sync", grid)
    assert answer.code == 1
    assert f"({lost[:8]}): nothing of it arrived" in answer.err and len(answer.err.splitlines()) == 1
    assert "1 are not: `ablate sync` again sends what is missing" in answer.out
    assert ablate("sync", grid, "--json").json["incomplete"] == {}
