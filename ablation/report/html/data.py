"""What the page is made of: the comparison, and what the runs left beside their results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ...compare.inside import InsideComparison, inside_of
from ...compare.records import CellComparison, Comparison
from ...store.results import RunResult, read_record
from ...store.rows import Row
from ...store.runs import Store
from ..labels import metric_name, plain
from ..table import TableData
from . import origin

MOST_SHOWN = 64
"""Cells beside the baseline in a figure or a long table: of more, no eye can tell the lines apart."""


@dataclass(frozen=True)
class ReportData:
    """A comparison with the files of its runs; ``manifest`` is the grid's, ``root`` is ``runs/``."""

    manifest: Mapping[str, Any]
    comparison: Comparison
    root: Path

    @cached_property
    def table(self) -> TableData:
        return TableData.of(self.comparison)

    @cached_property
    def names(self) -> dict[str, str]:
        """The name of a cell in the page, by its label: harmless, in one line, and never the same twice."""
        names: dict[str, str] = {}
        taken = set[str]()
        for cell in self.comparison.cells:
            name = label = plain(cell.label) or "cell"
            number = 2
            while name in taken:
                name, number = f"{label} ({number})", number + 1
            names[cell.label] = name
            taken.add(name)
        return names

    @cached_property
    def combined_factors(self) -> dict[str, str]:
        """By path the names of the factors whose levels name a cell; empty where most cells change a single one."""
        cells = self.comparison.cells
        varied = {
            factor["path"]: plain(factor["name"])
            for factor in self.comparison.factors
            if len({cell.levels.get(factor["path"]) for cell in cells}) > 1
        }
        baseline = self.comparison.baseline.levels
        changed = [sum(cell.levels.get(path) != baseline.get(path) for path in varied) for cell in cells[1:]]
        return varied if sum(count > 1 for count in changed) > len(changed) / 2 else {}

    @cached_property
    def short_names(self) -> dict[str, str]:
        """By the label of a cell, its name in figures: its levels alone where they are combined, and without the factor
        where cells are named by that one alone."""
        cells = self.comparison.cells
        baseline = {self.comparison.baseline.label: "baseline"}
        if factors := self.combined_factors:
            names = {cell.label: " · ".join(plain(cell.levels.get(path, "")) for path in factors) for cell in cells}
            if len({*names.values()}) == len(cells):
                return {**names, **baseline}
        others = [self.names[cell.label] for cell in cells[1:]]
        common = others[0].partition("=")[0] + "=" if others else ""
        alone = any(name.count("=") == 1 for name in others)
        if not alone or not all(name.startswith(common) for name in others):
            common = ""
        return {**{cell.label: self.names[cell.label].removeprefix(common) for cell in cells}, **baseline}

    @cached_property
    def shown(self) -> Comparison:
        """The comparison with the cells that figures and long tables show: of many, those that differ most."""
        return most_different(self.comparison, MOST_SHOWN)

    @cached_property
    def shown_table(self) -> TableData:
        """The table of the cells that are shown."""
        return self.table if self.shown is self.comparison else TableData.of(self.shown)

    @cached_property
    def inside(self) -> InsideComparison | None:
        """What `ablate inspect` found in these runs, None where it has not looked. Errors: StorageError."""
        return inside_of(self.manifest, Store(self.root).root / self.comparison.grid)

    @property
    def cut(self) -> str:
        """A sentence that says which cells are shown, empty where that is all of them."""
        of, shown = len(self.comparison.cells), len(self.shown.cells)
        if shown == of:
            return ""
        metric = metric_name(self.comparison.metric)
        return (
            f"Of {of:,} cells, the baseline and the {shown - 1} that differ most from it in {metric} are shown; "
            f"`ablate table {plain(self.comparison.grid)} --format csv` has all of them."
        )

    @property
    def grid_file(self) -> str:
        return origin.grid_file(Store(self.root), self.comparison.grid)

    @property
    def dates(self) -> str:
        return origin.dates(Store(self.root), (run.id for run in self._runs))

    @property
    def code(self) -> str:
        return origin.code(self._runs)

    @property
    def _runs(self) -> list[RunResult]:
        return [run for cell in self.comparison.cells for run in cell.results]

    def config(self, run_id: str) -> dict[str, str] | None:
        """The settings in ``run.json`` by path; None of a run that was not started. Errors: StorageError."""
        if run_id not in self._configs:
            record = read_record(self.directory(run_id) / "run.json", run_id)
            self._configs[run_id] = None if record is None else flat(record.get("config", {}))
        return self._configs[run_id]

    @cached_property
    def _configs(self) -> dict[str, dict[str, str] | None]:
        return {}

    @cached_property
    def rows(self) -> dict[str, dict[int, list[Row]]]:
        """What the runs of cells that are shown logged, by the label of the cell and by seed. Errors: StorageError."""
        return {
            cell.label: {
                seed: Store(self.root).rows(run.id) for seed, run in zip(cell.seeds, cell.results, strict=True)
            }
            for cell in self.shown.cells
        }

    def directory(self, run_id: str) -> Path:
        return Store(self.root).directory(run_id)

    def stability(self, cell: CellComparison, name: str) -> list[list[float]]:
        """A list that the runs of a cell recorded, such as a number per block, of each run that has it."""
        values = [run.stability.get(name) for run in cell.results]
        return [value for value in values if isinstance(value, list) and value]

    def by_position(self, cell: CellComparison, ending: str) -> list[list[tuple[float, float]]]:
        """Position and loss in the sequences of one validation set, for each run of a cell that has them."""
        curves = []
        for run in cell.results:
            curve = run.by_position.get(ending) or {}
            if curve.get("position") and len(curve["position"]) == len(curve.get("loss", ())):
                curves.append(list(zip(curve["position"], curve["loss"], strict=True)))
        return curves


def most_different(comparison: Comparison, most: int) -> Comparison:
    """The comparison with the baseline and the ``most`` cells whose differences to it are largest, in their order."""
    if len(comparison.cells) <= most + 1:
        return comparison

    def size(cell: CellComparison) -> float:
        contrast = cell.metrics[comparison.metric].contrast
        return -1.0 if contrast is None or contrast.delta is None else abs(contrast.delta)

    largest = {cell.label for cell in sorted(comparison.cells[1:], key=size, reverse=True)[:most]}
    return replace(
        comparison, cells=(comparison.baseline, *(cell for cell in comparison.cells[1:] if cell.label in largest))
    )


def flat(value: Any, path: str = "") -> dict[str, str]:
    """``{"position": {"name": "rope"}}`` -> ``{"position.name": "rope"}``; values as JSON writes them."""
    if isinstance(value, dict) and value:
        return {
            inner: text
            for key, item in value.items()
            for inner, text in flat(item, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: value if isinstance(value, str) else json.dumps(value)}
