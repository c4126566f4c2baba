"""What a grid will take: its cells, their costs, what is there already."""

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..errors import InputError
from ..plugins import reason
from ..stats.contrast import plural
from .numbers import grouped

if TYPE_CHECKING:
    from ..grid.plan import Plan
    from ..store.runs import Store


def outlook(plan: "Plan", store: "Store") -> dict[str, Any]:
    """Cells with their counts and the states of their runs, as plain data."""
    from ..model.counts import count_inference_cost
    from ..store.files import read_json

    cells = []
    for cell in plan.cells:
        config = cell.runs[0].config
        try:
            work = count_inference_cost(config.model, config.task.build())
        except Exception as error:
            raise InputError(f"model: {reason(error)} (cell {cell.label})") from error
        states = [store.status(run.id) for run in cell.runs]
        results = [read_json(store.directory(run.id) / "result.json") for run in cell.runs]
        seconds = [result["efficiency"]["training_seconds"] for result in results if result]
        cells.append(
            {
                "label": cell.label,
                "parameters": cell.counts.parameters,
                "flops_per_token": work.flops_per_token,
                "cache_bytes_per_token": work.cache_bytes_per_token,
                "training_tokens": tokens(config),
                "planned": len(states),
                "there": sum(state in ("completed", "diverged") for state in states),
                "seconds_per_run": round(sum(seconds) / len(seconds), 1) if seconds else None,
            }
        )
    return {
        "grid": plan.name,
        "design": plan.design(),
        "factors": {factor.path: plan.levels(factor) for factor in plan.grid.factors},
        "seeds": list(plan.seeds),
        "planned": sum(cell["planned"] for cell in cells),
        "there": sum(cell["there"] for cell in cells),
        "cells": cells,
    }


def tokens(config: Any) -> int:
    """How many tokens one run trains on."""
    training, task = config.training, config.task
    return int(training.max_steps * training.accumulate * task.batch_size * task.length)


def render(prospect: dict[str, Any]) -> RenderableType:
    """The same for a terminal; a cell whose size differs from the baseline's says by how much."""
    missing = prospect["planned"] - prospect["there"]
    known = [cell for cell in prospect["cells"] if cell["seconds_per_run"]]
    heading = f"{prospect['grid']}: {prospect['planned']} runs, {prospect['there']} there, {missing} to train"
    if missing and len(known) == len(prospect["cells"]):
        seconds = sum((cell["planned"] - cell["there"]) * cell["seconds_per_run"] for cell in known)
        heading += f", about {seconds:.0f} s of one worker"
    varies = [Text(f"  {path}: {', '.join(levels)}") for path, levels in prospect["factors"].items() if len(levels) > 1]
    design = prospect["design"]
    varies.append(Text(f"  design: {design['name']}" + (f"; {design['uncrossed']}" if design["uncrossed"] else "")))
    varies += [Text(f"  excluded: {one['label']} ({plural(one['cells'], 'cell')})") for one in design["excluded"]]
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", overflow="fold", ratio=1)
    for heading_ in ("parameters", "", "FLOPs/token", "cache B/token", "runs"):
        table.add_column(heading_, justify="right", no_wrap=True)
    base = prospect["cells"][0]["parameters"]
    for cell in prospect["cells"]:
        share = cell["parameters"] / base - 1
        cache = cell["cache_bytes_per_token"]
        table.add_row(
            Text(cell["label"]),
            grouped(cell["parameters"]),
            f"{share:+.1%}" if share else "",
            grouped(cell["flops_per_token"]),
            "none" if cache is None else grouped(cache),
            f"{cell['there']}/{cell['planned']}",
        )
    note = Text("Parameters that differ from the baseline's are part of what is compared.", style="dim")
    differs = any(cell["parameters"] != base for cell in prospect["cells"])
    return Group(Text(heading, style="bold"), *varies, Text(), table, *([note] if differs else []))
