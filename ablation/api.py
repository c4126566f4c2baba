"""The Python interface: ``Study`` and ``load``, and the ``Results`` that both give.

It stands above ``report`` and ``study``, which do not know of each other: ``Study`` is the driver of ``ablation.study``
that also writes tables, ``Results`` a ``Comparison`` that shows itself. The commands use them as a notebook does::

    study = ablation.Study("grid.yaml", set={"training.max_steps": 200})
    study.run(workers=2)
    results = study.compare()            # or ablation.load("runs/quickstart")
    results.frame().groupby("cell").value.mean()

``load`` and ``Study.compare`` read files alone and import neither torch nor Lightning.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .compare.records import CellComparison, Comparison
from .compare.two_studies import TwoStudies
from .errors import InputError, nearest
from .store.runs import Store
from .study import study
from .study.looks import record_look
from .study.manifest import compare_runs, read_manifest
from .study.training import ignore
from .study.two_studies import compare_folders

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.console import Console, ConsoleOptions, RenderResult

    from .compare.inside import InsideComparison
    from .grid.plan import Plan
    from .inspect.record import How
    from .study.training import MessageCallback
    from .tracking.workspace import Dashboard

FRAME_COLUMNS = ("cell", "seed", "run", "status", "metric", "value")
CURVE_COLUMNS = ("cell", "seed", "step", "tokens", "seconds", "value")


class Study(study.Study):
    """A grid file and what it is run with; see ``ablation.study.study.Study`` for the arguments and all methods."""

    def compare(self, metric: str | None = None) -> "Results":
        """The cells compared as far as their runs are trained; ``metric``: by another than the grid's own."""
        return Results.of(super().compare(metric), self.store)

    def inspect(
        self,
        cell: str | None = None,
        how: "How | None" = None,
        text: str | None = None,
        n_shown: int = 4,
        on_message: "MessageCallback" = ignore,
    ) -> "Inspected":
        """Look inside the trained models of a cell, by its label, or of all; see ``inspect_models``."""
        grid = self.manifest["grid"]
        name = grid if cell is None else f"{grid}:{cell}"
        return inspect_models(name, how, text, n_shown, self.plugins, self.store.root, on_message)

    def save_tables(self, comparison: Comparison) -> None:
        """Write the table as Markdown, CSV and JSON into the grid's folder. Errors: StorageError."""
        from .report.render import render
        from .report.table import TableData
        from .store.files import unwritable

        table = TableData.of(comparison)
        for format, ending in (("markdown", "md"), ("csv", "csv"), ("json", "json")):
            file = self.store.grid_directory(comparison.grid) / f"table.{ending}"
            try:
                file.write_text(render(table, format), encoding="utf-8")
            except OSError as error:
                raise unwritable(file, error) from None

    def publish(self, plan: "Plan", comparison: Comparison, on_message: "MessageCallback") -> None:
        """Write the summary run of the grid into W&B: its comparison as a table, its files as an artifact."""
        import os

        from .report.summary import summary
        from .tracking.mode import resolve_mode
        from .tracking.summary_run import GridSummary, mirror_summary
        from .tracking.workspace import save_workspace

        tracking = plan.runs[0].config.tracking
        mode = resolve_mode(tracking.mode, os.environ)
        if mode.mode == "disabled":
            return
        folder = self.store.grid_directory(plan.name)
        columns, rows = comparison_rows(comparison)
        labels = [verdict.label for verdict in comparison.verdicts]
        counts = {f"cells_{label}": labels.count(label) for label in sorted(set(labels))}
        numbers = {"cells": len(comparison.cells), "seeds": len(comparison.seeds), **counts}
        files = [folder / name for name in ("grid.yaml", "manifest.json", "table.md", "table.csv", "table.json")]
        content = GridSummary(plan.name, summary(comparison), columns, rows, numbers, files, tracking.tags)
        written = mirror_summary(content, self.store.root, tracking.project, mode, on_message, tracking.entity)
        if written and mode.mode == "online":
            save_workspace(dashboard_of(comparison), folder, tracking.project, tracking.entity, on_message)

    def save_report(self) -> str:
        """Save a report on the grid in W&B; returns its address. Errors: InputError where W&B is not online."""
        import os

        from .tracking.mode import resolve_mode
        from .tracking.workspace import save_report

        plan = self.plan()
        tracking, folder = plan.runs[0].config.tracking, self.store.grid_directory(plan.name)
        mode = resolve_mode(tracking.mode, os.environ)
        return save_report(dashboard_of(self.compare()), folder, tracking.project, tracking.entity, mode)


