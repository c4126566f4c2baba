"""The table in LaTeX, which compiles as it is with the packages booktabs, siunitx and tabularx.

Factors are columns, numbers are aligned at their decimal points. It is laid out for the text width of the class
``article``, 345 pt: where all columns together are wider, each lens has tables of its own, in which words and intervals
are broken into lines as far as needed. What would be higher than a page goes on in a further float.
"""

import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from ...compare.measures import LENSES
from .. import labels, numbers
from ..footnotes import notes
from ..table import FilledColumn, Section, Sections, TableData
from .latex_text import breakable, escaped, pieces, without_name

TEXT_WIDTH = 345.0
"""Points: a page of the class ``article`` at its usual 10 pt, in one column."""
_MOST_LINES, _PAGE, _RULES = 40, 50, 3
"""Lines of one ``tabular``, of all on one page below the caption, and of the heading and the rules of one."""
_GAP = 2.0
"""Points on each side of a column."""
_LONGEST_PIECE = 38.0
"""Points of about nine characters; of a longer word, LaTeX hyphenates what has no room."""
_LONGEST_WORD = 20
"""Characters; of what is longer, also in a note, lines can be broken inside."""
_NARROW, _SMALL, _WIDE = "iljI.,:;'|!()[]", "frstz ", "mwMW+-%@\N{MINUS SIGN}\N{PLUS-MINUS SIGN}"


@dataclass(frozen=True, eq=False)
class _Part:
    """A column in LaTeX: ``words`` may be broken into lines, ``attached`` belongs to the column before it."""

    kind: Literal["number", "words", "right", "attached"]
    heading: str
    texts: Sequence[str]

    @property
    def width(self) -> float:
        """Points without any line break, an estimate."""
        return max(map(_points, [self.heading, *self.texts])) + (0 if self.kind == "attached" else 2 * _GAP)

    @property
    def narrowest(self) -> float:
        """Points with all line breaks, an estimate."""
        if self.kind != "words":
            return self.width
        longest = max((_points(piece) for text in [self.heading, *self.texts] for piece in pieces(text)), default=0.0)
        return min(_LONGEST_PIECE, longest) + 2 * _GAP


@dataclass(frozen=True)
class _Block:
    """A ``tabular``, or the notes, and how many lines it has, an estimate."""

    text: str
    lines: int


def render(table: TableData) -> str:
    """``table`` environments, one unless that is too high for a page, as text that ends in a newline."""
    comparison = table.comparison
    shown = table.shown("always")
    same = [column for column in shown if _same_everywhere(column)]
    measured = {column: list(_parts(column)) for column in shown if column not in same}
    first = _levels(table, [part for parts in measured.values() for part in parts])
    blocks = _tabulars([*first, *(part for parts in measured.values() for part in parts)], breaks=False)
    if not blocks:
        room = TEXT_WIDTH - sum(part.narrowest for part in first)
        blocks = [block for parts in _divided(measured, room) for block in _tabulars([*first, *parts], breaks=True)]
    blocks += _blocks(table.sections)
    text = "\n".join(block.text for block in blocks)
    footnotes = notes(comparison, text, legend="verdicts", rows=False)  # in words, not with marks
    before = (
        [f"the first row{' of the cells' if table.sections else ''} is the baseline"] if len(table.rows) > 1 else []
    )
    before += [f"{column.title}: {column.entries[0].full} in every cell" for column in same]
    return _floats(labels.plain(comparison.grid), table.summary, blocks, [*before, *footnotes])


def render_sections(sections: Sections) -> str:
    """Several tables one below the other, with the notes below the last."""
    return _floats(sections.title, sections.summary, _blocks(sections.tables), sections.notes)


def _blocks(sections: Sequence[Section]) -> list[_Block]:
    blocks = []
    for section in sections:
        names = _Part("words", section.title, section.labels)
        measured = [part for column in section.columns for part in _parts(column)]
        blocks += _tabulars([names, *measured], breaks=True, has_baseline=False)
    return blocks


