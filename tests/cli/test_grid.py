"""``ablate grid``: the file that it writes is the study that was asked for."""

import io
from pathlib import Path

import pytest
from support.plans import BASE_YAML
from support.small_grids import Ablate, one_line

from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "base.yaml").write_text(BASE_YAML)
    monkeypatch.chdir(tmp_path)


def labels(file: str) -> list[str]:
    return [cell.label for cell in make_plan(read_grid(Path(file))).cells]


def test_grid_is_what_the_options_say(ablate: Ablate) -> None:
    varied = ["--vary", "model.block=pre_norm,post_norm", "--vary", "model.position=rope, {name: rope, theta: 5e5}"]
    answer = ablate("grid", "mine.yaml", *varied, "--set", "training.max_steps=3", "--seeds", "2")
    assert answer.code == 0 and answer.out == "mine.yaml: 4 cells, 8 runs\nNow: ablate run mine.yaml\n"
    assert labels("mine.yaml")[1:3] == ["position=rope(theta=500000)", "block=post_norm"]
    plan = make_plan(read_grid(Path("mine.yaml")))
    assert (plan.name, plan.seeds, plan.runs[0].config.training.max_steps) == ("mine", (0, 1), 3)


def test_grid_in_another_folder_finds_its_base(ablate: Ablate, tmp_path: Path) -> None:
    (tmp_path / "studies").mkdir()
    assert ablate("grid", "studies/mine.yaml", "--vary", "model.n_heads=4,2", "--design", "one_at_a_time").code == 0
    assert labels("studies/mine.yaml") == ["n_heads=4", "n_heads=2"]
    assert "base: ../base.yaml" in (tmp_path / "studies/mine.yaml").read_text()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--vary", "model.position=ropee,rope"], "'ropee' is not a position; allowed: "),
        (["--vary", "model.positon=rope"], "did you mean 'position'?"),
        (["--vary", "model.position"], "write a path and its levels, such as model.position=rope,alibi"),
        (["--vary", "model.n_heads=4,2", "--design", "factorail"], "did you mean 'factorial'?"),
        (["--vary", "model.n_heads=4,2", "--base", "none.yaml"], "--base none.yaml: there is no such file"),
    ],
)
def test_what_is_wrong_is_one_line_and_leaves_no_file(ablate: Ablate, words: list[str], expected: str) -> None:
    answer = ablate("grid", "mine.yaml", *words)
    assert answer.code == 2 and expected in one_line(answer) and not Path("mine.yaml").exists()


def test_existing_file_is_kept(ablate: Ablate) -> None:
    Path("mine.yaml").write_text("mine")
    answer = ablate("grid", "mine.yaml", "--vary", "model.n_heads=4,2")
    assert answer.code == 2 and "already exists" in one_line(answer) and Path("mine.yaml").read_text() == "mine"


def test_it_asks_where_nothing_is_said(ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["model.positon", "model.position", "rope,alibi", "model.n_heads", "4,2", "", "one_at_a_time", "2"])
    asked: list[str] = []

    def prompt(question: str, **_: object) -> str:
        asked.append(question)
        return next(answers)

    monkeypatch.setattr("typer.prompt", prompt)
    answer = ablate("grid", "mine.yaml")
    assert answer.code == 0 and "mine.yaml: 3 cells, 6 runs" in answer.out
    assert "model.positon: not known; did you mean 'model.position'?" in answer.out
    assert any("of alibi" in question and "rope" in question for question in asked)
    assert labels("mine.yaml") == ["position=rope n_heads=4", "position=alibi", "n_heads=2"]


@pytest.mark.parametrize(("file", "name"), [("é.yaml", "study"), (".x.yaml", "x"), ("a b.yaml", "a-b")])
def test_name_of_a_grid_is_made_of_that_of_its_file(ablate: Ablate, file: str, name: str) -> None:
    assert ablate("grid", file, "--vary", "model.n_heads=4,2").code == 0
    assert make_plan(read_grid(Path(file))).name == name


def test_questions_that_nobody_answers_are_no_traceback(ablate: Ablate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    answer = ablate("grid", "mine.yaml")
    assert answer.code == 2
    assert answer.err.splitlines()[-1].startswith("ablate: --vary: nobody answers; write a path and its levels, ")
