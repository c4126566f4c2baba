"""What an attempt leaves to the next one at the same run: its newest checkpoint, and the rows before it."""

import contextlib
import shutil
from pathlib import Path

from ..errors import StorageError
from .files import read_json
from .rows import METRICS

CHECKPOINT = "checkpoint"
"""The folder in which training keeps what it goes on from."""

ANEW = "anew"
"""A file in it: checkpoints of earlier attempts could not be used, so that this one began at the first step."""

FAILED_AFTER = "failed"
"""A file in it: the step of the checkpoint after which the run failed. It is gone on from once, and then anew."""


def furthest(attempts: list[Path]) -> Path | None:
    """The attempt whose checkpoint is at the largest step; None where none has a checkpoint.

    Not of those before one that could not use theirs.
    """
    steps = [(step, attempt) for attempt in attempts if (step := checkpoint_step(attempt)) is not None]
    for number, (_, attempt) in reversed([*enumerate(steps)]):
        if (attempt / CHECKPOINT / ANEW).exists():
            steps = steps[number:]
            break
    return max(steps, default=(0, None), key=lambda pair: pair[0])[1]


def checkpoint_step(attempt: Path) -> int | None:
    """The step of the newest checkpoint of an attempt, as it says itself."""
    steps = []
    for file in (attempt / CHECKPOINT).glob("step-*.json"):
        with contextlib.suppress(StorageError):
            about = read_json(file)
            if isinstance(about, dict) and isinstance(about.get("step"), int):
                steps.append(about["step"])
    return max(steps, default=None)


def copy_checkpoint(source: Path, attempt: Path) -> None:
    """Take over the rows and the checkpoint of another attempt, which stays as it is.

    What makes a checkpoint count comes last. Where somebody removes the other attempt meanwhile, nothing is taken over.
    Errors: OSError.
    """
    order = (".pt", ".json", "")
    try:
        if (source / METRICS).exists():
            shutil.copyfile(source / METRICS, attempt / METRICS)
        (attempt / CHECKPOINT).mkdir()
        files = [file for file in (source / CHECKPOINT).iterdir() if file.is_file() and file.suffix in order]
        for file in sorted(files, key=lambda file: order.index(file.suffix)):
            shutil.copyfile(file, attempt / CHECKPOINT / file.name)
    except FileNotFoundError:
        shutil.rmtree(attempt / CHECKPOINT, ignore_errors=True)


def keep_for_retry(attempt: Path) -> None:
    """Mark the checkpoint of a run that fails, or remove it where the run has failed after this very one before.

    Errors: OSError.
    """
    checkpoint = attempt / CHECKPOINT
    step, mark = checkpoint_step(attempt), checkpoint / FAILED_AFTER
    if step is None or (mark.exists() and mark.read_text(encoding="ascii") == str(step)):
        shutil.rmtree(checkpoint, ignore_errors=True)
        return
    for unfinished in checkpoint.glob(".*.tmp"):
        unfinished.unlink()
    mark.write_text(str(step), encoding="ascii")
