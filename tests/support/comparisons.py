"""Made-up runs of a grid, for what is computed from runs without training any."""

from collections.abc import Sequence
from itertools import product
from typing import Any

from ablation.store.results import RunResult

Losses = Sequence[Sequence[float | None]]


def grid(losses: Losses, factors: dict[str, list[str]] | None = None, **extra: float) -> tuple[dict[str, Any], Any]:
    """A manifest and its outcomes; ``losses`` by cell and seed, None is a run that is not there yet."""
    factors = factors or {"model.block": [f"block_{number}" for number in range(len(losses))]}
    combinations = list(product(*factors.values()))[: len(losses)]
    cells, outcomes = [], {}
    runs: list[dict[str, Any]]
    for number, (levels, row) in enumerate(zip(combinations, losses, strict=True)):
        runs = [{"seed": 10 + seed, "id": f"{number:016x}{seed:016x}"} for seed in range(len(row))]
        by_path = dict(zip(factors, levels, strict=True))
        cells.append({"label": " ".join(levels), "settings": by_path, "levels": by_path, "runs": runs})
        for run, loss in zip(runs, row, strict=True):
            if loss is not None:
                outcomes[run["id"]] = RunResult(run["id"], "completed", {"loss": loss, "parameters": 1000.0, **extra})
    manifest = {
        "schema": 1,
        "grid": "study",
        "metric": "loss",
        "better": "lower",
        "seeds": [10 + seed for seed in range(len(losses[0]))],
        "factors": [
            {"path": path, "name": path.split(".")[-1], "levels": levels, "baseline": levels[0]}
            for path, levels in factors.items()
        ],
        "cells": cells,
    }
    return manifest, outcomes
