"""Runs that are in a store as training leaves them, with made-up numbers."""

import json
from pathlib import Path
from typing import Any

import numpy

from ablation.grid.plan import Plan, Run
from ablation.store.attempts import begin, commit
from ablation.store.digests import with_digests, without_digests
from ablation.store.example_losses import save_example_losses
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study.manifest import save_plan

WEIGHTS = b"weights" * 100


def begin_run(store: Store, run: Run, loss: float = 1.0, weights: bytes = WEIGHTS) -> Path:
    """An attempt at a run, with all files but its end."""
    return write_files(begin(store.order(run)), loss, weights)


def write_files(attempt: Path, loss: float = 1.0, weights: bytes = WEIGHTS) -> Path:
    """What training writes into the directory of an attempt before its end."""
    (attempt / "metrics.jsonl").write_text(json.dumps({"step": 1, "tokens": 8, "seconds": 1.0, "loss": loss}) + "\n")
    (attempt / "weights.safetensors").write_bytes(weights)
    (attempt / "log.txt").write_text("a line\n")
    save_example_losses(attempt, numpy.ones((2, 4), numpy.float32))
    return attempt


def result(loss: float = 1.0) -> dict[str, Any]:
    """What a run measures."""
    quality = {"primary": "loss", "better": "lower", "final": {"loss": loss}}
    efficiency = {"parameters": 10, "tokens_per_second": 5.0, "training_seconds": 1.0, "tokens": 8}
    return {"status": "completed", "reason": None, "quality": quality, "stability": {}, "efficiency": efficiency}


def finish_run(store: Store, run: Run, loss: float = 1.0, weights: bytes = WEIGHTS) -> Path:
    """A run that has come to an end; returns its directory."""
    assert commit(begin_run(store, run, loss, weights), "result.json", result(loss)) == "committed"
    store.conclude(run.id)
    return store.directory(run.id)


def rewrite(file: Path, end: dict[str, Any]) -> None:
    """Give a run another end, in the same file, as if that were what training has written."""
    write_json(file, with_digests(file.parent, without_digests(end)))


def finish_grid(store: Store, plan: Plan) -> list[Path]:
    """All runs of a plan, with its manifest; returns their directories."""
    save_plan(plan, store)
    return [finish_run(store, run, 1.0 + number / 8) for number, run in enumerate(plan.runs)]


def everything(folder: Path) -> dict[str, bytes]:
    """The content of all files, by their paths."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != ".lock")
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}
