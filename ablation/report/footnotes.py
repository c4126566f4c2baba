"""The lines below a table: how to read it, how it was made, what is not in it and why."""

import re
from collections.abc import Collection, Iterable

from ..compare.measures import TOKENS_PER_SECOND
from ..compare.records import CellComparison, Comparison
from ..compare.stability import warning_signs
from ..stats.contrast import plural
from ..store.results import RunResult, base_metric
from .labels import interactions, listed, metric_name, plain
from .provenance import machine, making, unlike

LEGEND = "▲ better  ▼ worse  ≈ equivalent  ? undecided  = identical"
"""Of the marks, for tables that have them."""

_ENDED = ("diverged", "failed")
_MOST_ENDINGS = 10
_LONGEST_REASON = 300


def notes(comparison: Comparison, table: str, legend: str = LEGEND) -> list[str]:
    """The lines below a ``table``: how to read it, how it was made, what is not in it and why.

    What the table does not show is not explained; ``legend`` introduces its verdicts.
    """
    made = [*making(comparison), *machine(comparison)]
    return [*reading(comparison, table), *tested(comparison, legend), *made, *missing(comparison)]


def brief(comparison: Comparison, table: str) -> list[str]:
    """The same for where there is little room: of machines and versions what is not the same for all runs."""
    made = [*making(comparison), *unlike(comparison)]
    return [*reading(comparison, table), *tested(comparison, LEGEND), *made, *missing(comparison)]


def missing(comparison: Comparison) -> list[str]:
    """What is not in the table and why, and what in the course of its runs is worth a look."""
    return [
        *_no_interval(comparison),
        *_no_effects(comparison),
        *_signs(comparison),
        *_counted_as(comparison),
        *_endings(comparison),
    ]


def cell_note(comparison: Comparison, cell: CellComparison) -> str | None:
    """Of one cell: why its difference has no interval, and for what its runs ended; None if there is nothing to say."""
    contrast = cell.metrics[comparison.metric].contrast
    parts = [contrast.note] if contrast is not None and contrast.note is not None else []
    for seed, run in zip(cell.seeds, cell.results, strict=True):
        if run.status in _ENDED:
            parts.append(f"seed {seed} {run.status}: {_reason(run)}")
    return "; ".join(parts) or None


def reading(comparison: Comparison, table: str | None = None) -> Iterable[str]:
    """How to read the table; None: one that shows all there is."""
    contrasts = [contrast for cell in comparison.cells[1:] if (contrast := cell.metrics[comparison.metric].contrast)]
    if contrasts:
        interval = f"; {_interval(comparison)}" if any(contrast.interval for contrast in contrasts) else ""
        yield f"difference: cell minus baseline by seed{interval}"
    if interactions(comparison):
        yield "a x b: how much the effect of a changes with b; where there is such, a main effect alone misleads"
    if comparison.steps:
        without = ": no main effects" if comparison.effects_note else ""
        yield f"step by step: each cell minus the one before it; described, not judged, and of this order only{without}"
    spread = any(run.sd for cell in comparison.cells for run in cell.metrics.values())
    if spread and (table is None or "±" in table):
        yield "±: standard deviation (SD) over seeds, not an interval"
    if comparison.measured("training_step"):
        bench = comparison.bench
        yield (
            f"times: ratios to the baseline over {int(bench.get('processes', 0))} processes of their own, "
            f"{bench.get('rounds', 0)} interleaved rounds each, {bench.get('dropped_rounds', 0)} dropped as noisy"
        )
    elif comparison.measured(TOKENS_PER_SECOND) and (table is None or metric_name(TOKENS_PER_SECOND) in table):
        yield f"tokens/s: of runs side by side, no evidence; `ablate bench {plain(comparison.grid)}` measures speed"


def _interval(comparison: Comparison) -> str:
    if not comparison.interim_looks:
        return "95 % interval: paired t, uncorrected"
    looks = ", ".join(map(str, comparison.interim_looks))
    return f"interval: paired t at what its look may spend (looks planned at {looks} seeds), uncorrected"


def tested(comparison: Comparison, legend: str, tests: bool = True) -> Iterable[str]:
    """On what the verdicts rest, and what would settle open ones; without ``tests`` where these stand elsewhere."""
    found = [verdict for cell in comparison.cells for metric in cell.metrics.values() if (verdict := metric.verdict)]
    if not any(verdict.interval for verdict in found):
        return
    family = next((verdict.family for verdict in found if verdict.family), 0)
    if tests and family:
        level = "the 5 % of all planned looks together" if comparison.interim_looks else "5 % in all"
        holm = f"Holm over {plural(family, 'comparison')} at {level}"
        yield f"{legend}: paired t and equivalence test, {holm}; margins: {margins(comparison)}"
    else:
        yield f"{legend}: tested over seeds, not by overlap of intervals"
    more = [verdict.more_seeds for verdict in found if verdict.label == "inconclusive" and verdict.more_seeds]
    if more:
        low, high = min(a for a, _ in more), max(b for _, b in more)
        what = plural(low, "more seed") if low == high else f"{low} to {high} more seeds"
        yield f"undecided: about {what} would settle it; `ablate run --until-decided` adds them"
    # Where nothing could be tested, the reason stands among those for which there is no interval.
    hopeless = dict.fromkeys(v.note for v in found if v.label == "inconclusive" and v.mean is not None
                             and not v.more_seeds and v.note)  # fmt: skip
    yield from (f"undecided: {note}" for note in list(hopeless)[:2])


