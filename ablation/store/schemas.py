"""What the files of a store hold, checked wherever they are read: what does not fit is said in one line.

Keys that a schema does not name may hold anything, so that a later version may add some.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError
from .checks import (
    Check,
    both,
    grid_name,
    list_of,
    log_ratio,
    mapping_of,
    number,
    one_of,
    optional,
    plain,
    record,
    run_id,
    scalar,
    shown,
    text,
    truth,
    whole,
)
from .files import damaged, read_json

MANIFEST_SCHEMA = 1
"""Version of manifest.json."""
BENCH_SCHEMA = 1
"""Version of bench.json."""
INSPECTION_SCHEMA = 1
"""Version of inspection.json."""

_numbers = mapping_of(optional(number))
_depths = optional(list_of(optional(number)))
_measured_on = record(
    {},
    {
        "task": optional(text),
        "unit": optional(text),
        "validation": optional(text),
        "further": optional(mapping_of(plain)),
        "classes": optional(plain),
    },
)
_WORDS = ("note", "validation_source", "fingerprint", "left_out", "first", "last")
_COUNTS = (
    *("training", "of_training", "validation", "of_validation", "windows", "length"),
    *("cut_training", "cut_validation", "vocabulary", "n_classes", "duplicates"),
)
_data = record(
    {"source": text, "items": text},
    {
        **dict.fromkeys(_WORDS, text),
        **dict.fromkeys(_COUNTS, whole),
        "unknown": number,
        "classes": list_of(text),
        "sets": list_of(text),
        "cells": list_of(text),
    },
)
"""See ``tasks.description.DataDescription``."""


def _reason_no_length(data: Mapping[str, Any]) -> str | None:
    counted_in_tokens = {"windows", "cut_training", "cut_validation"} & data.keys()
    return ".length: is missing" if counted_in_tokens and "length" not in data else None


_match = record(
    {"quantity": text, "path": text, "value": number, "before": number, "achieved": number, "tolerance": number}
)
_preregistration = record(
    {
        "sha256": text,
        "declared": mapping_of(plain),
        "changes": list_of(record({"after": whole, "what": list_of(text)})),
    }
)
_tuning = record(
    {
        "grid": text,
        "ended": truth,
        "tried": mapping_of(list_of(text)),
        "seeds": list_of(whole),
        "cells": list_of(
            record(
                {"label": text, "chosen": mapping_of(plain), "at_edge": mapping_of(one_of("first", "last"))},
                {"trials": list_of(record({"values": mapping_of(plain), "share": number, "score": optional(number)}))},
            )
        ),
    },
    {"search": text, "independent": truth},
)
_manifest = record(
    {
        "schema": whole,
        "grid": grid_name,
        "metric": text,
        "better": one_of("lower", "higher"),
        "seeds": list_of(whole, at_least=1),
        "factors": list_of(
            record(
                {"path": text, "name": text, "levels": list_of(text), "baseline": text},
                {"paths": list_of(text)},
            )
        ),
        "cells": list_of(
            record(
                {
                    "label": text,
                    "settings": mapping_of(plain),
                    "levels": mapping_of(text),
                    "runs": list_of(record({"seed": whole, "id": run_id}), at_least=1),
                },
                {
                    "counts": mapping_of(plain),
                    "beside": list_of(text),
                    "match": optional(_match),
                    "measured_on": _measured_on,
                    "work": optional(mapping_of(plain)),
                },
            ),
            at_least=1,
        ),
        "sources": mapping_of(text),
    },
    {
        "margins": _numbers,
        "interim_looks": optional(list_of(whole)),
        "shorter_runs": mapping_of(run_id),
        "variance": one_of("shared", "own"),
        "claim": optional(mapping_of(plain)),
        "data": list_of(both(_data, _reason_no_length)),
        "timed": truth,
        "question": optional(text),
        "tuning": optional(_tuning),
        "preregistration": optional(_preregistration),
        "controls": optional(mapping_of(list_of(run_id, at_least=1))),
        "design": record(
            {},
            {
                "name": text,
                "uncrossed": optional(text),
                "stepwise": truth,
                "excluded": list_of(record({"label": text, "cells": whole}, {"reason": optional(text)})),
                "confounded": list_of(list_of(text)),
                "orders": list_of(list_of(text)),
                "conditions": list_of(record({"factor": text, "label": text})),
                "overrides": list_of(record({"label": text, "set": mapping_of(plain)})),
            },
        ),
        "file": text,
        "settings": list_of(text),
    },
)


def MANIFEST(value: Any) -> str | None:  # noqa: N802 - a check like those below
    """A manifest whose parts are about the same factors and seeds."""
    return _manifest(value) or _reason_inconsistent(value)


def _reason_inconsistent(manifest: Mapping[str, Any]) -> str | None:
    seeds, labels = {*manifest["seeds"]}, set[str]()
    if len(seeds) < len(manifest["seeds"]):
        return ".seeds: one appears twice"
    paths = {factor["path"] for factor in manifest["factors"]}
    if len(paths) < len(manifest["factors"]):
        return ".factors: a path appears twice"
    for index, factor in enumerate(manifest["factors"]):
        if factor["baseline"] not in factor["levels"]:
            return f".factors[{index}].baseline: is none of its levels"
    levels = {factor["path"]: {*factor["levels"]} for factor in manifest["factors"]}
    for index, cell in enumerate(manifest["cells"]):
        of_runs = [run["seed"] for run in cell["runs"]]
        if len({*of_runs}) < len(of_runs) or not seeds.issuperset(of_runs):
            return f".cells[{index}].runs: each seed of the grid at most once"
        if cell["levels"].keys() != paths:
            return f".cells[{index}].levels: must be those of all factors"
        if not all(level in levels[path] for path, level in cell["levels"].items()):
            return f".cells[{index}].levels: one is not among those of its factor"
        if cell["label"] in labels:
            return f".cells[{index}].label: appears twice"
        labels.add(cell["label"])
    return None


RUN = record(
    {
        "schema": whole,
        "id": text,
        "seed": whole,
        "config": mapping_of(plain),
        "identity": both(mapping_of(plain), record({"fingerprint": optional(text)})),
    },
    {
        "code": optional(record({}, {"source": text, "plugins": optional(mapping_of(text))})),
        "data": mapping_of(record({"path": text, "sha256": text, "bytes": whole})),
        "measured_on": _measured_on,
        "plugins": list_of(record({"file": text, "sha256": text})),
        **dict.fromkeys(("start_weights", "shorter_run", "failed_run"), text),
    },
)
_quality = record(
    {},
    {
        "final": mapping_of(plain),
        "best": mapping_of(plain),
        "mean_last": mapping_of(plain),
        "directions": mapping_of(optional(one_of("lower", "higher"))),
        "units": mapping_of(text),
        "by_position": mapping_of(record({"position": list_of(number), "loss": list_of(number)})),
    },
)
_HARDWARE = ("host", "machine", "processor", "device", "precision", "threads", "ranks")
_VERSIONS = ("python", "torch", "lightning", "ablation", "commit")
_trained_on = both(mapping_of(plain), record({}, dict.fromkeys((*_HARDWARE, *_VERSIONS), scalar)))
"""Beside these, of a run that was interrupted, the steps at which it went on."""
RESULT = record(
    {"schema": whole, "id": text, "status": one_of("completed", "diverged")},
    {
        "reason": optional(text),
        "quality": _quality,
        "stability": both(
            mapping_of(plain), record({}, {"gradient_by_depth": _depths, "activation_by_depth": _depths})
        ),
        "efficiency": both(mapping_of(plain), record({}, {"training_seconds": optional(number)})),
        "record": _trained_on,
        "measured_on": _measured_on,
    },
)
MEASURED = record({"quality": record({"final": plain}), "efficiency": plain})
"""What a result.json has beside how the run ended."""
FAILURE = record(
    {"schema": whole, "id": text}, {"kind": optional(text), "reason": optional(text), "attempt": optional(whole)}
)
_timing = record({"value": optional(number), "log_ratios": list_of(optional(log_ratio))})
BENCH = record(
    {
        "cells": list_of(
            record(
                {
                    "label": text,
                    "measures": mapping_of(optional(_timing)),
                },
                {
                    "cache_bytes": optional(mapping_of(whole)),
                    "peak_memory_bytes": optional(whole),
                    "notes": mapping_of(text),
                    "run": run_id,
                },
            )
        )
    },
    {
        "schema": whole,
        "record": mapping_of(scalar),
        "processes": whole,
        "rounds": whole,
        "dropped_rounds": whole,
        "timed_rounds": whole,
        "measures": mapping_of(mapping_of(plain)),
    },
)
_without_part = record({"measures": _numbers}, {"part": text, "family": text, "head": plain, "share": number})
_model_inside = record(
    {
        "run": run_id,
        "seed": whole,
        "measures": _numbers,
        "sublayers": list_of(record({"name": text, "stack": text, "layer": whole, "sublayer": text, "even": _numbers})),
        "heads": list_of(
            record(
                {"head": text, "stack": text, "layer": whole, "sublayer": text, "index": whole, "importance": number},
                {"scores": mapping_of(plain)},
            )
        ),
        "knockouts": list_of(_without_part),
        "pruning": list_of(_without_part),
        "logit_lens": list_of(record({"layer": whole, "measures": _numbers})),
        "norms": list_of(record({"part": text, "norm": number})),
    }
)
INSPECTION = record(
    {
        "schema": whole,
        "grid": text,
        "ablation": one_of("mean", "zero", "resample"),
        "cells": list_of(
            record({"label": text, "unit": text, "runs": list_of(_model_inside)}, {"missing": list_of(text)})
        ),
        "similarities": list_of(record({"one": text, "other": text, "values": mapping_of(mapping_of(number))})),
    },
    {"examples": optional(whole)},
)
LOOK = record({"seeds": whole, "metric": text, "planned": list_of(whole), "runs": list_of(run_id)})
ANSWERS = list_of(record({"seeds": list_of(whole), "runs": list_of(run_id), "answer": text}))


def read_checked(file: Path, check: Check, schema: int | None = None) -> Any:
    """What a JSON file holds, None where it is absent. Errors: StorageError where it is not what ``check`` says."""
    value = read_json(file)
    if value is not None or file.exists():  # of null alone, which nothing has written
        check_file(file, value, check, schema)
    return value


def check_file(file: Path, value: Any, check: Check, schema: int | None = None) -> None:
    """Check the content of a file. Errors: StorageError, one line, also where it is of another ``schema``."""
    if schema is not None and isinstance(value, dict) and (found := value.get("schema", schema)) != schema:
        what = f"of schema {shown(found)}, where this version reads {schema}"
        newer = type(found) is int and found > schema
        raise damaged(file, f"{what}; a later version of ablation wrote it" if newer else what)
    if wrong := check(value):
        raise damaged(file, str(InputError(wrong.removeprefix(".").removeprefix(": "))))
