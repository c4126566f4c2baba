"""The columns of the terminal's table, and how they share its width."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich import box
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from ..compare.measures import EXACT, PARAMETERS, TIMED, TOKENS_PER_SECOND
from ..compare.records import CellComparison, Comparison
from ..stats.contrast import Contrast
from . import labels, numbers, provenance

GAP = 2
SHORTEST_LABEL = 8
_OBSERVED = {
    "gradient_norm_max": "largest gradient",
    "attention_logit_max": "attention logit",
    "update_ratio_median": "update/weight",
    "spikes": "spikes",
}
_COUNTED = {"flops_per_token": "FLOPs/token", "cache_bytes_per_token": "cache B/token", "peak_memory_bytes": "memory B"}
_TIMES = {"training_step": "step time", "prefill": "prefill", "decode": "decode speed"}


@dataclass(frozen=True)
class Column:
    """One column, below its title."""

    title: str
    texts: Sequence[Text]
    right: bool = False

    @property
    def width(self) -> int:
        return max(cell_len(line) for text in [self.title, *map(str, self.texts)] for line in text.split("\n"))


Forms = list[Column | None]
"""One column in its forms, the fullest first; None is the last of those that may be left out."""


@dataclass(frozen=True)
class Sheet:
    """A table whose columns give way to the labels, in the order of their places ``gives_way``."""

    title: str
    forms: list[Forms]
    gives_way: Sequence[int] = ()
    apart: int = 1
    """So many rows at the top stand apart from the others by an empty line."""

    def fitted(self, names: Sequence[Text], width: int) -> Table:
        """The table for ``width`` columns of the terminal."""
        forms = [list(column) for column in self.forms]
        longest = max(cell_len(label.plain) for label in names)
        for place in self.gives_way:
            while len(forms[place]) > 1 and _room(_first(forms), width) < min(longest, max(24, width // 4)):
                del forms[place][0]
        return _table(self.title, names, _first(forms), width, self.apart)


def sheets(comparison: Comparison, wide: bool) -> list[Sheet]:
    """One for each lens under which there is anything; all in one where there is room for it."""
    stability, efficiency = _stability(comparison), _efficiency(comparison)
    if wide:
        quality = _quality(comparison, wide)
        forms = [*quality, *stability, *efficiency, *_runs(comparison)]
        costs = len(quality) + len(stability)
        # Other measures of quality say least that is new; then what stands behind the standing.
        gives_way = [*range(len(quality) - 1, 2, -1), *range(costs - 1, len(quality), -1)]
        return [Sheet("cell", forms, [*gives_way, *range(len(forms) - 1, costs - 1, -1), 1])]
    quality = [*_quality(comparison, wide), *_runs(comparison)]
    found = [Sheet("quality", quality, range(len(quality) - 1, 0, -1))]
    found += [Sheet("stability", stability, range(len(stability) - 1, 0, -1))] if stability else []
    return found + ([Sheet("efficiency", efficiency, range(len(efficiency) - 1, 0, -1))] if efficiency else [])


def cell_labels(comparison: Comparison) -> list[Text]:
    """Of the rows, the baseline's first."""
    found = [Text(provenance.label(comparison, cell)) for cell in comparison.cells]
    found[0] = Text.assemble(("baseline: ", "bold"), found[0])
    return found


def difference_title(comparison: Comparison) -> str:
    """Of the column of differences."""
    level = "interval" if comparison.interim_looks else "95 % interval"
    return f"difference [{level}]"


def differences(comparison: Comparison, contrasts: Sequence[Contrast]) -> list[Text]:
    """Each with its interval; dim where there is none, bold where it excludes zero."""
    written = labels.differences(comparison, contrasts)
    deltas = numbers.aligned([delta for delta, _ in written])
    return [
        Text(f"{delta} {beside}", _weight(contrast))
        for contrast, delta, (_, beside) in zip(contrasts, deltas, written, strict=True)
    ]


def _quality(comparison: Comparison, wide: bool) -> list[Forms]:
    others = comparison.cells[1:]
    forms: list[Forms] = [[_means(comparison, comparison.metric, spread=True)]] if wide else []
    if others or not wide:
        forms += [[_differences_to_baseline(comparison, with_mean=not wide)]]
    if others:
        forms += [_verdicts(comparison, comparison.metric)]
    if wide:
        names = [name for name in comparison.other_quality if comparison.measured(name)]
        forms += [[*(_means(comparison, name, spread) for spread in (True, False)), None] for name in names]
    return forms


def _stability(comparison: Comparison) -> list[Forms]:
    standings = [labels.stability(cell) for cell in comparison.cells]
    if not any(standings):
        return []
    forms: list[Forms] = [[Column("standing", [Text(standing or numbers.ABSENT) for standing in standings])]]
    spikes = comparison.primary["stability"]
    if spikes and len(comparison.cells) > 1 and any(cell.metrics[spikes].verdict for cell in comparison.cells):
        forms.append(_verdicts(comparison, spikes))
    for name, title in _OBSERVED.items():
        if comparison.measured(name):
            texts = [Text(_three(cell, name)) for cell in comparison.cells]
            forms.append([Column(title, texts, right=True), None])
    return forms


