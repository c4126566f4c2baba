"""What ``ablate bench`` prints: a table for each measure, memory, and how the times were measured."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..stats.contrast import MINIMUM_SEEDS, paired
from . import paging
from .labels import plain
from .numbers import ABSENT, grouped, second_digit, short

_TITLES = {"training_step": "training step", "prefill": "prefill", "decode": "decoding"}


def show(result: Mapping[str, Any]) -> None:
    """Print the content of bench.json."""
    paging.show(render(result))


def render(result: Mapping[str, Any]) -> RenderableType:
    """All measures, then memory, then how it was measured and what is missing."""
    parts: list[RenderableType] = []
    for name, measure in result["measures"].items():
        parts += [Text(plain(_title(name, measure)), style="bold"), _times(result, name, measure), Text()]
    memory = _memory(result)
    if memory is not None:
        parts += [
            Text("bytes of the cache (keys and values, or a state) of one sequence, by its tokens", style="bold"),
            memory,
            Text(),
        ]
    return Group(*parts, *(Text(plain(line), style="dim") for line in _notes(result)))


def _title(name: str, measure: Mapping[str, Any]) -> str:
    title = _TITLES.get(name.partition("@")[0], name)
    if "length" in measure:
        title += f" of {measure['length']} tokens"
    if "context" in measure:
        title += f" of token {measure['context']}"
    better = "less" if measure["better"] == "lower" else "more"
    return f"{title}, {measure['unit']}; {better} is better"


def _times(result: Mapping[str, Any], name: str, measure: Mapping[str, Any]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", overflow="fold")
    for heading in ("median", "ratio", "95 % interval"):
        table.add_column(heading, justify="right", no_wrap=True)
    for index, cell in enumerate(result["cells"]):
        times = cell["measures"][name]
        if times is None:
            table.add_row(Text(plain(cell["label"])), ABSENT)
            continue
        value = _seconds(times["value"]) if measure["unit"] == "s" else short(times["value"])
        ratio, interval = ratio_and_interval(times["log_ratios"]) if index else ("1", "")
        table.add_row(Text(plain(cell["label"])), value, ratio, interval)
    return table


def ratio_and_interval(log_ratios: list[float]) -> tuple[str, str]:
    """The ratio to the baseline and its interval over processes, as text; an absent interval is empty."""
    contrast = paired(log_ratios, [0.0] * len(log_ratios))
    if contrast.delta is None:
        return ABSENT, ""
    ratio = math.exp(contrast.delta)
    if contrast.interval is None:
        return f"{ratio:.3f}", ""
    low, high = (math.exp(bound) for bound in contrast.interval)
    decimals = min(5, max(3, second_digit((high - low) / 2)))
    while contrast.excludes_zero and decimals < 7 and 1 in (round(low, decimals), round(high, decimals)):
        decimals += 1
    return f"{ratio:.{decimals}f}", f"[{low:.{decimals}f}, {high:.{decimals}f}]"


def _seconds(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


def _memory(result: Mapping[str, Any]) -> Table | None:
    lengths = next((list(cell["cache_bytes"]) for cell in result["cells"] if cell["cache_bytes"]), [])
    has_peak = any(cell["peak_memory_bytes"] is not None for cell in result["cells"])
    if not lengths and not has_peak:
        return None
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", overflow="fold")
    for heading in [*lengths, *(["peak memory"] if has_peak else [])]:
        table.add_column(Text(plain(heading)), justify="right", no_wrap=True)
    for cell in result["cells"]:
        cache = [(cell["cache_bytes"] or {}).get(length) for length in lengths]
        peak = [cell["peak_memory_bytes"]] if has_peak else []
        table.add_row(Text(plain(cell["label"])), *(ABSENT if n is None else grouped(n) for n in [*cache, *peak]))
    return table


def _notes(result: Mapping[str, Any]) -> Iterator[str]:
    record = result["record"]
    yield (
        f"{record['host']}: {record['device']}, torch {record['torch']}, {record['precision']}, "
        f"threads {record['threads']}{', compiled training step' if record['compile'] else ''}"
    )
    yield (
        f"{result['dropped_rounds']} of {result['timed_rounds']} rounds dropped, in which the reference job took "
        "over 1.5 times its median"
    )
    if result["processes"] < MINIMUM_SEEDS:
        yield f"no interval: {result['processes']} of the {MINIMUM_SEEDS} processes it needs"
    else:
        yield f"ratio to the baseline within a round; 95 % interval: paired t over {result['processes']} processes"
    for name, measure in result["measures"].items():
        if "instead_of" in measure:
            length = measure.get("length", measure.get("context"))
            requested = ", ".join(map(str, measure["instead_of"]))
            yield f"{name}: at {length} tokens instead of {requested}: the positions of some models end there"
    reasons: dict[tuple[str, str], list[str]] = {}
    for cell in result["cells"]:
        for name, reason in cell["notes"].items():
            reasons.setdefault((reason, plain(cell["label"])), []).append(name)
    for (reason, label), names in reasons.items():
        yield f"not timed, {label}: {', '.join(names)}: {plain(reason)}"