def dashboard_of(comparison: Comparison) -> "Dashboard":
    """What W&B shows of a comparison beside its runs."""
    from .report.render import render
    from .report.summary import summary
    from .report.table import TableData, measures_of
    from .tracking.workspace import Dashboard

    results = [run for cell in comparison.cells for run in cell.results]
    return Dashboard(
        comparison.grid,
        comparison.question,
        summary(comparison),
        render(TableData.of(comparison), "markdown"),
        [factor["name"] for factor in comparison.factors if len(factor["levels"]) > 1],
        comparison.metric,
        comparison.better,
        [name for name in measures_of(comparison, "stability") if any(name in run.stability for run in results)],
    )


def comparison_rows(comparison: Comparison) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of a comparison as plain values: cell, levels, and of each primary measure what was found."""
    names = [name for name in comparison.primary.values() if name is not None]
    columns = ["cell", *(factor["name"] for factor in comparison.factors)]
    columns += [f"{name} {what}" for name in names for what in ("mean", "difference", "low", "high", "verdict")]
    rows = []
    for cell in comparison.cells:
        row: list[Any] = [cell.label, *(cell.levels[factor["path"]] for factor in comparison.factors)]
        for name in names:
            metric = cell.metrics[name]
            contrast = metric.contrast
            low, high = contrast.interval if contrast and contrast.interval else (None, None)
            verdict = metric.verdict.label if metric.verdict else ("baseline" if cell is comparison.baseline else None)
            row += [metric.mean, contrast.delta if contrast else None, low, high, verdict]
        rows.append(row)
    return columns, rows


def load(directory: str | Path, metric: str | None = None) -> "Results":
    """The results of a grid that was run, from its folder such as ``runs/quickstart``; its file is not needed.

    ``metric``: compare by another than the grid's own. Errors: InputError where that is no folder of a grid;
    StorageError where a file of a run is damaged.
    """
    directory = Path(directory)
    manifest = read_manifest(directory)
    if manifest is None:
        raise InputError(f"{directory}: has no manifest.json; give the folder of a grid, such as runs/quickstart")
    store = Store(directory.absolute().parent)
    comparison = compare_runs(manifest, store, metric)
    record_look(comparison, directory)
    return Results.of(comparison, store)


def inspect_models(
    name: str,
    how: "How | None" = None,
    text: str | None = None,
    n_shown: int = 4,
    plugins: Sequence[str | Path] = (),
    runs: str | Path = "runs",
    on_message: "MessageCallback" = ignore,
) -> "Inspected":
    """Look inside trained models: what heads do and attend to, and what is lost without each part, over seeds.

    Args:
        name: ``GRID:CELL`` for all seeds of a cell, ``GRID`` for all cells, or the id of one run.
        how: which knock-outs, and on how many validation examples.
        text: what the maps are of; by default the first ``n_shown`` validation examples.
        plugins: the files that the runs were trained with.
        runs: where the runs are.
        on_message: is called with what is done next.

    Errors: InputError where there is no such run, or none of it has weights.
    """
    from .compare.inside import compare_inside
    from .inspect.record import How
    from .study.inspection import inspect_runs

    store = Store(Path(runs))
    found = inspect_runs(store, name, how or How(), text, n_shown, [Path(plugin) for plugin in plugins], on_message)
    grid = found.data["grid"]
    directory = None if grid is None else store.grid_directory(grid)
    return Inspected(compare_inside(found.data, found.labels), found.maps, tuple(found.stale), directory)


@dataclass(frozen=True)
class Inspected:
    """What was found inside trained models; printed by rich it shows its tables."""

    comparison: "InsideComparison"
    maps: Mapping[str, list[dict[str, Any]]]
    """By run, the attention maps of each example: see ``inspect.maps.maps_as_data``."""
    stale: tuple[str, ...]
    """Runs that were trained by other code than today's."""
    directory: Path | None
    """The folder of the grid; None for a run by its id."""

    def save_page(
        self, file: str | Path | None = None, pictures: str | Path | None = None
    ) -> tuple[Path | None, list[Path]]:
        """Write the page, by default as inside.html into the grid's folder, and its figures into ``pictures``.

        Returns the files; of a run by its id there is no page without ``file``. Errors: StorageError.
        """
        from .report.html.inside import write_inside

        page = Path(file) if file is not None else None if self.directory is None else self.directory / "inside.html"
        return page, write_inside(self.comparison, self.maps, page, None if pictures is None else Path(pictures))

    def frame(self) -> "DataFrame":
        """One row for each cell, seed, part and measure: ``value`` is that of the model without the part.

        ``part`` is empty for the whole model; ``intact`` is the value of that.
        """
        from pandas import DataFrame

        rows = [
            (cell.label, seed, run, family, part, name, value, cell.intact[name][index])
            for cell in self.comparison.cells
            for part, family, measured in [
                ("", "", cell.intact),
                *((each.part, each.family, each.without) for each in cell.knockouts),
            ]
            for name, values in measured.items()
            for index, (seed, run, value) in enumerate(zip(cell.seeds, cell.runs, values, strict=True))
        ]
        return DataFrame(rows, columns=["cell", "seed", "run", "family", "part", "measure", "value", "intact"])

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from .report.render.inside import render

        yield render(self.comparison, options.max_width)


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
        if label in labels:
            return labels[label]
        if label == self.baseline.label:
            raise InputError(f"{label!r} is the baseline, which is compared with nothing; name another cell")
        whole = [other for other in labels if {*label.split()} <= {*other.split()}]
        parts = label.casefold().split()
        matching = whole or [other for other in labels if parts and all(part in other.casefold() for part in parts)]
        if len(matching) == 1:
            return labels[matching[0]]
        if matching:
            raise InputError(f"{label!r} could be {len(matching)} cells: {'; '.join(matching)}")
        raise InputError(f"{label!r} is not a cell; cells: {'; '.join(labels)}{nearest(label, labels)}")

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
        folders = [results.store.root / results.grid for results in (self, other)]
        return StudyComparison.of(compare_folders(folders[0], folders[1], metric))

    def select(self, words: Sequence[str] = (), sort: str | None = None) -> "Results":
        """Only the cells that have all ``words`` in their labels or levels, sorted, below the baseline.

        ``sort`` is "label", "difference", "p", "diverged" or a metric, with a ``-`` before it reversed. Verdicts stay
        those of all cells. Errors: InputError.
        """
        from .report.select import select

        return select(self, words, sort)

    def table(self, format: str = "markdown", columns: Sequence[str] = ()) -> str:
        """The table as text: "markdown", "latex", "csv" or "json".

        ``columns`` are the measures that are shown, as "loss" or "parameters"; csv and json have them all. Errors:
        InputError for another format or measure.
        """
        from .report.render import render
        from .report.table import TableData

        format = _known_format(format)
        if columns and format in ("csv", "json"):
            raise InputError(f"--columns: {format} has every measure; remove it")
        return render(TableData.of(self, columns), format)

    def __repr__(self) -> str:
        return f"Results({self.grid!r}, {len(self.cells)} cells, {len(self.seeds)} seeds, by {self.metric!r})"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from .report.render import terminal
        from .report.table import TableData

        yield terminal.render(TableData.of(self), options.max_width)

    def _repr_html_(self) -> str:
        """The table as HTML: the columns that every format has."""
        from html import escape

        from .report.table import TableData

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


@dataclass(frozen=True, repr=False, eq=False, kw_only=True)
class StudyComparison(TwoStudies):
    """Two studies compared: ``pairs``, a comparison for each cell that both have, and ``differences`` beside them."""

    @classmethod
    def of(cls, result: TwoStudies) -> Self:
        """The same as what shows itself."""
        return cls(**{field.name: getattr(result, field.name) for field in fields(TwoStudies)})

    def table(self, format: str = "markdown") -> str:
        """The tables as text: "markdown", "latex", "csv" or "json". Errors: InputError for another format."""
        from .report.render import render_two_studies

        return render_two_studies(self, _known_format(format))

    def __repr__(self) -> str:
        return f"StudyComparison({self.b!r} minus {self.a!r}, {len(self.pairs)} cells, {len(self.seeds)} seeds)"

    def __rich_console__(self, console: "Console", options: "ConsoleOptions") -> "RenderResult":
        from .report.render import terminal
        from .report.two_studies import sections

        yield terminal.render_sections(sections(self), options.max_width)


def _known_format(format: str) -> str:
    from .report.render import FORMATS

    if format not in FORMATS:
        raise InputError(f"format: {format!r} is not known; allowed: {', '.join(FORMATS)}{nearest(format, FORMATS)}")
    return format
