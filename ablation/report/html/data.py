"""What the page is made of: the comparison, and what the runs left beside their results."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...compare.records import CellComparison, Comparison
from ...store.results import read_record
from ...store.rows import Row
from ...store.runs import Store
from ..labels import plain
from ..table import TableData


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
        for cell in self.comparison.cells:
            name = label = plain(cell.label) or "cell"
            number = 2
            while name in names.values():
                name, number = f"{label} ({number})", number + 1
            names[cell.label] = name
        return names

    @cached_property
    def configs(self) -> dict[str, dict[str, str]]:
        """By run id, the settings in ``run.json`` by path, of each run that was started. Errors: StorageError."""
        configs = {}
        for cell in self.comparison.cells:
            for run in cell.results:
                record = read_record(self.directory(run.id) / "run.json", run.id)
                if record is not None:
                    configs[run.id] = flat(record.get("config", {}))
        return configs

    @cached_property
    def rows(self) -> dict[str, dict[int, list[Row]]]:
        """The metrics that runs logged during training, by the label of the cell and by seed. Errors: StorageError."""
        return {
            cell.label: {
                seed: Store(self.root).rows(run.id) for seed, run in zip(cell.seeds, cell.results, strict=True)
            }
            for cell in self.comparison.cells
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


def flat(value: Any, path: str = "") -> dict[str, str]:
    """``{"position": {"name": "rope"}}`` -> ``{"position.name": "rope"}``; values as JSON writes them."""
    if isinstance(value, dict) and value:
        return {
            inner: text
            for key, item in value.items()
            for inner, text in flat(item, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: value if isinstance(value, str) else json.dumps(value)}
