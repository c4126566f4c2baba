"""How a table was made: what differs in size or tuning, what it can detect, on which hardware, with which versions."""

from collections.abc import Mapping, Sequence
from typing import Any

from ..compare.fairness import TOKENS, TOLERANCE, at_edge, tuning, unmatched
from ..compare.measures import FRACTIONS
from ..compare.power import minimum_detectable_difference, observed_rho
from ..compare.records import Comparison
from ..stats.contrast import plural
from ..stats.power import POWER
from ..store.results import base_metric
from .labels import BESIDE, UNMATCHED, listed, metric_name, plain

HARDWARE = ("host", "device", "machine", "processor", "precision", "threads")
VERSIONS = ("ablation", "torch", "lightning", "python")
_NAMES = {"flops_per_token": "FLOPs/token", TOKENS: "tokens seen"}
_UNITS = {"loss": " nats", "bits_per_character": " bits", "bits_per_byte": " bits"}


def comparability(comparison: Comparison) -> list[str]:
    """Up to five lines: what differs beside levels, is matched or is not; what can be detected; the tuning."""
    recipe = tuned(comparison)
    lines = [
        beside_levels(comparison),
        matched(comparison),
        not_matched(comparison),
        detectable(comparison),
        recipe and f"tuning: {recipe}",
    ]
    return [line for line in lines if line]


def beside_levels(comparison: Comparison) -> str:
    """``‡ beside its levels: model.norm.eps 1e-05 -> 1e-06 (norm=rms_norm)``; empty where nothing is."""
    cells: dict[str, list[str]] = {}
    for cell in comparison.cells:
        for change in cell.beside:
            cells.setdefault(change, []).append(cell.label)
    if not cells:
        return ""
    parts = [f"{plain(change)} ({listed([plain(label) for label in labels])})" for change, labels in cells.items()]
    return f"{BESIDE} differs beside its levels, as the grid says: {'; '.join(parts)}"


def matched(comparison: Comparison) -> str:
    """``matched by model.d_model to the baseline's parameters: 120 (mixer=lstm, +0.4 %)``; or empty."""
    cells = [(cell.label, cell.match) for cell in comparison.cells if cell.match is not None]
    return f"matched by {matches_in_words(cells)}" if cells else ""


