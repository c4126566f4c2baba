"""The words below a table: how to read it, how it was made, what is missing."""

import re
from collections.abc import Collection, Iterable
from statistics import median

from ..compare.measures import TOKENS_PER_SECOND
from ..compare.records import CellComparison, Comparison
from ..compare.stability import rate_bound, warning_signs
from ..stats.contrast import plural
from ..stats.outlier import far_off
from ..stats.power import replicates_in_words
from ..stats.verdict import Verdict
from ..store.results import FAILED, RunResult, base_metric
from . import caveats
from .data import data_lines
from .labels import depends, interactions, listed, metric_name, plain, stability
from .labels import effect as label_of_effect
from .provenance import comparability, hardware_and_versions

LEGEND = "▲ better  ▼ worse  ≈ equivalent  ? inconclusive  = identical  ✗ diverged"
"""The marks of the verdicts, for tables that have them."""

_LISTED = ("diverged", *FAILED)
_MOST_REASONS = 10
_LONGEST_REASON = 300


def notes(comparison: Comparison, table: str, legend: str = LEGEND, brief: bool = False) -> list[str]:
    """The lines below a table whose text is ``table``; what that does not show is not explained.

    ``legend`` introduces the line on verdicts. ``brief`` leaves out hardware and versions that all runs share.
    """
    return [
        *reading(comparison, table),
        *tested(comparison, legend),
        *caveats.notes(comparison),
        *comparability(comparison),
        *data_lines(comparison.data),
        *hardware_and_versions(comparison, only_if_different=brief),
        *missing(comparison),
    ]


def missing(comparison: Comparison) -> list[str]:
    """What is missing in the table and why, and warning signs in the course of its runs."""
    return [
        *_no_interval(comparison),
        *_no_effects(comparison),
        *_far_off(comparison),
        *_turned_effects(comparison),
        *_stable(comparison),
        *_divergence(comparison),
        *_warning_signs(comparison),
        *_diverged_losses(comparison),
        *_reasons(comparison),
    ]


def cell_note(comparison: Comparison, cell: CellComparison) -> str | None:
    """Why the difference of a cell has no interval, and why its runs diverged or failed; None where neither is so."""
    contrast = cell.metrics[comparison.metric].contrast
    parts = [contrast.reason_missing] if contrast is not None and contrast.reason_missing is not None else []
    for seed, run in zip(cell.seeds, cell.results, strict=True):
        if _is_listed(run):
            parts.append(f"seed {seed} {run.status}: {_reason(run)}")
    return "; ".join(parts) or None


def reading(comparison: Comparison, table: str | None = None) -> Iterable[str]:
    """How to read the table with the text ``table``; None: a table that shows everything."""
    contrasts = [contrast for cell in comparison.cells[1:] if (contrast := cell.metrics[comparison.metric].contrast)]
    if contrasts:
        interval = f"; {_interval(comparison)}" if any(contrast.interval for contrast in contrasts) else ""
        yield f"difference: cell minus baseline by seed{interval}"
    if comparison.instead_of is not None:
        metric = metric_name(comparison.metric)
        yield f"{metric_name(comparison.instead_of)} cannot be compared in every cell; {metric}, of the same text, can"
    if interactions(comparison):
        yield "a x b: how much the effect of a changes with b"
    if any(depends(comparison, effect) for effect in comparison.effects):
        yield "depends: the effect surely changes with another factor (see the interactions), so that it misleads alone"
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
    of = "over seeds, on one fixed validation set, uncorrected"
    if any(verdict.variance for verdict in _verdicts(comparison)):
        of = f"with variances shared between cells, {of}"
    if not comparison.interim_looks:
        return f"95 % interval: paired t {of}"
    looks = ", ".join(map(str, comparison.interim_looks))
    return f"interval: paired t {of}, at the level that its interim look may spend (planned at {looks} seeds)"


def tested(comparison: Comparison, legend: str, tests: bool = True) -> Iterable[str]:
    """How verdicts were reached, and what would settle the inconclusive ones; ``tests`` adds the tests and margins."""
    verdicts = _verdicts(comparison)
    if not any(verdict.interval for verdict in verdicts):
        return
    if tests and comparison.family:
        level = "the 5 % of all planned interim looks together" if comparison.interim_looks else "5 % in all"
        holm = f"Holm over {plural(comparison.family, 'comparison')} at {level}"
        yield f"{legend}: paired t and equivalence test, {holm}; margins: {margins(comparison)}"
    else:
        yield f"{legend}: tested over seeds, not by overlap of intervals"
    if any(verdict.size_unsure for verdict in verdicts):
        yield "size unsure: there is a difference, which may be smaller than the margin"
    if any(verdict.trend for verdict in verdicts):
        yield "leaning: below 5 % only before the correction, which is no verdict"
    yield from _more_replicates(comparison, verdicts)
    # What could not be tested at all has its reason among the lines on missing intervals.
    unsettled = [verdict for verdict in verdicts if verdict.label == "inconclusive" and verdict.mean is not None]
    reasons = dict.fromkeys(
        verdict.reason_missing for verdict in unsettled if verdict.reason_missing and not verdict.more_seeds
    )
    yield from (f"inconclusive: {reason}" for reason in list(reasons)[:2])


