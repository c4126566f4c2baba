"""The results of a study: a comparison that shows itself, and gives its numbers as data frames."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

from ..compare.records import CellComparison, Comparison
from ..errors import InputError, nearest
from ..names import find_label
from ..store.runs import Store

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions, RenderResult

    from .two_studies import StudyComparison

FRAME_COLUMNS = ("cell", "seed", "run", "status", "metric", "value")
CURVE_COLUMNS = ("cell", "seed", "step", "tokens", "seconds", "value")


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class Results(Comparison):
    """A grid compared: ``cells`` (the baseline first), ``effects`` and all else that ``Comparison`` has.

    In a notebook or printed by rich it shows its table.
    """

    store: Store

    @classmethod
    def of(cls, comparison: Comparison, store: Store) -> Self:
        """The comparison, with the store of its runs."""
        return cls(**{field.name: getattr(comparison, field.name) for field in fields(Comparison)}, store=store)

    def cell(self, label: str) -> CellComparison:
        """The cell of that label, or the only one whose label has all these words, or parts of words, in it.

        Errors: InputError, which names the cells that it could mean.
        """
        labels = {cell.label: cell for cell in self.cells[1:]}
        if label == self.baseline.label:
            raise InputError(f"{label!r} is the baseline, which is compared with nothing; name another cell")
        return labels[find_label(label, labels)]

    def frame(self) -> "DataFrame":
        """One row for each cell, seed and metric, in long form.

        Columns: one for each factor, under its short name (or its path, where that is the name of another column), with
        the cell's level; ``cell``, the label; ``seed``; ``run``, the id; ``status``, such as "completed" (see
        ``store.results.RunStatus``); ``metric``; ``value``, NaN where the run has none. Times that were taken apart
        from training have no seeds and are not here, but in ``cells``.
        """
        from pandas import DataFrame

        rows = [
            (*levels, cell.label, seed, run.id, run.status, name, value)
            for cell in self.cells
            for levels in [self._factors(cell).values()]
            for seed, run in zip(cell.seeds, cell.results, strict=True)
            for name, metric in cell.metrics.items()
            if metric.values
            for value in [metric.values[self.seeds.index(seed)]]
        ]
        return DataFrame(rows, columns=[*self._factors(self.baseline), *FRAME_COLUMNS]).astype({"value": float})

    def curves(self, metric: str = "loss") -> "DataFrame":
        """One row for each evaluation of each run: how ``metric`` went while it was trained.

        ``"loss"`` is that of validation; ``"train/loss"``, ``"train/gradient_norm"`` and what monitors measured have
        their names in metrics.jsonl. Columns: the factors as in ``frame``, ``cell``, ``seed``, ``step``, ``tokens`` and
        ``seconds`` trained until then, ``value``. Errors: InputError for what no run has measured.
        """
        from pandas import DataFrame

        name = metric if "/" in metric else f"validation/{metric}"
        rows, known = [], set[str]()
        for cell in self.cells:
            levels = self._factors(cell)
            for seed, run in zip(cell.seeds, cell.results, strict=True):
                for row in self.store.rows(run.id):
                    known |= row.keys()
                    if name in row:
                        point = (cell.label, seed, row["step"], row["tokens"], row["seconds"], row[name])
                        rows.append({**levels, **dict(zip(CURVE_COLUMNS, point, strict=True))})
        names = sorted(known - {"step", "tokens", "seconds"})
        if not rows and names:
            raise InputError(
                f"metric: no run has measured {name!r}; measured: {', '.join(names)}{nearest(name, names)}"
            )
        return DataFrame(rows, columns=[*self._factors(self.baseline), *CURVE_COLUMNS]).astype({"value": float})

    def compare_with(self, other: "Results", metric: str | None = None) -> "StudyComparison":
        """Another study minus this one, cell by cell, paired by seed: see ``StudyComparison``.

        Cells are matched by their settings. ``metric``: by another than this study's own. Errors: InputError where the
        two have no cell or no seed in common, or one of them was never run.
        """
        from ..study.two_studies import compare_folders
        from .two_studies import StudyComparison

        folders = [results.store.root / results.grid for results in (self, other)]
        return StudyComparison.of(compare_folders(folders[0], folders[1], metric))

    def select(self, words: Sequence[str] = (), sort: str | None = None) -> "Results":
        """Only the cells that have all ``words`` in their labels or levels, sorted, below the baseline.

        ``sort`` is "label", "difference", "p", "diverged" or a metric, with a ``-`` before it reversed. Verdicts stay
        those of all cells. Errors: InputError.
        """
        from ..report.select import select

        return select(self, words, sort)

    def table(self, format: str = "markdown", columns: Sequence[str] = ()) -> str:
        """The table as text: "markdown", "latex", "csv" or "json".

        ``columns`` are the measures that are shown, as "loss" or "parameters"; csv and json have them all. Errors:
        InputError for another format or measure.
        """
        from ..report.render import known_format, render
        from ..report.table import TableData

        format = known_format(format)
        if columns and format in ("csv", "json"):
            raise InputError(f"--columns: {format} has every measure; remove it")
        return render(TableData.of(self, columns), format)

    def __repr__(self) -> str:
        return f"Results({self.grid!r}, {len(self.cells)} cells, {len(self.seeds)} seeds, by {self.metric!r})"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from ..report.render import terminal
        from ..report.table import TableData

        yield terminal.render(TableData.of(self), options.max_width)

    def _repr_html_(self) -> str:
        """The table as HTML: the columns that every format has."""
        from html import escape

        from ..report.table import TableData

        table = TableData.of(self)
        columns = table.shown("always")
        head = "".join(f"<th>{escape(title)}</th>" for title in ("cell", *(column.title for column in columns)))
        lines = [f"<tr>{head}</tr>"]
        for index, row in enumerate(table.rows):
            texts = [f"{row.label} {row.mark}".strip(), *(column.entries[index].full for column in columns)]
            lines.append("<tr>" + "".join(f"<td>{escape(text)}</td>" for text in texts) + "</tr>")
        return f"<p>{escape(table.summary)}</p><table>{''.join(lines)}</table>"

    def _factors(self, cell: CellComparison) -> dict[str, Any]:
        """The level of every factor: its value where it is one number or word, else its label."""
        taken = {*FRAME_COLUMNS, *CURVE_COLUMNS}
        levels = {}
        for factor in self.factors:
            path, name = factor["path"], factor["name"]
            value = cell.settings.get(path)
            plain = isinstance(value, str | int | float)
            levels[path if name in taken else name] = value if plain else cell.levels.get(path)
        return levels
