"""Material: all that the page is made of, read once from the directories of the runs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ...compare.records import CellComparison, Comparison
from ...store.files import read_json
from ...store.results import Row, read_rows
from ..labels import plain


@dataclass(frozen=True)
class ReportData:
    """A comparison with what its runs left; ``manifest`` is the grid's, ``root`` is ``runs/``."""

    manifest: Mapping[str, Any]
    comparison: Comparison
    root: Path

    @cached_property
    def names(self) -> dict[str, str]:
        """What a cell is called in the page, by its label: harmless, in one line, and never the same twice."""
        names: dict[str, str] = {}
        taken: set[str] = set()
        for cell in self.comparison.cells:
            name = wanted = plain(cell.label) or "cell"
            number = 2
            while name in taken:
                name, number = f"{wanted} ({number})", number + 1
            taken.add(name)
            names[cell.label] = name
        return names

    def directory(self, run_id: str) -> Path:
        return self.root / "store" / run_id[:2] / run_id

    @cached_property
    def results(self) -> dict[str, dict[str, Any]]:
        """``result.json`` by run id, of the runs that have one. Errors: StorageError."""
        found = {run: read_json(self.directory(run) / "result.json") for run in self._ids}
        return {run: result for run, result in found.items() if isinstance(result, dict)}

    @cached_property
    def configs(self) -> dict[str, dict[str, str]]:
        """What ``run.json`` says of each run that was begun: its settings by path. Errors: StorageError."""
        found = {run: read_json(self.directory(run) / "run.json") for run in self._ids}
        return {run: flat(record.get("config", {})) for run, record in found.items() if isinstance(record, dict)}

    @cached_property
    def rows(self) -> dict[str, dict[int, list[Row]]]:
        """What the runs of each cell wrote on their way, by its label and then by seed."""
        return {
            cell.label: {
                seed: read_rows(self.directory(run.id) / "metrics.jsonl")
                for seed, run in zip(cell.seeds, cell.results, strict=True)
            }
            for cell in self.comparison.cells
        }

    def stability(self, cell: CellComparison, name: str) -> list[list[float]]:
        """A list that the runs of a cell observed, such as one number per block; of those that have it."""
        stabilities = [self.results.get(run.id, {}).get("stability") or {} for run in cell.results]
        found = [stability.get(name) for stability in stabilities]
        return [values for values in found if isinstance(values, list) and values]

    def by_position(self, cell: CellComparison, ending: str) -> list[list[tuple[float, float]]]:
        """Position and loss in the texts of one validation set, for each run of a cell that has them."""
        found = []
        for run in cell.results:
            curves = (self.results.get(run.id, {}).get("quality") or {}).get("by_position") or {}
            curve = curves.get(ending) or {}
            if curve.get("position") and len(curve["position"]) == len(curve.get("loss", ())):
                found.append(list(zip(curve["position"], curve["loss"], strict=True)))
        return found

    @cached_property
    def _ids(self) -> list[str]:
        return [run.id for cell in self.comparison.cells for run in cell.results]


def flat(value: Any, path: str = "") -> dict[str, str]:
    """``{"model": {"position": {"name": "rope"}}}`` -> ``{"model.position.name": "rope"}``, values as JSON writes them."""  # noqa: E501
    if isinstance(value, dict) and value:
        return {
            inner: text
            for key, item in value.items()
            for inner, text in flat(item, f"{path}.{key}" if path else str(key)).items()
        }
    return {path: value if isinstance(value, str) else json.dumps(value)}
