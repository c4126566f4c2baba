"""A campaign of runs that fail by themselves, each in its own way, and are trained again once the cause is gone."""

import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from faults.stage import Findings, Stage, kill

from ablation.store.same_numbers import numbers

TROUBLED = '''
import ctypes
import os
import time
from pathlib import Path

from ablation import Schedule, register

CAUSE = Path(os.environ["ABLATION_STAGE"]) / "cause"


@register("schedule", "troubled")
class Troubled(Schedule):
    """Constant; each step takes its time. After some steps something happens, most of it only while CAUSE is there."""

    def __init__(self, *, kind: str = "good", after: int = 10, seconds: float = 0.05):
        super().__init__(warmup_ratio=0.0)
        self.kind, self.steps, self.seconds = kind, after, seconds

    def factor(self, step: int, n_steps: int) -> float:
        time.sleep(self.seconds)
        if step != self.steps:
            return 1.0
        if self.kind == "diverges":
            return float("inf")
        if CAUSE.exists():
            getattr(self, self.kind)()
        return 1.0

    def good(self): ...

    def also_good(self): ...

    def raises(self):
        raise RuntimeError("no luck")

    def lacks_memory(self):
        raise MemoryError("no more")

    def crashes(self):
        ctypes.string_at(0)

    def hangs(self):
        time.sleep(3600)
'''
STEPS, CHECKPOINT_STEPS = 16, 4
AFTER = {"hangs": 3}
"""After how many steps something happens, where that is not after 10: before there is a checkpoint."""
TIMEOUT = 6.0
"""Seconds without a batch after which a run hangs: many times what a batch takes on a busy machine."""
KINDS = ("good", "raises", "crashes", "hangs", "lacks_memory", "diverges", "also_good")
STATUSES = {"raises": "failed", "crashes": "failed", "hangs": "failed", "lacks_memory": "oom", "diverges": "diverged"}
"""Of the runs that come to a bad end; the others are completed."""
REASONS = {"raises": "no luck", "crashes": "segmentation fault", "hangs": "step_timeout", "lacks_memory": "MemoryError"}
ATTEMPTS = {"crashes": 3, "lacks_memory": 2}
"""How many attempts one command makes at most, where that is not one: the first crash has come to a later checkpoint,
and what lacked memory beside others is tried alone.
"""


def troubled(kind: str) -> dict[str, Any]:
    return {"name": "troubled", "kind": kind, "after": AFTER.get(kind, 10), "label": kind}


def last_checkpoint(kind: str) -> int:
    """The step of the last one before something happens; 0: there is none."""
    after = AFTER.get(kind, 10)
    return after - after % CHECKPOINT_STEPS


FAILING: dict[str, Any] = {
    "factors": {"schedule": [troubled(kind) for kind in KINDS]},
    "plugin": TROUBLED,
    "n_diverged": 1,
    "steps": STEPS,
    "settings": {
        "training.checkpoint_seconds": None,
        "training.checkpoint_steps": CHECKPOINT_STEPS,
        "training.step_timeout": TIMEOUT,
    },
}
"""The grid of the campaign."""
RETRY = ("--retry", "failed,oom")
RETRIED = tuple(REASONS)
"""The kinds that the option names; to diverge is a result."""


