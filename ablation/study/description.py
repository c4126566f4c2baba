"""One run, as its folder describes it: its status, its configuration, and what its parameters are."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import FAILURES, InputError
from ..plugins import reason
from ..store.results import read_record
from ..store.runs import Store
from .generation import find_run, load_recorded_plugins, read_config

if TYPE_CHECKING:
    from ..config.experiment import ExperimentConfig

SCHEMA = 1
"""Of the JSON of ``ablate show``."""


def describe_run(store: Store, name: str, plugins: Sequence[Path] = ()) -> dict[str, Any]:
    """The JSON of ``ablate show``.

    Args:
        store: where the run is kept.
        name: its id, 4 or more of the first digits of it, or ``GRID:CELL`` for the first seed of a cell.
        plugins: the files that it was trained with, where they lie elsewhere now.

    Errors: InputError when there is no such run, or it was never started.
    """
    from ..config.layered import dump
    from ..store.code import code_version

    run_id = find_run(store, name)
    record, result = read_record(store.directory(run_id) / "run.json", run_id), store.result(run_id)
    if record is None:
        raise InputError(f"run {run_id[:12]}: {result.status}; it has no configuration before it is started")
    load_recorded_plugins(record.get("plugins", ()), plugins)
    config = read_config(run_id, record["config"])
    optimizer = config.optimizer
    return {
        "schema": SCHEMA,
        "run": run_id,
        "status": result.status,
        "reason": result.reason,
        "metrics": dict(result.metrics),
        "seed": record["seed"],
        "stale_code": record.get("code") != code_version(config),
        "config": dict(dump(config)),
        "decay": {key: getattr(optimizer, key, None) for key in ("weight_decay", "decay_on", "decay_embeddings")},
        **_parameters(config, record),
    }


def _parameters(config: "ExperimentConfig", record: Mapping[str, Any]) -> Mapping[str, Any]:
    """``parameters``, one entry each, in the order of the model's, or the reason why they are not known."""
    from ..model.build import build_uninitialized
    from ..model.size import bounded
    from ..model.trained import choose_and_count
    from ..optim.decay import parameter_roles
    from ..tasks.unchanged import check_unchanged

    try:
        task = config.task.build()
        check_unchanged(task, record["identity"]["fingerprint"], record.get("data", {}))
        with bounded():
            model = build_uninitialized(config.model, task.vocabulary, task.longest, task.n_classes)
    except InputError as error:  # its data are gone or others, and with them the size of its vocabulary
        return {"parameters": [], "parameters_missing": str(error), "trained_parameters": None}
    except FAILURES as error:  # its record was changed by hand, or a component is another by now
        what = f"no model can be built from its configuration: {reason(error)}"
        return {"parameters": [], "parameters_missing": what, "trained_parameters": None}
    decaying = config.optimizer.build().decaying(model)
    roles, training = parameter_roles(model), config.training
    parameters = [
        {
            "path": each.path,
            "shape": list(each.parameter.shape),
            "count": each.parameter.numel(),
            "role": each.role,
            "decays": each.parameter in decaying,
        }
        for each in roles
    ]
    trained = choose_and_count(model, training.freeze, training.lora, config.seed)
    return {"parameters": parameters, "parameters_missing": None, "trained_parameters": trained}
