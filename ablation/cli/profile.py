"""``ablate profile``: what a training step and a decoded token are spent on, part by part."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError, nearest
from .arguments import AsJson, Plugins, Settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from ..bench.target import BenchTarget
    from ..config.experiment import ExperimentConfig

File = Annotated[Path, typer.Argument(metavar="FILE", help="A grid, or a baseline.", show_default=False)]
Label = Annotated[str | None, typer.Option("--cell", metavar="LABEL", help="Of a grid; default: its baseline.")]
Steps = Annotated[int, typer.Option("--steps", min=1, help="How many are taken apart.")]
Context = Annotated[int, typer.Option("--context", min=2, help="Tokens at which decoding is taken apart.")]
Compile = Annotated[bool, typer.Option("--compile", help="Time the whole step through torch.compile as well.")]
Picture = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Draw a flame graph.")]


def profile(
    file: File,
    cell: Label = None,
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    steps: Steps = 10,
    context: Context = 128,
    compile: Compile = False,
    svg: Picture = None,
    plugins: Plugins = [],  # noqa: B006
    as_json: AsJson = False,
) -> None:
    """Take one training step and one decoded token apart: embedding, position, norms, attention, feedforward, ...

    For one cell, alone on its machine; to compare cells, take `ablate bench`.
    """
    label, experiment = _experiment(file, cell, settings, plugins)
    result = _profile(experiment, steps, context, compile)
    result = {"label": label, **result}
    if svg is not None:
        _draw(svg, result)
    if as_json:
        typer.echo(json.dumps(result))
    else:
        from rich.console import Console

        Console().print(_render(result))


def _experiment(
    file: Path, label: str | None, settings: Sequence[str], plugins: Sequence[Path]
) -> "tuple[str, ExperimentConfig]":
    """The configuration of a cell of a grid, or of a baseline, told apart by what the file holds."""
    from ..study.manifest import load_plan
    from ..yaml import read

    if "factors" in read(file).value:
        cells = {cell.label: cell for cell in load_plan(file, settings, 1, plugins).cells}
        label = next(iter(cells)) if label is None else label
        if label not in cells:
            raise InputError(f"--cell {label}: not in {file}; its cells: {', '.join(cells)}{nearest(label, cells)}")
        return label, cells[label].runs[0].config
    if label is not None:
        raise InputError(f"--cell {label}: {file} is a baseline and has no cells")
    from ..config.layered import read_assignment, read_base
    from ..plugins import load_plugins

    load_plugins(plugins)
    draft = read_base(file)
    for path, value, assignment in map(read_assignment, settings):
        draft.set(path, value, assignment, (path,))
    return file.stem, draft.build()


def _profile(experiment: "ExperimentConfig", steps: int, context: int, compile: bool) -> dict[str, Any]:
    from ..bench.profile import SCHEMA, profile_training_step
    from ..bench.target import BenchTarget
    from ..plugins import reason

    quiet = experiment.training.model_copy(update={"compile": False})  # hooks are not seen inside a compiled graph
    try:
        subject = BenchTarget(experiment.model_copy(update={"training": quiet}))
        training = profile_training_step(subject, steps)
    except Exception as error:
        raise InputError(f"the model cannot be profiled: {reason(error)}") from error
    return {
        "schema": SCHEMA,
        "record": subject.conditions.record(),
        "steps": steps,
        "training_step": {**training.as_dict(), **_tokens(subject)},
        "decode": _decode(subject, context, steps),
        "compiled": _compiled(subject, steps) if compile else None,
    }


def _tokens(subject: "BenchTarget") -> dict[str, int]:
    return {"tokens": subject.batch["tokens"].numel() * subject.training.accumulate}


def _decode(subject: "BenchTarget", context: int, steps: int) -> dict[str, Any]:
    """One token at ``context``, or as far as the model goes; or why there is none."""
    from ..bench.measure import longest_prefill, reason
    from ..bench.profile import profile_decoding

    try:
        if subject.obstacle_to_decoding is None:
            context = longest_prefill(subject, context)
        return {"context": context, **profile_decoding(subject, context, steps).as_dict()}
    except Exception as error:
        return {"obstacle": reason(error)}


def _compiled(subject: "BenchTarget", steps: int) -> dict[str, Any]:
    from ..bench.profile import compare_compiled

    try:
        return {**compare_compiled(subject, steps)}
    except RuntimeError as error:
        return {"obstacle": str(error)}


def _draw(file: Path, result: dict[str, Any]) -> None:
    from ..bench.flame import draw

    steps = {"training step": result["training_step"]["tree"]}
    if "tree" in result["decode"]:
        steps[f"decoding of token {result['decode']['context']}"] = result["decode"]["tree"]
    try:
        file.write_text(draw(result["label"], steps), encoding="utf-8")
    except OSError as error:
        raise InputError(f"--svg {file}: {error.strerror}") from None


def _render(result: dict[str, Any]) -> "RenderableType":
    from rich.console import Group
    from rich.text import Text

    from ..report.labels import plain

    record, training, decode = result["record"], result["training_step"], result["decode"]
    where = f"{record['device']}, torch {record['torch']}, {record['precision']}, threads {record['threads']}"
    parts: list[RenderableType] = [
        Text(plain(f"{result['label']}: training step of {training['tokens']} tokens"), style="bold"),
        _table(training, backward=True),
        Text(_cost(training), style="dim"),
        Text(),
    ]
    if "obstacle" in decode:
        parts.append(Text(plain(f"no decoding: {decode['obstacle']}")))
    else:
        parts.append(Text(f"decoding of token {decode['context']}", style="bold"))
        parts += [_table(decode, backward=False), Text(_cost(decode), style="dim")]
    if result["compiled"] is not None:
        parts += [Text(), Text(plain(_said_of_compiled(result["compiled"])))]
    parts.append(Text(f"{where}; FLOPs of matrix products, none inside fused recurrent kernels", style="dim"))
    return Group(*parts)


def _said_of_compiled(compiled: dict[str, Any]) -> str:
    if "obstacle" in compiled:
        return f"not compiled: {compiled['obstacle']}"
    eager, seconds = 1000 * compiled["eager_seconds"], 1000 * compiled["seconds"]
    return (
        f"whole training step, by turns: {eager:.3g} ms eager, {seconds:.3g} ms compiled, "
        f"{compiled['speedup']:.2f} times as fast"
    )


def _cost(step: dict[str, Any]) -> str:
    plain_, profiled = 1000 * step["seconds"], 1000 * step["profiled_seconds"]
    return f"{profiled:.3g} ms looked into, {plain_:.3g} ms without: looking costs {step['overhead']:+.0%}"


def _table(step: dict[str, Any], backward: bool) -> "RenderableType":
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("part")
    headings = ["forward", "backward"] if backward else []
    for heading in [*headings, "ms", "share", "FLOPs"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in step["parts"]:
        back, whole = 1000 * row["backward_seconds"], 1000 * row["seconds"]
        split = [f"{whole - back:.3f}", f"{back:.3f}"] if backward and row["part"] != "optimizer" else []
        split = split or ["", ""][: len(headings)]
        flops = f"{row['flops_share']:.1%}" if row["flops"] else ""
        table.add_row(Text(row["part"]), *split, f"{whole:.3f}", f"{row['share']:.1%}", flops)
    table.add_row("all", *[""] * len(headings), f"{1000 * step['profiled_seconds']:.3f}", "100.0%", "")
    return table
