"""How the entries of each column are written: from the numbers of a comparison to the texts of a table.

Each function writes one column, the entry of the baseline first.
"""

import math
from dataclasses import dataclass, replace
from typing import Literal

from ..compare.families import repeats_sensitivity
from ..compare.measures import PARAMETERS
from ..compare.records import Comparison
from ..stats.contrast import Contrast, plural
from ..store.results import RunStatus
from . import labels, numbers

Style = Literal["", "uncertain", "incomplete"]
"""A difference without an interval; a cell with runs that did not complete. Nothing else is set apart: what is best or
differs is for the verdicts to say, which are corrected for each other."""


@dataclass(frozen=True)
class Entry:
    """What one column says of one row, written out."""

    text: str = ""
    detail: str = ""
    """What is written beside it: standard deviation, interval, ratio to the baseline, runs that did not complete."""
    short: str = ""
    """Instead of text and detail where there is little room; empty: the text alone."""
    style: Style = ""
    tone: labels.Tone = "open"
    note: str = ""
    """An explanation that the page shows on hovering."""

    @property
    def full(self) -> str:
        return f"{self.text} {self.detail}".strip()

    @property
    def brief(self) -> str:
        return self.short or self.text


def means(comparison: Comparison, name: str) -> list[Entry]:
    """``2.341 ± 0.012``: mean and standard deviation over seeds; a count or a time in its unit has no deviation."""
    metrics, measure = [cell.metrics[name] for cell in comparison.cells], comparison.measures[name]
    if measure.kind == "seeds":
        written = numbers.means(metrics)
    elif measure.kind == "exact":
        written = [(numbers.ABSENT if m.mean is None else numbers.grouped(m.mean), "") for m in metrics]
    else:
        unit = _unit(comparison, name)
        written = [(numbers.ABSENT if m.mean is None else numbers.short_time(m.mean, unit), "") for m in metrics]
    return [Entry(mean, sd) for mean, sd in written]


def three_digits(comparison: Comparison, name: str) -> list[Entry]:
    """The mean alone, of a measure whose order of magnitude matters."""
    means = [cell.metrics[name].mean for cell in comparison.cells]
    return [Entry(numbers.ABSENT if mean is None else f"{mean:.3g}") for mean in means]


def differences(comparison: Comparison, name: str) -> list[Entry]:
    """``+0.151 [+0.120, +0.182]``: the cell minus the baseline, with the interval."""
    entries = [Entry()]
    for cell in comparison.cells[1:]:
        contrast = cell.metrics[name].contrast
        if repeats_sensitivity(comparison, cell, name):
            entries.append(Entry("of all learning rates together"))
        elif contrast is not None:
            entries.append(difference(comparison, contrast, name))
        else:
            entries.append(Entry())
    return entries


def difference(comparison: Comparison, contrast: Contrast, name: str) -> Entry:
    """A difference with its interval, or with words in its place."""
    measure, reference = comparison.measures[name], comparison.baseline.metrics[name]
    note = labels.plain(contrast.reason_missing or "")
    if contrast.delta is None:
        return Entry(numbers.ABSENT, note=note)
    if measure.kind == "exact":
        return Entry(f"{contrast.delta:+,.0f}" if contrast.delta else "")
    decimals = numbers.second_digit(reference.sd) if reference.sd else numbers.four_digits(reference.mean or 0.0)
    percent = ""
    if measure.ratio:
        percent, decimals = " %", 1
        interval = contrast.interval and (
            numbers.percent_change(contrast.interval[0]),
            numbers.percent_change(contrast.interval[1]),
        )
        contrast = replace(contrast, delta=numbers.percent_change(contrast.delta), interval=interval)
    difference, interval_text = numbers.difference(contrast, decimals)
    beside = f"{interval_text}{percent}" if interval_text else _instead_of_interval(contrast, len(comparison.seeds))
    style: Style = "uncertain" if contrast.interval is None else ""
    return Entry(f"{difference}{percent}", beside, style=style, note=note)


def _instead_of_interval(contrast: Contrast, seeds: int) -> str:
    if contrast.constant:
        return "in every seed"
    return f"over {contrast.pairs} of {plural(seeds, 'seed')}" if contrast.pairs < seeds else "no interval"


def verdicts(comparison: Comparison, name: str) -> list[Entry]:
    """``▼ worse``, or the mark alone; of an exact count ``less`` or ``more``."""
    entries = []
    for cell in comparison.cells:
        metric = cell.metrics[name]
        text, tone = labels.metric_verdict(comparison.measures[name], metric)
        note = labels.plain(metric.verdict.sentence) if metric.verdict else ""
        entries.append(Entry(text, short=labels.mark(metric.verdict), tone=tone, note=note))
    return entries


def stability(comparison: Comparison, _: str) -> list[Entry]:
    """``stable 0/3``, ``fragile 0/3``, ``unstable 1/3``."""
    return [Entry(labels.stability(cell)) for cell in comparison.cells]


def runs(comparison: Comparison, _: str) -> list[Entry]:
    """``3/3``, or ``2/3`` and beside it ``+1 diverged``: completed of planned, and how the others ended."""
    statuses: tuple[RunStatus, ...] = ("diverged", "failed", "missing")
    entries = []
    for cell in comparison.cells:
        others = [f"+{count} {status}" for status in statuses if (count := cell.count(status))]
        completed = f"{cell.count('completed')}/{len(cell.results)}"
        style: Style = "incomplete" if others else ""
        entries.append(Entry(completed, " ".join(others), "\n".join([completed, *others]), style, tone="bad"))
    return entries


def ratios(comparison: Comparison, name: str) -> list[Entry]:
    """The time or speed as a ratio to the baseline's, with its interval over processes; the baseline's in its unit."""
    baseline = comparison.baseline.metrics[name].mean
    unit = _unit(comparison, name)
    entries = [Entry(numbers.ABSENT if baseline is None else numbers.short_time(baseline, unit))]
    for cell in comparison.cells[1:]:
        contrast = cell.metrics[name].contrast
        if contrast is None or contrast.delta is None:
            entries.append(Entry(numbers.ABSENT))
            continue
        interval = "" if contrast.interval is None else "[{:.3f}, {:.3f}]".format(*map(math.exp, contrast.interval))
        entries.append(Entry(f"{numbers.TIMES}{math.exp(contrast.delta):.3f}", interval))
    return entries


def _unit(comparison: Comparison, name: str) -> str:
    return str(comparison.bench.get("measures", {}).get(name, {}).get("unit", ""))


def counts(comparison: Comparison, name: str) -> list[Entry]:
    """``804,224`` parameters, in short ``804k``; other counts only in the short form."""
    means = [cell.metrics[name].mean for cell in comparison.cells]
    if name == PARAMETERS:
        return [
            Entry(numbers.ABSENT) if n is None else Entry(numbers.grouped(n), short=numbers.short(n)) for n in means
        ]
    return [Entry(numbers.ABSENT if n is None else numbers.short(n)) for n in means]


def speeds(comparison: Comparison, name: str) -> list[Entry]:
    """Tokens per second with the ratio to the baseline's, which alone is written where there is little room."""
    reference, entries = comparison.baseline.metrics[name].mean, []
    for cell in comparison.cells:
        mean = cell.metrics[name].mean
        speed = numbers.ABSENT if mean is None else numbers.short(mean)
        ratio = "" if mean is None or not reference or cell is comparison.baseline else numbers.ratio(mean, reference)
        entries.append(Entry(speed, ratio, ratio))
    return entries
