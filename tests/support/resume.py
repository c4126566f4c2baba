"""Runs that are interrupted after some steps and go on with new objects, and all that a run leaves behind."""

import json
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

from ablation.store.example_losses import EXAMPLE_LOSSES
from ablation.store.results import WEIGHTS
from ablation.training.checkpoint import Stopped
from ablation.training.run import train
from support.small_grids import small_config

STEPS = 12
RUN = {
    "training.max_steps": STEPS,
    "training.accumulate": 2,
    "training.evaluate_every": 3,
    "training.log_every": 5,
    "training.monitor_every": 2,
    "training.checkpoint_seconds": None,
}
"""A short run of four epochs in which all that happens between steps happens at different ones."""
TIMED = ("seconds", "train/tokens_per_second")


def stop_after(step: int, begun: int = 0) -> Callable[[], bool]:
    """To be asked after every step of a run that goes on from step ``begun``: whether it was ``step``."""
    steps = count(begun + 1)
    return lambda: next(steps) == step


def interrupted(
    directory: Path, settings: Mapping[str, Any] | None = None, at: Iterable[int] = (), **options: Any
) -> dict[str, Any]:
    """All that a run has left that was stopped after these steps and each time went on with new objects."""
    directory.mkdir(exist_ok=True)
    begun = 0
    for step in at:
        try:
            train(small_config({**RUN, **(settings or {})}), directory, stop=stop_after(step, begun), **options)
        except Stopped as stopped:
            assert stopped.step == step
            begun = step
        else:
            raise AssertionError(f"not stopped after step {step}")
    result = train(small_config({**RUN, **(settings or {})}), directory, **options)
    assert result["record"].get("resumed_at", []) == list(at)
    return left_by(directory, result)


def left_by(directory: Path, result: Mapping[str, Any]) -> dict[str, Any]:
    """Everything of a run that its seed and configuration decide."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    files = {name: directory / name for name in (WEIGHTS, EXAMPLE_LOSSES)}
    efficiency = {key: result["efficiency"][key] for key in ("parameters", "steps", "tokens")}
    return {
        "rows": [{key: value for key, value in row.items() if key not in TIMED} for row in rows],
        "result": {key: value for key, value in result.items() if key not in ("efficiency", "record")},
        "efficiency": efficiency,
        **{name: file.read_bytes() if file.exists() else None for name, file in files.items()},
    }
