"""Everything that README.md and docs/ show is checked: grids are planned, commands parsed, and, slowly, all is run."""

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from support import ROOT, answers
from typer.main import get_command

import ablation
from ablation.cli.app import app
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.launch.choice import engine_of
from ablation.plugins import load_plugins
from ablation.report import components
from ablation.store.runs import Store
from ablation.study.start import StartingRuns

README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "decisions").glob("*.md"))]
REFERENCE = {"answers.md", "components.md", "runs.md", "statistics.md"}
"""Pages to look things up in; every other one is to be read in one go."""
NOTEBOOK, API = DOCS / "notebook.py", DOCS / "site" / "api.rst"
ABLATE = "import sys; from ablation.cli import main; sys.exit(main())"
SMALLER = {
    r"\bd_model: \d+": "d_model: 16",
    r"\bn_layers: \d+": "n_layers: 2",
    r"\blength: \d+": "length: 16",
    r"\bbatch_size: \d+": "batch_size: 4",
    r"\b(max_steps|evaluate_every): \d+": r"\1: 2",
    r"\bseeds: \d+": "seeds: 1",
    r"\bseeds: (\[\d+, \d+), .*?\]": r"seeds: \1]",
    r"\binterim_looks: \[.*?\]": "interim_looks: [3, 4]",
    r"\bmode: auto": "mode: disabled",
}
"""What makes every grid and baseline of the documentation train in a moment."""
QUICKER = {
    "bench": ["--processes", "1", "--rounds", "1", "--only", "training_step"],
    "inspect": ["--examples", "8"],
    "profile": ["--steps", "2", "--context", "8"],
    "--until-decided": ["--budget", "1"],  # only the first interim look
}
"""Options that are added to a command or option, for the same reason."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, with the comment on the line before it."""

    page: Path
    line: int
    comment: str
    language: str
    text: str

    @property
    def file(self) -> str | None:
        """The name of the file that the block shows: from its first line ``# name.yaml``, or its comment, of data."""
        if self.comment.startswith("file: "):
            return self.comment.removeprefix("file: ")
        match = re.match(r"# (\w+\.(?:yaml|py))\b", self.text)
        return match and match[1]

    @property
    def skipped(self) -> bool:
        return self.comment.startswith("skip: ")

    @property
    def lines(self) -> list[list[str]]:
        """Of a block of commands: the words of each, without comments."""
        return [words for line in self.text.splitlines() if (words := shlex.split(line, comments=True))]


def blocks_of(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for match in re.finditer(r"(?:^<!-- (.*?) -->\n)?^```(\w+)\n(.*?)^```$", text, flags=re.S | re.M):
        yield Block(page, text.count("\n", 0, match.start(2)) + 1, match[1] or "", match[2], match[3])


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def headings(page: Path) -> list[tuple[int, str]]:
    """Level and text of each heading, those in code blocks aside."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.S | re.M)
    return [(len(marks), words) for marks, words in re.findall(r"^(#+) (.+)$", text, flags=re.M)]


def of_language(language: str) -> list[object]:
    return [pytest.param(b, id=f"{b.page.name}-{b.line}") for b in BLOCKS if b.language == language]


def smaller(text: str) -> str:
    for pattern, replacement in SMALLER.items():
        text = re.sub(pattern, replacement, text)
    return text


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with conf/ and every file that the pages show, all of it small."""
    folder = tmp_path_factory.mktemp("docs")
    for file in (ROOT / "conf").rglob("*.yaml"):
        copy = folder / "conf" / file.relative_to(ROOT / "conf")
        copy.parent.mkdir(parents=True, exist_ok=True)
        text = file.read_text()
        copy.write_text(text if "claims" in file.parts else smaller(text))  # a claim depends on its sizes
    for block in BLOCKS:
        if block.file:
            (folder / block.file).write_text(smaller(block.text) if block.language == "yaml" else block.text)
    return folder


def plan_grid(file: Path) -> None:
    plugin, grid = file.with_suffix(".py"), read_grid(file)
    plugins = load_plugins([plugin] if plugin.is_file() else [])
    starts = StartingRuns(grid, Store(file.parent / "runs"), lambda other, adapt: make_plan(adapt(read_grid(other))))
    make_plan(grid, plugins=plugins, find_starts=starts)


# --- what is written -------------------------------------------------------------------------------------------------


def test_readme_has_at_most_150_lines() -> None:
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != ROOT], ids=lambda page: page.name)
def test_page_has_at_most_120_lines(page: Path) -> None:
    lines = len(page.read_text().splitlines())
    assert page.name in REFERENCE or lines <= 120
    assert page.parent.name != "decisions" or 40 <= lines <= 80


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_headings_are_in_order(page: Path) -> None:
    levels = [level for level, _ in headings(page)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(next_level <= level + 1 for level, next_level in pairwise(levels))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_run_or_shows_what_came_out(page: Path) -> None:
    assert len(re.findall(r"^```\w*$", page.read_text(), flags=re.M)) == 2 * len(list(blocks_of(page)))
    for block in blocks_of(page):
        if block.language == "toml":
            tomllib.loads(block.text)
        else:
            is_data = block.comment.startswith("file: ")
            assert is_data or block.language in {"bash", "python", "text", "yaml"}, f"line {block.line}"


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", ROOT / "runs" / "README.md"], ids=lambda p: p.name
)
def test_links_to_files_and_headings_resolve(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), target
        if anchor:
            assert anchor in {re.sub(r"[^\w -]", "", words.lower()).replace(" ", "-") for _, words in headings(file)}


