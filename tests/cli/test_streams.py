"""Output into terminals, files and pipes that do not take all of it."""

import ast
import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from support.small_grids import NORMS, PROGRAM, ROOT, Ablate, write_grid, write_results

from ablation import cli

COMMANDS = [
    ("table", "small"),
    ("table", "small", "--pivot", "block"),
    ("table", "small", "--format", "markdown"),
    ("table", "small", "--format", "csv"),
    ("table", "small", "--format", "latex"),
    ("table", "small", "--picture", "table.svg"),
    ("explain", "small", "block=post_norm"),
    ("report", "small"),
    ("status", "small"),
    ("components", "position"),
    ("table", "--help"),
    ("--help",),
]
FULL = Path("/dev/full")
LETTERS = {"model.block": ["pre_norm", {"name": "post_norm", "label": "nach-Ω-長い-é"}]}


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a grid that was run."""
    monkeypatch.chdir(tmp_path)
    write_grid(tmp_path)
    write_results(tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, encoding: str, *words: str) -> tuple[int, bytes]:
    """The exit code of a command, and what it wrote to a standard output of that encoding."""
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding))
    monkeypatch.setattr(sys, "argv", ["ablate", *words])
    code = cli.main()
    return code, written.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "cp437", "gbk"])
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_encoding_takes_what_a_command_prints(
    stored: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], encoding: str
) -> None:
    write_grid(stored, LETTERS if words[0] == "table" and "--pivot" not in words else NORMS)
    write_results(stored)
    code, written = run(monkeypatch, encoding, *words)
    assert code == 0
    # typer writes UTF-8 where the locale knows ASCII alone
    written.decode("utf-8" if encoding == "ascii" else encoding)
    if words[-1] == "table.svg":
        assert "Ω" in (stored / "table.svg").read_text(encoding="utf-8")


def test_marks_become_ascii_and_columns_stay(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plain = run(monkeypatch, "ascii", "table", "small")
    _, full = run(monkeypatch, "utf-8", "table", "small")
    lines = full.decode().splitlines()
    widths = [len(line.rstrip(" |")) for line in plain.decode("ascii").splitlines()]
    assert len(widths) == len(lines)
    assert all(width == cell_len(line) for width, line in zip(widths, lines, strict=True) if line)  # else a mere rule
    assert "lower is better · " in full.decode() or "higher is better · " in full.decode()
    assert "is better - " in plain.decode("ascii")


def test_letters_that_an_encoding_lacks_become_escapes(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_grid(stored, LETTERS)
    write_results(stored)
    code, written = run(monkeypatch, "cp1252", "table", "small")
    assert code == 0 and r"nach-\u03a9-\u9577\u3044-é" in written.decode("cp1252")


def test_handler_that_somebody_chose_stays(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "cp437", "ignore"))
    monkeypatch.setattr(sys, "argv", ["ablate", "table", "small", "--format", "markdown"])
    assert cli.main() == 0 and b"\\u" not in written.getvalue()


@pytest.mark.parametrize("words", [*COMMANDS, ("table", "small", "--json"), ("--version",)], ids=" ".join)
def test_full_disk_is_one_line_and_exit_code_five(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    if "--picture" in words:
        return  # it prints nothing
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "argv", ["ablate", *words])
        assert cli.main() == 5
    assert capsys.readouterr().err == "ablate: standard output: cannot be written (No space left on device)\n"


@pytest.mark.parametrize("buffered", [True, False])
def test_streams_of_a_process_of_its_own(stored: Path, buffered: bool) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    environment |= {} if buffered else {"PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-c", PROGRAM, "table", "small"]
    done = subprocess.run(command, env=environment, capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"") and b" is better - " in done.stdout
    with FULL.open("w") as full:
        broken = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True)
    assert broken.returncode == 5  # also at the interpreter's exit, which flushes once more
    assert broken.stderr == "ablate: standard output: cannot be written (No space left on device)\n"


def test_full_disk_behind_standard_error_stops_nothing(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ablate", "table", "absent"])
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert cli.main() == 2


@pytest.fixture(params=[0, 1], ids=["all completed", "one failed"])
def ended(stored: Path, request: pytest.FixtureRequest) -> int:
    """Every run of the grid has come to an end; the exit code that ``ablate run`` has then."""
    if request.param:
        for result in list((stored / "runs" / "store").glob("*/*/result.json"))[:1]:
            failure = {"schema": 1, "id": result.parent.name, "kind": "exception", "reason": "x"}
            result.with_name("failure.json").write_text(json.dumps(failure))
            result.unlink()
    return int(request.param)


@pytest.mark.parametrize("words", [(), ("--json",)], ids=["table", "json"])
@pytest.mark.parametrize("buffered", [True, False])
def test_pipe_that_nobody_reads_keeps_the_exit_code(
    stored: Path, monkeypatch: pytest.MonkeyPatch, ended: int, words: tuple[str, ...], buffered: bool
) -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w", **({} if buffered else {"buffering": 1})) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "argv", ["ablate", "run", "small.yaml", *words])
        assert cli.main() == ended


@pytest.mark.parametrize(
    ("words", "code", "left"), [(("check",), 1, True), (("check", "--repair"), 0, False), (("gc", "--yes"), 0, False)]
)
def test_store_is_mended_also_where_nobody_reads_what_is_done(
    stored: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], code: int, left: bool
) -> None:
    unfinished = [Path("runs/store/attempts") / f".{name}.tmp" for name in "ab"]
    for folder in unfinished:
        folder.mkdir(parents=True)
    ours, theirs = os.pipe()
    os.close(ours)
    with os.fdopen(theirs, "w", buffering=1) as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "argv", ["ablate", *words])
        assert cli.main() == code
    assert [folder.exists() for folder in unfinished] == [left, left]


def test_closed_standard_error_keeps_the_exit_code_and_the_table(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ended: int
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    monkeypatch.setattr(sys, "argv", ["ablate", "run", "small.yaml"])
    assert cli.main() == ended
    assert "block=post_norm" in capsys.readouterr().out


def test_table_that_cannot_be_written_is_no_success(
    stored: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ended: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["ablate", "run", "small.yaml"])
    with FULL.open("w") as full:
        monkeypatch.setattr(sys, "stdout", full)
        assert cli.main() == 5
    assert capsys.readouterr().err.endswith("ablate: standard output: cannot be written (No space left on device)\n")


def test_training_whose_output_nobody_reads_is_done_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    write_grid(tmp_path)
    shell = f"cd {tmp_path} && {sys.executable} program.py run small.yaml 2>&1 | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("2 runs to train")
    assert len(list((tmp_path / "runs").glob("store/*/*/result.json"))) == 2
    assert (tmp_path / "runs" / "small" / "table.csv").exists()


@pytest.mark.parametrize("columns", ["0", "1", "20", "abc", "-3", "²", "9" * 30])
@pytest.mark.parametrize("words", [COMMANDS[0], COMMANDS[1], COMMANDS[6], COMMANDS[8], COMMANDS[9], COMMANDS[10]],
                         ids=" ".join)  # fmt: skip
def test_no_width_of_a_terminal_is_an_error(
    stored: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], columns: str
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    code, written = run(monkeypatch, "utf-8", *words)
    assert code == 0 and written.strip()


def test_narrow_terminal_loses_no_number(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    _, narrow = run(monkeypatch, "utf-8", "table", "small")
    monkeypatch.setenv("COLUMNS", "40")
    _, usual = run(monkeypatch, "utf-8", "table", "small")
    assert narrow == usual


def test_files_are_written_and_read_in_a_named_encoding() -> None:
    unnamed = []
    for file in sorted((ROOT / "ablation").rglob("*.py")):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call):
                continue
            named = any(keyword.arg == "encoding" for keyword in call.keywords)
            texts = [str(argument.value) for argument in call.args if isinstance(argument, ast.Constant)]
            match call.func:
                case ast.Attribute(attr="write_text" | "read_text"):
                    is_text = True
                case ast.Attribute(attr="open") | ast.Name(id="open"):
                    is_text = any({*text} <= {*"rwax+t"} for text in texts)
                case _:
                    is_text = False
            if is_text and not named:
                unnamed.append(f"{file.relative_to(ROOT)}:{call.lineno}")
    assert not unnamed


CHATTY = '''
"""A position that prints, for {folder}."""
from ablation import BuildContext, Position, register

print("loaded")


@register("position", "chatty", source="of this test")
class Chatty(Position):
    """Prints where it is built and where it is used."""

    def __init__(self, build: BuildContext):
        super().__init__(build)
        print("built")

    def embed(self, x, positions):
        print("used")
        return x
'''


def test_what_components_print_is_no_result(ablate: Ablate, tmp_path: Path, scratch_registry: Any) -> None:
    plugin = tmp_path / "chatty.py"
    plugin.write_text(CHATTY.format(folder=tmp_path))
    grid = write_grid(tmp_path, {"model.position": ["none", "chatty"]})
    commands: list[tuple[str | Path, ...]] = [
        ("status", grid),
        ("explain", grid, "chatty"),
        ("report", grid, "--output", tmp_path / "page.html"),
        ("plan", grid),
        ("run", grid),
        ("show", "small:chatty"),
        ("profile", grid, "--steps", "1"),
        ("generate", "small:chatty", "--prompt", "1"),
    ]
    for words in commands:
        answer = ablate(*words, "--plugin", plugin, "--json")
        assert answer.code == 0 and len(answer.out.splitlines()) == 1 and answer.json, words
    assert "built" in answer.err and "used" in answer.err
