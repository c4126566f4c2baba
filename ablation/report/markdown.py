"""The comparison in Markdown as GitHub shows it: a table of cells, a table of main effects, the notes."""

import re
from collections.abc import Sequence

from ..analysis import Comparison, Contrast
from ..analysis.comparison import PARAMETERS, TOKENS_PER_SECOND
from ..analysis.contrast import plural
from . import numbers, words

_DIFFERENCE = ("difference", "95 % interval")
_BASELINE = (numbers.ABSENT, "")

# An underscore inside a word starts no emphasis, and `pre_norm` is to stay readable in the source.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~#&!$]|(?<!\w)_|_(?!\w)")


def render(comparison: Comparison) -> str:
    """The tables and notes as text that ends in a newline."""
    parts = [f"**{escaped(comparison.grid)}**: {escaped(words.heading(comparison))}; {words.size(comparison)}"]
    parts.append(_cells(comparison))
    if words.effects(comparison):
        parts.append(_effects(comparison))
    parts.append("\n".join(f"- {escaped(note)}" for note in words.notes(comparison)))
    return "\n\n".join(part for part in parts if part) + "\n"


def escaped(text: object) -> str:
    """``text`` in one line, none of its characters meaning anything in Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", words.plain(text))


def _cells(comparison: Comparison) -> str:
    qualities = [comparison.metric, *(name for name in comparison.other_quality if comparison.measured(name))]
    costs = [name for name in (PARAMETERS, TOKENS_PER_SECOND) if comparison.measured(name)]
    contrasts = [contrast for cell in comparison.cells if (contrast := cell.metrics[comparison.metric].contrast)]
    header = ["cell", *(f"{words.metric_name(name)}, mean ± SD" for name in qualities), *_DIFFERENCE]
    header += [*(words.metric_name(name) for name in costs), "runs"]
    differences = [_BASELINE, *_differences(comparison, contrasts)]
    columns = [numbers.means([cell.metrics[name] for cell in comparison.cells]) for name in qualities]
    rows = []
    for cell, difference, *written in zip(comparison.cells, differences, *columns, strict=True):
        means = [f"{mean} {sd}".strip() for mean, sd in written]
        label = f"{'baseline: ' if cell is comparison.baseline else ''}{cell.label}"
        counts = [words.cost(comparison, cell, name) for name in costs]
        rows.append([label, *means, *difference, *counts, " ".join(words.runs(cell))])
    return _table(header, rows)


def _effects(comparison: Comparison) -> str:
    differences = _differences(
        comparison, [effect.contrasts[comparison.metric] for effect in words.effects(comparison)]
    )
    rows = [
        [words.effect(effect), *difference, f"{plural(effect.cells, 'cell')} each"]
        for effect, difference in zip(words.effects(comparison), differences, strict=True)
    ]
    return _table(["main effect", *_DIFFERENCE, "averaged over"], rows)


def _differences(comparison: Comparison, contrasts: Sequence[Contrast]) -> list[tuple[str, str]]:
    written = words.differences(comparison, contrasts)
    return [
        (f"{words.sign(contrast)} {delta}".strip(), beside)
        for contrast, (delta, beside) in zip(contrasts, written, strict=True)
    ]


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The first column is of words, the others are of numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line if line is lines[1] else map(escaped, line))} |" for line in lines)
