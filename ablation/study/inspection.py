"""Looking into the trained models of a run, of a cell over its seeds, or of all cells of a grid."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ..compare.inside import INSPECTION_FILE, read_inspection
from ..errors import InputError
from ..names import find_label, reason_no_folder
from ..store.files import write_json
from ..store.runs import Store
from ..store.schemas import INSPECTION_SCHEMA
from .folder import name_in_file
from .generation import TrainedRun
from .manifest import read_manifest

if TYPE_CHECKING:
    from torch import Tensor

    from ..grid.plan import Plan
    from ..inspect.record import How, Inside
    from ..tasks.base import Examples, Task


@dataclass(frozen=True)
class Inspection:
    """What was found, and the attention maps of the examples that are shown."""

    data: dict[str, Any]
    """As inspection.json has it: ``cells``, each with ``runs``; see ``compare.inside.compare_inside``."""
    labels: list[str]
    """The cells that were looked into this time."""
    maps: dict[str, list[dict[str, Any]]]
    """By run, one entry for each example; see ``inspect.maps.maps_as_data``."""
    stale: list[str]
    """Runs that were trained by other code than today's."""


@dataclass(frozen=True)
class _Named:
    grid: str | None
    cells: list[dict[str, Any]]
    """Those of the manifest, or of a single run one without a label."""


def inspect_runs(
    store: Store,
    name: str,
    how: "How",
    text: str | None = None,
    n_shown: int = 4,
    plugins: Sequence[Path] = (),
    on_step: Callable[[str], None] = lambda step: None,
) -> Inspection:
    """Look into every completed model that ``name`` means: a run's id, ``GRID:CELL``, or a grid for all its cells.

    Maps are those of ``text``, or of the first ``n_shown`` validation examples. What was found in a grid's cells is
    written into its folder, beside what is there of other cells if that was measured alike. Errors: InputError where
    there is no such run, none completed, or the model does not read the text; StorageError where what was found earlier
    is damaged.
    """
    named = _resolve(store, name)
    if named.grid is not None:
        read_inspection(store.grid_directory(named.grid))  # a damaged one is refused before the work, not after it
    cells, maps, stale = [], {}, []
    streams: dict[str, list[dict[str, Tensor]]] = {}
    examples: dict[str, str] = {}
    for cell in named.cells:
        runs, missing, unit = [], [], ""
        for run in cell["runs"]:
            what = f"{cell['label']}, seed {run['seed']}"
            status = store.status(run["id"])
            if status != "completed" and named.grid is not None:
                missing.append(f"seed {run['seed']}: {status}")
                continue
            trained, inside = _inspect(store, run["id"], how, text, n_shown, plugins, partial(_say, on_step, what))
            runs.append({"run": trained.id, "seed": trained.config.seed, **inside.record})
            maps[trained.id] = inside.maps
            streams.setdefault(cell["label"], []).append(inside.streams)
            examples[cell["label"]] = _fingerprint(trained.task, how.n_examples)
            unit = trained.task.unit
            stale += [trained.id] if trained.stale_code else []
        if not runs and len(named.cells) == 1:
            raise InputError(f"RUN {name}: no run of it is completed: {', '.join(missing)}")
        if runs:
            cells.append({"label": cell["label"], "unit": unit, "runs": runs, "missing": missing})
    if not cells:
        raise InputError(f"RUN {name}: no run of it is completed")
    data: dict[str, Any] = {
        "schema": INSPECTION_SCHEMA,
        "grid": named.grid,
        "ablation": how.ablation,
        "examples": how.n_examples,
        "cells": cells,
        "similarities": similarities(streams, examples),
    }
    labels = [cell["label"] for cell in cells]
    if named.grid is not None:
        data = _merged(read_inspection(store.grid_directory(named.grid)), data)
        write_json(store.grid_directory(named.grid) / INSPECTION_FILE, data)
    return Inspection(data, labels, maps, stale)


def measure_inside(
    plan: "Plan", store: Store, names: Sequence[str], plugins: Sequence[Path]
) -> dict[tuple[str, str], list[float | None]]:
    """Those ``names`` that are measures of the inside of trained models: values by (label of the cell, name), by seed.

    None for a run that did not complete. Errors: InputError where a run's weights were not kept.
    """
    from ..inspect.measures import MEASURES, measure

    wanted = [name for name in dict.fromkeys(names) if name in MEASURES]
    values: dict[tuple[str, str], list[float | None]] = {}
    for cell in plan.cells if wanted else ():
        for run in cell.runs:
            found: dict[str, float | None] = dict.fromkeys(wanted)
            if store.status(run.id) == "completed":
                trained = TrainedRun(store, run.id, plugins)
                found = measure(trained.model, trained.task, wanted)
            for name, value in found.items():
                values.setdefault((cell.label, name), []).append(value)
    return values


