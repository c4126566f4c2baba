"""The words around a table: the summary above it, and below it how to read it, how it was made, what is missing."""

import re
from collections import Counter
from collections.abc import Collection, Iterable

from ..compare.measures import TOKENS_PER_SECOND
from ..compare.records import CellComparison, Comparison
from ..compare.stability import warning_signs
from ..stats.contrast import plural
from ..store.results import FAILED, RunResult, base_metric
from .labels import interactions, listed, metric_name, plain
from .provenance import comparability, hardware_and_versions

LEGEND = "▲ better  ▼ worse  ≈ equivalent  ? inconclusive  = identical"
"""The marks of the verdicts, for tables that have them."""

_LISTED = ("diverged", *FAILED)
_MOST_REASONS = 10
_LONGEST_REASON = 300


def summary(comparison: Comparison) -> str:
    """The result under each lens, in one to three sentences."""
    return " ".join(_summary(comparison))


def _summary(comparison: Comparison) -> Iterable[str]:
    changes = comparison.cells[1:]
    ended = sum(run.ended for cell in comparison.cells for run in cell.results)
    planned = sum(len(cell.results) for cell in comparison.cells)
    if not ended:
        yield f"None of {plural(planned, 'run')} has ended yet."
        return
    if ended < planned:
        yield f"Partial: {ended} of {planned} runs have ended."
    if changes:
        yield _counted(comparison, comparison.metric, ("improve", "improves"), ("worsen", "worsens"))
    diverged = {plain(cell.label): cell.count("diverged") for cell in comparison.cells if cell.count("diverged")}
    if diverged:
        runs = plural(sum(diverged.values()), "run")
        yield f"{runs} diverged ({listed([f'{count} of {label}' for label, count in diverged.items()])})."
    else:
        yield "No run diverged."
    if not comparison.measured("training_step"):
        yield "Speed was not measured."
    elif changes:
        yield _counted(comparison, "training_step", ("speed up", "speeds up"), ("slow down", "slows down"))


def _counted(comparison: Comparison, name: str, gains: tuple[str, str], losses: tuple[str, str]) -> str:
    """``2 of 7 changes improve loss, 1 worsens it; 4 inconclusive.``"""
    verdicts = [cell.metrics[name].verdict for cell in comparison.cells[1:]]
    if not any(verdicts):
        return f"There are no verdicts on {metric_name(name)}."
    if sentence := _constant(comparison, name):
        return sentence
    counts = Counter[str]("inconclusive" if verdict is None else verdict.label for verdict in verdicts)
    what = {"training_step": "a training step"}.get(name, metric_name(name))
    parts = [
        f"{counts[label]} {words[counts[label] == 1]} {{}}"
        for label, words in (("better", gains), ("worse", losses))
        if counts[label]
    ]
    if not parts:
        of = f"the {len(verdicts)} changes" if len(verdicts) > 1 else "1 change"
        surely = "" if counts["equivalent"] + counts["identical"] == len(verdicts) else " surely"
        parts = [f"none of {of}{surely} {gains[1]} or {losses[1]} {{}}"]
    else:
        first, _, rest = parts[0].partition(" ")
        parts[0] = f"{first} of {plural(len(verdicts), 'change')} {rest}"
    parts = [part.format("it" if index else what) for index, part in enumerate(parts)]
    same = counts["equivalent"] + counts["identical"]
    others = [f"{same} {'makes' if same == 1 else 'make'} no difference that matters"] if same else []
    if counts["inconclusive"]:
        others.append(f"{counts['inconclusive']} inconclusive")
    sentence = "; ".join([", ".join(parts), *others])
    return f"{sentence[0].upper()}{sentence[1:]}."


def _constant(comparison: Comparison, name: str) -> str | None:
    """A sentence on a measure with the same value in all runs, as where no model has learned anything; else None."""
    values = [cell.metrics[name].values for cell in comparison.cells]
    distinct = {value for of_cell in values for value in of_cell if value is not None}
    if len(distinct) != 1 or all(value is None for of_cell in values[1:] for value in of_cell):
        return None
    having = "" if all(None not in of_cell for of_cell in values) else " that has one"
    what = metric_name(name)
    return (
        f"{what[0].upper()}{what[1:]} is {distinct.pop():g} in every run{having}, so it cannot distinguish the cells."
    )


