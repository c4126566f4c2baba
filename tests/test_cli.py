"""The commands from end to end: what is trained and what is not, what they print, and with which code they end."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.small_grids import (
    NORMS,
    PROGRAM,
    ROOT,
    Ablate,
    Answer,
    all_numbers,
    command,
    eventually,
    ids_of,
    permissions_count,
    processes,
    trouble,
    write_grid,
    write_trouble,
)

from ablation import __version__
from ablation.cli import run as run_command
from ablation.launch.local import LocalLauncher
from ablation.registry import REGISTRY
from ablation.store.lock import hold
from ablation.store.runs import Store


@pytest.fixture
def nothing_may_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(LocalLauncher, "start", start)


def one_line(answer: Answer) -> str:
    assert "Traceback" not in answer.err
    (line,) = answer.err.splitlines()
    assert line.startswith("ablate: ")
    return line


SUMMARY = {
    "grid": str,
    "planned": int,
    "cached": int,
    "executed": int,
    "completed": int,
    "diverged": int,
    "failed": int,
    "seconds": float,
    "directory": str,
}


def counts(answer: Answer) -> dict[str, int]:
    return {key: value for key, value in answer.json.items() if isinstance(value, int)}


# What is trained.


def test_a_grid_is_trained_once_and_then_read(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    first = ablate("run", grid, "--json")
    assert first.code == 0
    assert {key: type(value) for key, value in first.json.items()} == SUMMARY
    assert list(first.json) == list(SUMMARY)
    assert first.out.count("\n") == 1, "the table is for people"
    assert first.json["directory"] == "runs/small"
    whole = {"planned": 2, "completed": 2, "diverged": 0, "failed": 0}
    assert counts(first) == {**whole, "cached": 0, "executed": 2}
    before = all_numbers(tmp_path / "runs")
    second = ablate("run", grid, "--json")
    assert counts(second) == {**whole, "cached": 2, "executed": 0}
    assert all_numbers(tmp_path / "runs") == before


def test_a_second_command_starts_no_process(
    ablate: Ablate, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid)
    request.getfixturevalue("nothing_may_start")
    monkeypatch.setattr(LocalLauncher, "warm_up", staticmethod(lambda: pytest.fail("a server was started")))
    again = ablate("run", grid)
    assert again.code == 0
    assert again.err == ""
    assert again.out == ablate("table", grid).out + "W&B: off\n"


def test_a_new_seed_or_level_trains_only_what_is_new(ablate: Ablate, tmp_path: Path) -> None:
    ablate("run", write_grid(tmp_path))
    before = all_numbers(tmp_path / "runs")
    seeds = ablate("run", write_grid(tmp_path), "--seeds", "2", "--json")
    assert counts(seeds).items() >= {"planned": 4, "cached": 2, "executed": 2}.items()
    level = ablate("run", write_grid(tmp_path, {"model.block": [*NORMS["model.block"], "sandwich"]}), "--json")
    assert counts(level).items() >= {"planned": 3, "cached": 2, "executed": 1}.items()
    assert before.items() <= all_numbers(tmp_path / "runs").items()


def test_a_cell_of_two_grids_is_trained_once(ablate: Ablate, tmp_path: Path) -> None:
    ablate("run", write_grid(tmp_path))
    other = write_grid(tmp_path, {"model.norm": ["layer_norm", "none"], **NORMS}, name="other")
    answer = ablate("run", other, "--json")
    assert counts(answer).items() >= {"planned": 4, "cached": 2, "executed": 2}.items()
    runs = tmp_path / "runs"
    assert set(ids_of(runs)["block=post_norm"]) == set(ids_of(runs, "other")["block=post_norm"])


def test_a_value_from_the_command_line_makes_other_runs(ablate: Ablate, tmp_path: Path) -> None:
    ablate("run", write_grid(tmp_path))
    answer = ablate("run", write_grid(tmp_path), "--set", "optimizer.lr=2e-3", "--json")
    assert counts(answer).items() >= {"cached": 0, "executed": 2}.items()


def test_the_folder_holds_the_table_the_manifest_and_the_grid(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid, "--runs", "elsewhere/runs")
    directory = tmp_path / "elsewhere" / "runs" / "small"
    assert {file.name for file in directory.iterdir()} == {
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


# Runs that end badly.


def test_failed_and_diverged_runs_are_counted_shown_and_tried_again_on_request(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any
) -> None:
    plugin = write_trouble(tmp_path)
    grid = write_grid(tmp_path, trouble("fail", "exhaust", "explode"))
    words = ("run", grid, "--plugin", plugin)
    answer = ablate(*words)
    assert answer.code == 1
    assert "RuntimeError: [bold]no[/bold] luck at all" in answer.out
    assert "MemoryError: no more" in answer.out
    assert "4 runs to train" in answer.err.splitlines()[0]
    assert "failed in" in answer.err
    ended = {"planned": 4, "completed": 1, "diverged": 1, "failed": 2}
    for retry, executed in ((), 0), (("--retry", "failed"), 1), (("--retry", "diverged, oom"), 2):
        again = ablate(*words, *retry, "--json")
        assert again.code == 1
        assert counts(again) == {**ended, "cached": 4 - executed, "executed": executed}, retry
    (moved,) = (tmp_path / "runs" / "store" / "replaced").iterdir()
    assert json.loads((moved / "result.json").read_text())["status"] == "diverged"


def test_a_diverged_run_is_no_failure(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    grid = write_grid(tmp_path, trouble("explode"))
    answer = ablate("run", grid, "--plugin", write_trouble(tmp_path))
    assert answer.code == 0
    assert "diverged" in answer.out


def test_runs_of_other_code_are_named_and_trained_again_on_request(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any
) -> None:
    plugin = write_trouble(tmp_path)
    words = ("run", write_grid(tmp_path, trouble()), "--plugin", plugin)
    assert "other code" not in ablate(*words, "--seeds", "2").out
    plugin.write_text(plugin.read_text() + "# of no importance\n")
    del scratch_registry["schedule"]["trouble"]  # as in a new process
    answer = ablate(*words, "--seeds", "2")
    assert "2 of 2 runs were trained by other code; --retry drifted trains them again." in answer.out
    assert counts(ablate(*words, "--seeds", "2", "--retry", "stale_code", "--json"))["executed"] == 2
    assert "other code" not in ablate(*words, "--seeds", "2").out


# Commands that are refused.


def test_a_second_driver_is_refused_at_once(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_may_start: None
) -> None:
    grid = write_grid(tmp_path)
    monkeypatch.setattr(run_command, "load_plan", lambda *_: pytest.fail("planned first"))
    with hold(tmp_path / "runs"):
        answer = ablate("run", grid)
    assert answer.code == 3
    assert f"runs is in use by process {os.getpid()} on" in one_line(answer)


def test_a_damaged_result_is_named_and_nothing_is_trained(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    ablate("run", grid)
    store = Store(tmp_path / "runs")
    (run_id,) = ids_of(tmp_path / "runs")["block=post_norm"]
    damaged = store.directory(run_id) / "result.json"
    damaged.write_text("{")
    for words in (("run", grid), ("run", grid, "--json"), ("table", grid), ("plan", grid)):
        answer = ablate(*words)
        assert answer.code == 5, words
        assert str(damaged.relative_to(tmp_path)) in one_line(answer)
        assert answer.out == ""
    damaged.unlink()
    assert counts(ablate("run", grid, "--json"))["executed"] == 1


@pytest.mark.parametrize("content", ["", "[]", "{}", "null"])
def test_a_damaged_manifest_is_named_by_table_and_renewed_by_run(ablate: Ablate, tmp_path: Path, content: str) -> None:
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


def test_runs_that_is_a_file_is_refused_at_once(ablate: Ablate, tmp_path: Path, nothing_may_start: None) -> None:
    (tmp_path / "runs").write_text("")
    answer = ablate("run", write_grid(tmp_path))
    assert answer.code == 5
    assert one_line(answer) == "ablate: runs: is a file; a directory is wanted"


def test_a_folder_that_may_not_be_written_is_a_storage_error(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    (tmp_path / "runs").mkdir(mode=0o555)
    with permissions_count():
        answer = ablate("run", grid)
    assert answer.code == 5
    assert one_line(answer) == "ablate: runs: cannot be written (Permission denied)"


def test_a_folder_that_becomes_unwritable_ends_the_command_and_its_processes(
    ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = LocalLauncher.start

    def start(launcher: LocalLauncher, *arguments: Any) -> None:
        original(launcher, *arguments)
        (tmp_path / "runs" / "store").chmod(0o555)

    monkeypatch.setattr(LocalLauncher, "start", start)
    with permissions_count():
        answer = ablate("run", write_grid(tmp_path))
    assert answer.code == 5
    assert "cannot be written (Permission denied)" in answer.err.splitlines()[-1]
    assert "Traceback" not in answer.err
    assert multiprocessing.active_children() == []


def test_a_table_that_cannot_be_written_is_named(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "runs" / "small" / "table.csv").mkdir(parents=True)
    answer = ablate("run", write_grid(tmp_path))
    assert answer.code == 5
    assert answer.err.splitlines()[-1] == "ablate: runs/small/table.csv: cannot be written (Is a directory)"


@pytest.mark.parametrize(
    "words",
    [
        ("run",),
        ("run", "absent.yaml"),
        ("run", "small.yaml", "--bogus"),
        ("run", "small.yaml", "--workers", "0"),
        ("run", "small.yaml", "--retry", "fialed"),
        ("run", "small.yaml", "--set", "model.block"),
        ("rum", "small.yaml"),
        ("table", "absent"),
        ("table", "small.yaml", "--format", "word"),
        ("table", "small.yaml", "--metric", "losss"),
        ("components", "positoin"),
        ("init", "small.yaml"),
    ],
    ids=" ".join,
)
def test_a_wrong_word_is_one_line_and_makes_nothing(
    ablate: Ablate, tmp_path: Path, nothing_may_start: None, words: tuple[str, ...]
) -> None:
    write_grid(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    if "losss" in words:
        write_results(tmp_path)
        before = sorted(tmp_path.rglob("*"))
    answer = ablate(*words)
    assert answer.code == 2
    one_line(answer)
    assert answer.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_server_that_was_started_for_a_wrong_grid_is_ended(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, {"model.block": ["pre_norm", "post_nrom"]})
    with command(tmp_path, "run", grid, "--runs", tmp_path / "runs") as driver:
        _, err = driver.communicate(timeout=120)
        assert driver.returncode == 2
        assert "did you mean 'post_norm'?" in err
        eventually(lambda: not processes(tmp_path))


def write_results(folder: Path) -> None:
    """As after a run, without one."""
    from support.small_grids import plan_of

    from ablation.store.files import write_json
    from ablation.study.manifest import save_plan

    plan, store = plan_of(folder / "small.yaml"), Store(folder / "runs")
    save_plan(plan, store)
    for number, run in enumerate(plan.runs):
        quality = {"primary": "exact_match", "better": "higher", "final": {"exact_match": number / 8, "loss": 1.0}}
        result = {"schema": 1, "id": run.id, "status": "completed", "reason": None, "quality": quality}
        efficiency = {"parameters": 10, "tokens_per_second": 5.0, "training_seconds": 1.0}
        write_json(store.directory(run.id) / "result.json", {**result, "efficiency": efficiency})


def test_a_misspelt_retry_names_the_word_meant(ablate: Ablate, tmp_path: Path) -> None:
    assert "did you mean 'failed'?" in one_line(ablate("run", write_grid(tmp_path), "--retry", "fialed"))


# Commands that look.


def test_a_table_needs_neither_the_grid_file_nor_torch(tmp_path: Path) -> None:
    write_grid(tmp_path)
    write_results(tmp_path)
    program = """
