"""How a table was made: what was not equal, how it was tuned, what it could have seen, on which machine."""

from collections.abc import Iterable, Mapping
from typing import Any

from ..compare.fairness import TOKENS, TOLERANCE, at_edge, tuning, unmatched
from ..compare.power import minimum_detectable_difference, observed_rho
from ..compare.records import CellComparison, Comparison
from ..stats.contrast import plural
from ..stats.power import POWER
from .labels import listed, metric_name, plain

UNMATCHED = "¶"
"""At the label of a cell that is not compared at equal size, cost and data."""

HARDWARE = ("host", "device", "machine", "precision", "threads")
VERSIONS = ("ablation", "torch", "lightning", "python")
_THINGS = {"flops_per_token": "FLOPs/token", TOKENS: "tokens seen"}
_UNITS = {"loss": " nats", "bits_per_character": " bits", "bits_per_byte": " bits"}


def making(comparison: Comparison) -> list[str]:
    """One line each, of what there is something to say about."""
    recipe = tuned(comparison)
    found = [matching(comparison), detectable(comparison), recipe and f"tuning: {recipe}"]
    return [line for line in found if line]


def label(comparison: Comparison, cell: CellComparison) -> str:
    """The cell's, harmless and in one line, with the mark of what is not matched."""
    return plain(cell.label) + mark(comparison, cell)


def mark(comparison: Comparison, cell: CellComparison) -> str:
    """``¶``, or nothing where all that should be equal is."""
    return UNMATCHED if unmatched(comparison, cell) else ""


def matching(comparison: Comparison) -> str:
    """``¶ not matched: parameters -12 % to -3.9 %``, with the cells where it is not all that are marked; or empty."""
    cells = {cell.label: found for cell in comparison.cells[1:] if (found := unmatched(comparison, cell))}
    if not cells:
        return ""
    parts = []
    for name in dict.fromkeys(name for found in cells.values() for name in found):
        shares = {cell: found[name] for cell, found in cells.items() if name in found}
        low, high = percent(min(shares.values())), percent(max(shares.values()))
        amount = low if low == high else f"{low} to {high}"
        where = "" if len(shares) == len(cells) else f" ({listed([plain(cell) for cell in shares])})"
        parts.append(f"{thing(name)} {amount}{where}")
    beyond = f"more than {100 * TOLERANCE:g} % from the baseline's"
    return f"{UNMATCHED} not matched, {beyond}: {', '.join(parts)}"


def thing(name: str) -> str:
    """What should be equal, in words."""
    return _THINGS.get(name, metric_name(name))


def percent(share: float) -> str:
    """``+34 %``, ``-3.9 %``."""
    return f"{100 * share:+.2g} %" if abs(share) < 0.995 else f"{100 * share:+.0f} %"


def tuned(comparison: Comparison) -> str:
    """What tuning there was, and whether it was equal; empty where there is nothing to compare."""
    if len(comparison.cells) == 1:
        return ""
    found = tuning(comparison)
    others = f"; {listed([plain(path) for path in found.others])} varied as well" if found.others else ""
    if not found.equal:
        return f"unequal, not every cell was run at the same learning rates{others}"
    if found.rates > 1:
        edge = at_edge(comparison)
        best = f"; best at the edge of these for {listed([plain(cell) for cell in edge])}" if edge else ""
        return f"the same {found.rates} learning rates for all{others}{best}"
    if found.others:
        *first, last = map(plain, found.others)
        differ = f"{', '.join(first)} and {last} differ" if first else f"{last} differs"
        return f"none in this grid; {differ}"
    return "none in this grid, one recipe for all"


def detectable(comparison: Comparison) -> str:
    """How small a difference this table could have told from nothing, and what pairing by seed gained it."""
    smallest, rho = minimum_detectable_difference(comparison), observed_rho(comparison)
    parts = []
    if smallest is not None:
        unit = _UNITS.get(comparison.metric.partition("@")[0], "")
        name = "" if unit else f" in {metric_name(comparison.metric)}"
        seen = f"differences{name} of {smallest:.2g}{unit} or more"
        parts.append(f"in a cell of middling noise this grid sees {seen} with {100 * POWER:g} % power")
    if rho is not None:
        parts.append(f"same seed, correlation with the baseline {rho:.2f}")
    return "; ".join(parts)


def unlike(comparison: Comparison) -> Iterable[str]:
    """The line on hardware and versions where runs differ in one."""
    return machine(comparison) if any(len(found) > 1 for found in records(comparison).values()) else []


def machine(comparison: Comparison) -> Iterable[str]:
    """Hardware and versions in a line; what is not the same for all runs is said last, with all its values."""
    values = records(comparison)
    if not any(values.values()):
        return
    same = {key: found[0] for key, found in values.items() if len(found) == 1}
    hardware = ", ".join(_hardware(key, same[key]) for key in HARDWARE if key in same)
    versions = ", ".join(f"{key} {same[key]}" for key in VERSIONS if key in same)
    differing = "; ".join(f"{key} {', '.join(found)}" for key, found in values.items() if len(found) > 1)
    said = "; ".join(part for part in (hardware, versions) if part)
    if not differing:
        yield f"made on: {said}"
    else:
        yield f"made on: {said}; not the same for all runs: {differing}" if said else f"not made alike: {differing}"


def records(comparison: Comparison) -> dict[str, list[str]]:
    """The machines and versions of all runs: for each key the values that occur."""
    found = [run.record for cell in comparison.cells for run in cell.results]
    return {key: distinct(found, key) for key in (*HARDWARE, *VERSIONS)}


def distinct(records: Iterable[Mapping[str, Any]], key: str) -> list[str]:
    """The values that occur, in order."""
    return sorted({plain(record[key]) for record in records if record.get(key) is not None})


def _hardware(key: str, value: str) -> str:
    if key == "threads":
        return plural(int(value), "thread") if value.isdigit() else f"threads {value}"
    return f"host {value}" if key == "host" else value