def matches_in_words(cells: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """The free setting of each of the cells that were matched, and how near each came; those that did not come last."""
    first = cells[0][1]
    near = [each for each in cells if abs(each[1]["achieved"] - 1) <= each[1]["tolerance"]]
    far = [each for each in cells if each not in near]
    written = "; ".join(
        f"{match['value']:g} ({plain(label)}, {100 * (match['achieved'] - 1):+.1f} %)" for label, match in near
    )
    beyond = "; ".join(
        f"{plain(label)} {100 * (match['achieved'] - 1):+.1f} % at {match['value']:g}" for label, match in far
    )
    of = f"{plain(first['path'])} to the baseline's {plain(first['quantity'])} within {100 * first['tolerance']:g} %"
    return f"{of}: {written or 'none'}{f'; not within it: {beyond}' if far else ''}"


def not_matched(comparison: Comparison) -> str:
    """``¶ not matched: parameters -12 % to -3.9 %``, with the cells where not all marked ones are meant; or empty."""
    cells = unmatched(comparison)
    if not cells:
        return ""
    parts = []
    for name in dict.fromkeys(name for differs in cells.values() for name in differs):
        fractions = {label: differs[name] for label, differs in cells.items() if name in differs}
        low, high = _percent(min(fractions.values())), _percent(max(fractions.values()))
        amount = low if low == high else f"{low} to {high}"
        where = "" if len(fractions) == len(cells) else f" ({listed([plain(label) for label in fractions])})"
        parts.append(f"{matched_name(name)} {amount}{where}")
    beyond = f"more than {100 * TOLERANCE:g} % from the baseline's"
    return f"{UNMATCHED} not matched, {beyond}: {', '.join(parts)}"


def matched_name(name: str) -> str:
    """A quantity that should be equal in all cells, in words."""
    return _NAMES.get(name, metric_name(name))


def _percent(fraction: float) -> str:
    """``+34 %``, ``-3.9 %``."""
    return f"{100 * fraction:+.2g} %" if abs(fraction) < 0.995 else f"{100 * fraction:+.0f} %"


def tuned(comparison: Comparison) -> str:
    """Which tuning there was, and whether it was equal for all cells; empty where there is nothing to compare."""
    if len(comparison.cells) == 1:
        return ""
    if comparison.tuning is not None:
        return tuned_in_words(comparison.tuning)
    tuned_factors = tuning(comparison)
    others = tuned_factors.others
    also = f"; {listed([plain(path) for path in others])} varied as well" if others else ""
    if not tuned_factors.equal:
        return f"unequal, not every cell was run at the same learning rates{also}"
    if tuned_factors.rates > 1:
        edge = at_edge(comparison)
        best = f"; best at the edge of these for {listed([plain(label) for label in edge])}" if edge else ""
        return f"the same {tuned_factors.rates} learning rates for all{also}{best}"
    if others:
        *first, last = map(plain, others)
        differ = f"{', '.join(first)} and {last} differ" if first else f"{last} differs"
        return f"none in this grid; {differ}"
    return "none in this grid, one recipe for all"


def tuned_in_words(tuning: Mapping[str, Any]) -> str:
    """What was tried for every cell, on how many seeds of its own, what was chosen, and where that is at the edge."""
    tried = "; ".join(f"{plain(path)} of {', '.join(map(plain, values))}" for path, values in tuning["tried"].items())
    tried += tuning.get("search", "")
    seeds = plural(len(tuning["seeds"]), "tuning seed")
    if not tuning["ended"]:
        return f"{tried}, for every cell on {seeds}; not ended"
    same = "the same" if not tuning.get("search") or tuning["independent"] else "the same number"
    chosen: dict[str, list[str]] = {}
    for cell in tuning["cells"]:
        values = ", ".join(map(str, cell["chosen"].values()))
        chosen.setdefault(values, []).append(plain(cell["label"]))
    parts = "; ".join(f"{plain(values)} ({listed(labels)})" for values, labels in chosen.items())
    at_edge = [plain(cell["label"]) for cell in tuning["cells"] if cell["at_edge"]]
    edge = f"; best at the edge of these for {listed(at_edge)}" if at_edge else ""
    return f"{tried}, {same} for every cell on {seeds} of their own; best: {parts}{edge}"


def detectable(comparison: Comparison) -> str:
    """How small a difference this grid can detect, and the correlation that pairing by seed gained."""
    smallest, rho = minimum_detectable_difference(comparison), observed_rho(comparison)
    parts = []
    if smallest is not None:
        parts.append(f"at the median noise of its cells this grid detects {detected(smallest, comparison.metric)}")
    if rho is not None:
        parts.append(f"correlation with the baseline over seeds {rho:.2f}")
    return "; ".join(parts)


def detected(smallest: float, metric: str) -> str:
    """``differences of 0.012 nats or more with 80 % power``; differences that cannot be are not named."""
    power = f"with {100 * POWER:g} % power"
    if smallest > 1 and base_metric(metric) in FRACTIONS:
        return f"no difference in {metric_name(metric)}, however large, {power}"
    unit = _UNITS.get(metric.partition("@")[0], "")
    name = "" if unit else f" in {metric_name(metric)}"
    return f"differences{name} of {smallest:.2g}{unit} or more {power}"


def hardware_and_versions(comparison: Comparison, only_if_different: bool = False) -> list[str]:
    """At most one line; what differs between runs comes last, with all its values."""
    values = records(comparison)
    differing = "; ".join(f"{key} {', '.join(distinct)}" for key, distinct in values.items() if len(distinct) > 1)
    if not any(values.values()) or (only_if_different and not differing):
        return []
    same = {key: distinct[0] for key, distinct in values.items() if len(distinct) == 1}
    hardware = ", ".join(_hardware(key, same[key]) for key in HARDWARE if key in same)
    versions = ", ".join(f"{key} {same[key]}" for key in VERSIONS if key in same)
    parts = [hardware, versions, differing and f"not the same for all runs: {differing}"]
    return [f"run on: {'; '.join(part for part in parts if part)}"]


def records(comparison: Comparison) -> dict[str, list[str]]:
    """The machines and versions of all runs: for each key the values that occur."""
    return {key: sorted({plain(value) for value in comparison.recorded.get(key, ())}) for key in (*HARDWARE, *VERSIONS)}


def _hardware(key: str, value: str) -> str:
    if key == "threads":
        return plural(int(value), "thread") if value.isdigit() else f"threads {value}"
    return f"host {value}" if key == "host" else value