def _verdicts(comparison: Comparison) -> list[Verdict]:
    """Those of all cells."""
    return [verdict for cell in comparison.cells for metric in cell.metrics.values() if (verdict := metric.verdict)]


def _more_replicates(comparison: Comparison, verdicts: Iterable[Verdict]) -> Iterable[str]:
    """How many seeds or processes would settle what is inconclusive, and how to add them."""
    bounds: dict[str, list[tuple[int, int]]] = {}
    for verdict in verdicts:
        if verdict.label == "inconclusive" and verdict.more_seeds:
            bounds.setdefault(verdict.replicate, []).append(verdict.more_seeds)
    for replicate, of_replicate in bounds.items():
        fewest = min(few for few, _ in of_replicate)
        more = replicates_in_words((fewest, max(many for _, many in of_replicate)), replicate)
        yield f"inconclusive: about {more} would settle it; {_how_to_add(comparison, replicate, fewest)}"


def _how_to_add(comparison: Comparison, replicate: str, fewest: int) -> str:
    if replicate == "process":
        return "`ablate bench --processes` times more"
    looks, n_seeds = comparison.interim_looks, len(comparison.seeds)
    if looks and n_seeds + fewest > looks[-1]:
        return f"that is beyond the last planned look, at {looks[-1]} seeds"
    return "`ablate run --until-decided` adds them"


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


def _far_off(comparison: Comparison) -> Iterable[str]:
    """Cells whose mean one run decides, with the median beside it; a diverged run is named among the reasons."""
    for cell in comparison.cells:
        metric = cell.metrics[comparison.metric]
        values = {seed: value for seed, value in zip(comparison.seeds, metric.values, strict=True) if value is not None}
        index = far_off(list(values.values()))
        if index is not None and metric.mean is not None:
            seed, value = list(values.items())[index]
            yield (
                f"one run is far off: seed {seed} of {plain(cell.label)}, {value:.4g}; median "
                f"{median(values.values()):.4g} beside the mean {metric.mean:.4g}; with skewed noise verdicts on means "
                f"claim too much"
            )


def _turned_effects(comparison: Comparison) -> Iterable[str]:
    """Effects whose sign or certainty a diverged run decides."""
    for effect in (*comparison.effects, *comparison.interactions):
        if effect.without_diverged is None:
            continue
        contrast, runs = effect.without_diverged.contrast, effect.without_diverged.runs
        interval = "" if contrast.interval is None else " [{:+.4g}, {:+.4g}]".format(*contrast.interval)
        ran = plural(len(runs), "diverged run")
        yield (
            f"{ran} ({listed([plain(run) for run in runs])}) {'turns' if len(runs) == 1 else 'turn'} "
            f"{label_of_effect(effect)}: without {'its seed' if len(runs) == 1 else 'their seeds'} "
            f"{contrast.delta:+.4g}{interval}"
        )


def _stable(comparison: Comparison) -> Iterable[str]:
    """What it means that no run of a cell diverged."""
    counts = {len(cell.results) for cell in comparison.cells if stability(cell) and not cell.count("diverged")}
    if counts:
        n_runs = min(counts)
        bound = f"{100 * rate_bound(n_runs):.0f} %"
        yield f"0/{n_runs}: none of {plural(n_runs, 'run')} diverged, which only bounds the rate below {bound}"


def _divergence(comparison: Comparison) -> Iterable[str]:
    """Cells that surely diverge more or less often than the baseline, and that others do not."""
    tests = {plain(cell.label): test for cell in comparison.cells if (test := cell.divergence) is not None}
    for label, test in tests.items():
        if test.differs:
            often = "more" if test.diverged * test.baseline_runs > test.baseline_diverged * test.runs else "less"
            yield (
                f"{label} diverges {often} often than the baseline: {test.diverged} of {test.runs} runs against "
                f"{test.baseline_diverged} of {test.baseline_runs} (Boschloo's test, p = {test.p_holm:.2g} after Holm)"
            )
    unsure = [label for label, test in tests.items() if not test.differs]
    if unsure:
        yield f"inconclusive: whether {listed(unsure)} diverges more or less often than the baseline (Boschloo's test)"


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
            if _is_listed(run):
                groups.setdefault((run.status, _reason(run)), {}).setdefault(plain(cell.label), []).append(seed)
    for (status, reason), cells in list(groups.items())[:_MOST_REASONS]:
        where = [f"{label}, {'seed' if len(seeds) == 1 else 'seeds'} {', '.join(map(str, seeds))}"
                 for label, seeds in cells.items()]  # fmt: skip
        yield f"{status}: {reason} ({listed(where)})"
    if len(groups) > _MOST_REASONS:
        yield f"… and {len(groups) - _MOST_REASONS} more reasons, in the directories of the runs"


def _is_listed(run: RunResult) -> bool:
    """Whether its end has a reason to tell: it diverged, failed, or was not trained since its data had changed."""
    return run.status in _LISTED or (run.status == "missing" and run.reason is not None)


def _reason(run: RunResult) -> str:
    reason = plain(run.reason or "no reason given")
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"