def margins(comparison: Comparison) -> str:
    """``loss 0.01, training step 3 %``: the smallest differences that matter, of the primary measures."""
    written = []
    for name in comparison.primary.values():
        if name is None:
            continue
        measure = comparison.measures[name]
        if measure.margin is None:
            written.append(f"{metric_name(name)} none, so nothing can be called equivalent")
        else:
            amount = f"{100 * measure.margin:g} %" if measure.ratio else f"{measure.margin:g}"
            written.append(f"{metric_name(name)} {amount}")
    return ", ".join(written)


def _no_effects(comparison: Comparison) -> Iterable[str]:
    """Why; where there are steps instead, the line on these says so."""
    if comparison.effects_note and not comparison.steps:
        yield f"no main effects — {comparison.effects_note}"


def _no_interval(comparison: Comparison) -> Iterable[str]:
    """Each reason once, with the cells or main effects it holds for."""
    others = comparison.cells[1:]
    cells: dict[str, list[str]] = {}
    for cell in others:
        contrast = cell.metrics[comparison.metric].contrast
        if contrast is not None and contrast.note is not None:
            cells.setdefault(contrast.note, []).append(plain(cell.label))
    for note, labels in cells.items():
        everywhere = len(labels) == len(others) > 1
        yield f"no interval — {note}" if everywhere else f"no interval for {listed(labels)} — {note}"
    levels: dict[tuple[str, str], list[str]] = {}
    for effect in comparison.effects:
        contrast = effect.contrasts[comparison.metric]
        if contrast.note is not None and contrast.note not in cells:
            lacking = "main effect of" if contrast.delta is None else "interval for the main effect of"
            levels.setdefault((lacking, contrast.note), []).append(plain(f"{effect.name}={effect.level}"))
    yield from _steps_without(comparison, cells)
    for (lacking, note), labels in levels.items():
        yield f"no {lacking} {listed(labels)} — {note}"


def _steps_without(comparison: Comparison, said: Collection[str]) -> Iterable[str]:
    """Each reason that was not ``said`` of the cells, with the steps it holds for."""
    steps: dict[str, list[str]] = {}
    for step in comparison.steps:
        note = step.contrasts[comparison.metric].note
        if note is not None and note not in said:
            steps.setdefault(note, []).append(plain(step.change))
    for note, changes in steps.items():
        yield f"no interval for the step {listed(changes)} — {note}"


def _counted_as(comparison: Comparison) -> Iterable[str]:
    """What stands for the loss of a diverged run, without which its difference would look like that of a model."""
    runs = [run for cell in comparison.cells for run in cell.results if run.status == "diverged"]
    if any(run.value(comparison.metric) is not None for run in runs) and base_metric(comparison.metric) == "loss":
        yield "diverged runs count with at most the loss of their first step: that of a model that has learned nothing"


def _signs(comparison: Comparison) -> Iterable[str]:
    """What is worth a look in the course of the runs, each sign with the cells that show it."""
    cells: dict[str, dict[str, None]] = {}
    shown: dict[str, str] = {}
    for cell in comparison.cells:
        for run in cell.results:
            if run.status == "diverged":
                continue  # each has its own reason below
            for words in warning_signs(run.stability):
                kind = re.sub(r"[-+]?[\d.]+(e[-+]?\d+)?", "#", words)
                shown.setdefault(kind, words)
                cells.setdefault(kind, {})[plain(cell.label)] = None
    for kind, labels in cells.items():
        where = "every cell" if len(labels) == len(comparison.cells) > 1 else listed(list(labels))
        yield f"fragile: {shown[kind]} ({where})"


def _endings(comparison: Comparison) -> Iterable[str]:
    """Each reason once, with the runs that ended for it."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for cell in comparison.cells:
        for seed, run in zip(cell.seeds, cell.results, strict=True):
            if run.status in _ENDED:
                groups.setdefault((run.status, _reason(run)), {}).setdefault(plain(cell.label), []).append(seed)
    for (status, reason), cells in list(groups.items())[:_MOST_ENDINGS]:
        where = [f"{label}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
                 for label, seeds in cells.items()]  # fmt: skip
        yield f"{status}: {reason} ({listed(where)})"
    if len(groups) > _MOST_ENDINGS:
        yield f"… and {len(groups) - _MOST_ENDINGS} more reasons; the folder of each run has its own"


def _reason(run: RunResult) -> str:
    reason = plain(run.reason or "no reason given")
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"
