"""What the README shows is what there is."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from ablation import cli
from ablation.grid.file import read_grid
from ablation.grid.plan import make_plan
from ablation.report import components

README = (ROOT / "README.md").read_text()
SECTION = README.split("## Why is a Transformer built as it is?")[1].split("\n## ")[0]
QUESTIONS = [line.split("|") for line in SECTION.splitlines() if line.startswith("| ")][2:]
"""The rows of its table: nothing, question, what to run, what to vary, nothing."""


def block(first_line: str) -> str:
    """The fenced block that begins with this comment."""
    found = re.search(rf"^```\w+\n({re.escape(first_line)}.*?)^```", README, flags=re.S | re.M)
    assert found, first_line
    return found.group(1)


def ablate(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["ablate", *arguments])
    return cli.main()


def test_the_table_of_components_is_that_of_the_registry() -> None:
    assert components.insert(README, components.rows()) == README, "python3 tasks.py generate"


def test_the_example_grid_is_a_grid_of_eighteen_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "base.yaml").write_text((ROOT / "conf" / "base.yaml").read_text())
    (tmp_path / "study.yaml").write_text(block("# study.yaml"))
    assert ablate(monkeypatch, "plan", str(tmp_path / "study.yaml"), "--runs", str(tmp_path / "runs"), "--json") == 0
    assert '"planned": 90' in capsys.readouterr().out


def test_the_example_component_trains_from_a_file_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "base.yaml").write_text((ROOT / "conf" / "base.yaml").read_text())
    (tmp_path / "kerple.py").write_text(block("# kerple.py"))
    (tmp_path / "own.yaml").write_text(block("# own.yaml"))
    small = ["training.max_steps=3", "task.length=16", "task.batch_size=4", "tracking.mode=disabled"]
    settings = [word for setting in small for word in ("--set", setting)]
    command = [sys.executable, "-c", "import sys; from ablation.cli import main; sys.exit(main())"]
    command += ["run", "own.yaml", "--plugin", "kerple.py", "--seeds", "1", *settings]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "position=kerple(start=0.1)" in (tmp_path / "runs" / "own" / "table.json").read_text()


def test_the_questions_name_every_claim_and_only_grids_that_are_there() -> None:
    claims, grids = set(), set()
    for row in QUESTIONS:
        for part in row[2].split(";"):
            named = set(re.findall(r"`(\w+)`", part))
            if "claim" in part:
                claims |= named
            elif "grid" in part:
                grids |= named
    assert claims == {file.stem for file in (ROOT / "conf" / "claims").glob("*.yaml")}
    assert grids and grids <= {file.stem for file in (ROOT / "conf" / "grids").glob("*.yaml")}


@pytest.mark.parametrize("setting", [s for row in QUESTIONS for s in re.findall(r"`([\w.]+: [^`]+)`", row[3])])
def test_the_levels_that_answer_a_question_are_levels(setting: str, tmp_path: Path) -> None:
    path, levels = setting.split(": ", 1)
    levels = levels if levels.startswith("[") else f"[{levels}]"
    heard = "" if path == "model.position" else "set: {model.position: none}\n"  # by every mixer
    (tmp_path / "grid.yaml").write_text(
        f"name: one\nbase: {ROOT / 'conf' / 'base.yaml'}\n{heard}factors: {{{path}: {levels}}}\nseeds: 1\n"
    )
    make_plan(read_grid(tmp_path / "grid.yaml"))


def test_the_house_names_every_part_of_the_package() -> None:
    parts = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "ablation").iterdir()
        if not path.name.startswith("__pycache__")
    }
    house = README.split("## The house")[1]
    assert {part for part in parts if f"  {part} " not in house} == set()


def test_the_schemas_are_those_of_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ablate(monkeypatch, "schema", "--output", str(tmp_path / "schema.json")) == 0
    for name in ("schema.json", "grid.schema.json"):
        assert (tmp_path / name).read_text() == (ROOT / "conf" / name).read_text(), "python3 tasks.py generate"
