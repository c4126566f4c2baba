"""What a table lacks and why, and what is unusual in its runs: the last of the lines below it."""

import re
from collections.abc import Collection, Iterable
from statistics import median
from typing import get_args

from ..compare.records import CellComparison, Comparison
from ..compare.stability import Stability, rate_bound, warning_signs
from ..stats.contrast import plural
from ..stats.robustness import far_off
from ..store.results import FAILED, UNFINISHED, RunResult, base_metric
from .labels import effect as label_of_effect
from .labels import listed, plain, stability

_LISTED = ("diverged", *FAILED)
_MOST_REASONS = 10
_LONGEST_REASON = 300


def missing(comparison: Comparison, table: str | None = None) -> list[str]:
    """What is missing in the table and why, and warning signs in the course of its runs.

    Of stability nothing is said below a ``table``, a text, that does not show it.
    """
    shown = table is None or any(word in table for word in get_args(Stability))
    return [
        *_no_interval(comparison),
        *_no_effects(comparison),
        *_far_off(comparison),
        *_turned_effects(comparison),
        *(_stable(comparison) if shown else ()),
        *_divergence(comparison),
        *(_warning_signs(comparison) if shown else ()),
        *_diverged_losses(comparison),
        *_stopped_early(comparison),
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
    stable = [cell for cell in comparison.cells if stability(cell) and not cell.count("diverged")]
    counts = {sum(run.ended for run in cell.results) for cell in stable}
    if counts:
        n_runs = min(counts)
        bound = f"{100 * rate_bound(n_runs):.0f} %"
        none = "its one run did not diverge" if n_runs == 1 else f"none of {n_runs} runs diverged"
        yield f"0/{n_runs}: {none}, which only bounds the rate below {bound}"


def _divergence(comparison: Comparison) -> Iterable[str]:
    """Cells that are shown to diverge more or less often than the baseline, and that others do not."""
    tests = {plain(cell.label): test for cell in comparison.cells if (test := cell.divergence) is not None}
    for label, test in tests.items():
        if test.differs:
            often = "more" if test.diverged * test.baseline_runs > test.baseline_diverged * test.runs else "less"
            yield (
                f"{label} diverges {often} often than the baseline: {test.diverged} of {test.runs} runs against "
                f"{test.baseline_diverged} of {test.baseline_runs} (Boschloo's test, p = {test.p_holm:.2g} after Holm)"
            )
    unsure = [
        label
        for label, test in tests.items()
        if not test.differs and test.diverged * test.baseline_runs != test.baseline_diverged * test.runs
    ]
    if unsure:
        yield f"inconclusive: whether {listed(unsure)} diverges more or less often than the baseline (Boschloo's test)"


def _diverged_losses(comparison: Comparison) -> Iterable[str]:
    """Which loss a diverged run counts with, where any has one."""
    runs = [run for cell in comparison.cells for run in cell.results if run.status == "diverged"]
    if any(run.value(comparison.metric) is not None for run in runs) and base_metric(comparison.metric) == "loss":
        yield (
            "the loss of a diverged run is capped at that of its first step, the loss of a model that has learned "
            "nothing"
        )


def _warning_signs(comparison: Comparison) -> Iterable[str]:
    """Each sign of instability once, with the cells whose runs show it."""
    cells: dict[str, dict[str, str]] = {}
    for cell in comparison.cells:
        for run in cell.results:
            if run.status == "diverged":
                continue  # its own reason is listed below
            for sign in warning_signs(run.stability):
                kind = re.sub(r"[-+]?[\d.]+(e[-+]?\d+)?", "#", sign)  # the same sign with other numbers
                cells.setdefault(kind, {}).setdefault(plain(cell.label), sign)
    for signs in cells.values():
        everywhere = len(signs) == len(comparison.cells) > 1
        (first, sign), *others = signs.items()
        if all(other == sign for _, other in others):
            yield f"fragile: {sign} ({'every cell' if everywhere else listed(list(signs))})"
        else:
            rest = "all other cells" if everywhere else listed([label for label, _ in others])
            yield f"fragile: {sign} ({first}; with other numbers in {rest})"


def _stopped_early(comparison: Comparison) -> Iterable[str]:
    """The cells whose runs ended before their last step without divergence, and after how many steps."""
    cells = []
    for cell in comparison.cells:
        completed = (run for run in cell.results if run.status == "completed")
        stops = [stop for run in completed if (stop := run.record.get("stopped_early"))]
        if stops:
            low, high = (f"{of(stop['step'] for stop in stops):,}" for of in (min, max))
            steps = low if low == high else f"{low} to {high}"
            cells.append(
                f"{plain(cell.label)}: {len(stops)} of {plural(len(cell.results), 'run')} after {steps} of "
                f"{stops[0]['of']:,} steps"
            )
    if cells:
        yield f"stopped early, so that values are those of the step at which each run ended: {listed(cells)}"


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
        them = "it" if sum(map(len, cells.values())) == 1 else "them"
        again = f"; `ablate run` says where, --retry {status} trains {them} again"
        yield f"{status}: {reason} ({listed(where)}){again if status in ('failed', 'oom') else ''}"
    if len(groups) > _MOST_REASONS:
        yield f"… and {len(groups) - _MOST_REASONS} more reasons, in the directories of the runs"


def _is_listed(run: RunResult) -> bool:
    """Whether its end has a reason: it diverged, failed, or was not trained since its data had changed."""
    return run.status in _LISTED or (run.status in UNFINISHED and run.reason is not None)


def _reason(run: RunResult) -> str:
    reason = plain(run.reason or "no reason given")
    return reason if len(reason) <= _LONGEST_REASON else f"{reason[:_LONGEST_REASON]} …"
