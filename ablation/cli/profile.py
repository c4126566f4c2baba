"""``ablate profile``: what a training step and a decoded token are spent on, part by part."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..names import find_label
from . import complete
from .common import AsJson, Plugins, Runs, Settings, prints_aside

if TYPE_CHECKING:
    from ..config.experiment import ExperimentConfig

File = Annotated[
    Path,
    typer.Argument(
        metavar="FILE",
        help="A grid or a baseline, or the name of one in conf/.",
        show_default=False,
        autocompletion=complete.grids,
    ),
]
Label = Annotated[
    str | None,
    typer.Option(
        "--cell",
        metavar="LABEL",
        help="Of a grid, or an unambiguous part of it; default: its baseline.",
        autocompletion=complete.all_cells,
    ),
]
Steps = Annotated[int, typer.Option("--steps", min=1, help="How many to profile.")]
Context = Annotated[int, typer.Option("--context", min=2, help="Which token's decoding to profile.")]
Compile = Annotated[bool, typer.Option("--compile", help="Time the whole step through torch.compile as well.")]
Picture = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw a flame graph.")]


def profile(
    file: File,
    cell: Label = None,
    settings: Settings = [],
    steps: Steps = 10,
    context: Context = 128,
    compile: Compile = False,
    svg: Picture = None,
    plugins: Plugins = [],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Time the parts of one training step and of one decoded token: embedding, position, norms, attention, ...

    For one cell, alone on its machine; to compare cells, take `ablate bench`.
    """
    from ..bench.profile import profile_experiment
    from ..report import paging
    from ..report.profile import render

    with prints_aside():
        label, experiment = _experiment(file, cell, settings, plugins, runs)
        result = {"label": label, **profile_experiment(experiment, steps, context, compile)}
    if svg is not None:
        _draw(svg, result)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        paging.show(render(result))


def _experiment(
    file: Path, label: str | None, settings: Sequence[str], plugins: Sequence[Path], runs: Path
) -> "tuple[str, ExperimentConfig]":
    """The label and configuration of a cell where the file is a grid, of the baseline where it is one."""
    from ..api.study import Study
    from ..config.bundled import BASELINES, GRIDS, find
    from ..config.layered import read_assignment, read_base
    from ..plugins import load_plugins
    from ..yaml import read

    file = find(file, {**GRIDS, **BASELINES})
    if "factors" in read(file).value:
        cells = {cell.label: cell for cell in Study(file, settings, 1, plugins, runs).plan().cells}
        label = next(iter(cells)) if label is None else find_label(label, cells, "--cell: ")
        return label, cells[label].runs[0].config
    if label is not None:
        raise InputError(f"--cell {label}: {file} is a baseline and has no cells")
    load_plugins(plugins)
    config = read_base(file)
    for path, value, assignment in map(read_assignment, settings):
        config.set(path, value, assignment, (path,))
    return file.stem, config.build()


def _draw(file: Path, result: dict[str, Any]) -> None:
    from ..bench.flame import draw

    steps = {"training step": result["training_step"]["tree"]}
    if "tree" in result["decode"]:
        steps[f"decoding of token {result['decode']['context']}"] = result["decode"]["tree"]
    try:
        file.write_text(draw(result["label"], steps), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--svg {file}: {error.strerror}") from None
