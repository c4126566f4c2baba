"""What is measured of models that nobody has trained: what each cell costs at inference, and the probes of claims."""

from typing import TYPE_CHECKING, Any

from ..config.shared import OncePerObject
from ..errors import FAILURES, InputError
from .costs import Costs

if TYPE_CHECKING:
    from ..grid.plan import Cell, Plan, Run
    from ..registry import Config
    from ..store.results import RunEnd
    from ..store.runs import Store

Work = dict[str, dict[str, Any]]
"""By the label of a cell: what one pass of its model costs, or a ``note`` why that was not counted."""


TIMED_APART = ("training_step", "seconds_per_token")
"""What a claim can time apart from training, both in seconds."""
CLAIM_ROUNDS = 10
"""Rounds in each of the processes that time the cells of a claim."""


class WorkCounter:
    """Counts what the cells of a plan cost at inference, one cell whenever the queue of runs has nothing to do.

    Those with the same model and task together once, and not again as long as the code is the same.
    """

    def __init__(self, plan: "Plan", store: "Store"):
        self.costs = Costs(store)
        self.work: Work = {}
        text: OncePerObject[Config, str] = OncePerObject(lambda part: part.model_dump_json())
        alike: dict[tuple[str, str], list[Cell]] = {}
        for cell in plan.cells:
            config = cell.runs[0].config
            alike.setdefault((text(config.model), text(config.task)), []).append(cell)
        self.waiting = list(alike.values())
        """Cells that are not counted yet, those with the same model and task together."""

    def tick(self) -> None:
        if self.waiting:
            cells = self.waiting.pop(0)
            cost = self._count(cells[0])
            self.work.update((cell.label, cost) for cell in cells)

    def started(self, run: "Run") -> None:
        pass

    def ended(self, run: "Run", end: "RunEnd", again: bool) -> None:
        pass

    def finish(self) -> Work:
        """The costs of all cells; counts those that are not counted yet."""
        while self.waiting:
            self.tick()
        self.costs.save()
        return self.work

    def _count(self, cell: "Cell") -> dict[str, Any]:
        from dataclasses import asdict

        from ..plugins import reason

        config = cell.runs[0].config
        try:
            return asdict(self.costs.of(config, config.task.build()))
        except FAILURES as error:  # what trains need not run on a device without memory; the table says what is absent
            return {"note": f"not counted: {reason(error)}"}


def names_of_trained(names: list[str]) -> list[str]:
    """Those of the ``names`` of measures that rest on trained models."""
    from ..bench import probes  # noqa: F401  importing it fills the slot
    from ..registry import REGISTRY

    return [name for name in names if name not in REGISTRY["probe"] and name not in TIMED_APART]


def measure_timings(plan: "Plan", names: list[str]) -> dict[tuple[str, str], list[float | None]]:
    """The timings among ``names`` by (label of the cell, name), with as many fresh processes as the plan has seeds.

    A process times all cells in interleaved rounds. Its value of a cell is its typical time of the baseline times the
    median over rounds of the ratio to the baseline, so that what slows the machine down for a while cancels out.
    Errors: InputError where a cell cannot be timed; ``ProcessError``.
    """
    wanted = [name for name in TIMED_APART if name in names]
    if not wanted:
        return {}
    import math

    from ..bench.processes import measure_plan

    processes = measure_plan(plan, ["training_step"], [], CLAIM_ROUNDS, len(plan.seeds), plan.seeds[0])
    values: dict[tuple[str, str], list[float | None]] = {}
    baseline = plan.cells[0].label
    for result in processes:
        for cell in plan.cells:
            if note := result["notes"][cell.label].get("training_step"):
                raise InputError(f"training_step: {note} (cell {cell.label})")
            of_baseline = result["cells"][baseline]["measures"]["training_step"]["value"]
            timed = result["cells"][cell.label]
            seconds = of_baseline * math.exp(timed["measures"]["training_step"]["log_ratio"])
            by_name = {"training_step": seconds, "seconds_per_token": seconds / timed["step_tokens"]}
            for name in wanted:
                values.setdefault((cell.label, name), []).append(by_name[name])
    return values


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
            if run.config.start_from is not None:
                raise InputError(f"{next(iter(probes))}: is of models that nobody has trained (cell {cell.label})")
            torch.set_num_threads(run.config.training.threads)
            probe_input = ProbeInput.of(run.config)
            for name, probe in probes.items():
                try:
                    value = probe(probe_input)
                except ValueError as error:
                    raise InputError(f"{error} (cell {cell.label})") from None
                values.setdefault((cell.label, name), []).append(value)
    return values