def notes(comparison: Comparison, table: str, legend: str = LEGEND, brief: bool = False) -> list[str]:
    """The lines below a table whose text is ``table``; what that does not show is not explained.

    ``legend`` introduces the line on verdicts. ``brief`` leaves out hardware and versions that all runs share.
    """
    return [
        *reading(comparison, table),
        *tested(comparison, legend),
        *comparability(comparison),
        *hardware_and_versions(comparison, only_if_different=brief),
        *missing(comparison),
    ]


def missing(comparison: Comparison) -> list[str]:
    """What is missing in the table and why, and warning signs in the course of its runs."""
    return [
        *_no_interval(comparison),
        *_no_effects(comparison),
        *_warning_signs(comparison),
        *_diverged_losses(comparison),
        *_reasons(comparison),
    ]


def cell_note(comparison: Comparison, cell: CellComparison) -> str | None:
    """Why the difference of a cell has no interval, and why its runs diverged or failed; None where neither is so."""
    contrast = cell.metrics[comparison.metric].contrast
    parts = [contrast.reason_missing] if contrast is not None and contrast.reason_missing is not None else []
    for seed, run in zip(cell.seeds, cell.results, strict=True):
        if run.status in _LISTED:
            parts.append(f"seed {seed} {run.status}: {_reason(run)}")
    return "; ".join(parts) or None


def reading(comparison: Comparison, table: str | None = None) -> Iterable[str]:
    """How to read the table with the text ``table``; None: a table that shows everything."""
    contrasts = [contrast for cell in comparison.cells[1:] if (contrast := cell.metrics[comparison.metric].contrast)]
    if contrasts:
        interval = f"; {_interval(comparison)}" if any(contrast.interval for contrast in contrasts) else ""
        yield f"difference: cell minus baseline by seed{interval}"
    if interactions(comparison):
        yield "a x b: how much the effect of a changes with b; with such an interaction, a main effect alone misleads"
    if comparison.steps:
        without = ": no main effects" if comparison.effects_reason_missing else ""
        yield f"step by step: each cell minus the one before it; without verdicts, and of this order only{without}"
    has_sd = any(metric.sd for cell in comparison.cells for metric in cell.metrics.values())
    if has_sd and (table is None or "±" in table):
        yield "±: standard deviation (SD) over seeds, not an interval"
    if comparison.measured("training_step"):
        bench = comparison.bench
        yield (
            f"times: ratios to the baseline over {int(bench.get('processes', 0))} separate processes, "
            f"{bench.get('rounds', 0)} interleaved rounds each, {bench.get('dropped_rounds', 0)} dropped as noisy"
        )
    elif comparison.measured(TOKENS_PER_SECOND) and (table is None or metric_name(TOKENS_PER_SECOND) in table):
        yield "tokens/s: measured while runs trained side by side, no evidence; `ablate bench` measures speed"


def _interval(comparison: Comparison) -> str:
    if not comparison.interim_looks:
        return "95 % interval: paired t, uncorrected"
    looks = ", ".join(map(str, comparison.interim_looks))
    return f"interval: paired t at the level that its interim look may spend (planned at {looks} seeds), uncorrected"


def tested(comparison: Comparison, legend: str, tests: bool = True) -> Iterable[str]:
    """How verdicts were reached, and what would settle the inconclusive ones; ``tests`` adds the tests and margins."""
    verdicts = [verdict for cell in comparison.cells for metric in cell.metrics.values() if (verdict := metric.verdict)]
    if not any(verdict.interval for verdict in verdicts):
        return
    family = next((verdict.family for verdict in verdicts if verdict.family), 0)
    if tests and family:
        level = "the 5 % of all planned interim looks together" if comparison.interim_looks else "5 % in all"
        holm = f"Holm over {plural(family, 'comparison')} at {level}"
        yield f"{legend}: paired t and equivalence test, {holm}; margins: {margins(comparison)}"
    else:
        yield f"{legend}: tested over seeds, not by overlap of intervals"
    more = [verdict.more_seeds for verdict in verdicts if verdict.label == "inconclusive" and verdict.more_seeds]
    if more:
        low, high = min(few for few, _ in more), max(many for _, many in more)
        seeds = plural(low, "more seed") if low == high else f"{low} to {high} more seeds"
        yield f"inconclusive: about {seeds} would settle it; `ablate run --until-decided` adds them"
    # What could not be tested at all has its reason among the lines on missing intervals.
    unsettled = [verdict for verdict in verdicts if verdict.label == "inconclusive" and verdict.mean is not None]
    reasons = dict.fromkeys(
        verdict.reason_missing for verdict in unsettled if verdict.reason_missing and not verdict.more_seeds
    )
    yield from (f"inconclusive: {reason}" for reason in list(reasons)[:2])


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
    """Why there are no main effects; where there are steps instead, the line on these says so."""
    if comparison.effects_reason_missing and not comparison.steps:
        yield f"no main effects — {comparison.effects_reason_missing}"


