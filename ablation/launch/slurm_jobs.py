"""The jobs of Slurm that were submitted from a directory of runs: which there are, which are alive, how they end."""

import contextlib
import re
import subprocess
import time
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ..errors import InputError
from ..store.files import read_json
from .slurm_task import Outcomes

FOLDER = ".slurm"
"""In the directory of runs: what was submitted, what tasks say, and their logs."""
PREFIX = "ablate-"
"""Of the names of jobs; what follows is the name of the array's file."""
CANCEL_MARK = ".canceled"
"""Of the file beside that of an array by which ``ablate stop`` says so to a command that waits for its runs."""
INTERRUPT_MARK = ".interrupted"
"""Of that by which a command says that it canceled the array itself; others that wait for its runs submit them anew."""
MARKS = (CANCEL_MARK, INTERRUPT_MARK)
OVER = ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE")
MOST_NAMES = 1000
"""Of arrays in one question, whose length has a limit."""
TIME = re.compile(r"(\d+-)?[\d:]+")
"""A time limit; in its place may be ``n/a`` or ``infinite``."""
QUESTIONS, PAUSE = 4, 2.0
"""How often Slurm is asked what has to be known, and the seconds between; a busy controller misses one now and then."""


class Task(NamedTuple):
    """What Slurm says of a task of an array."""

    state: str
    reason: str
    """Why it waits; ``None``, as Slurm has it, where it does not."""


Tasks = dict[tuple[str, int], Task]
"""By the name of the array and the index in it."""


def submitted(folder: Path, grids: Collection[str] | None = None) -> dict[str, dict[str, Any]]:
    """The arrays that were submitted for grids, or for any, by name."""
    found = {}
    for file in folder.glob("*.json"):
        content = read_json(file)
        if isinstance(content, dict) and (grids is None or content.get("grid") in grids):
            found[file.stem] = content
    return found


def waiting(root: Path, grid: str) -> set[str]:
    """The runs of a grid that were submitted and not canceled, and of which no task has said yet how they ended."""
    folder, found = root / FOLDER, set[str]()
    for name, content in submitted(folder, [grid]).items():
        if not is_canceled(folder, name):
            found |= set(content["runs"]) - ended_runs(folder, name)
    return found


def is_canceled(folder: Path, name: str, marks: Sequence[str] = MARKS) -> bool:
    """Whether an array was canceled, as one of the marks beside its file says."""
    return any((folder / f"{name}{mark}").exists() for mark in marks)


def ended_runs(folder: Path, name: str) -> set[str]:
    """The runs of an array of which a task has said how they ended."""
    return {ended.run_id for file in folder.glob(f"{name}.*.jsonl") for ended in Outcomes().new(file)}


def cancel(root: Path, grids: Collection[str] | None = None) -> int:
    """Cancel the jobs of grids, or of any; returns how many arrays there were that had not ended.

    Errors: InputError where Slurm does not answer, or does not cancel.
    """
    folder = root / FOLDER
    alive = {name for name, _ in tasks_of(submitted(folder, grids))}
    marks = [folder / f"{name}{CANCEL_MARK}" for name in alive]
    for mark in marks:
        mark.touch()
    if alive:
        signal_arrays(alive)
        time.sleep(2.0)
        if (why := cancel_arrays(alive)) is not None:
            for mark in marks:
                mark.unlink()
            raise InputError(f"Slurm does not cancel its jobs: {why}")
    return len(alive)


def tasks_of(names: Collection[str]) -> Tasks:
    """Tasks that are queued, running, or about to be again. Errors: InputError where Slurm does not answer."""
    for question in range(QUESTIONS):
        if question:
            time.sleep(PAUSE)
        if (found := ask(names)) is not None:
            return found
    raise InputError("Slurm does not answer (squeue), so that nobody knows which jobs there are; try again later")


def ask(names: Collection[str]) -> Tasks | None:
    """The same, asked once; None where Slurm does not answer."""
    ordered, lines = [f"{PREFIX}{name}" for name in sorted(names)], list[list[str]]()
    for first in range(0, len(ordered), MOST_NAMES):
        chosen = f"--name={','.join(ordered[first : first + MOST_NAMES])}"
        answer = _call("squeue", "-h", "-r", "-o", "%j %K %T %r", chosen)
        if answer.returncode:
            return None
        lines += [line.split(maxsplit=3) for line in answer.stdout.splitlines()]
    return {
        (name.removeprefix(PREFIX), int(index)): Task(state, reason if state == "PENDING" else "None")
        for name, index, state, reason in (line for line in lines if len(line) == 4)
        if state not in OVER and index.isdigit()
    }


def signal_arrays(names: Iterable[str]) -> None:
    """Ask tasks to write down what their runs go on from."""
    cancel_arrays(names, "--full", "--signal=TERM")


def cancel_arrays(names: Iterable[str], *options: str) -> str | None:
    """Cancel arrays, each by a call of its own, as scancel takes one name; returns why, where Slurm does not."""
    why = None
    for name in sorted(names):
        answer = _call("scancel", *options, f"--name={PREFIX}{name}")
        if answer.returncode:
            why = last_line(answer.stderr, "scancel")
    return why


def last_line(text: str, program: str) -> str:
    """The last line of what one of Slurm's programs says of an error."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix(f"{program}: error: ") if lines else f"{program} failed without a word"


def largest_array() -> int:
    """How many tasks an array may have, as the cluster says, else Slurm's own default."""
    found = re.search(r"MaxArraySize\s*=\s*(\d+)", _call("scontrol", "show", "config").stdout)
    return max(1, (int(found[1]) if found else 1001) - 1)


def usual_limits(partition: str | None) -> list[str]:
    """The time limits of jobs that name none, in each of the partitions, or in the default one; none if not known."""
    with contextlib.suppress(InputError):
        chosen = ["-p", partition] if partition else []
        rows = [line.split("|") for line in _call("sinfo", "-h", "-o", "%P|%L|%l", *chosen).stdout.splitlines()]
        usual = [(row[0], row[1] if TIME.fullmatch(row[1]) else row[2]) for row in rows if len(row) == 3]
        return [limit for name, limit in usual if TIME.fullmatch(limit) and (partition or name.endswith("*"))]
    return []


def sbatch(*arguments: str, script: str) -> str:
    """Submit a script; returns the number of the job. Errors: InputError, in Slurm's words."""
    answer = _call(
        *("sbatch", "--parsable", "--requeue", "--open-mode=append", "--signal=B:TERM@30", *arguments), given=script
    )
    if answer.returncode:
        raise InputError(f"--launcher slurm: {last_line(answer.stderr, 'sbatch')}")
    return answer.stdout.strip().partition(";")[0]


def _call(*command: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise InputError(f"{command[0]} is not on the path; run this where jobs are submitted") from None
