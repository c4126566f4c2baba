"""The comparison as a LaTeX table that compiles as it is: needs the packages booktabs and siunitx, and no other.

Numbers stand in S columns, aligned at their decimal points. Bold is what is best and all that cannot be told from it.
"""

from collections.abc import Sequence

from ...compare.families import best
from ...compare.measures import PARAMETERS, TIMED
from ...compare.records import Comparison
from .. import labels, numbers, provenance
from ..footnotes import notes
from ..summary import summary

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line break it would begin an argument
    "]": "{]}",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "±": r"$\pm$",
    provenance.UNMATCHED: r"$\P$",
    numbers.TIMES: r"$\times$",
    "—": "---",
    "…": r"\ldots{}",
    '"': "''",
}


def render(comparison: Comparison) -> str:
    """A ``table`` environment as text that ends in a newline."""
    times = [name for name in TIMED if comparison.measured(name)]
    stability = any(labels.stability(cell) for cell in comparison.cells)
    columns = ["l", "S", "S", "l", "l", *(["l"] if stability else []), *["S"] * len(times), "r", "l"]
    name = escaped(labels.metric_name(comparison.metric))
    header = ["cell", f"{{{name}}}", r"{$\Delta$}", "{interval}", "verdict", *(["stability"] if stability else [])]
    header += [*(f"{{{escaped(labels.metric_name(time))}}}" for time in times), "parameters", "runs"]
    rows = _rows(comparison, times, stability)
    said = notes(comparison, "\n".join([*header, *rows]), legend="verdicts")  # the table has words, no marks
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{siunitx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escaped(labels.plain(comparison.grid))}: {escaped(summary(comparison))}}}",
        r"\sisetup{detect-weight=true, mode=text, table-align-text-post=false, table-format=+4.5}",
        rf"\begin{{tabular}}{{{''.join(columns)}}}",
        r"\toprule",
        _row(header),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
        "",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(f"{escaped(note)}." for note in said),
        r"\end{minipage}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: object) -> str:
    """``text`` in one line, none of its characters meaning anything in LaTeX, and none that pdfTeX does not know."""
    known = "".join(_SPECIAL.get(character, character) for character in labels.plain(text))
    return "".join(character if character.isascii() else "?" for character in known)


def _rows(comparison: Comparison, times: Sequence[str], stability: bool) -> list[str]:
    bold = best(comparison)
    means = numbers.means([cell.metrics[comparison.metric] for cell in comparison.cells])
    contrasts = [contrast for cell in comparison.cells if (contrast := cell.metrics[comparison.metric].contrast)]
    differences = [("", ""), *labels.differences(comparison, contrasts)]
    rows = []
    for cell, (mean, _), (delta, interval) in zip(comparison.cells, means, differences, strict=True):
        number = f"\\bfseries {mean}" if cell.label in bold else mean
        row = [escaped(provenance.label(comparison, cell)), _number(number), _number(delta), escaped(interval)]
        row.append(escaped(labels.verdict(cell.metrics[comparison.metric].verdict).partition(" ")[2]))
        row += [escaped(labels.stability(cell))] if stability else []
        row += [_number(labels.timed(comparison, cell, name)[0].strip(numbers.TIMES)) for name in times]
        rows.append(_row([*row, labels.cost(comparison, cell, PARAMETERS), " ".join(labels.runs(cell))]))
        if cell is comparison.baseline:
            rows.append(r"\midrule")
    return rows


def _number(text: str) -> str:
    """What an S column takes for a number; anything else in braces."""
    digits = text.removeprefix("\\bfseries ")
    try:
        float(digits)
    except ValueError:
        return f"{{{escaped(text)}}}"
    return text


def _row(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"