def _efficiency(comparison: Comparison) -> list[Forms]:
    forms: list[Forms] = []
    primary = comparison.primary["efficiency"]
    if primary is not None:
        forms.append([*_times(comparison, primary)])
        forms += [_verdicts(comparison, primary)] if len(comparison.cells) > 1 else []
    if comparison.measured(PARAMETERS):
        forms.append([*(_costs(comparison, PARAMETERS, in_full) for in_full in (True, False)), None])
    counted = [name for name in EXACT if name in _COUNTED and comparison.measured(name)]
    forms += [[_costs(comparison, name, True), None] for name in counted]
    others = [name for name in TIMED if name != primary and comparison.measured(name)]
    forms += [[*_times(comparison, name), None] for name in others]
    if comparison.measured(TOKENS_PER_SECOND) and not comparison.measured("training_step"):
        forms.append([*(_costs(comparison, TOKENS_PER_SECOND, in_full) for in_full in (True, False)), None])
    return forms


def _runs(comparison: Comparison) -> list[Forms]:
    return [[Column("runs", [_counts(cell, between) for cell in comparison.cells]) for between in (" ", "\n")]]


def _differences_to_baseline(comparison: Comparison, with_mean: bool) -> Column:
    ((mean, sd),) = numbers.means([comparison.baseline.metrics[comparison.metric]])
    reference = f"{mean} {sd} SD" if sd else mean
    contrasts = [contrast for cell in comparison.cells if (contrast := cell.metrics[comparison.metric].contrast)]
    title = difference_title(comparison) if contrasts else labels.metric_name(comparison.metric)
    return Column(title, [Text(reference if with_mean else "", "bold"), *differences(comparison, contrasts)])


def _verdicts(comparison: Comparison, name: str) -> Forms:
    """In words, or where there is no room the marks alone, which the notes explain."""
    verdicts = [cell.metrics[name].verdict for cell in comparison.cells]
    in_words = Column("verdict", [Text(labels.verdict(verdict)) for verdict in verdicts])
    return [in_words, Column("", [Text(labels.mark(verdict)) for verdict in verdicts])]


def _weight(contrast: Contrast) -> str:
    if contrast.interval is None:
        return "dim"
    return "bold" if contrast.excludes_zero else ""


def _means(comparison: Comparison, name: str, spread: bool) -> Column:
    written = numbers.means([cell.metrics[name] for cell in comparison.cells])
    means = numbers.aligned([mean for mean, _ in written])
    texts = [f"{mean} {sd}" if spread else mean for mean, (_, sd) in zip(means, written, strict=True)]
    return Column(labels.metric_name(name), [Text(text) for text in texts])


def _three(cell: CellComparison, name: str) -> str:
    mean = cell.metrics[name].mean
    return numbers.ABSENT if mean is None else f"{mean:.3g}"


def _costs(comparison: Comparison, name: str, in_full: bool) -> Column:
    title = _COUNTED.get(name, labels.metric_name(name))
    if name == PARAMETERS and not in_full:
        title = "params"
    texts = [labels.cost(comparison, cell, name, in_full) for cell in comparison.cells]
    return Column(title, [Text(text) for text in texts], right=True)


def _times(comparison: Comparison, name: str) -> Iterable[Column]:
    written = [labels.timed(comparison, cell, name) for cell in comparison.cells]
    yield Column(_TIMES[name], [Text(f"{ratio} {interval}".strip()) for ratio, interval in written])
    yield Column(_TIMES[name], [Text(ratio) for ratio, _ in written])


def _counts(cell: CellComparison, between: str) -> Text:
    completed, *others = labels.runs(cell)
    return Text(between.join([completed, *others]), "yellow" if others else "")


def _first(forms: Sequence[Forms]) -> list[Column]:
    return [form[0] for form in forms if form[0] is not None]


def _room(columns: Sequence[Column], width: int) -> int:
    """What the columns leave to the labels."""
    return width - sum(column.width + GAP for column in columns)


def _table(title: str, names: Sequence[Text], columns: Sequence[Column], width: int, apart: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, GAP - 1, 0, 0), header_style="dim")
    longest = max(cell_len(text) for text in [title, *map(str, names)])
    table.add_column(title, width=min(longest, max(SHORTEST_LABEL, _room(columns, width))), overflow="fold")
    for column in columns:
        table.add_column(column.title, width=column.width, no_wrap=True, justify="right" if column.right else "left")
    for row, label in enumerate(names):
        table.add_row(label, *(column.texts[row] for column in columns))
        if row + 1 == apart < len(names):
            table.add_section()
    return table
