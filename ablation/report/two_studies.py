"""What is shown of two studies: a table for each measure, a row for each cell that both have, and what else differs."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

from ..compare.measures import EXACT
from ..compare.two_studies import TwoStudies
from ..stats.contrast import plural
from . import entries, labels
from .entries import Entry
from .footnotes import margins
from .labels import listed, metric_name, plain
from .table import DIFFERENCE, SHORT_DIFFERENCE, FilledColumn, Section, Sections

_MOST_LISTED = 12
"""Differences that are listed one by one."""


def sections(result: TwoStudies) -> Sections:
    """The tables and the words of a comparison of two studies."""
    tables = tuple(_section(result, name) for name in shown_measures(result))
    first = result.pairs[0]
    return Sections(
        title=f"{plain(result.b)} minus {plain(result.a)}",
        summary=" ".join(_summary(result)),
        heading=f"{labels.heading(first)} · {plural(len(result.pairs), 'cell')}, {plural(len(result.seeds), 'seed')}",
        tables=tables,
        notes=tuple(_notes(result)),
    )


def shown_measures(result: TwoStudies) -> list[str]:
    """The metric, the other measures of quality and the primary one of stability; counts only where they differ."""
    first = result.pairs[0]
    quality = [name for name in first.other_quality if _measured(result, name)]
    primary = [name for lens, name in first.primary.items() if lens != "quality" and name is not None]
    counts = [
        name
        for name in EXACT
        if name in first.measures
        and any((contrast := pair.cells[1].metrics[name].contrast) and contrast.delta for pair in result.pairs)
    ]
    return [result.metric, *quality, *primary, *counts]


def _measured(result: TwoStudies, name: str) -> bool:
    return any(pair.measured(name) for pair in result.pairs)


def _section(result: TwoStudies, name: str) -> Section:
    """One measure of every pair of cells."""
    # The cells of all pairs in a row, A before B, so that a column has the same decimals throughout.
    together = replace(result.pairs[0], cells=tuple(cell for pair in result.pairs for cell in pair.cells))
    means, differences = entries.means(together, name), entries.differences(together, name)
    verdicts, runs = entries.verdicts(together, name), entries.runs(together, name)
    columns = [
        FilledColumn("a", "mean", plain(result.a), tuple(means[0::2])),
        FilledColumn("b", "mean", plain(result.b), tuple(means[1::2])),
        FilledColumn(name, "difference", DIFFERENCE, tuple(differences[1::2]), short_title=SHORT_DIFFERENCE),
    ]
    if any(entry.text for entry in verdicts[1::2]):
        columns.append(FilledColumn("verdict", "verdict", "verdict", tuple(verdicts[1::2])))
    if name == result.metric:
        both = tuple(_runs(*pair) for pair in zip(runs[0::2], runs[1::2], strict=True))
        columns.append(FilledColumn("runs", "words", "runs", both))
    return Section(metric_name(name), tuple(map(plain, result.labels)), tuple(columns))


def _runs(a: Entry, b: Entry) -> Entry:
    """``3/3``, or ``3/3, 2/3 +1 diverged`` where the two studies differ."""
    text = a.full if a.full == b.full else f"{a.full}, {b.full}"
    return Entry(text, style="incomplete" if "incomplete" in (a.style, b.style) else "")


def _summary(result: TwoStudies) -> Iterator[str]:
    """How many cells differ, by the metric, and how much of both studies is not in the table."""
    name, verdicts = metric_name(result.metric), [pair.cells[1].metrics[result.metric].verdict for pair in result.pairs]
    counts = Counter("not compared" if verdict is None else verdict.label for verdict in verdicts)
    parts = ", ".join(f"{counts[label]} {label}" for label in (*labels.MARKS, "not compared") if counts[label])
    yield f"{plain(result.b)} against {plain(result.a)} in {name}, over {plural(len(result.pairs), 'cell')}: {parts}."
    for study, only in ((result.a, result.only_a), (result.b, result.only_b)):
        if only:
            yield f"Only in {plain(study)}: {plural(len(only), 'cell')}."
    beside = [each for each in result.differences if not each.cells or len(each.cells) == len(result.pairs)]
    if beside:
        yield f"The studies also differ in {listed([plain(each.what) for each in beside])}."


def _notes(result: TwoStudies) -> Iterator[str]:
    a, b, first = plain(result.a), plain(result.b), result.pairs[0]
    yield f"difference: {b} minus {a} by seed; 95 % interval: paired t over the seeds that both have, uncorrected"
    cells = [pair.cells[1] for pair in result.pairs]
    if first.family:
        holm = f"Holm over {plural(first.family, 'comparison')} at 5 % in all"
        tests = "verdicts: paired t and equivalence test, each cell with its own variance"
        yield f"{tests}, {holm}; margins: {margins(first)}"
    if result.interim_looks:
        yield "seeds were added at interim looks, for verdicts within a study; the 5 % is of a number chosen beforehand"
    for difference in result.differences[:_MOST_LISTED]:
        where = f" ({listed([plain(label) for label in difference.cells])})" if difference.cells else ""
        yield f"differs: {plain(difference.what)}: {plain(difference.a)} in {a}, {plain(difference.b)} in {b}{where}"
    if (more := len(result.differences) - _MOST_LISTED) > 0:
        yield f"differs: {more} more; --json has all"
    for study, only, seeds in (
        (a, result.only_a, result.seeds_only_a),
        (b, result.only_b, result.seeds_only_b),
    ):
        if only:
            yield f"only in {study}: {listed([plain(label) for label in only])}"
        if seeds:
            yield f"seeds only in {study}: {', '.join(map(str, seeds))}"
    if result.n_same_runs:
        yield (
            f"{result.n_same_runs} of {plural(result.n_run_pairs, 'pair')} are one and the same run, which both "
            "studies have, so that they cannot differ"
        )
    seen: set[str] = set()
    for pair, cell in zip(result.pairs, cells, strict=True):
        contrast = cell.metrics[result.metric].contrast
        reason = contrast.reason_missing if contrast is not None and contrast.interval is None else None
        if reason is not None and reason not in seen:
            seen.add(reason)
            yield f"no interval, {plain(pair.baseline.label)}: {plain(reason).replace('baseline', a)}"