def test_every_page_is_on_the_site() -> None:
    index = (DOCS / "site" / "index.rst").read_text()
    assert [page.name for page in DOCS.glob("*.md") if f"/docs/{page.stem}\n" not in index] == []


def test_every_public_name_is_on_the_page_of_the_api() -> None:
    names = re.findall(r"^\.\. (?:auto\w+|data):: (\w+)(?:\(\))?$", API.read_text(), flags=re.M)
    assert set(names) == set(ablation.__all__)


def test_every_page_is_linked_from_another() -> None:
    linked = {
        (page.parent / target).resolve()
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text())
    }
    assert {page for page in [*PAGES, NOTEBOOK] if page != README} - linked == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:ablation|tests|conf|docs)/[\w/.]+|\w+/\w+\.py)`", page.read_text())
    assert [name for name in named if not (ROOT / name).exists() and not (ROOT / "ablation" / name).exists()] == []


def test_page_of_components_is_that_of_the_registry() -> None:
    written = (ROOT / "docs" / "components.md").read_text()
    assert components.markdown(components.rows()).strip() == written.strip(), "python3 tasks.py generate"


def test_page_of_answers_has_every_claim_and_grid_with_its_picture() -> None:
    assert answers.PAGE.read_text() == answers.page(), "python3 tasks.py answers"
    named = {*answers.NAMES, *answers.TRAINED, *answers.TIMED, answers.PROFILE}
    assert {file.stem for file in answers.PICTURES.iterdir()} == named
    grids = {
        name for row in ROWS for part in row[1].split(";") if "grid" in part for name in re.findall(r"`(\w+)`", part)
    }
    assert grids - named == {"norm_position_heads"}  # which takes hours, and says that it was not run


def test_schemas_are_those_of_the_registry(ablate, tmp_path: Path) -> None:
    assert ablate("schema", "--output", str(tmp_path / "schema.json")).code == 0
    for name in ("schema.json", "grid.schema.json"):
        assert (tmp_path / name).read_text() == (ROOT / "conf" / name).read_text(), "python3 tasks.py generate"


def test_layout_names_every_part_of_the_package() -> None:
    layout = (ROOT / "CONTRIBUTING.md").read_text().split("## Layout")[1].split("\n## ")[0]
    parts = [part for part in (ROOT / "ablation").iterdir() if part.suffix == ".py" or (part / "__init__.py").is_file()]
    assert [part.name for part in parts if f"  {part.name}{'/' * part.is_dir()} " not in layout] == []


# --- grids -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", of_language("yaml"))
def test_grid_in_the_docs_is_planned(block: Block, folder: Path, scratch_registry, tmp_path: Path) -> None:
    if block.comment == "part of a grid":
        whole = {"name": "whole", "base": str(folder / "conf" / "base.yaml"), "factors": {"model.n_heads": [4, 2]}}
        file = tmp_path / "whole.yaml"
        file.write_text(yaml.safe_dump(whole | yaml.safe_load(block.text)))
    else:
        assert block.file, "the first line names the file, as in `# study.yaml`"
        file = folder / block.file
    if block.comment == "its base is written by a command of this page":
        pytest.skip("planned where the whole page is run")
    if "launcher" in yaml.safe_load(block.text):
        engine_of(str(file))
    else:
        plan_grid(file)


