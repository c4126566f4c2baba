"""Runs that a launcher trains elsewhere: long ones that need no work, and what has to be the same everywhere."""

import json
from pathlib import Path
from typing import Any

from .small_grids import NORMS, write_grid

SLEEPY = '''
"""A position that takes its time, but no work."""
import time

from ablation import BuildContext, Position, register


@register("position", "sleepy", source="of this test")
class Sleepy(Position):
    """Sleeps once per forward pass."""

    def __init__(self, build: BuildContext, *, seconds: float = 0.5):
        super().__init__(build)
        self.seconds = seconds

    def embed(self, x, positions):
        time.sleep(self.seconds)
        return x
'''


def numbers(runs: Path) -> dict[str, tuple[Any, bytes, list[str]]]:
    """By run, what may not differ between machines: quality, weights, and the losses of all steps."""
    found = {}
    for file in runs.glob("store/??/*/result.json"):
        rows = [json.loads(line) for line in (file.parent / "metrics.jsonl").read_text().splitlines()]
        losses = [str(row.get("train/loss")) for row in rows]
        found[file.parent.name] = (
            json.loads(file.read_text())["quality"],
            (file.parent / "weights.safetensors").read_bytes(),
            losses,
        )
    return found


def sleepy(folder: Path, seconds: float) -> tuple[Path, Path]:
    """A grid of four runs that each take so long, and its plug-in."""
    plugin = folder / "sleepy.py"
    plugin.write_text(SLEEPY)
    settings = {
        "model.position": {"name": "sleepy", "seconds": seconds / 8},
        "training.checkpoint_steps": 2,
    }
    return write_grid(folder, NORMS, settings, seeds=2), plugin
