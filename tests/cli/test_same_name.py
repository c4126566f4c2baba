"""Grid files of one name and one directory of runs: which of them has the folder, and what it inherits."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.small_grids import Ablate, one_line, write_grid, write_results

import ablation
from ablation.errors import InputError

POSITIONS = {"model.position": ["sinusoidal", "alibi"]}


@pytest.fixture
def two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """Two grid files of one name; the first was run, with planned looks."""
    monkeypatch.chdir(tmp_path)
    first = write_grid(tmp_path, POSITIONS, seeds=5)
    plan_looks(first)
    write_results(tmp_path)
    other = write_grid(tmp_path / "other", seeds=3)
    return first, other


def plan_looks(file: Path) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "interim_looks": [5, 8]}, sort_keys=False))


def looks(folder: Path) -> list[int]:
    return json.loads((folder / "runs" / "small" / "manifest.json").read_text())["interim_looks"]


@pytest.mark.parametrize("command", ["run", "bench", "report", "export", "stop"])
def test_another_file_of_the_same_name_is_refused(
    ablate: Ablate, two: tuple[Path, Path], tmp_path: Path, nothing_may_start: None, command: str
) -> None:
    before = {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()}
    answer = ablate(command, two[1])
    assert answer.code == 2
    line = one_line(answer)
    assert "other/small.yaml: name: 'small' is also that of small.yaml, which has the folder runs/small" in line
    assert "--runs" in line
    assert {file: file.read_bytes() for file in (tmp_path / "runs").rglob("*") if file.is_file()} == before
    assert ablate("table", two[1]).code == 0, "what only reads needs no folder"
    assert looks(tmp_path) == [5, 8]


def test_claim_of_another_file_is_refused(two: tuple[Path, Path]) -> None:
    with pytest.raises(InputError, match="is also that of"):
        ablation.Study(two[1]).claim()


def test_another_folder_of_runs_is_the_way_out(two: tuple[Path, Path], tmp_path: Path) -> None:
    ablation.Study(two[1], runs=tmp_path / "elsewhere").own_folder()
    two[1].write_text(two[1].read_text().replace("name: small", "name: smaller"))
    ablation.Study(two[1]).own_folder()


def test_folder_of_a_renamed_grid_is_taken_over_with_a_word(two: tuple[Path, Path]) -> None:
    first, other = two
    first.write_text(first.read_text().replace("name: small", "name: former"))
    words: list[str] = []
    ablation.Study(other).own_folder(words.append)
    assert len(words) == 1 and "small.yaml, which is gone or has another name now" in words[0]
    first.unlink()
    ablation.Study(other).own_folder(words.append)
    assert len(words) == 2


def test_edited_and_moved_grids_keep_their_folder(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = two
    first.write_text(first.read_text() + "\n# more\n")
    words: list[str] = []
    ablation.Study(first).own_folder(words.append)
    shutil.copytree(tmp_path, tmp_path.parent / "copy")
    copied = tmp_path.parent / "copy" / "small.yaml"
    copied.write_text(copied.read_text() + "\n# and more\n")
    ablation.Study(copied, runs=copied.parent / "runs").own_folder(words.append)
    copied = tmp_path / "another.yaml"  # as it was run
    shutil.copy(tmp_path / "runs" / "small" / "grid.yaml", copied)
    ablation.Study(copied).own_folder(words.append)
    assert words == []


def test_planned_looks_stay_with_the_cells_they_are_of(two: tuple[Path, Path], tmp_path: Path) -> None:
    first, _ = two
    write_grid(tmp_path, {"model.position": ["sinusoidal", "alibi", "rope"]}, seeds=8)  # without looks
    assert ablation.Study(first).compare().interim_looks == (5, 8), "planned anew, not run yet"
    write_results(tmp_path)
    assert looks(tmp_path) == [5, 8]
    write_grid(tmp_path, seeds=8)
    assert ablation.Study(first).compare().interim_looks == ()
    write_results(tmp_path)
    assert looks(tmp_path) == []


def test_run_says_that_looks_are_dropped(ablate: Ablate, two: tuple[Path, Path], tmp_path: Path) -> None:
    write_grid(tmp_path, seeds=1)
    answer = ablate("run", two[0], "--workers", "2")
    said = answer.err.replace(f"{tmp_path}/", "")
    assert "The interim looks at 5, 8 seeds were planned for cells that small.yaml no longer has." in said
    assert looks(tmp_path) == []


def test_study_of_another_file_of_the_same_name_is_not_compared(ablate: Ablate, two: tuple[Path, Path]) -> None:
    assert "is also that of small.yaml" in one_line(ablate("compare", two[1], "small"))
