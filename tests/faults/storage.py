"""Campaigns of storage that fails: full, broken, elsewhere; and of clocks that jump."""

import random
import shutil
import subprocess
import tempfile
from pathlib import Path

from faults.stage import Findings, Stage

from ablation.store.same_numbers import numbers

ROOM = (0.03, 0.92)
"""From how much to how much of the space that the grid needs there is."""


def disk_full(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """The disk is full at one moment after the other, each time with a little more room: nothing that is finished is
    lost or changed, and the command ends with 5.
    """
    quiet, done, lies = stage.quiet(), 0, list[str]()
    size = sum(file.stat().st_blocks * 512 for file in quiet.rglob("*"))
    place = stage.folder / "small"
    place.mkdir()
    rooms = sorted(round(size * rng.uniform(*ROOM)) for _ in range(count))
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={rooms[0]}", "none", place], check=False)
    if mounted.returncode:
        return 0, Findings(lies=["no file system of a limited size can be mounted here"])
    stage.runs = place / "runs"
    try:
        finished: set[Path] = set()
        for room in rooms:
            subprocess.run(["mount", "-o", f"remount,size={room}", place], check=True)
            code, output = stage.call()
            done += code == 5
            if code != 5 and (code or stage.completed() < stage.n_runs):
                lies.append(f"a disk that is full gave exit code {code}: {output[-200:]}")
            there = {file.parent for file in (stage.runs / "store").glob("??/*/result.json")}
            lies += [f"{run.name} is gone" for run in finished - there]
            changed = [run for run in there if numbers(run) != numbers(quiet / run.relative_to(stage.runs))]
            lies += [f"{run.name} has other numbers" for run in changed]
            finished = there
        subprocess.run(["mount", "-o", f"remount,size={size * 4 + 2**24}", place], check=True)
        return done, stage.conclude(lies)
    finally:
        subprocess.run(["umount", "-l", place], check=False)


def failing_operations(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Writing fails in a run, at one operation after the other, in the words of the system."""
    stage.quiet()
    done, lies = 0, list[str]()
    for number in range(count):
        struck = stage.folder / f"failed-{number}"
        error = rng.choice(["ENOSPC", "EIO", "EROFS", "EDQUOT", "ESTALE"])
        operation = rng.choice(["open", "write", "close", "fsync", "rename", "replace", "mkdir"])
        fault = {"in": operation, "at": rng.randint(1, 8), "do": error, "once": str(struck)}
        code, output = stage.call(fault=fault)
        if struck.exists():
            done += 1
            if code not in (0, 5):
                lies.append(f"{error} in {operation}: exit code {code}: {output[-200:]}")
        if stage.completed() == stage.n_runs:
            for run in (stage.runs / "store").glob("??/*"):
                if rng.random() < 0.3:
                    shutil.rmtree(run)  # so that there is something to train again
            stage.events.unlink(missing_ok=True)
    found = stage.conclude(lies)
    found.twice = 0  # runs were deleted here
    return done, found


TORCH_CACHE = "torchinductor_"
"""How torch calls the folder that it keeps from one process to the next."""


def temporary_folder(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """The folder for temporary files lies on another device, or is not there."""
    stage.quiet()
    found, done = Findings(), 0
    memory = Path("/dev/shm")
    elsewhere = Path(tempfile.mkdtemp(dir=memory if memory.exists() else None))
    for folder in (elsewhere, stage.folder / "absent"):
        shutil.rmtree(stage.runs, ignore_errors=True)
        stage.events.unlink(missing_ok=True)
        code, output = stage.call(environment={"TMPDIR": str(folder)})
        done += 1
        if code:
            found.lies.append(f"TMPDIR={folder}: exit code {code}: {output[-200:]}")
        examined = stage.examine()
        found.leftovers += examined.leftovers
        found.lost, found.different = found.lost + examined.lost, found.different + examined.different
        found.lies += examined.lies
    found.leftovers += [str(path) for path in elsewhere.iterdir() if not path.name.startswith(TORCH_CACHE)]
    shutil.rmtree(elsewhere)
    return done, found


def clock_jumps(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """The clock jumps back and forth by hours and years, in the command and in its runs."""
    stage.quiet()
    code, output = stage.call(fault={"in": "nothing", "at": 0, "clock": True})
    found = stage.examine()
    if code:
        found.lies.append(f"exit code {code}: {output[-200:]}")
    return stage.n_runs, found