def _floats(title: str, summary: str, blocks: Sequence[_Block], below: Sequence[str]) -> str:
    """Tables and the notes below them in as many floats as they need."""
    caption = rf"\caption{{{escaped(title)}: {escaped(summary)}}}"
    word = re.sub(r"[^A-Za-z0-9.]+", "-", title).strip("-")
    label = rf"\label{{tab:{word or 'grid'}}}"
    written = [f"{breakable(note, longer_than=_LONGEST_WORD)}." for note in below]
    minipage = "\n".join([r"\begin{minipage}{\linewidth}\scriptsize\raggedright", *written, r"\end{minipage}"])
    floats = _packed([*blocks, _Block(minipage, math.ceil(_points(" ".join(written)) / TEXT_WIDTH))])
    lines = [r"% needs \usepackage{booktabs}, \usepackage{siunitx} and \usepackage{tabularx}"]
    for number, in_float in enumerate(floats, 1):
        lines += [r"\begin{table}", r"\centering"]
        lines += [caption, label] if number == 1 else [rf"\caption{{{escaped(title)}, continued.}}"]
        lines += [rf"\footnotesize\setlength{{\tabcolsep}}{{{_GAP:g}pt}}"]
        lines += [r"\sisetup{mode=math, retain-explicit-plus, table-align-text-post=false}"]
        lines += ["\n\n\\medskip\n".join(block.text for block in in_float), r"\end{table}"]
    text = "\n".join(lines) + "\n"
    unknown = without_name(text)
    needed = f"% needs LuaLaTeX or XeLaTeX, and a font that has {' '.join(unknown)}\n" if unknown else ""
    return needed + text


def _same_everywhere(column: FilledColumn) -> bool:
    """Whether a column of counts or words says the same of several cells, for which a line below suffices."""
    texts = [entry.full for entry in column.entries]
    return column.kind in ("count", "words") and len(texts) > 1 and len(set(texts)) == 1


def _divided(measured: Mapping[FilledColumn, Sequence[_Part]], room: float) -> list[list[_Part]]:
    """The parts by the table that they are in: one for each lens, more where the measures of one have no room."""
    divided: list[list[_Part]] = []
    for lens in LENSES:
        of_lens = [column for column in measured if (column.lens or LENSES[0]) == lens]
        divided.append([])
        for name in dict.fromkeys(column.name for column in of_lens):
            parts = [part for column in of_lens if column.name == name for part in measured[column]]
            if divided[-1] and sum(part.narrowest for part in [*divided[-1], *parts]) > room:
                divided.append([])
            divided[-1] += parts
    return [parts for parts in divided if parts]


def _packed(blocks: Sequence[_Block]) -> list[list[_Block]]:
    """Blocks by the float that they are in."""
    floats: list[list[_Block]] = [[]]
    for block in blocks:
        if sum(other.lines + _RULES for other in floats[-1]) + block.lines > _PAGE and floats[-1]:
            floats.append([])
        floats[-1].append(block)
    return floats


def _levels(table: TableData, measured: Sequence[_Part]) -> list[_Part]:
    """A column for each factor that varies; the labels of the cells where that has no room or names two cells alike."""
    factors = [factor for factor in table.comparison.factors if len(factor["levels"]) > 1]
    levels = [[labels.plain(row.cell.levels[factor["path"]]) for factor in factors] for row in table.rows]
    cells = [_Part("words", "cell", [row.marked for row in table.rows])]
    if not factors or len(set(map(tuple, levels))) < len(levels):
        return cells
    for row, of_row in zip(table.rows, levels, strict=True):
        of_row[-1] += row.mark
    parts = [
        _Part("words", labels.plain(factor["name"]), of_factor)
        for factor, of_factor in zip(factors, zip(*levels, strict=True), strict=True)
    ]
    quality = sum(part.narrowest for part in measured[: _n_of_difference(measured)])
    return parts if sum(part.narrowest for part in parts) + quality <= TEXT_WIDTH else cells


def _n_of_difference(parts: Sequence[_Part]) -> int:
    """How many of the first columns are about the metric of the table: up to the verdict, at least the first."""
    return next((number for number, part in enumerate(parts, 1) if part.heading == "verdict"), 1)


def _parts(column: FilledColumn) -> list[_Part]:
    """A mean has its standard deviation, a difference its interval in a column of its own."""
    entries, title = column.entries, column.title
    texts = [entry.text for entry in entries]
    match column.kind:
        case "mean":
            deviations = [entry.detail for entry in entries]
            return [_Part("number", title, texts), *([_Part("attached", "", deviations)] if any(deviations) else [])]
        case "difference":
            decimal = [text if _is_number(text.removesuffix(" %")) else "" for text in texts]
            beside = [entry.detail if number else entry.full for number, entry in zip(decimal, entries, strict=True)]
            return [_Part("number", "\N{GREEK CAPITAL LETTER DELTA}", decimal), _Part("words", "interval", beside)]
        case "ratio":
            return [_Part("number", f"{title} ({numbers.TIMES})", [text.strip(numbers.TIMES) for text in texts])]
        case "verdict":  # without its mark
            return [_Part("words", title, [text.partition(" ")[2] for text in texts])]
        case "count":
            return [_Part("right", title, texts)]
        case "words":
            return [_Part("words", title, [entry.full for entry in entries])]