def _no_interval(comparison: Comparison) -> Iterable[str]:
    """Each reason for a missing interval once, with the cells or main effects it holds for."""
    others = comparison.cells[1:]
    cells: dict[str, list[str]] = {}
    for cell in others:
        contrast = cell.metrics[comparison.metric].contrast
        if contrast is not None and contrast.reason_missing is not None:
            cells.setdefault(contrast.reason_missing, []).append(plain(cell.label))
    for reason, labels in cells.items():
        everywhere = len(labels) == len(others) > 1
        yield f"no interval — {reason}" if everywhere else f"no interval for {listed(labels)} — {reason}"
    levels: dict[tuple[str, str], list[str]] = {}
    for effect in comparison.effects:
        contrast = effect.contrasts[comparison.metric]
        if contrast.reason_missing is not None and contrast.reason_missing not in cells:
            what = "main effect of" if contrast.delta is None else "interval for the main effect of"
            levels.setdefault((what, contrast.reason_missing), []).append(plain(f"{effect.name}={effect.level}"))
    yield from _steps_without(comparison, cells)
    for (what, reason), labels in levels.items():
        yield f"no {what} {listed(labels)} — {reason}"


def _steps_without(comparison: Comparison, mentioned: Collection[str]) -> Iterable[str]:
    """Each reason that is not ``mentioned`` for the cells, with the steps it holds for."""
    steps: dict[str, list[str]] = {}
    for step in comparison.steps:
        reason = step.contrasts[comparison.metric].reason_missing
        if reason is not None and reason not in mentioned:
            steps.setdefault(reason, []).append(plain(step.change))
    for reason, changes in steps.items():
        yield f"no interval for the step {listed(changes)} — {reason}"


def _diverged_losses(comparison: Comparison) -> Iterable[str]:
    """Which loss a diverged run counts with, where any has one."""
    runs = [run for cell in comparison.cells for run in cell.results if run.status == "diverged"]
    if any(run.value(comparison.metric) is not None for run in runs) and base_metric(comparison.metric) == "loss":
        yield "diverged runs count with at most the loss of their first step: that of a model that has learned nothing"


def _warning_signs(comparison: Comparison) -> Iterable[str]:
    """Each sign of instability once, with the cells whose runs show it."""
    cells: dict[str, dict[str, None]] = {}
    examples: dict[str, str] = {}
    for cell in comparison.cells:
        for run in cell.results:
            if run.status == "diverged":
                continue  # its own reason is listed below
            for sign in warning_signs(run.stability):
                kind = re.sub(r"[-+]?[\d.]+(e[-+]?\d+)?", "#", sign)  # the same sign with other numbers
                examples.setdefault(kind, sign)
                cells.setdefault(kind, {})[plain(cell.label)] = None
    for kind, labels in cells.items():
        where = "every cell" if len(labels) == len(comparison.cells) > 1 else listed(list(labels))
        yield f"fragile: {examples[kind]} ({where})"


def _reasons(comparison: Comparison) -> Iterable[str]:
    """Each reason why runs diverged or failed once, with the runs."""
    groups: dict[tuple[str, str], dict[str, list[int]]] = {}
    for cell in comparison.cells:
        for seed, run in zip(cell.seeds, cell.results, strict=True):
            if run.status in _LISTED:
                groups.setdefault((run.status, _reason(run)), {}).setdefault(plain(cell.label), []).append(seed)
    for (status, reason), cells in list(groups.items())[:_MOST_REASONS]:
        where = [f"{label}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
                 for label, seeds in cells.items()]  # fmt: skip
        yield f"{status}: {reason} ({listed(where)})"
    if len(groups) > _MOST_REASONS:
        yield f"… and {len(groups) - _MOST_REASONS} more reasons, in the directories of the runs"


def _reason(run: RunResult) -> str:
    reason = plain(run.reason or "no reason given")
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"
