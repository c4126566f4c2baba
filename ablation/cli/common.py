"""What several commands share: their arguments and options, and all exit codes."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, nearest, printable
from ..store.results import RETRIES
from . import complete

if TYPE_CHECKING:
    from ..store.runs import Store
    from ..study.summary import StudySummary

DONE, SOME_FAILED, INPUT, LOCKED, INTERRUPTED, STORAGE = range(6)
"""Exit codes: done; some runs failed for good or could not be trained, or a check failed; bad input; locked by another
command; interrupted; the runs cannot be read or written."""

GridFile = Annotated[
    Path,
    typer.Argument(
        metavar="GRID",
        help="The grid's YAML file, or the name of a grid in conf/ or, to read results, in the folder of runs.",
        show_default=False,
        autocompletion=complete.grids,
    ),
]
Runs = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where runs are kept.")]
Plugins = Annotated[
    list[Path], typer.Option("--plugin", metavar="FILE", help="A Python file that registers components; repeatable.")
]
Settings = Annotated[
    list[str],
    typer.Option(
        "--set",
        metavar="PATH=VALUE",
        help="A value instead of the file's, for every cell; repeatable.",
        autocompletion=complete.assignments,
    ),
]
Seeds = Annotated[int | None, typer.Option("--seeds", min=1, help="How many replicates, instead of the file's.")]
Retry = Annotated[
    str,
    typer.Option(
        "--retry",
        metavar="WHICH",
        help=f"Train again runs of these kinds: {', '.join(RETRIES)}; separated by commas.",
    ),
]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Runs at once; default: the cores, or the GPUs.")]
Metric = Annotated[str | None, typer.Option("--metric", help="Compare by another metric than the grid's own.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def options_of(runs: Path) -> str:
    """The option with which other commands find the same runs; empty for the usual folder."""
    return "" if runs == Path("runs") else f"--runs {quote(str(runs))}"


def existing_store(runs: Path) -> "Store":
    """The store in a folder that is there, for commands that create none. Errors: InputError."""
    from ..store.runs import Store

    if not runs.is_dir():
        raise InputError(f"--runs {runs}: there is no such folder")
    return Store(runs)


def message(line: str) -> None:
    """Print a line that is no result, on standard error."""
    typer.echo(printable(line), err=True)


def announce(grid: Path) -> None:
    """On a terminal, say at once what is being worked on: imports and planning take seconds. Errors: InputError."""
    if sys.stderr is None or not sys.stderr.isatty():
        return
    from ..grid.title import title

    message(title(grid))


@contextmanager
def prints_aside() -> Iterator[None]:
    """What components print while they work is no result of a command: it goes to standard error."""
    with redirect_stdout(sys.stderr):
        yield


@contextmanager
def working(grid: Path) -> Iterator[None]:
    """On a terminal, say what is being worked on until the block ends, and leave no trace. Errors: InputError."""
    if sys.stderr is None or not sys.stderr.isatty():
        with prints_aside():
            yield
        return
    from rich.console import Console
    from rich.text import Text

    from ..grid.title import title

    status = Console(stderr=True).status(Text(printable(f"{title(grid)} ..."), no_wrap=True, overflow="ellipsis"))
    with status, prints_aside():
        yield


def exit_code(summary: "StudySummary") -> int:
    """The exit code of a command that has trained; says so where it was interrupted."""
    if summary.interrupted:
        message("Stopped. The same command goes on with what is missing.")
        return INTERRUPTED
    return SOME_FAILED if summary.failed or summary.missing else DONE


def check_ending(option: str, file: Path, ending: str) -> None:
    """Errors: InputError where a file that is to be written has not the ending of what is written."""
    if file.suffix != ending:
        raise InputError(f"{option} {file}: the name has to end in {ending}, such as {file.with_suffix(ending)}")


def words(option: str, text: str, allowed: Sequence[str] = ()) -> list[str]:
    """The comma-separated words of an option; at least one, be it empty. Errors: InputError where not ``allowed``."""
    selected = [word.strip() for word in text.split(",") if word.strip()] or [text]
    for word in selected:
        if allowed and word not in allowed:
            raise InputError(f"{option} {word}: not known; allowed: {', '.join(allowed)}{nearest(word, allowed)}")
    return selected
