"""What each cell costs at inference, counted while others train."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..grid.plan import Cell, Plan, Run
    from ..store.results import RunEnd


class WorkCounter:
    """Counts one cell of a plan whenever the driver has nothing to do, as far as an earlier manifest has not."""

    def __init__(self, plan: "Plan", earlier: dict[str, Any] | None):
        known = {cell["runs"][0]["id"]: cell["work"] for cell in (earlier or {}).get("cells", ()) if cell.get("work")}
        self.work: dict[str, dict[str, Any]] = {}
        self.waiting: list[Cell] = []
        for cell in plan.cells:
            found = known.get(cell.runs[0].id)
            if found is None:
                self.waiting.append(cell)
            else:
                self.work[cell.label] = found

    def tick(self) -> None:
        if self.waiting:
            self._count(self.waiting.pop(0))

    def started(self, run: "Run") -> None:
        pass

    def ended(self, run: "Run", end: "RunEnd", again: bool) -> None:
        pass

    def finish(self) -> dict[str, dict[str, Any]]:
        """All of it, by the cells' labels, counting what is not counted yet."""
        while self.waiting:
            self.tick()
        return self.work

    def _count(self, cell: "Cell") -> None:
        from dataclasses import asdict

        from ..model.counts import count_inference_cost
        from ..plugins import reason

        config = cell.runs[0].config
        try:
            self.work[cell.label] = asdict(count_inference_cost(config.model, config.task.build()))
        except Exception as error:  # what trains need not run on a device without memory; the table says what it lacks
            self.work[cell.label] = {"note": f"not counted: {reason(error)}"}