def failing_runs(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Runs raise, crash, hang, lack memory or diverge beside good ones; once the cause is gone, all but the last kind
    are tried again on request, while the command or one of its runs is killed at random moments.
    """
    quiet, found, done = stage.quiet(), Findings(), 0
    for number in range(count):
        if done >= count:
            break
        shutil.rmtree(stage.runs, ignore_errors=True)
        stage.events.unlink(missing_ok=True)
        cause, twice = stage.folder / "cause", number % 2 == 1
        cause.touch()
        lies = let_fail(stage, quiet)
        if twice:  # after the checkpoint that they go on from, so that the next retry begins at the first step
            lies += let_fail(stage, quiet, *RETRY)
        cause.unlink()
        before = stage.counted("began")
        done += len(RETRIED) * stage.n_seeds
        done += kills_while_retried(stage, rng, min(count, rng.randint(5, 9)))
        lies += stage.finish(3, *RETRY)
        lies += mistakes_of_retry(stage, before)
        found.add(stage.examine())
        found.lies += lies
    return done, found


def let_fail(stage: Stage, quiet: Path, *retry: str) -> list[str]:
    """A command in which runs fail, and the same command once more; what is wrong about what they leave."""
    before = stage.counted("began")
    code, output = stage.call(*stage.words("--keep-going", *retry))
    lies = [] if code == 1 else [f"exit {code} where runs fail: {output[-200:]}"]
    after = stage.counted("began")
    for kind, run in runs_of(stage):
        expected = 0 if retry and kind not in RETRIED else ATTEMPTS.get(kind, 1)
        if not min(expected, 1) <= (n := after[run.name] - before[run.name]) <= expected:
            lies.append(f"a run that {kind}: {n} attempts, not {expected}")
        if kind not in RETRIED and numbers(run) != numbers(quiet / run.relative_to(stage.runs)):
            lies.append(f"a run that {kind} has other numbers beside those that fail")
        if kind in RETRIED:
            n_failures = stage.counted("failure committed")[run.name]
            lies += [f"a run that {kind}: {problem}" for problem in mistakes_of_failure(run, kind, n_failures)]
    lies += mistakes_of_answers(stage)
    if not retry:
        code, output = stage.call()
        if code != 1 or stage.counted("began") != after:
            lies.append(f"without --retry: exit {code}, or something was trained: {output[-200:]}")
    return lies


def runs_of(stage: Stage) -> Iterator[tuple[str, Path]]:
    """Of every run its kind and its directory."""
    manifest = json.loads((stage.runs / "campaign" / "manifest.json").read_text())
    for cell in manifest["cells"]:
        for run in cell["runs"]:
            yield cell["label"].partition("=")[2], stage.runs / "store" / run["id"][:2] / run["id"]


def mistakes_of_failure(run: Path, kind: str, n_failures: int) -> Iterator[str]:
    """What is wrong about the directory of a run that has failed so often.

    Its checkpoint is gone on from once: after every second failure none is kept, and the next attempt begins anew.
    """
    file = run / "failure.json"
    failure = json.loads(file.read_text()) if file.exists() else {}
    if REASONS[kind] not in str(failure.get("reason")):
        yield f"the reason is {failure.get('reason')!r}"
    kept = {path.name for path in (run / "checkpoint").glob("*")}
    step = last_checkpoint(kind)
    newest = f"step-{step:09}"
    if kept != ({f"{newest}.pt", f"{newest}.json", "failed"} if step and n_failures % 2 else set()):
        yield f"of its checkpoints there are {sorted(kept)}"


def mistakes_of_answers(stage: Stage) -> Iterator[str]:
    """Where a status, or the table, names another state than that of the runs."""
    words = [str(word) for word in (stage.grid, "--plugin", stage.plugin, "--runs", stage.runs, "--json")]
    code, output = stage.call("status", *words)
    cells = json.loads(output)["cells"] if code in (0, 1) else []
    states = {cell["label"].partition("=")[2]: cell["states"] for cell in cells}
    wanted: dict[str, Any] = {kind: {STATUSES.get(kind, "completed"): stage.n_seeds} for kind in KINDS}
    if states != wanted:
        yield f"status: exit {code}: {states}"
    code, output = stage.call("table", "campaign", "--runs", str(stage.runs), "--format", "json")
    for cell in json.loads(output)["cells"] if code == 0 else [{}]:
        kind = str(cell.get("label")).partition("=")[2]
        status = STATUSES.get(kind, "completed").replace("oom", "failed")
        counts = {key: n for key in ("completed", "diverged", "failed", "missing") if (n := cell.get(key))}
        if counts != {status: stage.n_seeds}:
            yield f"the table has of the runs that {kind}: {counts}"


def kills_while_retried(stage: Stage, rng: random.Random, count: int) -> int:
    """The failed runs are tried again, and the command or one of its runs is killed so often; returns how often."""
    done = 0
    for _ in range(count):
        with stage.command(*stage.words(*RETRY)) as driver:
            stage.wait_until(lambda: driver.poll() is not None or stage.workers_alive())
            while driver.poll() is None and done < count:
                time.sleep(rng.uniform(0.02, 0.6))
                workers = stage.workers_alive()
                victim = driver.pid if rng.random() < 0.25 else rng.choice(workers or [driver.pid])
                if driver.poll() is None:
                    kill(victim)
                    done += 1
                if victim == driver.pid:
                    driver.wait()
            if driver.poll() is None:
                driver.communicate(timeout=300)
        stage.wait_until(lambda: not stage.workers_alive(), 60)
        if done >= count or stage.completed() == stage.n_runs:
            break
    return done


def mistakes_of_retry(stage: Stage, before: Any) -> Iterator[str]:
    """What is wrong after the retry, of which nothing is left then but what a quiet command leaves."""
    began, replaced = stage.counted("began"), stage.runs / "store" / "replaced"
    for kind, run in runs_of(stage):
        n = began[run.name] - before[run.name]
        if (n > 0) != (kind in RETRIED):
            yield f"a run that {kind}: {n} attempts in the retry"
        if kind not in RETRIED:
            continue
        n_failures = stage.counted("failure committed")[run.name]
        aside = sorted(replaced.glob(f"{run.name}-*"))
        if len(aside) != n_failures or not all((each / "failure.json").exists() for each in aside):
            yield f"a run that {kind}: {len(aside)} failures are kept, not {n_failures}"
        if any((each / "checkpoint").exists() for each in aside):
            yield f"a run that {kind}: its checkpoint is still there"
        resumed = json.loads((run / "result.json").read_text())["record"].get("resumed_at", [])
        first = last_checkpoint(kind)
        if first and n_failures % 2 and resumed[:1] != [first]:
            yield f"a run that {kind} went on at {resumed}, not first at {first}"
        if n_failures % 2 == 0 and n == 1 and resumed:
            yield f"a run that {kind} has failed {n_failures} times after step {first} and went on at {resumed}"
    shutil.rmtree(replaced, ignore_errors=True)
