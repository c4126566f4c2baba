"""The comparison in Markdown as GitHub shows it: a table of cells, a table of main effects, the notes.

Bold is the best mean and all that cannot be told from it.
"""

import re
from collections.abc import Sequence

from ...compare.families import best
from ...compare.measures import EXACT, TIMED, TOKENS_PER_SECOND
from ...compare.records import Comparison
from ...stats.contrast import Contrast, plural
from .. import labels, numbers, provenance
from ..footnotes import notes
from ..summary import summary

_DIFFERENCE = ("difference", "interval", "verdict")
_BASELINE = (numbers.ABSENT, "", "")

# An underscore inside a word starts no emphasis, and `pre_norm` is to stay readable in the source.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~#&!$]|(?<!\w)_|_(?!\w)")


def render(comparison: Comparison) -> str:
    """The tables and notes as text that ends in a newline."""
    parts = [escaped(summary(comparison))]
    parts.append(f"**{escaped(comparison.grid)}**: {escaped(labels.heading(comparison))}; {labels.size(comparison)}")
    parts.append(_cells(comparison))
    if labels.effects(comparison):
        parts.append(_effects(comparison))
    if comparison.steps:
        parts.append(_steps(comparison))
    parts.append("\n".join(f"- {escaped(note)}" for note in notes(comparison, "\n".join(parts))))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: object) -> str:
    """``text`` in one line, none of its characters meaning anything in Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", labels.plain(text))


def _cells(comparison: Comparison) -> str:
    qualities = [comparison.metric, *(name for name in comparison.other_quality if comparison.measured(name))]
    costs = [name for name in (*EXACT, TOKENS_PER_SECOND) if comparison.measured(name)]
    times = [name for name in TIMED if comparison.measured(name)]
    contrasts = [contrast for cell in comparison.cells if (contrast := cell.metrics[comparison.metric].contrast)]
    header = ["cell", *(f"{labels.metric_name(name)}, mean ± SD" for name in qualities), *_DIFFERENCE]
    stability = any(labels.stability(cell) for cell in comparison.cells)
    header += [*(["stability"] if stability else []), *(f"{labels.metric_name(name)}, times" for name in times)]
    header += [*(labels.metric_name(name) for name in costs), "runs"]
    verdicts = [labels.verdict(cell.metrics[comparison.metric].verdict) for cell in comparison.cells[1:]]
    differences = [_BASELINE, *_differences(comparison, contrasts, verdicts)]
    columns = [numbers.means([cell.metrics[name] for cell in comparison.cells]) for name in qualities]
    rows, bold = [], best(comparison)
    for cell, difference, *written in zip(comparison.cells, differences, *columns, strict=True):
        means = [f"{mean} {sd}".strip() for mean, sd in written]
        means[0] = _Bold(means[0]) if cell.label in bold else means[0]
        label = f"{'baseline: ' if cell is comparison.baseline else ''}{provenance.label(comparison, cell)}"
        counts = [labels.cost(comparison, cell, name) for name in costs]
        ratios = [" ".join(labels.timed(comparison, cell, name)).strip() for name in times]
        standing = [labels.stability(cell)] if stability else []
        rows.append([label, *means, *difference, *standing, *ratios, *counts, " ".join(labels.runs(cell))])
    return _table(header, rows)


class _Bold(str):
    """A number that is set in bold."""


def _effects(comparison: Comparison) -> str:
    effects = [*labels.effects(comparison), *labels.interactions(comparison)]
    verdicts = [labels.effect_verdict(comparison, effect) for effect in effects]
    contrasts = [effect.contrasts[comparison.metric] for effect in effects]
    rows = [
        [labels.effect(effect), *difference, f"{plural(effect.cells, 'cell')} each"]
        for effect, difference in zip(effects, _differences(comparison, contrasts, verdicts), strict=True)
    ]
    return _table(["main effect", *_DIFFERENCE, "averaged over"], rows)


def _steps(comparison: Comparison) -> str:
    written = labels.differences(comparison, [step.contrasts[comparison.metric] for step in comparison.steps])
    rows = [[labels.step(step), *difference] for step, difference in zip(comparison.steps, written, strict=True)]
    return _table(["step by step", *_DIFFERENCE[:2]], rows)


def _differences(
    comparison: Comparison, contrasts: Sequence[Contrast], verdicts: Sequence[str]
) -> list[tuple[str, str, str]]:
    written = labels.differences(comparison, contrasts)
    return [(delta, beside, verdict) for (delta, beside), verdict in zip(written, verdicts, strict=True)]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is of words, the others are of numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line if line is lines[1] else map(_written, line))} |" for line in lines)


def _written(text: str) -> str:
    return f"**{escaped(text)}**" if isinstance(text, _Bold) else escaped(text)
