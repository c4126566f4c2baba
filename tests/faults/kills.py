"""Campaigns of processes that end from outside: runs, commands, whole groups at any moment."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from faults.stage import Findings, Stage, kill

MOMENT = (0.02, 0.35)
"""Seconds between two signals to runs."""


def worker_kills(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Random runs are killed at random moments, also while they write checkpoints or commit."""
    return signals_to_runs(stage, rng, count, signal.SIGKILL)


def preemption(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Runs get SIGTERM at random moments: they write a checkpoint, and go on from it."""
    return signals_to_runs(stage, rng, count, signal.SIGTERM)


def signals_to_runs(stage: Stage, rng: random.Random, count: int, number: signal.Signals) -> tuple[int, Findings]:
    """Random runs get a signal at random moments, until that was so often or there is nothing left to train."""
    stage.quiet()
    done = 0
    while done < count and stage.completed() < stage.n_runs:
        with stage.command() as driver:
            while driver.poll() is None:
                time.sleep(rng.uniform(*MOMENT))
                workers = stage.workers_alive()
                if workers and done < count:
                    kill(rng.choice(workers), number)
                    done += 1
    return done, stage.conclude()


def driver_kills(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """The command is killed at a random moment, and given again."""
    return ended_commands(stage, rng, count, lambda driver: kill(driver.pid))


def group_kills(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """The command and all in its process group are killed at once."""

    def kill_group(driver: Any) -> None:
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)

    return ended_commands(stage, rng, count, kill_group)


def ended_commands(stage: Stage, rng: random.Random, count: int, end: Callable[[Any], None]) -> tuple[int, Findings]:
    """The command is ended at a random moment while it trains, sometimes when another run was completed."""
    stage.quiet()
    done = 0
    for _ in range(count):
        if stage.completed() == stage.n_runs:
            break
        with stage.command() as driver:
            before = stage.completed()
            stage.wait_until(lambda: driver.poll() is not None or stage.workers_alive())
            if rng.random() < 0.3:
                stage.wait_until(lambda before=before: driver.poll() is not None or stage.completed() > before)
            time.sleep(rng.uniform(0.0, 2.5))
            done += driver.poll() is None
            end(driver)
            driver.wait()
            stage.wait_until(lambda: not stage.workers_alive(), 60)
    return done, stage.conclude()


def concurrent_commands(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """The same command is given many times within a moment: one trains, the others say who does."""
    stage.quiet()
    with stage.command() as first:
        stage.wait_until(lambda: (stage.runs / ".holder.json").exists())
        silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": stage.folder}
        others = [subprocess.Popen(first.args, env=stage.environment(), **silent) for _ in range(count)]
        codes = [other.wait(timeout=120) for other in others]
        first.communicate(timeout=600)
    found = stage.examine()
    if first.returncode or set(codes) != {3}:
        found.lies.append(f"exit codes {first.returncode} and {sorted(set(codes))}, not 0 and 3")
    return count, found
