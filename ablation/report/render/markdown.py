"""The table in Markdown as GitHub shows it: the cells, the main effects or steps, the footnotes."""

import re
from collections.abc import Sequence

from .. import labels
from ..footnotes import notes
from ..table import FilledColumn, Sections, TableData

# An underscore inside a word starts no emphasis, and `pre_norm` should stay readable in the source.
_SPECIAL = re.compile(r"[\\`*\[\]<>|~#&!$]|(?<!\w)_|_(?!\w)")


def render(table: TableData) -> str:
    """The tables and notes as text that ends in a newline."""
    comparison = table.comparison
    names = ["baseline: " * (row is table.rows[0]) + row.marked for row in table.rows]
    parts = [
        escaped(table.summary),
        f"**{escaped(comparison.grid)}**: {escaped(labels.heading(comparison))}; {labels.size(comparison)}",
        _table("cell", names, table.shown("always", "with room")),
        *(_table(section.title, section.labels, section.columns) for section in table.sections),
    ]
    footnotes = notes(comparison, "\n".join(parts))
    return "\n\n".join([*parts, "\n".join(f"- {escaped(note)}" for note in footnotes)]).rstrip() + "\n"


def render_sections(sections: Sections) -> str:
    """Several tables with the words around them."""
    parts = [escaped(sections.summary), f"**{escaped(sections.title)}**: {escaped(sections.heading)}"]
    parts += [_table(section.title, section.labels, section.columns) for section in sections.tables]
    return "\n\n".join([*parts, "\n".join(f"- {escaped(note)}" for note in sections.notes)]).rstrip() + "\n"


def escaped(text: object) -> str:
    """``text`` in one line, without characters that mean something in Markdown or HTML."""
    return _SPECIAL.sub(r"\\\g<0>", labels.plain(text))


def _table(title: str, names: Sequence[str], columns: Sequence[FilledColumn]) -> str:
    """Labels are aligned to the left, all other columns to the right."""
    lines = [[escaped(title), *(escaped(column.title) for column in columns)], ["---", *["---:"] * len(columns)]]
    lines += [
        [escaped(name), *(escaped(column.entries[index].full) for column in columns)]
        for index, name in enumerate(names)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
