"""Study and load: a grid from its file, or from the folder in which it was run, to its results."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..compare.records import Comparison
from ..errors import InputError
from ..store.runs import Store
from ..study import study
from ..study.looks import record_look
from ..study.manifest import compare_runs, read_manifest
from ..study.training import ignore
from .dashboard import comparison_rows, dashboard_of
from .inspected import Inspected, inspect_models
from .results import Results

if TYPE_CHECKING:
    from ..grid.plan import Plan
    from ..inspect.record import How
    from ..study.training import MessageCallback


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
        from ..report.render import render
        from ..report.table import TableData
        from ..store.files import unwritable

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

        from ..report.summary import summary
        from ..tracking.mode import resolve_mode
        from ..tracking.summary_run import GridSummary, mirror_summary
        from ..tracking.workspace import save_workspace

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

        from ..tracking.mode import resolve_mode
        from ..tracking.workspace import save_report

        plan = self.plan_of_last_run()
        tracking, folder = plan.runs[0].config.tracking, self.store.grid_directory(plan.name)
        mode = resolve_mode(tracking.mode, os.environ)
        return save_report(dashboard_of(self.compare()), folder, tracking.project, tracking.entity, mode)


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
