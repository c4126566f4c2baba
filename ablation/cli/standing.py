"""How the cells stand at equal tokens, for a terminal: what ``ablate status`` and the live view show below the rest."""

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from ..analysis.partial import PARTIAL, Partial
from ..report.numbers import ABSENT, short
from ..report.words import plain

EVERY = 2.0
"""Seconds between two looks."""


def standing(found: Partial, over: bool, lines: int | None = None) -> list[RenderableType]:
    """A table, below which it is marked as partial unless all is ``over``.

    In so many ``lines`` stand the baseline and the cells that fit, each in one line; nothing where no two cells do.
    """
    marked = found.tokens is not None and not over
    shown = len(found.cells) if lines is None else fitting(len(found.cells), lines - marked)
    if not shown:
        return []
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("cell", overflow="fold", ratio=1)
    heading = "loss" if found.tokens is None else f"loss at {short(found.tokens)} tokens"
    for title in ("runs", heading, "difference"):
        table.add_column(title, justify="right", no_wrap=True)
    for cell in found.cells[:shown]:
        loss = ABSENT if cell.loss is None else f"{cell.loss:.4f}"
        difference = "" if cell.difference is None else f"{cell.difference:+.4f}"
        label = plain(cell.label)
        table.add_row(
            Text(label) if lines is None else one_line(label), f"{cell.done}/{cell.planned}", loss, difference
        )
    if shown < len(found.cells):
        table.add_row(Text(f"… and {len(found.cells) - shown} more", "dim"))
    note = Text(PARTIAL, "yellow") if lines is None else one_line(PARTIAL, "yellow")
    return [table, note] if marked else [table]


def fitting(n_cells: int, lines: int) -> int:
    """How many cells find room below a heading, and above a line that tells of the rest; 0 where no two do."""
    shown = n_cells if n_cells + 1 <= lines else lines - 2
    return shown if shown >= min(2, n_cells) else 0


def one_line(text: str, style: str = "") -> Text:
    """Cut where there is no room. A column of such texts, unlike one that may not wrap, gives way to the others."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")