import sys
from ablation.cli import main
for grid in ("small.yaml", "small"):
    for format in ("rich", "markdown", "csv", "json"):
        sys.argv = ["ablate", "table", grid, "--format", format]
        assert main() == 0, sys.argv
        print("end of a table")
print(sorted({"torch", "lightning", "wandb"} & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    *tables, last = done.stdout.split("end of a table\n")
    assert last == "[]\n"
    assert tables[:4] == tables[4:], "by file and by name"
    assert len({*tables}) == 4
    assert json.loads(tables[3])["grid"] == "small"


def test_a_grid_that_was_changed_is_planned_anew(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    write_results(tmp_path)

    def n_cells(which: str | Path) -> int:
        return len(json.loads(ablate("table", which, "--json").out)["cells"])

    assert n_cells(grid) == 2
    write_grid(tmp_path, {"model.block": [*NORMS["model.block"], "sandwich"]})
    assert n_cells(grid) == 3
    assert n_cells("small") == 2, "what was run"


@pytest.mark.parametrize("format", ["rich", "markdown", "csv", "json"])
def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path, format: str) -> None:
    write_grid(tmp_path)
    write_results(tmp_path)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "table", "small", "--format", format],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        stdout=write,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(write)
    assert done.stderr == ""


def test_nothing_asked_is_answered_with_help(ablate: Ablate) -> None:
    answer = ablate()
    assert answer.code == 0
    assert all(name in answer.out for name in ("init", "run", "plan", "table", "components", "schema", "sync"))
    assert ablate("--version").out == f"{__version__}\n"


def test_a_starter_folder_trains_as_it_is(ablate: Ablate, tmp_path: Path) -> None:
    first = ablate("init", "init_value")
    assert first.code == 0
    assert {file.name for file in Path("init_value").iterdir()} == {
        "base.yaml",
        "grid.yaml",
        "schema.json",
        "grid.schema.json",
    }
    for file, schema in (("base", "schema.json"), ("grid", "grid.schema.json")):
        assert f"$schema={schema}" in Path(f"start/{file}.yaml").read_text()
    small = {"model.d_model": 8, "model.n_layers": 1, "task.length": 8, "task.batch_size": 2, "training.max_steps": 2}
    settings = {**small, "task.validation_windows": 4, "training.device": "cpu", "tracking.mode": "disabled"}
    words = [word for path, value in settings.items() for word in ("--set", f"{path}={value}")]
    answer = ablate("run", "start/grid.yaml", *words, "--seeds", "1", "--json")
    assert answer.code == 0
    assert counts(answer).items() >= {"planned": 8, "completed": 8}.items()
    again = ablate("init", "init_value")
    assert again.code == 2
    assert "there already" in one_line(again)


def test_every_component_is_listed(ablate: Ablate) -> None:
    listed = ablate("components", "--json").json
    assert {(row["slot"], row["name"]) for row in listed} == {
        (slot, name) for slot, members in REGISTRY.items() for name in members
    }
    assert all(row["source"] for row in listed)
    text = ablate("components").out
    assert all(row["name"] in text for row in listed)
    assert {row["slot"] for row in ablate("components", "norm", "--json").json} == {"norm"}


def test_what_a_cache_serves_and_what_backends_carry_is_listed_as_the_classes_have_it(ablate: Ablate) -> None:
    listed = {(row["slot"], row["name"]): row for row in ablate("components", "--json").json}
    for (slot, name), row in listed.items():
        component: Any = REGISTRY[slot][name].component
        assert row["cacheable"] == (component.cacheable if slot == "mixer" else None)
        assert row["carries"] == (sorted(component.supports) if slot == "backend" else None)
        takes_one = slot == "mixer" and "backend" in REGISTRY[slot][name].hyperparameters()
        assert (row["backends"] is not None) == takes_one
    wide = [name for name, kind in REGISTRY["attention_backend"].items() if "value_dim" in kind.component.supports]
    assert listed["mixer", "attention"]["backends"] == list(REGISTRY["attention_backend"])
    assert listed["mixer", "latent"]["backends"] == listed["mixer", "differential"]["backends"] == wide
    assert "cache; manual, sdpa, flex, torch_mha" in ablate("components", "mixer").out


def test_a_component_of_a_plugin_is_listed(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    rows = ablate("components", "schedule", "--plugin", write_trouble(tmp_path), "--json").json
    assert "trouble" in [row["name"] for row in rows]


def test_the_written_schemas_are_those_of_the_clone(ablate: Ablate, tmp_path: Path) -> None:
    answer = ablate("schema", "--output", "schema.json")
    assert answer.out.split() == ["schema.json", "grid.schema.json"]
    for name in ("schema.json", "grid.schema.json"):
        assert json.loads(Path(name).read_text()) == json.loads((ROOT / "conf" / name).read_text()), "inv generate"
    base = json.loads(Path("schema.json").read_text())
    assert set(base["required"]) <= set(yaml.safe_load((ROOT / "conf" / "base.yaml").read_text()))


def test_a_plan_trains_nothing_and_says_what_is_there(ablate: Ablate, tmp_path: Path, nothing_may_start: None) -> None:
    grid = write_grid(tmp_path, seeds=3)
    planned = ablate("plan", grid, "--json").json
    assert planned["planned"] == 6
    assert planned["there"] == 0
    assert [cell["label"] for cell in planned["cells"]] == ["block=pre_norm", "block=post_norm"]
    assert planned["cells"][0]["training_tokens"] == 6 * 4 * 8
    assert not (tmp_path / "runs").exists()
    write_grid(tmp_path)
    write_results(tmp_path)
    assert "2 there, 0 to train" in ablate("plan", grid).out


# Commands that are ended from outside.


@pytest.fixture
def waiting(tmp_path: Path) -> Callable[..., list[str | Path]]:
    """The words of a command whose second run waits in its fourth step for as long as the file ``wait`` is there."""
    plugin, grid = write_trouble(tmp_path), write_grid(tmp_path, trouble("wait"), seeds=2)
    (tmp_path / "wait").touch()
    return ["run", grid, "--plugin", plugin, "--runs", tmp_path / "runs", "--workers", "2", "--json"]


def wait_until_it_waits(folder: Path) -> None:
    """One run is complete and another in the middle."""
    store = folder / "runs" / "store"

    def so_far() -> bool:
        rows = [file for file in store.glob("*/*/metrics.jsonl") if file.stat().st_size]
        return any(not file.with_name("result.json").exists() for file in rows) and len(rows) > 1

    eventually(so_far, 120)


def finish(folder: Path, words: list[str | Path], ablate: Ablate) -> None:
    """The same command goes on, and ends with what an undisturbed one ends with."""
    left = len(list((folder / "runs" / "store").glob("*/*/result.json")))
    assert left < 4
    (folder / "wait").unlink(missing_ok=True)
    answer = ablate(*words)
    assert answer.code == 0
    assert counts(answer) == {
        "planned": 4,
        "cached": left,
        "executed": 4 - left,
        "completed": 4,
        "diverged": 0,
        "failed": 0,
    }
    ablate(*words[:4], "--runs", folder / "quiet")
    assert all_numbers(folder / "runs") == all_numbers(folder / "quiet")
    # A process that dies between making its result and tidying up leaves a staged copy beside it, which harms nobody.
    assert not [file for file in folder.rglob("*.tmp") if not (file.parent / "result.json").exists()]


def test_a_killed_command_leaves_no_process_and_the_same_command_goes_on(
    ablate: Ablate, waiting: list[str | Path], tmp_path: Path, scratch_registry: Any
) -> None:
    with command(tmp_path, *waiting) as driver:
        wait_until_it_waits(tmp_path)
        assert len(processes(tmp_path)) > 2, "else the next line proves nothing"
        refused = ablate(*waiting)
        assert refused.code == 3
        assert f"process {driver.pid} " in one_line(refused)
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        eventually(lambda: not processes(tmp_path))
    finish(tmp_path, waiting, ablate)


def test_an_interrupt_on_a_terminal_stops_all_and_the_same_command_goes_on(
    ablate: Ablate, waiting: list[str | Path], tmp_path: Path, scratch_registry: Any
) -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    shown = bytearray()

    def read() -> None:
        try:
            while block := os.read(ours, 4096):
                shown.extend(block)
        except OSError:  # closed at the other end
            return

    reader = threading.Thread(target=read)
    reader.start()

    def take_terminal() -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    with command(tmp_path, *waiting, stdin=theirs, stderr=theirs, preexec_fn=take_terminal) as driver:
        os.close(theirs)
        wait_until_it_waits(tmp_path)
        eventually(lambda: b"2/6" in shown or b"3/6" in shown)
        os.write(ours, b"\x03")
        out, _ = driver.communicate(timeout=60)
        eventually(lambda: not processes(tmp_path))
    reader.join()
    os.close(ours)
    assert driver.returncode == 4
    text = shown.decode()
    assert "in work" in text
    assert "schedule=wait seed=0" in text
    assert "Stopped. The same command goes on with what is missing." in text
    assert "Traceback" not in text
    summary = json.loads(out.splitlines()[-1])
    assert summary["executed"] == summary["completed"] < 4
    finish(tmp_path, waiting, ablate)


def test_an_interrupt_before_anything_is_trained_is_no_traceback(tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    with command(tmp_path, "run", grid, "--runs", tmp_path / "runs") as driver:
        eventually(lambda: len(processes(tmp_path)) > 1)  # the server is importing, the driver planning
        os.killpg(driver.pid, signal.SIGINT)
        _, err = driver.communicate(timeout=120)
        eventually(lambda: not processes(tmp_path))
    assert driver.returncode == 4
    assert "Traceback" not in err
    assert not list((tmp_path / "runs").glob("store/*/*/result.json"))
