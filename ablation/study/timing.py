"""Timing the cells of a plan, apart from training: what ``ablate bench`` writes beside the manifest of its grid."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..store.files import write_json

if TYPE_CHECKING:
    from ..bench.processes import BenchListener
    from ..grid.plan import Plan
    from ..store.runs import Store


def time_cells(
    plan: "Plan",
    store: "Store",
    kinds: Sequence[str],
    lengths: Sequence[int],
    rounds: int,
    processes: int,
    seed: int,
    listener: "BenchListener | None",
) -> dict[str, Any]:
    """Time the cells interleaved; writes bench.json and returns it. Errors: InputError where no cell can be timed."""
    from ..bench.measure import summarize
    from ..bench.processes import measure_plan

    results = measure_plan(plan, kinds, lengths, rounds, processes, seed, listener)
    summary = summarize(plan.name, [cell.label for cell in plan.cells], rounds, results, seed)
    if not any(any(cell["measures"].values()) for cell in summary["cells"]):
        raise InputError(f"no cell could be timed: {next(iter(summary['cells'][0]['notes'].values()))}")
    for cell, planned in zip(summary["cells"], plan.cells, strict=True):
        cell["run"] = planned.runs[0].id  # by which a table knows whether it is still about the same cell
    write_json(store.grid_directory(plan.name) / "bench.json", summary)
    return summary