QUESTIONS = (ROOT / "docs" / "questions.md").read_text()
ROWS = [line.strip("|").split("|") for line in QUESTIONS.splitlines() if line.startswith("| ")]


def test_questions_name_every_claim_and_only_files_that_exist() -> None:
    claims, grids = set(), set()
    for part in (part for row in ROWS for part in row[1].split(";")):
        names = set(re.findall(r"`(\w+)`", part))
        claims |= names if "claim" in part else set()
        grids |= names if "grid" in part else set()
    assert claims == {file.stem for file in (ROOT / "conf" / "claims").glob("*.yaml")}
    assert grids and grids <= {file.stem for file in (ROOT / "conf" / "grids").glob("*.yaml")}


def test_questions_say_what_came_out_of_each_claim() -> None:
    for _, run, came_out, *_ in ROWS:
        for name in (name for part in run.split(";") if "claim" in part for name in re.findall(r"`(\w+)`", part)):
            claim = yaml.safe_load((ROOT / "conf" / "claims" / f"{name}.yaml").read_text())["claim"]
            assert claim.get("answer", "") in came_out, name
            if len(claim.get("replications", ())) < 2:
                assert re.search("not yet run|not replicated|replicated once", came_out), name


@pytest.mark.parametrize("setting", sorted({s for row in ROWS for s in re.findall(r"`([\w.]+: \[[^`]+)`", row[-1])}))
def test_levels_that_answer_a_question_are_levels(setting: str, folder: Path, tmp_path: Path) -> None:
    path, levels = setting.split(": ", 1)
    # Positions and architectures do not go with every mixer and task, so what does not matter is set to what does.
    settings = {"model.position": "none"} if path != "model.position" else {}
    if "encoder" in levels or "decoder" in levels:
        task = {"name": "listops", "length": 16} if "pooling" in levels else {"name": "scan", "split": "simple"}
        settings = {"task": task}
    grid = {"name": "one", "base": str(folder / "conf" / "base.yaml"), "set": settings, "seeds": 1}
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump(grid | {"factors": {path: yaml.safe_load(levels)}}))
    plan_grid(file)


# --- commands and Python ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", of_language("bash"))
def test_commands_in_the_docs_exist(block: Block) -> None:
    tasks = (ROOT / "tasks.py").read_text()
    for program, *arguments in block.lines:
        if program == "ablate":
            command = get_command(app).commands[arguments[0]]
            command.make_context(arguments[0], list(arguments[1:]))
        elif arguments and arguments[0] == "tasks.py":
            assert all(f"def {name}(" in tasks for name in arguments[1:2])
        elif program == "python":
            assert (ROOT / arguments[0]).is_file()
        else:
            assert block.skipped, f"{program}: neither of this repository nor skipped with a reason"


def run(folder: Path, *arguments: str) -> None:
    """Run Python code in ``folder``."""
    done = subprocess.run([sys.executable, "-c", *arguments], cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{arguments}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page_runs_from_top_to_bottom(page: Path, folder: Path) -> None:
    for block in blocks_of(page):
        if block.skipped or block.file:
            continue
        if block.language == "python":
            run(folder, block.text)
        elif block.language == "bash":
            for program, *arguments in block.lines:
                if program == "ablate":
                    quicker = [word for argument in arguments for word in QUICKER.get(argument, [])]
                    run(folder, ABLATE, *arguments, *quicker)


def test_notebook_has_cells_and_its_grid_is_planned(folder: Path, tmp_path: Path) -> None:
    cells = NOTEBOOK.read_text().split("# %%")
    assert cells[0] == "" and len(cells) > 5
    grid = re.search(r'GRID = """\\\n(.*?)"""', NOTEBOOK.read_text(), flags=re.S)
    assert grid
    file = tmp_path / "notebook.yaml"
    file.write_text(grid[1].replace("conf/base.yaml", str(folder / "conf" / "base.yaml")))
    plan_grid(file)


@pytest.mark.slow
def test_notebook_runs_from_top_to_bottom(folder: Path) -> None:
    run(folder, smaller(NOTEBOOK.read_text()))