def similarities(
    streams: "Mapping[str, Sequence[Mapping[str, Tensor]]]", examples: Mapping[str, str]
) -> list[dict[str, Any]]:
    """CKA of the streams after every two layers, of each cell with itself and with the others.

    ``streams`` has those of its seeds for each cell, ``examples`` a fingerprint of what they read: cells that read
    other examples are not compared. Averaged over pairs of seeds: of one cell, pairs of different seeds; with a single
    seed, of the model with itself.
    """
    from ..inspect.streams import cka

    labels = list(streams)
    found = []
    for index, one in enumerate(labels):
        for other in labels[index:]:
            if examples[one] != examples[other]:
                continue
            pairs = [
                (x, y)
                for i, x in enumerate(streams[one])
                for j, y in enumerate(streams[other])
                if one != other or i < j or len(streams[one]) == 1
            ]
            values = {
                a: {b: fmean(cka(x[a], y[b]) for x, y in pairs) for b in streams[other][0]} for a in streams[one][0]
            }
            found.append({"one": one, "other": other, "values": values})
    return found


def _merged(before: dict[str, Any] | None, data: dict[str, Any]) -> dict[str, Any]:
    """The new cells, and those found earlier in the same way of which nothing new is known."""
    alike = before is not None and all(before[key] == data[key] for key in ("schema", "ablation", "examples"))
    if before is None or not alike:
        return data
    new = {cell["label"] for cell in data["cells"]}
    kept = [cell for cell in before["cells"] if cell["label"] not in new]
    others = [each for each in before["similarities"] if not new & {each["one"], each["other"]}]
    return {**data, "cells": [*data["cells"], *kept], "similarities": [*data["similarities"], *others]}


def _fingerprint(task: "Task", n_examples: int | None) -> str:
    """Of what a model reads to be looked into."""
    from ..inspect.evaluation import cut
    from ..tasks.base import IGNORED, model_inputs
    from ..tasks.fingerprint import fingerprint_of_examples

    return fingerprint_of_examples(model_inputs(cut(task.validation(), n_examples)), IGNORED)


def _say(on_step: Callable[[str], None], what: str, step: str) -> None:
    on_step(f"{what}: {step}")


def _resolve(store: Store, name: str) -> _Named:
    grid, colon, label = name.partition(":")
    if Path(grid).is_file():
        grid = name_in_file(Path(grid)) or grid
    manifest = read_manifest(store.root / grid) if reason_no_folder(grid) is None else None
    if manifest is None and colon:
        raise InputError(f"RUN {name}: no grid {grid!r} was run in {store.root}")
    if manifest is None:
        run_id = store.find(name)
        return _Named(None, [{"label": run_id[:12], "runs": [{"id": run_id, "seed": 0}]}])
    cells = {cell["label"]: cell for cell in manifest["cells"]}
    return _Named(grid, [cells[find_label(label, cells, f"RUN {grid}: ")]] if colon else list(cells.values()))


def _inspect(
    store: Store,
    run_id: str,
    how: "How",
    text: str | None,
    n_shown: int,
    plugins: Sequence[Path],
    on_step: Callable[[str], None],
) -> "tuple[TrainedRun, Inside]":
    from ..inspect.evaluation import cut
    from ..inspect.record import inspect_model

    trained = TrainedRun(store, run_id, plugins)
    shown = cut(trained.task.validation(), n_shown) if text is None else examples_of(trained.task, text)
    return trained, inspect_model(trained.model, trained.task, shown, how, on_step)


def examples_of(task: "Task", text: str) -> "Examples":
    """A text as one example; of a sequence-to-sequence task ``SOURCE => TARGET``. Errors: InputError."""
    import torch

    source, arrow, target = (
        (part.strip() for part in text.partition("=>")) if task.kind == "seq2seq" else ("", "", text)
    )
    if task.kind == "seq2seq" and not arrow:
        raise InputError("--text: write SOURCE => TARGET, since the model reads both")
    try:
        ids = task.encode(target)
        sources = task.encode(source) if source else []
    except InputError as error:
        raise InputError(f"--text: {error}") from None
    if not (sources or ids) or (not sources and task.kind == "seq2seq"):
        raise InputError("--text: it has no tokens; at least one is needed")
    if max(len(ids), len(sources)) > task.longest:
        raise InputError(f"--text: it has {max(len(ids), len(sources))} tokens; the model was built for {task.longest}")
    if task.kind != "seq2seq":
        return {"tokens": torch.tensor([ids])}
    assert task.begin is not None
    return {"tokens": torch.tensor([[task.begin, *ids]]), "source": torch.tensor([sources])}
