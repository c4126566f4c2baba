"""Campaigns of commands and runs that are asked to stop, and of runs that end by their own fault."""

import os
import random
import signal
import time

from faults.stage import Findings, Stage, kill

SLACK = 5
"""By how much a machine that is busy with other tests may exceed the limits."""


def preemption(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Runs get SIGTERM at random moments: they write a checkpoint, and go on from it."""
    stage.quiet()
    done = 0
    while done < count and stage.completed() < stage.n_runs:
        with stage.command() as driver:
            while driver.poll() is None:
                time.sleep(rng.uniform(0.02, 0.3))
                workers = stage.workers_alive()
                if workers and done < count:
                    kill(rng.choice(workers), signal.SIGTERM)
                    done += 1
    problems = stage.finish()
    found = stage.examine()
    found.lies += problems
    return done, found


def interrupts(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Ctrl-C once, twice and ten times, SIGTERM and SIGHUP: the command ends in time, with the code for it."""
    stage.quiet()
    found, done = Findings(), 0
    ways = [
        ([signal.SIGINT], (4,), 12.0),
        ([signal.SIGINT] * 2, (4, 130, -signal.SIGINT), 5.0),
        ([signal.SIGINT] * 10, (4, 130, -signal.SIGINT), 5.0),
        ([signal.SIGTERM], (4,), 12.0),
        ([signal.SIGHUP], (4, -signal.SIGHUP), 12.0),
    ]
    for number in range(count):
        if stage.completed() == stage.n_runs:
            break
        signals, codes, limit = ways[number % len(ways)]
        with stage.command() as driver:
            stage.wait_until(lambda: driver.poll() is not None or stage.workers_alive())
            time.sleep(rng.uniform(0.0, 1.0))
            if driver.poll() is not None:
                break
            started = time.monotonic()
            for one in signals:
                os.killpg(driver.pid, one)
                time.sleep(0.1)
            driver.communicate(timeout=60)
            took = time.monotonic() - started
            done += 1
            if driver.returncode not in codes:
                found.lies.append(f"{signals[0].name} x {len(signals)}: exit code {driver.returncode}, not {codes}")
            if took > limit * (1 if count >= len(ways) else SLACK):
                found.lies.append(f"{signals[0].name} x {len(signals)}: {took:.1f} s, more than {limit}")
            stage.wait_until(lambda: not stage.workers_alive(), 60)
    found.lies += stage.finish()
    examined = stage.examine()
    examined.lies += found.lies
    return done, examined
