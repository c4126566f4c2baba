"""``ablate check``, ``gc``, ``export`` and ``import-runs``."""

import json
import os
import pty
import subprocess
from pathlib import Path

import pytest
from support.small_grids import Ablate, command, one_line, output, plan_of, write_grid
from support.stores import begin_run, everything, finish_grid, finish_run

from ablation.grid.plan import Plan
from ablation.store.runs import Store


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return plan_of(write_grid(tmp_path))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs")


def test_check_exits_with_1_where_there_are_problems(ablate: Ablate, store: Store, plan: Plan) -> None:
    directory, *_ = finish_grid(store, plan)
    assert output(ablate("check")) == "No problems.\n"
    assert output(ablate("check", "--quick")) == "No problems; weights were not read.\n"
    (directory / "metrics.jsonl").write_text("{}\n")
    (store.root / "store" / "foo").touch()
    begin_run(store, plan.runs[1])
    answer = ablate("check")
    assert answer.code == 1
    damaged, foo, *seen, summary = answer.out.splitlines()
    assert damaged.startswith(f"store/{directory.parent.name}/{directory.name}/metrics.jsonl: ")
    assert foo == "store/foo: nothing that ablate writes; move it elsewhere"
    assert seen[0] == "1 stopped attempt: `ablate run` goes on from there."
    assert summary == "2 problems, none repaired; --repair can repair 1."
    found = ablate("check", "--json").json
    assert [(one["kind"], one["repairable"], one["done"]) for one in found["problems"]] == [
        ("damaged_run", True, None),
        ("unknown", False, None),
    ]
    assert (found["left"], found["seen"]["stopped"], found["seen"]["aside"]["replaced"][0]) == (2, 1, 1)
    mended = ablate("check", "--repair")
    assert mended.code == 1
    assert f"moved to store/damaged/{directory.name}-1" in mended.out
    assert mended.out.splitlines()[-1] == "2 problems, 1 repaired."
    (store.root / "store" / "foo").unlink()
    assert ablate("check").code == 0


def test_check_repair_waits_for_no_other_command(ablate: Ablate, store: Store, plan: Plan) -> None:
    finish_grid(store, plan)
    with store.lock():
        answer = ablate("check", "--repair")
        assert (answer.code, "is in use" in one_line(answer)) == (3, True)
        assert ablate("gc", "--yes").code == 3
        assert output(ablate("check")).startswith("Another command is training here")


@pytest.mark.parametrize("words", ["check", "gc", "export small"])
def test_command_without_runs_creates_nothing(ablate: Ablate, tmp_path: Path, words: str) -> None:
    answer = ablate(*words.split())
    assert (answer.code, "no such folder" in one_line(answer)) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_import_of_no_archive_creates_nothing(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "x.tar").write_bytes(b"x" * 2000)
    for file in ("absent.tar", "x.tar"):
        answer = ablate("import-runs", file)
        assert (answer.code, file in one_line(answer)) == (2, True)
    assert [file.name for file in tmp_path.iterdir()] == ["x.tar"]


def test_gc_asks_and_deletes_nothing_without_an_answer(ablate: Ablate, store: Store, plan: Plan) -> None:
    directory = finish_run(store, plan.runs[0])
    before = everything(store.root)
    answer = ablate("gc")
    assert answer.code == 2
    assert "--yes deletes 1 run (" in one_line(answer)
    assert everything(store.root) == before
    deleted = ablate("gc", "--yes", "--json").json
    assert [(one["kind"], one["path"]) for one in deleted["deleted"]] == [
        ("run", directory.relative_to(store.root).as_posix())
    ]
    assert deleted["bytes"] == sum(map(len, before.values()))
    assert output(ablate("gc")) == "There is nothing to delete.\n"


@pytest.mark.parametrize(("typed", "code", "left"), [("n\n", 0, True), ("y\n", 0, False), ("\x03", 4, True)])
def test_gc_does_what_is_answered(store: Store, plan: Plan, typed: str, code: int, left: bool, tmp_path: Path) -> None:
    directory = finish_run(store, plan.runs[0])
    ours, theirs = pty.openpty()
    words = {"stdin": theirs, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "preexec_fn": take_terminal}
    with command(tmp_path, "gc", cwd=tmp_path, **words) as process:
        asked = ""
        while not asked.endswith("[y/N]: "):
            asked += process.stderr.read(1)  # type: ignore[union-attr]
        os.write(ours, typed.encode())
        process.wait(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert "Delete 1 run (" in asked
    assert (process.returncode, directory.exists()) == (code, left), asked


def take_terminal() -> None:
    """Make standard input the terminal from which a Ctrl-C comes."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def test_grid_prints_the_same_table_elsewhere(ablate: Ablate, tmp_path: Path) -> None:
    file = write_grid(tmp_path, seeds=2)
    ablate("run", file, "--json")
    table = output(ablate("table", "small", "--format", "json"))
    exported = ablate("export", "small", "--json").json
    assert (exported["file"], exported["runs"], exported["not_trained"]) == ("small.tar", 4, 0)
    there = tmp_path / "there"
    assert output(ablate("export", file, "--output", "again.tar")).startswith("again.tar: small, 4 runs, ")
    assert (tmp_path / "again.tar").read_bytes() == (tmp_path / "small.tar").read_bytes()
    assert output(ablate("import-runs", "small.tar", "--runs", there)).startswith("small: 4 runs imported.\n")
    assert output(ablate("table", "small", "--runs", there, "--format", "json")) == table
    ran = ablate("run", file, "--runs", there, "--json").json
    assert (ran["cached"], ran["executed"]) == (4, 0)
    again = ablate("import-runs", "small.tar", "--runs", there, "--json").json
    assert (again["imported"], again["present"], again["kept_folder"]) == (0, 4, True)
    assert output(ablate("check", "--runs", there)) == "No problems.\n"


def test_import_names_conflicts(ablate: Ablate, store: Store, plan: Plan, tmp_path: Path) -> None:
    finish_grid(store, plan)
    assert ablate("export", "small").code == 0
    finish_run(Store(tmp_path / "there"), plan.runs[0], 9.0)
    answer = ablate("import-runs", "small.tar", "--runs", tmp_path / "there")
    assert answer.code == 0
    assert "has other numbers than the run that is here" in answer.err
    assert answer.out.splitlines()[0] == "small: 1 run imported, 1 conflict."


def test_export_of_an_unknown_grid_is_one_line(ablate: Ablate, store: Store, plan: Plan, tmp_path: Path) -> None:
    finish_grid(store, plan)
    answer = ablate("export", "smal")
    assert (answer.code, "no grid of that name" in one_line(answer)) == (2, True)
    answer = ablate("export", "small", "--output", tmp_path / "absent" / "x.tar")
    assert (answer.code, "cannot be written" in one_line(answer)) == (5, True)
    assert not json.loads(json.dumps([file.name for file in tmp_path.glob("*.tar")]))
