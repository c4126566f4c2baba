"""What ``ablate inspect`` prints: what heads do, what is lost without each part, and attention maps as shades."""

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ...compare.inside import CellInside, InsideComparison
from .. import inside
from ..labels import metric_name, plain

SHADES = " ░▒▓█"
_LABEL = 8
"""Columns of a query's token."""
_SCORE = 8
"""Columns of a score with its deviation."""
_SHORT = {
    "previous": "prev",
    "duplicate": "dupl",
    "induction": "induct",
    "entropy": "entr",
    "distance": "dist",
}
_STYLES = {"good": "green", "bad": "red", "same": "cyan", "open": "dim"}


def render(comparison: InsideComparison, width: int = 80) -> RenderableType:
    """All cells, one after another, for a terminal of ``width`` columns."""
    parts: list[RenderableType] = []
    for cell in comparison.cells:
        parts += [*_cell(cell, comparison, width), Text()]
    for note in inside.notes(comparison):
        parts.append(Text(f"- {note}", "dim"))
    return Group(*parts)


def _cell(cell: CellInside, comparison: InsideComparison, width: int) -> Iterator[RenderableType]:
    yield Text(plain(f"{comparison.grid}:{cell.label}" if comparison.grid else cell.label), "bold")
    intact = ", ".join(f"{metric_name(name)} {fmean(values):.4g}" for name, values in cell.intact.items())
    yield Text(f"{plain(intact)} · {inside.lead(comparison)}", "dim")
    for line in inside.findings(cell, comparison):
        yield Text(f"- {line}")
    if any(head.scores for head in cell.heads):
        yield Text()
        yield _heads(cell, width)
    if cell.knockouts:
        yield Text()
        yield _knockouts(cell)
    if cell.pruning:
        yield Text()
        yield _pruning(cell)
    if len(cell.logit_lens) > 1:
        yield Text()
        yield _lens(cell)


def _heads(cell: CellInside, width: int) -> Table:
    """Means over seeds, with deviations where there is room; what is above one half is bold."""
    names = inside.score_names(cell)
    longest = max(cell_len(head.name) for head in cell.heads)
    with_deviations = longest + len(names) * _SCORE <= width
    table = Table(box=None, padding=(0, 1, 0, 0))
    table.add_column("what heads do", no_wrap=True)
    for name in names:
        table.add_column(_SHORT.get(name, plain(name)), justify="right", no_wrap=True)
    even = next((head.even for head in cell.heads if head.scores), {})
    table.add_row(
        Text("if even", "dim"),
        *(Text(inside.score([even[name]], name)[0] if name in even else "", "dim") for name in names),
    )
    for head in cell.heads:
        row = []
        for name in names:
            mean, deviation = inside.score(head.scores[name], name) if name in head.scores else ("", "")
            strong = "bold" if name in head.roles else ""
            row.append(Text.assemble((mean, strong), (deviation if with_deviations else "", "dim")))
        table.add_row(Text(head.name), *row)
    return table


def _knockouts(cell: CellInside) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("without", "loss", "95 %", "verdict", "by gradient"):
        words = heading in ("without", "verdict")  # which fold where there is no room; numbers are never cut
        table.add_column(heading, justify="left" if words else "right", no_wrap=not words, overflow="fold")
    family = None
    for each, row in zip(cell.knockouts, inside.knockout_rows(cell), strict=True):
        if family not in (None, row.family):
            table.add_row()
        family = row.family
        table.add_row(
            Text(each.part), row.difference, row.interval, Text(row.verdict, _STYLES[row.tone]), Text(row.importance)
        )
    return table


def _pruning(cell: CellInside) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("heads taken out", justify="right")
    table.add_column("loss", justify="right")
    table.add_column("range over seeds", justify="right")
    for number, pruned in enumerate(cell.pruning, 1):
        losses = pruned.measures["loss"]
        delta = pruned.contrast.delta
        table.add_row(
            f"{number} of {len(cell.pruning)}",
            "" if delta is None else f"{delta:+.3g}",
            f"{min(losses):.4g} to {max(losses):.4g}" if len(losses) > 1 else f"{losses[0]:.4g}",
        )
    return table


def _lens(cell: CellInside) -> Table:
    names = list(next(iter(cell.logit_lens.values())))
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("read out after")
    for name in names:
        table.add_column(metric_name(name), justify="right")
    for layer, measures in cell.logit_lens.items():
        table.add_row(f"layer {layer}", *(f"{fmean(measures[name]):.4g}" for name in names))
    return table


def render_maps(example: Mapping[str, Any], width: int, most: int = 32) -> RenderableType:
    """The maps of one example, every head a block of shades: a row for each query, a column for each key.

    At most ``most`` queries and keys, the first; ``width`` in columns, into which as many heads fit as there is room.
    """
    parts: list[RenderableType] = []
    for layer in example["maps"]:
        queries, keys = layer["queries"][:most], layer["keys"][:most]
        block = max(len(keys), 8) + 2
        per_line = max(1, (width - _LABEL - 1) // block)
        heads = list(enumerate(layer["weights"]))
        where = plain(f"{layer['stack']} layer {layer['layer']} {layer['sublayer']}".strip())
        for start in range(0, len(heads), per_line):
            chosen = heads[start : start + per_line]
            title = "".join(f"{f'head {index}':<{block}}" for index, _ in chosen)
            parts.append(Text.assemble((f"{where}\n", "bold"), (" " * (_LABEL + 1) + title.rstrip(), "dim")))
            for row, token in enumerate(queries):
                line = Text(f"{_cut(token)} ", "dim")
                for _, weights in chosen:
                    line.append_text(_shades(weights[row][: len(keys)]))
                    line.append(" " * (block - len(keys)))
                line.rstrip()
                parts.append(line)
            parts.append(Text())
    if not parts:
        parts.append(Text("no sublayer has attention weights", "dim"))
    return Group(*parts)


def _shades(weights: Sequence[int]) -> Text:
    """Weights in 255ths; of the square root, so that small ones can be seen. Negative ones are red."""
    text = Text()
    for weight in weights:
        level = min(len(SHADES) - 1, int((abs(weight) / 255) ** 0.5 * len(SHADES)))
        text.append(SHADES[level], "red" if weight < 0 else "")
    return text


def _cut(token: str) -> str:
    """A token in exactly ``_LABEL`` columns."""
    visible = plain(token.replace(" ", "·").replace("\n", "↵").replace("\t", "→")) or "·"
    return set_cell_size(visible, _LABEL) if cell_len(visible) != _LABEL else visible
