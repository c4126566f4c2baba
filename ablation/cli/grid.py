"""``ablate grid``: a grid file from what should vary, given as options or as answers to questions."""

import os
import re
from pathlib import Path
from shlex import quote
from typing import Annotated, Any

import typer

from ..errors import InputError
from .common import Plugins

Output = Annotated[Path, typer.Argument(metavar="FILE", help="The grid file to write.", show_default=False)]
Vary = Annotated[
    list[str],
    typer.Option("--vary", metavar="PATH=LEVELS", help="A path and its levels, the baseline's first; repeatable."),
]
Fixed = Annotated[list[str], typer.Option("--set", metavar="PATH=VALUE", help="A value of every cell; repeatable.")]
Replicates = Annotated[int, typer.Option("--seeds", min=1, help="How many replicates.")]
DesignName = Annotated[str, typer.Option("--design", help="How levels are combined; see `ablate components design`.")]
Base = Annotated[
    Path, typer.Option("--base", metavar="FILE|NAME", help="The baseline: a file, or a model such as gpt2.")
]

EXAMPLE = "such as model.position=rope,alibi"
_PLACE = re.compile(r"^.*?:\d+:\d+: ")
"""Of an error, the line of a file that is not there any more."""


def grid(
    output: Output,
    vary: Vary = [],
    fixed: Fixed = [],
    seeds: Replicates = 5,
    design: DesignName = "factorial",
    base: Base = Path("base.yaml"),
    plugins: Plugins = [],
) -> None:
    """Write a grid file from what should vary; without --vary it asks."""
    from ..config.bundled import BASELINES, find
    from ..config.layered import read_assignment
    from ..grid.file import read_grid
    from ..grid.planner import make_plan
    from ..plugins import load_plugins

    loaded = load_plugins(plugins)
    if output.exists():
        raise InputError(f"{output}: already exists; name another file")
    try:
        known = find(base, BASELINES)
    except InputError as error:
        raise InputError(f"--base {error}") from None
    if not known.is_file():
        raise InputError(f"--base {base}: there is no such file; `ablate init DIR` writes one")
    if not vary:
        vary, seeds, design = _ask(seeds, design)
    factors = dict(_levels(each) for each in vary)
    settings = {path: value for path, value, _ in map(read_assignment, fixed)}
    text = _text(output, base, factors, settings, seeds, design)
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{output}: {error.strerror}") from None
    try:
        plan = make_plan(read_grid(output), plugins=loaded)
    except InputError as error:
        output.unlink()
        raise InputError(_PLACE.sub("", str(error))) from None
    from ..stats.contrast import plural

    n_runs = len(plan.cells) * len(plan.seeds)
    typer.echo(
        f"{output}: {plural(len(plan.cells), 'cell')}, {plural(n_runs, 'run')}\nNow: ablate run {quote(str(output))}"
    )


def _levels(given: str) -> tuple[str, list[Any]]:
    """The path and the levels of ``path=a,b``. Errors: InputError."""
    from ..yaml import parse_value

    path, equals, levels = given.partition("=")
    if not equals or not path.strip() or not levels.strip():
        raise InputError(f"--vary {given}: write a path and its levels, {EXAMPLE}")
    path = path.strip()
    return path, parse_value(path, f"[{levels}]", f"--vary {path}").value[path]


def _text(
    output: Path, base: Path, factors: dict[str, list[Any]], settings: dict[str, Any], seeds: int, design: str
) -> str:
    from ..yaml import to_text

    def relative(file: Path) -> str:
        return Path(os.path.relpath(file.resolve(), output.resolve().parent)).as_posix()

    schemas = (file.with_name("grid.schema.json") for file in (base, output))
    schema = next((file for file in schemas if file.is_file()), None)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", output.stem).lstrip("-._") or "study"
    head = f"# yaml-language-server: $schema={relative(schema)}\n" if schema else ""
    content = {
        "name": name,
        "base": relative(base) if base.is_file() else str(base),
        **({"set": settings} if settings else {}),
        "factors": factors,
    }
    return head + to_text({**content, "design": design, "seeds": seeds}, in_lines=True)


def _ask(seeds: int, design: str) -> tuple[list[str], int, str]:
    """What varies, how many seeds, and the design, asked one after the other."""
    from ..errors import nearest
    from ..grid.editor import offered
    from ..registry import REGISTRY

    known = offered()
    vary: list[str] = []
    while path := _prompt(f"What varies? A path such as model.position{'; empty: no more' if vary else ''}", ""):
        if path not in known:
            typer.echo(f"{path}: not known{nearest(path, known)}")
            continue
        names = f", of {', '.join(known[path])}" if known[path] else ""
        if levels := _prompt(f"Its levels, the baseline's first{names}", ""):
            vary.append(f"{path}={levels}")
    if not vary:
        raise InputError(f"--vary: nothing varies; write a path and its levels, {EXAMPLE}")
    if len(vary) > 1:
        design = _prompt(f"Design: {', '.join(sorted(REGISTRY['design']))}", design)
    count = _prompt("Seeds", str(seeds))
    if not count.isdecimal() or not int(count):
        raise InputError(f"--seeds {count}: must be a whole number, at least 1")
    return vary, int(count), design


def _prompt(question: str, default: str) -> str:
    try:
        answer: str = typer.prompt(question, default=default, show_default=bool(default))
    except typer.Abort as abort:
        if isinstance(abort.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise InputError(f"--vary: nobody answers; write a path and its levels, {EXAMPLE}") from None
    return answer.strip()
