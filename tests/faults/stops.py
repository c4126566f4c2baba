"""A campaign of commands that are asked to stop, politely and less so."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from faults.stage import Findings, Stage
from support.small_grids import processes

SLACK = 5
"""By how much a machine that is busy with other tests may exceed the limits."""


@contextmanager
def _heeded(*signals: signal.Signals) -> Iterator[None]:
    """What is started inside heeds them, though nohup or a shell in the background may have had them ignored."""
    before = [(each, signal.signal(each, signal.SIG_DFL)) for each in signals]
    try:
        yield
    finally:
        for each, handler in before:
            signal.signal(each, handler)


@_heeded(signal.SIGINT)
def early_interrupts(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Ctrl-C while a command imports and plans: it ends with the code for it, and without a traceback."""
    stage.quiet()
    lies, done = list[str](), 0
    for _ in range(count):
        with stage.command() as driver:
            stage.wait_until(lambda: driver.poll() is not None or len(processes(stage.folder)) > 1)
            time.sleep(rng.uniform(0.0, 2.5))  # it begins with the server that it trains from
            if driver.poll() is not None:
                break
            os.killpg(driver.pid, signal.SIGINT)
            done += 1
            try:
                driver.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                said = (stage.folder / "stderr.txt").read_text(errors="replace")
                lies.append(f"does not end within a minute; its last words: {said[-300:]!r}")
                continue
            if driver.returncode not in ((4,) if stage.completed() < stage.n_runs else (0, 4)):
                lies.append(f"exit code {driver.returncode}, not 4")
            stage.wait_until(lambda: not stage.workers_alive(), 60)
    if "Traceback" in (said := (stage.folder / "stderr.txt").read_text(errors="replace")):
        lies.append(said[said.index("Traceback") :].partition("\n\n")[0])
    return done, stage.conclude(lies)


@_heeded(signal.SIGINT, signal.SIGHUP)
def interrupts(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Ctrl-C once, twice and ten times, SIGTERM and SIGHUP: the command ends in time, with the code for it."""
    stage.quiet()
    lies, done = list[str](), 0
    ways = [
        ([signal.SIGINT], (4,), 12.0),
        ([signal.SIGINT] * 10, (4, 130, -signal.SIGINT), 5.0),
        ([signal.SIGTERM], (4,), 12.0),
        ([signal.SIGHUP], (4, -signal.SIGHUP), 12.0),
        ([signal.SIGINT] * 2, (4, 130, -signal.SIGINT), 5.0),
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
                lies.append(f"{signals[0].name} x {len(signals)}: exit code {driver.returncode}, not {codes}")
            if took > limit * (1 if count > len(ways) else SLACK):
                lies.append(f"{signals[0].name} x {len(signals)}: {took:.1f} s, more than {limit}")
            stage.wait_until(lambda: not stage.workers_alive(), 60)
    return done, stage.conclude(lies)
