"""``ablate run``: what is trained and what is not, what it prints, and with which exit code it ends."""

import json
import multiprocessing
import os
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import (
    NORMS,
    Ablate,
    all_numbers,
    command,
    counts,
    eventually,
    ids_of,
    one_line,
    permissions_count,
    processes,
    trouble,
    write_grid,
    write_trouble,
)
from support.studies import flat

from ablation.launch.local import LocalLauncher
from ablation.store.lock import hold
from ablation.store.runs import Store

SUMMARY = {
    "grid": str,
    "planned": int,
    "cached": int,
    "executed": int,
    "completed": int,
    "diverged": int,
    "failed": int,
    "missing": int,
    "seconds": float,
    "directory": str,
}


def test_run_trains_a_grid_once_and_then_reads_it(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    first = ablate("run", grid, "--json")
    assert first.code == 0
    assert {key: type(value) for key, value in first.json.items()} == SUMMARY
    assert list(first.json) == list(SUMMARY)
    assert first.out.count("\n") == 1, "the table is for people"
    assert first.json["directory"] == "runs/small"
    whole = {"planned": 2, "completed": 2, "diverged": 0, "failed": 0, "missing": 0}
    assert counts(first) == {**whole, "cached": 0, "executed": 2}
    before = all_numbers(tmp_path / "runs")
    second = ablate("run", grid, "--json")
    assert counts(second) == {**whole, "cached": 2, "executed": 0}
    assert all_numbers(tmp_path / "runs") == before


def test_run_of_a_complete_grid_starts_no_process(
    ablate: Ablate, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid)
    request.getfixturevalue("nothing_may_start")
    monkeypatch.setattr(LocalLauncher, "warm_up", staticmethod(lambda: pytest.fail("a server was started")))
    again = ablate("run", grid)
    assert again.code == 0
    assert again.err == ""
    assert again.out.replace("W&B: off\n", "") == ablate("table", grid).out


def test_run_trains_only_new_seeds_and_levels(ablate: Ablate, tmp_path: Path) -> None:
    ablate("run", write_grid(tmp_path))
    before = all_numbers(tmp_path / "runs")
    seeds = ablate("run", write_grid(tmp_path), "--seeds", "2", "--json")
    assert counts(seeds).items() >= {"planned": 4, "cached": 2, "executed": 2}.items()
    level = ablate("run", write_grid(tmp_path, {"model.block": [*NORMS["model.block"], "sandwich"]}), "--json")
    assert counts(level).items() >= {"planned": 3, "cached": 2, "executed": 1}.items()
    assert before.items() <= all_numbers(tmp_path / "runs").items()


def test_run_trains_a_cell_of_two_grids_once(ablate: Ablate, tmp_path: Path) -> None:
    ablate("run", write_grid(tmp_path))
    other = write_grid(tmp_path, {"model.norm": ["layer_norm", "none"], **NORMS}, name="other")
    answer = ablate("run", other, "--json")
    assert counts(answer).items() >= {"planned": 4, "cached": 2, "executed": 2}.items()
    runs = tmp_path / "runs"
    assert set(ids_of(runs)["block=post_norm"]) == set(ids_of(runs, "other")["block=post_norm"])


def test_run_with_another_value_trains_other_runs(ablate: Ablate, tmp_path: Path) -> None:
    ablate("run", write_grid(tmp_path))
    answer = ablate("run", write_grid(tmp_path), "--set", "optimizer.lr=2e-3", "--json")
    assert counts(answer).items() >= {"cached": 0, "executed": 2}.items()


def test_run_writes_tables_manifest_and_grid(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid, "--runs", "elsewhere/runs")
    directory = tmp_path / "elsewhere" / "runs" / "small"
    assert {file.name for file in directory.iterdir()} == {
        ".last.json",
        "grid.yaml",
        "manifest.json",
        "table.csv",
        "table.json",
        "table.md",
    }
    assert (directory / "grid.yaml").read_text() == grid.read_text()
    for format, ending in (("markdown", "md"), ("csv", "csv"), ("json", "json")):
        printed = ablate("table", "small", "--format", format, "--runs", "elsewhere/runs").out
        assert printed == (directory / f"table.{ending}").read_text()


def test_run_counts_failures_and_retries_on_request(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    plugin = write_trouble(tmp_path)
    grid = write_grid(tmp_path, trouble("fail", "exhaust", "explode"))
    words = ("run", grid, "--plugin", plugin)
    answer = ablate(*words, "--workers", "1")  # of several, one without memory would be tried again alone
    assert answer.code == 1
    assert "RuntimeError: [bold]no[/bold] luck at all" in answer.out
    assert "MemoryError: no more" in answer.out
    assert "4 runs to train" in answer.err.splitlines()[0]
    assert "failed in" in answer.err
    ended = {"planned": 4, "completed": 1, "diverged": 1, "failed": 2, "missing": 0}
    for retry, executed in ((), 0), (("--retry", "failed"), 1), (("--retry", "diverged, oom"), 2):
        again = ablate(*words, *retry, "--json", "--workers", "1")
        assert again.code == 1
        assert counts(again) == {**ended, "cached": 4 - executed, "executed": executed}, retry
    moved = (tmp_path / "runs" / "store" / "replaced").glob("*/*.json")
    ends = [json.loads(file.read_text()) for file in moved if file.name in ("result.json", "failure.json")]
    assert sorted(end.get("status", end.get("kind")) for end in ends) == ["diverged", "exception", "oom"]


def test_run_exits_with_0_where_runs_diverged(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    grid = write_grid(tmp_path, trouble("explode"))
    answer = ablate("run", grid, "--plugin", write_trouble(tmp_path))
    assert answer.code == 0
    assert "diverged" in answer.out


def test_run_names_stale_code_and_retries_on_request(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    plugin = write_trouble(tmp_path)
    words = ("run", write_grid(tmp_path, trouble()), "--plugin", plugin)
    assert "other code" not in ablate(*words, "--seeds", "2").out
    plugin.write_text(plugin.read_text() + "# of no importance\n")
    del scratch_registry["schedule"]["trouble"]  # as in a new process
    answer = ablate(*words, "--seeds", "2")
    assert "code: 2 of 2 runs were trained by other code than today's; `ablate run --retry stale_code`" in answer.out
    assert counts(ablate(*words, "--seeds", "2", "--retry", "stale_code", "--json"))["executed"] == 2
    assert "other code" not in ablate(*words, "--seeds", "2").out


def test_run_refuses_a_locked_store_before_planning(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_may_start: None
) -> None:
    grid = write_grid(tmp_path)
    monkeypatch.setattr("ablation.study.study.load_plan", lambda *_, **__: pytest.fail("planned first"))
    with hold(tmp_path / "runs"):
        answer = ablate("run", grid)
    assert answer.code == 3
    assert f"runs is in use by process {os.getpid()} on" in one_line(answer)


def test_run_sets_a_damaged_result_aside_and_trains_it_anew(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid)
    store = Store(tmp_path / "runs")
    (run_id,) = ids_of(tmp_path / "runs")["block=post_norm"]
    damaged = store.directory(run_id) / "result.json"
    damaged.write_text("{")
    before = all_numbers(tmp_path / "runs", label="block=pre_norm")
    shown = ablate("table", grid)
    assert shown.code == 0
    assert f"{damaged.relative_to(tmp_path)}: damaged" in flat(shown.out)
    answer = ablate("run", grid, "--json")
    assert counts(answer).items() >= {"executed": 1, "cached": 1, "completed": 2}.items()
    (line,) = (line for line in answer.err.splitlines() if "damaged" in line)
    assert line.startswith(f"{damaged.relative_to(tmp_path)}: damaged")
    assert (tmp_path / "runs" / "store" / "damaged" / f"{run_id}-1" / "result.json").read_text() == "{"
    assert before.items() <= all_numbers(tmp_path / "runs").items()
    assert "damaged" not in ablate("run", grid).err


def test_what_is_advised_about_a_damaged_run_helps(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid)
    (run_id,) = ids_of(tmp_path / "runs")["block=post_norm"]
    (Store(tmp_path / "runs").directory(run_id) / "run.json").write_text("{")
    advice = "the next `ablate run` of its grid sets the run aside and trains it again"
    assert advice in one_line(ablate("show", run_id))
    assert counts(ablate("run", grid, "--json")).items() >= {"executed": 1, "cached": 1, "completed": 2}.items()
    assert ablate("show", run_id).code == 0


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_run_renews_a_damaged_manifest(ablate: Ablate, tmp_path: Path, content: str) -> None:
    grid = write_grid(tmp_path)
    manifest = tmp_path / "runs" / "small" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text(content)
    if content != "null":
        answer = ablate("table", grid)
        assert answer.code == 5
        assert "runs/small/manifest.json: damaged" in one_line(answer)
    assert ablate("run", grid, "--set", "training.max_steps=1").code == 0
    assert ablate("table", grid).code == 0


def test_run_refuses_a_file_as_store(ablate: Ablate, tmp_path: Path, nothing_may_start: None) -> None:
    (tmp_path / "runs").write_text("")
    answer = ablate("run", write_grid(tmp_path))
    assert answer.code == 5
    assert one_line(answer) == "ablate: runs: is a file; a directory is needed"


def test_run_refuses_a_store_it_cannot_write(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    (tmp_path / "runs").mkdir(mode=0o555)
    with permissions_count():
        answer = ablate("run", grid)
    assert answer.code == 5
    assert one_line(answer) == "ablate: runs: cannot be written (Permission denied)"


def test_run_ends_its_processes_on_a_storage_error(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = LocalLauncher.start

    def start(launcher: LocalLauncher, *arguments: Any) -> None:
        original(launcher, *arguments)
        (tmp_path / "runs" / "store" / "orders").chmod(0o555)

    monkeypatch.setattr(LocalLauncher, "start", start)
    with permissions_count():
        answer = ablate("run", write_grid(tmp_path))
    assert answer.code == 5
    assert "cannot be written (Permission denied)" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert multiprocessing.active_children() == []


def test_run_names_a_table_it_cannot_write(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "runs" / "small" / "table.csv").mkdir(parents=True)
    answer = ablate("run", write_grid(tmp_path))
    assert answer.code == 5
    assert answer.err.splitlines()[-1] == "ablate: runs/small/table.csv: cannot be written (Is a directory)"


def test_run_ends_the_server_of_an_invalid_grid(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, {"model.block": ["pre_norm", "post_nrom"]})
    with command(tmp_path, "run", grid, "--runs", tmp_path / "runs") as driver:
        _, err = driver.communicate(timeout=120)
        assert driver.returncode == 2
        assert "did you mean 'post_norm'?" in err
        eventually(lambda: not processes(tmp_path))


def test_run_suggests_the_nearest_word_for_retry(ablate: Ablate, tmp_path: Path) -> None:
    assert "did you mean 'failed'?" in one_line(ablate("run", write_grid(tmp_path), "--retry", "fialed"))
