"""How the lines of cells look: color by factor, dashes by level, and which of many are named.

Up to ``MOST_NAMED`` lines are named at their ends. Of more, those with the best and the worst means are; the others are
thin and gray until the pointer is on them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...compare.records import CellComparison, Comparison
from ..labels import plain
from .data import ReportData
from .figure import INK

FAINT = "#8b8f98"
COLORS = ("#139bbd", "#d17915", "#9539e6", "#d11560", "#946025", "#8c7ee6", "#bd2f8e")
"""Far from each other with any color vision, and with contrast on light and dark backgrounds; a test computes both."""
DASHES: tuple[tuple[int, ...], ...] = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (14, 4), (5, 2, 1, 2, 1, 2), (1, 3))
MOST_NAMED = 9
"""With the baseline: of more names beside a figure none would be where its line ends."""


@dataclass(frozen=True)
class Style:
    """How one line looks; ``label`` is written where it ends, of those that are ``named``."""

    label: str
    color: str
    dash: tuple[int, ...] = DASHES[0]
    named: bool = True


@dataclass(frozen=True)
class Styles:
    """The styles of a figure's lines by their names, and a sentence on what color and dashes mean."""

    of: Mapping[str, Style]
    meaning: str = ""


def styles_of_cells(data: ReportData) -> Styles:
    """Those of the cells that are shown, alike in every figure."""
    comparison, names, labels = data.shown, data.names, data.short_names
    named = _extremes(comparison)
    looks, meaning = _looks(comparison, [cell for cell in comparison.cells if cell.label in named])
    styles = {}
    for cell in comparison.cells:
        name = names[cell.label]
        color, dash = looks.get(cell.label, (FAINT, DASHES[0]))
        styles[name] = Style(labels[cell.label], color, dash, cell.label in named)
    if len(named) < len(comparison.cells):
        of_others = f"named are the baseline and the {len(named) - 1} cells with the lowest and highest means"
        meaning = f"{meaning} Of {len(comparison.cells)} lines, {of_others}; point at a gray line for its name."
    return Styles(styles, meaning.strip())


def styles_of_names(names: Sequence[str]) -> Styles:
    """Those of lines that are no cells, in their order; the first has the color of the text."""
    shown = list(dict.fromkeys(names))
    styles = {}
    for index, (name, (color, dash)) in enumerate(zip(shown, _free(), strict=False)):
        named = index < MOST_NAMED
        styles[name] = Style(name, color if named else FAINT, dash if named else DASHES[0], named)
    return Styles(styles)


def _free() -> Iterator[tuple[str, tuple[int, ...]]]:
    """Ink first, then each color with the next dashes, endlessly, so that neighbors differ in both."""
    yield INK, DASHES[0]
    index = 0
    while True:
        yield COLORS[index % len(COLORS)], DASHES[(index + index // len(COLORS)) % len(DASHES)]
        index += 1


def _extremes(comparison: Comparison) -> set[str]:
    """The labels of the cells that are named: all of few, else the baseline and the ends of the order by mean."""
    if len(comparison.cells) <= MOST_NAMED:
        return {cell.label for cell in comparison.cells}
    means = [(mean, cell.label) for cell in comparison.cells[1:] if (mean := cell.metrics[comparison.metric].mean)]
    order = [label for _, label in sorted(means)]
    low = MOST_NAMED // 2
    return {comparison.baseline.label, *order[:low], *order[len(order) - (MOST_NAMED - 1 - low) :]}


def _looks(
    comparison: Comparison, cells: Sequence[CellComparison]
) -> tuple[dict[str, tuple[str, tuple[int, ...]]], str]:
    """Color and dashes of cells by their labels, never the same twice, and what they mean.

    Where each cell changes one factor, the color is the factor and the dashes its level. Where cells combine levels,
    the color is the level of the factor with the most levels and the dashes that of the next; the baseline's levels
    are ink and solid. With a single factor both change with the level.
    """
    baseline = comparison.baseline
    varied = [
        (factor["path"], plain(factor["name"]), levels)
        for factor in comparison.factors
        if len(levels := list(dict.fromkeys(cell.levels.get(factor["path"], "") for cell in cells))) > 1
    ]
    changed = {cell.label: [path for path, *_ in varied if _level(cell, path) != _level(baseline, path)]
               for cell in cells}  # fmt: skip
    style: Callable[[CellComparison], tuple[int, int]]
    if len(varied) > 1 and all(len(paths) <= 1 for paths in changed.values()):
        paths = [path for path, *_ in varied]
        others = {path: [level for level in levels if level != _level(baseline, path)] for path, _, levels in varied}

        def style(cell: CellComparison) -> tuple[int, int]:
            if not (of_cell := changed[cell.label]):
                return -1, 0
            return paths.index(of_cell[0]), others[of_cell[0]].index(_level(cell, of_cell[0]))

        meaning = "Color is the factor that was changed, dashes are its level; the baseline has the color of the text."
    elif len(varied) > 1:
        sizes = _sizes(comparison)
        first, second = sorted(varied, key=lambda each: (-sizes.get(each[0], 0.0), -len(each[2])))[:2]
        orders = [_baseline_first(levels, _level(baseline, path)) for path, _, levels in (first, second)]

        def style(cell: CellComparison) -> tuple[int, int]:
            return orders[0].index(_level(cell, first[0])) - 1, orders[1].index(_level(cell, second[0]))

        meaning = f"Color is the level of {first[1]}, dashes are that of {second[1]}."
        if len(varied) > 2:
            meaning += " Lines that differ in other factors alone have further dashes."
    else:
        order = [cell.label for cell in cells if cell is not baseline]

        def style(cell: CellComparison) -> tuple[int, int]:
            index = -1 if cell is baseline else order.index(cell.label)
            return index, (index + 1) % len(DASHES)

        meaning = ""
    taken = set[tuple[str, tuple[int, ...]]]()
    looks = {}
    for cell in [baseline, *(cell for cell in cells if cell is not baseline)]:
        number, dash = style(cell)
        look = _look(number, dash)
        tries = len(DASHES) * (len(COLORS) + 1)
        while look in taken and (tries := tries - 1):  # the next dashes, and when all are taken the next color
            dash += 1
            if dash % len(DASHES) == 0:
                number += 1
            look = _look(number, dash)
        taken.add(look)
        looks[cell.label] = look
    return looks, meaning


def _sizes(comparison: Comparison) -> dict[str, float]:
    """The largest main effect of each factor by its path; empty where there are none."""
    sizes: dict[str, float] = {}
    for effect in comparison.effects:
        delta = effect.contrasts[comparison.metric].delta
        if delta is not None:
            sizes[effect.path] = max(sizes.get(effect.path, 0.0), abs(delta))
    return sizes


def _look(number: int, dash: int) -> tuple[str, tuple[int, ...]]:
    return INK if number < 0 else COLORS[number % len(COLORS)], DASHES[dash % len(DASHES)]


def _level(cell: CellComparison, path: str) -> str:
    return cell.levels.get(path, "")


def _baseline_first(levels: Sequence[str], baseline: str) -> list[str]:
    return [baseline, *(level for level in levels if level != baseline)]
