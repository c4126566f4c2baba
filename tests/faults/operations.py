"""A campaign of processes that are killed at one operation of the file system after the other."""

import random
import shutil

from faults.stage import Findings, Stage

MOST, FEWEST = 240, 60
"""More, and fewer, operations than the process of a run has on files of its attempt, from the first to the rename."""
WITH_CHECKPOINT = 42
"""The operation of a process that has just written a checkpoint, which the next one copies."""
COMMANDS, OF_COMMAND = 8, 80
"""How many commands are killed, each at one of its first operations on files of attempts."""


def commit_path(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Runs are killed at one operation of the file system after the other, from the first to the last: in a process
    that begins at the first step, and in one that goes on from a checkpoint, which it copies. Files are then not there,
    empty, written in part, whole, or not renamed. Eight commands are killed while they try the folder out or tidy up.
    """
    stage.quiet()
    found, done = Findings(), 0
    if count < MOST:  # a few, anywhere
        at = rng.sample(range(1, FEWEST), count)
        done = sweep(stage, found, [*([each] for each in at[::2]), *([WITH_CHECKPOINT, each] for each in at[1::2])])
        return done, found
    for first in ([], [WITH_CHECKPOINT]):
        for start in range(1, MOST, stage.n_runs):
            struck = sweep(stage, found, [[*first, start + number] for number in range(stage.n_runs)])
            done += struck
            if struck < (1 + len(first)) * stage.n_runs:  # the last operations of all
                break
        if start < FEWEST:
            found.lies.append(f"after {first} a process had fewer than {start + stage.n_runs} operations")
    for at in rng.sample(range(1, OF_COMMAND), COMMANDS):
        done += sweep(stage, found, [[WITH_CHECKPOINT]] * stage.n_runs, command=at)
    return done, found


def sweep(stage: Stage, found: Findings, plan: list[list[int]], command: int | None = None) -> int:
    """One command, in which the processes of each run are killed where the plan says; returns how many were.

    With ``command`` that is killed too, at its operation of that number, and given again.
    """
    shutil.rmtree(stage.runs, ignore_errors=True)
    stage.events.unlink(missing_ok=True)
    claims = stage.folder / "claims"
    shutil.rmtree(claims, ignore_errors=True)
    claims.mkdir()
    fault = {"in": "any", "plan": plan, "claims": str(claims), "do": "kill", "command": command}
    code, output = stage.call(fault=fault)
    if code < 0 and command is not None:
        stage.wait_until(lambda: not stage.workers_alive(), 60)
        code, output = stage.call()
    what = f"operations {plan[0]} to {plan[-1]}, of the command {command}"
    if code:
        found.lies.append(f"{what}: exit {code}: {output[-200:]}")
    one = Findings(leftovers=[f"{what}: {path}" for path in stage.left_over()])
    stage.compare(one)
    found.add(one)
    return len([*claims.glob("*.struck")])
