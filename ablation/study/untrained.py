"""What is measured of models that nobody has trained: what each cell costs at inference, and the probes of claims."""

from typing import TYPE_CHECKING, Any

from ..errors import InputError

if TYPE_CHECKING:
    from ..grid.plan import Cell, Plan, Run
    from ..store.results import RunEnd

Costs = dict[str, dict[str, Any]]
"""By the label of a cell: what one pass of its model costs, or a ``note`` why that was not counted."""


class WorkCounter:
    """Counts what the cells of a plan cost at inference, one cell whenever the queue of runs has nothing to do.

    Cells that an earlier manifest of the grid has counted are not counted again.
    """

    def __init__(self, plan: "Plan", earlier: dict[str, Any] | None):
        counted = ((cell["runs"][0]["id"], cell.get("work") or {}) for cell in (earlier or {}).get("cells", ()))
        # Counts without the bytes of the cache are of a version that counted windows as whole sequences.
        known = {run_id: work for run_id, work in counted if "note" in work or "cache_bytes" in work}
        self.work: Costs = {}
        self.waiting: list[Cell] = []
        for cell in plan.cells:
            work = known.get(cell.runs[0].id)
            if work is None:
                self.waiting.append(cell)
            else:
                self.work[cell.label] = work

    def tick(self) -> None:
        if self.waiting:
            self._count(self.waiting.pop(0))

    def started(self, run: "Run") -> None:
        pass

    def ended(self, run: "Run", end: "RunEnd", again: bool) -> None:
        pass

    def finish(self) -> Costs:
        """The costs of all cells; counts those that are not counted yet."""
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
        except Exception as error:  # what trains need not run on a device without memory; the table says what is absent
            self.work[cell.label] = {"note": f"not counted: {reason(error)}"}


def measure_probes(plan: "Plan", names: list[str]) -> dict[tuple[str, str], list[float | None]]:
    """The probes among ``names``, measured on every cell, seed by seed: values by (label of the cell, name).

    Errors: InputError where a model has no such number.
    """
    import torch

    from ..bench.probes import ProbeInput
    from ..registry import REGISTRY

    probes = {
        name: REGISTRY["probe"][name](name=name).build() for name in dict.fromkeys(names) if name in REGISTRY["probe"]
    }
    values: dict[tuple[str, str], list[Any]] = {}
    for cell in plan.cells if probes else ():
        for run in cell.runs:
            torch.set_num_threads(run.config.training.threads)
            probe_input = ProbeInput.of(run.config)
            for name, probe in probes.items():
                try:
                    value = probe(probe_input)
                except ValueError as error:
                    raise InputError(f"{error} (cell {cell.label})") from None
                values.setdefault((cell.label, name), []).append(value)
    return values