def _tabulars(parts: Sequence[_Part], breaks: bool, has_baseline: bool = True) -> list[_Block]:
    """The columns as tables of at most a page's height, each with the baseline first, where there is one.

    Empty where they are wider than the text, and words may not be broken into lines.
    """
    broken = sum(part.width for part in parts) > TEXT_WIDTH
    if broken and not breaks:
        return []
    words = [part for part in parts if part.kind == "words"] if broken else []
    room = TEXT_WIDTH - sum(part.width for part in parts if part not in words)
    widths = _widths(words, room)
    mean = sum(widths.values()) / len(words) if words else 1.0
    shares = {part: width / mean for part, width in widths.items()}
    format = "".join(_format(part, shares.get(part)) for part in parts)
    kind = r"\begin{tabularx}{\linewidth}" if words else r"\begin{tabular}"
    begin, end = f"{kind}{{@{{}}{format}@{{}}}}", r"\end{tabularx}" if words else r"\end{tabular}"
    header, *rows = (
        " & ".join(texts) + r" \\" for texts in zip(*(_column(part, part in words) for part in parts), strict=True)
    )
    heights = [
        max((_lines(part.texts[index], widths[part]) for part in words), default=1) for index in range(len(rows))
    ]
    first, chunks = [0] if has_baseline else [], list[list[int]]([[]])
    for index in range(len(first), len(rows)):
        if chunks[-1] and sum(heights[other] for other in (*first, *chunks[-1], index)) > _MOST_LINES:
            chunks.append([])
        chunks[-1].append(index)
    blocks = []
    for chunk in chunks:
        below = [r"\midrule", *(rows[index] for index in first), *([r"\midrule"] if first and chunk else [])]
        below += [rows[index] for index in chunk]
        lines = [begin, r"\toprule", header, *below, r"\bottomrule", end]
        blocks.append(_Block("\n".join(lines), sum(heights[index] for index in (*first, *chunk))))
    return blocks


def _lines(text: str, width: float) -> int:
    """How many lines a text takes, filled one after the other."""
    lines, used = 1, 0.0
    for piece in pieces(text):
        points = _points(piece)
        if used and used + points > width:
            lines, used = lines + 1, 0.0
        lines += math.ceil(points / width) - 1 if points else 0
        used += points
    return lines


def _widths(words: Sequence[_Part], room: float) -> dict[_Part, float]:
    """Points between the gaps of columns that together have ``room``: what each needs at least, and of the rest in
    proportion to what it would still take.
    """
    if not words:
        return {}
    narrowest = {part: part.narrowest - 2 * _GAP for part in words}
    wanted = {part: part.width - part.narrowest for part in words}
    rest = room - sum(part.narrowest for part in words)
    if rest <= 0:
        return narrowest
    return {part: narrowest[part] + rest * wanted[part] / sum(wanted.values()) for part in words}


def _format(part: _Part, share: float | None) -> str:
    """The type of a column; ``share`` is that of the room for words, relative to the mean one; None: no line breaks."""
    match part.kind:
        case "number":
            digits = [re.fullmatch(r"([+-]?)(\d*)\.?(\d*)", _plain(text)) for text in part.texts]
            if None in digits:
                return "r"  # powers of ten
            known = [match.groups() for match in digits if match]
            sign = "+" if any(sign for sign, *_ in known) else ""
            whole, decimals = (max(len(groups[index]) for groups in known) for index in (1, 2))
            return f"S[table-format={sign}{max(whole, 1)}.{decimals}]"
        case "attached":
            return r"@{\,}l"
        case "right":
            return "r"
        case "words":
            return rf">{{\hsize={share:.3f}\hsize\raggedright\arraybackslash\hspace{{0pt}}}}X" if share else "l"


def _plain(text: str) -> str:
    """The number of a text without its unit; empty where it is none."""
    number = text.removesuffix(" %")
    return number if _is_number(number) else ""


def _column(part: _Part, breaks: bool) -> list[str]:
    """The heading and the texts as LaTeX."""
    match part.kind:
        case "number":
            return [f"{{{escaped(part.heading)}}}", *map(_number, part.texts)]
        case "words" if breaks:
            return [breakable(text) for text in (part.heading, *part.texts)]
        case _:
            return [escaped(text) for text in (part.heading, *part.texts)]


def _number(text: str) -> str:
    """A number for an S column; any other text in braces."""
    number = _plain(text)
    if not number:
        return f"{{{escaped(text)}}}" if text else ""
    unit = text.removeprefix(number)
    return f"{number}{{{escaped(unit)}}}" if unit else number


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _points(text: str) -> float:
    """About how wide a text is in ``\\footnotesize``, in the font of LaTeX itself."""
    return sum(map(_points_of, text))


def _points_of(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return 8.5
    if character in _NARROW:
        return 2.5
    if character in _SMALL:
        return 3.4
    return 6.8 if character in _WIDE else 6.0 if character.isupper() else 4.25
