"""The table in LaTeX, which compiles as it is with the packages booktabs and siunitx.

Numbers are in S columns, aligned at their decimal points.
"""

from collections.abc import Sequence

from .. import labels, numbers
from ..footnotes import notes
from ..table import FilledColumn, Sections, TableData
from .latex_text import escaped, without_name


def render(table: TableData) -> str:
    """A ``table`` environment as text that ends in a newline."""
    comparison = table.comparison
    columns = [part for column in table.shown("always") for part in _columns(column)]
    header = ["cell", *(heading for _, heading, _ in columns)]
    rows = [
        _row([escaped(row.marked), *(texts[index] for _, _, texts in columns)]) for index, row in enumerate(table.rows)
    ]
    footnotes = notes(comparison, "\n".join([*header, *rows]), legend="verdicts")  # the table has words, no marks
    caption = f"{escaped(labels.plain(comparison.grid))}: {escaped(table.summary)}"
    tabular = _tabular(columns, header, [rows[0], r"\midrule", *rows[1:]])
    return _table(caption, tabular, footnotes)


def render_sections(sections: Sections) -> str:
    """Several tables in one ``table`` environment, with the notes below the last."""
    tabulars: list[str] = []
    for section in sections.tables:
        columns = [part for column in section.columns for part in _columns(column)]
        header = [escaped(section.title), *(heading for _, heading, _ in columns)]
        rows = [
            _row([escaped(label), *(texts[index] for _, _, texts in columns)])
            for index, label in enumerate(section.labels)
        ]
        tabulars += [*_tabular(columns, header, rows), ""]
    return _table(f"{escaped(sections.title)}: {escaped(sections.summary)}", tabulars[:-1], sections.notes)


def _tabular(columns: Sequence[tuple[str, str, list[str]]], header: Sequence[str], rows: Sequence[str]) -> list[str]:
    return [
        rf"\begin{{tabular}}{{l{''.join(kind for kind, _, _ in columns)}}}",
        r"\toprule",
        _row(header),
        r"\midrule",
        *rows,
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _table(caption: str, tabulars: Sequence[str], footnotes: Sequence[str]) -> str:
    lines = [
        "% needs \\usepackage{booktabs} and \\usepackage{siunitx}",
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        r"\sisetup{mode=text, table-align-text-post=false, table-format=+4.5}",
        *tabulars,
        "",
        r"\begin{minipage}{\linewidth}\footnotesize\raggedright",
        *(f"{escaped(note)}." for note in footnotes),
        r"\end{minipage}",
        r"\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    unknown = without_name(text)
    needed = f"% needs LuaLaTeX or XeLaTeX, and a font that has {' '.join(unknown)}\n" if unknown else ""
    return needed + text


def _columns(column: FilledColumn) -> list[tuple[str, str, list[str]]]:
    """Column type, heading and texts; a difference has its interval in a column of its own."""
    entries, title = column.entries, escaped(column.title)
    match column.kind:
        case "mean":
            return [("S", f"{{{title}}}", [_number(entry.text) for entry in entries])]
        case "difference":
            return [
                ("S", r"{$\Delta$}", [_number(entry.text) for entry in entries]),
                ("l", "{interval}", [escaped(entry.detail) for entry in entries]),
            ]
        case "ratio":
            return [("S", f"{{{title}}}", [_number(entry.text.strip(numbers.TIMES)) for entry in entries])]
        case "verdict":  # without its mark
            return [("l", title, [escaped(entry.text.partition(" ")[2]) for entry in entries])]
        case "count":
            return [("r", title, [escaped(entry.text) for entry in entries])]
        case "words":
            return [("l", title, [escaped(entry.full) for entry in entries])]


def _number(text: str) -> str:
    """A number for an S column; any other text in braces."""
    try:
        float(text)
    except ValueError:
        return f"{{{escaped(text)}}}"
    return text


def _row(texts: Sequence[str]) -> str:
    return " & ".join(texts) + r" \\"
