"""What ``ablate profile`` prints: the parts of one training step and of one decoded token, with their times."""

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .labels import plain

_MILLISECONDS = 1e3


def render(result: Mapping[str, Any]) -> RenderableType:
    """The result of ``ablate profile`` for the terminal: training step, decoding, the compiled step, the machine."""
    record, training, decode = result["record"], result["training_step"], result["decode"]
    parts: list[RenderableType] = [
        Text(plain(f"{result['label']}: training step of {training['tokens']} tokens"), style="bold"),
        _table(training, backward=True),
        Text(_overhead(training), style="dim"),
        *_busy(training),
        Text(),
    ]
    if "reason_missing" in decode:
        parts.append(Text(plain(f"no decoding: {decode['reason_missing']}")))
    else:
        parts.append(Text(f"decoding of token {decode['context']}", style="bold"))
        parts += [_table(decode, backward=False), Text(_overhead(decode), style="dim"), *_busy(decode)]
    if result["compiled"] is not None:
        parts += [Text(), Text(plain(_compiled(result["compiled"])))]
    machine = f"{record['device']}, torch {record['torch']}, {record['precision']}, threads {record['threads']}"
    parts.append(Text(f"{machine}; FLOPs of matrix products, none inside fused recurrent kernels", style="dim"))
    return Group(*parts)


def _table(step: Mapping[str, Any], backward: bool) -> Table:
    """A row for each part; the backward pass has a column of its own, the optimizer no passes."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("part")
    passes = ["forward", "backward"] if backward else []
    for heading in [*passes, "ms", "fraction", "FLOPs"]:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in step["parts"]:
        whole, of_backward = _MILLISECONDS * row["seconds"], _MILLISECONDS * row["backward_seconds"]
        split = [""] * len(passes)
        if backward and row["part"] != "optimizer":
            split = [f"{whole - of_backward:.3f}", f"{of_backward:.3f}"]
        flops = f"{row['flops_fraction']:.1%}" if row["flops"] else ""
        table.add_row(Text(plain(row["part"])), *split, f"{whole:.3f}", f"{row['fraction']:.1%}", flops)
    table.add_row("all", *[""] * len(passes), f"{_MILLISECONDS * step['profiled_seconds']:.3f}", "100.0%", "")
    return table


def _overhead(step: Mapping[str, Any]) -> str:
    profiled, unprofiled = _MILLISECONDS * step["profiled_seconds"], _MILLISECONDS * step["seconds"]
    return f"{profiled:.3g} ms profiled, {unprofiled:.3g} ms unprofiled: profiling adds {step['overhead']:+.0%}"


def _busy(step: Mapping[str, Any]) -> list[Text]:
    if step["busy"] is None:
        return []
    return [Text(f"Not to be trusted, the machine is too busy: {step['busy']}", style="yellow")]


def _compiled(compiled: Mapping[str, Any]) -> str:
    """How the whole step compares with the compiled one, or why there is none."""
    if "reason_missing" in compiled:
        return f"not compiled: {compiled['reason_missing']}"
    eager, seconds = _MILLISECONDS * compiled["eager_seconds"], _MILLISECONDS * compiled["seconds"]
    return (
        f"whole training step, interleaved: {eager:.3g} ms eager, {seconds:.3g} ms compiled, "
        f"{compiled['speedup']:.2f} times as fast"
    )
