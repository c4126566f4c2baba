"""The jobs of Slurm that were submitted from a directory of runs: which there are, which are alive, how they end."""

import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..store.files import read_json

FOLDER = ".slurm"
"""In the directory of runs: what was submitted, what tasks say, and their logs."""
PREFIX = "ablate-"
"""Of the names of jobs; what follows is the name of the array's file."""
OVER = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")


def submitted(folder: Path, grid: str | None) -> dict[str, dict[str, Any]]:
    """The arrays that were submitted for a grid, or for any, by name."""
    found = {}
    for file in folder.glob("*.json"):
        content = read_json(file)
        if isinstance(content, dict) and grid in (None, content.get("grid")):
            found[file.stem] = content
    return found


def cancel(root: Path, grid: str) -> int:
    """Cancel the jobs of a grid; returns how many arrays there were that had not ended."""
    names = set(submitted(root / FOLDER, grid))
    alive = {name for name, _ in (alive_tasks(names) or ())} if names else set()
    if alive:
        call("scancel", "--full", "--signal=TERM", *by_name(sorted(alive)))
        time.sleep(2.0)
        call("scancel", *by_name(sorted(alive)))
    return len(alive)


def alive_tasks(names: "set[str] | Mapping[str, object]") -> dict[tuple[str, int], str] | None:
    """Tasks that are queued, running, or about to be again, with why they wait; None where Slurm does not answer."""
    chosen = [f"--name={','.join(f'{PREFIX}{name}' for name in sorted(names))}"]
    answer = subprocess.run(
        ["squeue", "-h", "-r", "-o", "%j %K %T %r", *chosen], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        return None
    lines = [line.split(maxsplit=3) for line in answer.stdout.splitlines()]
    return {
        (name.removeprefix(PREFIX), int(index)): reason if state == "PENDING" else "None"
        for name, index, state, reason in (line for line in lines if len(line) == 4)
        if state not in OVER and index.isdigit()
    }


def by_name(names: Sequence[str]) -> list[str]:
    """How Slurm's commands choose arrays of these names."""
    return [f"--name={','.join(f'{PREFIX}{name}' for name in names)}"]


def call(*command: str) -> None:
    """Have Slurm do something, whose answer does not matter."""
    subprocess.run(command, capture_output=True, check=False)
