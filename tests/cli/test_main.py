"""All commands together: help, and one line for bad input."""

from operator import itemgetter
from pathlib import Path

import pytest
from support.small_grids import Ablate, one_line, write_grid, write_results

from ablation import __version__

LONG = "x" * 300


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
        ("table", "small.yaml", "--picture", "small.png"),
        ("plan", "small.yaml", "--save", "small.txt"),
        ("stop", "absent.yaml"),
        ("stop", "absent"),
        ("components", "positoin"),
        ("init", "small.yaml"),
    ],
    ids=" ".join,
)
def test_bad_input_is_one_line_and_creates_nothing(
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


@pytest.mark.parametrize(
    "words",
    [
        ("plan", LONG),
        ("table", LONG),
        ("inspect", LONG),
        ("compare", LONG, LONG),
        ("check", "--runs", LONG),
        ("init", LONG),
    ],
    ids=itemgetter(0),
)
def test_what_is_too_long_for_the_name_of_a_file_is_one_line(ablate: Ablate, words: tuple[str, ...]) -> None:
    answer = ablate(*words)
    assert answer.code == 2
    assert one_line(answer).endswith(": File name too long")


def test_file_in_a_closed_folder_is_one_line(ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", closed)
    answer = ablate("plan", "closed/grid.yaml")
    assert (answer.code, one_line(answer)) == (2, "ablate: closed/grid.yaml: Permission denied")


def test_ablate_without_arguments_prints_help(ablate: Ablate) -> None:
    answer = ablate()
    assert answer.code == 0
    assert all(name in answer.out for name in ("init", "run", "plan", "table", "components", "schema", "sync"))
    assert ablate("--version").out == f"{__version__}\n"


@pytest.mark.parametrize(
    "command", ["run", "plan", "table", "report", "explain", "status", "claim", "bench", "profile", "sync"]
)
def test_commands_of_a_grid_take_plugin_and_runs(ablate: Ablate, command: str) -> None:
    assert {"--plugin", "--runs"} <= set(ablate(command, "--help").out.split())
