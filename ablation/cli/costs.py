"""What each cell costs at inference, counted while others train."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..grid import Cell, Plan, Run
    from ..store.states import Ending


class WorkCounter:
    """Counts one cell of a plan whenever the driver has nothing to do, as far as an earlier manifest has not."""

    def __init__(self, plan: "Plan", earlier: dict[str, Any] | None):
        known = {_key(cell): cell["work"] for cell in (earlier or {}).get("cells", ()) if cell.get("work")}
        self.work: dict[str, dict[str, Any]] = {}
        self.waiting: list[Cell] = []
        for cell in plan.cells:
            found = known.get(tuple(run.id for run in cell.runs))
            if found is None:
                self.waiting.append(cell)
            else:
                self.work[cell.label] = found

    def tick(self) -> None:
        if self.waiting:
            self._count(self.waiting.pop(0))

    def started(self, run: "Run") -> None:
        pass

    def ended(self, run: "Run", ending: "Ending", again: bool) -> None:
        pass

    def finish(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """The manifest with what was counted, and what was not yet."""
        while self.waiting:
            self.tick()
        cells = [{**cell, "work": self.work[cell["label"]]} for cell in manifest["cells"]]
        return {**manifest, "cells": cells}

    def _count(self, cell: "Cell") -> None:
        from dataclasses import asdict

        from ..measure.counts import count_work
        from ..plugins import reason

        config = cell.runs[0].config
        try:
            self.work[cell.label] = asdict(count_work(config.model, config.data.build()))
        except Exception as error:  # what trains need not run on a device without memory; the table says what it lacks
            self.work[cell.label] = {"note": f"not counted: {reason(error)}"}


def _key(cell: dict[str, Any]) -> tuple[str, ...]:
    return tuple(run["id"] for run in cell["runs"])
