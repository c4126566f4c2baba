"""``ablate claim``: whether the runs of a grid bear out what its file claims."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import InputError
from ..study.manifest import compare_runs, load_plan, save_plan
from .arguments import AsJson, Plugins, Runs, Settings
from .run import INTERRUPTED, Workers, run_study

if TYPE_CHECKING:
    from ..grid.plan import Plan


def claim(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A grid with a `claim`.", show_default=False)],
    settings: Settings = [],  # noqa: B006  typer hands in a list of its own
    workers: Workers = None,
    plugins: Plugins = [],  # noqa: B006
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> int:
    """Train what a claim needs and say whether it is supported, contradicted, or not resolved at this budget.

    Runs that failed leave what rests on them unresolved, and the exit code says so.
    """
    from ..compare.claim import check_cells, test_claim
    from ..report import claim
    from ..store.runs import Store

    plan = load_plan(file, settings, None, plugins)
    if plan.grid.config.claim is None:
        raise InputError(f"{file}: claim: is missing; `statement`, `source` and `expect` say what the grid should show")
    expected = plan.grid.config.claim.model_dump(mode="json")
    check_cells(expected, compare_runs(plan.manifest(), runs))
    names = {expectation[key] for expectation in expected["expect"] for key in ("measure", "than_measure")} - {None}
    probed, code = probe(plan, sorted(names)), 0
    if names - {name for _, name in probed}:
        code = run_study(plan, runs, workers, "nothing")
        if code == INTERRUPTED:
            return code
        comparison = compare_runs(plan.manifest(), runs)
    else:
        comparison = compare_runs(save_plan(plan, Store(runs)), runs)
    found = test_claim(expected, comparison, probed)
    if as_json:
        typer.echo(json.dumps(asdict(found)))
    else:
        claim.show(found)
    return code


def probe(plan: "Plan", names: list[str]) -> dict[tuple[str, str], list[float | None]]:
    """The probes among ``names``, of every cell and seed. Errors: InputError where a model has no such number."""
    import torch

    from ..bench.probes import ProbeInput
    from ..registry import REGISTRY

    wanted = {
        name: REGISTRY["probe"][name](name=name).build() for name in dict.fromkeys(names) if name in REGISTRY["probe"]
    }
    found: dict[tuple[str, str], list[Any]] = {}
    for cell in plan.cells if wanted else ():
        for training in cell.runs:
            torch.set_num_threads(training.config.training.threads)
            subject = ProbeInput.of(training.config)
            for name, probing in wanted.items():
                try:
                    number = probing(subject)
                except ValueError as error:
                    raise InputError(f"{error} (cell {cell.label})") from None
                found.setdefault((cell.label, name), []).append(number)
    return found
