"""Campaigns of files that are damaged: of finished runs, of what is kept so that commands are fast, of checkpoints."""

import json
import os
import random
import re
import shutil
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from faults.stage import Findings, Stage, timeless

from ablation.store.same_numbers import numbers

Way = Callable[[random.Random, bytes, bytes], bytes | None]
"""Makes of the content of a file, and of another run's, what the file holds then; None: it is deleted."""


def flip(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """One bit is another; in JSON one that matters, which it does not in 1e-5 and 1E-5."""
    while True:
        data, at = bytearray(content), rng.randrange(len(content))
        data[at] ^= 1 << rng.randrange(8)
        if read(bytes(data)) is None or read(bytes(data)) != read(content):
            return bytes(data)


def read(content: bytes) -> Any:
    with suppress(ValueError):
        return json.loads(content)
    return None


def count_on(rng: random.Random, content: bytes, other: bytes) -> bytes:
    """One number of a JSON file is larger by one."""
    numbers = [*re.finditer(rb'": (\d+)', content)]
    found = rng.choice(numbers) if numbers else None
    return (
        content if found is None else content[: found.start(1)] + b"%d" % (int(found[1]) + 1) + content[found.end() :]
    )


CUTS: dict[str, Way] = {
    "empty": lambda rng, content, other: b"",
    "first byte": lambda rng, content, other: content[:1],
    "half": lambda rng, content, other: content[: len(content) // 2],
    "without the last byte": lambda rng, content, other: content.rstrip(b"\n")[:-1],
}
WAYS: dict[str, Way] = {**CUTS, "one bit": flip, "swapped": lambda rng, content, other: other}
OF_JSON: dict[str, Way] = {
    "null": lambda rng, content, other: b"null",
    "nested": lambda rng, content, other: b"[" * 5000,
}
DELETED: dict[str, Way] = {"deleted": lambda rng, content, other: None}
GARBAGE: dict[str, Way] = {"garbage": lambda rng, content, other: rng.randbytes(len(content) or 100)}

WEIGHTS = "weights.safetensors"
SMALL_FILES = ("result.json", "run.json", "metrics.jsonl", "example_losses.npy")
LAST = "campaign/.last.json"
CACHES = (".index.sqlite", ".costs.json", LAST)

Damage = tuple[str, str, Way]
"""A file, the name of a way, and the way."""


def damages(files: Sequence[str], ways: Mapping[str, Way]) -> list[Damage]:
    """Each way with each file; those of JSON only where it is."""
    more = {file: OF_JSON if file.endswith(".json") else {} for file in files}
    return [(file, name, way) for file in files for name, way in {**ways, **more[file]}.items()]


DECK = [
    *damages(SMALL_FILES, WAYS),
    *damages([WEIGHTS], WAYS),
    *damages(CACHES, {**WAYS, **GARBAGE, **DELETED}),
    *((file, "one number", count_on) for file in CACHES if file.endswith(".json")),
]


def damaged_files(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """All files of finished runs, the index and the caches are cut at 0 bytes, 1, half and before the last, get one
    other bit, or are swapped with those of another run; in the caches one number is another. No command says another
    number for it, the same command trains what is damaged again, `ablate check --repair` finds damaged weights, and
    index and caches are made anew.
    """
    stage.variables["ABLATION_INDEX_FROM"] = "0"  # as if there were many runs
    quiet, lies = stage.quiet(), stage.finish()
    chosen = rng.sample(DECK, min(count, len(DECK)))
    runs = sorted((stage.runs / "store").glob("??/*"))
    for files in (SMALL_FILES, (WEIGHTS,)):
        for batch in batches([each for each in chosen if each[0] in files], len(runs)):
            lies += damage_runs(stage, rng, quiet, batch)
    index, costs, last = ([each for each in chosen if each[0] == cache] for cache in CACHES)
    while index or last:
        lies += damage_caches(stage, rng, quiet, [each.pop() for each in (index, last) if each])
    for each in costs:
        (stage.runs / LAST).unlink(missing_ok=True)  # so that the command plans, for which it reads the costs
        lies += damage_caches(stage, rng, quiet, [each])
    found = stage.examine()
    found.twice = 0  # what is damaged is trained again
    found.lies += lies
    return len(chosen), found


def batches(chosen: Sequence[Damage], size: int) -> Iterator[Sequence[Damage]]:
    for start in range(0, len(chosen), size):
        yield chosen[start : start + size]


def change(rng: random.Random, file: Path, way: Way, other: Path) -> None:
    new = way(rng, file.read_bytes() if file.exists() else b"", other.read_bytes() if other.exists() else b"")
    if new is None:
        file.unlink(missing_ok=True)
    else:
        file.write_bytes(new)


def damage_runs(stage: Stage, rng: random.Random, quiet: Path, batch: Sequence[Damage]) -> Iterator[str]:
    """One file of each of several runs is damaged; what commands do not notice, or do not set right."""
    what = ", ".join(f"{file} {name}" for file, name, _ in batch)
    store = stage.runs / "store"
    damaged = rng.sample(sorted(store.glob("??/*")), len(batch))
    for run, (file, _, way) in zip(damaged, batch, strict=True):
        other = rng.choice([each for each in (quiet / "store").glob("??/*") if each.name != run.name])
        change(rng, run / file, way, other / file)
    n_missing = 0 if batch[0][0] == WEIGHTS else len(batch)  # no table is made of weights
    yield from (f"{what}: {problem}" for problem in mistakes_of_table(stage, quiet, n_missing))
    code, output = stage.call("check", "--runs", str(stage.runs), "--json")
    named = {each["path"] for each in json.loads(output)["problems"]} if code == 1 else set()
    unseen = [run.name for run in damaged if not any(run.name in path for path in named)]
    if unseen or len(named) != len(damaged):
        yield f"{what}: check ends with {code} and names {sorted(named)}"
    if not n_missing:
        stage.call("check", "--runs", str(stage.runs), "--repair")
    yield from (f"{what}: {problem}" for problem in stage.finish(1))
    for run in damaged:
        if numbers(run) != numbers(quiet / run.relative_to(stage.runs)):
            yield f"{what}: {run.name} was trained to other numbers"
    if (n := len([*(store / "damaged").glob("*")])) != len(batch):
        yield f"{what}: {n} runs are in damaged/"
    shutil.rmtree(store / "damaged", ignore_errors=True)


def mistakes_of_table(stage: Stage, quiet: Path, n_missing: int) -> Iterator[str]:
    """Numbers in the table that the quiet one does not have, or too many of them."""
    tables = []
    for runs in (quiet, stage.runs):
        code, output = stage.call("table", "campaign", "--runs", str(runs), "--format", "json")
        if code not in (0, 5):
            yield f"the table ends with {code}: {output[-200:]}"
        if code:
            return
        tables.append(json.loads(output)["cells"])
    completed = sum(cell["completed"] for cell in tables[1])
    if completed != stage.n_runs - n_missing:
        yield f"the table has {completed} runs of {stage.n_runs}, of which {n_missing} are damaged"
    for known, cell in zip(*tables, strict=True):
        for metric in ("loss", "accuracy"):
            values = cell["metrics"].get(metric, {}).get("values", [])
            if not {*values} <= {*known["metrics"][metric]["values"], None}:
                yield f"the table has a {metric} of {values}"


def damage_caches(stage: Stage, rng: random.Random, quiet: Path, batch: Sequence[Damage]) -> Iterator[str]:
    """Index and caches are damaged; what commands say otherwise for it."""
    what = ", ".join(f"{file} {name}" for file, name, _ in batch)
    for file, _, way in batch:
        if not (stage.runs / file).is_file():
            yield f"there is no {file} to damage"
            continue
        change(rng, stage.runs / file, way, quiet / file)
    before = stage.counted("began")
    yield from (f"{what}: {problem}" for problem in stage.finish(1))
    answers = []
    for runs in (quiet, stage.runs):
        code, output = stage.call("table", "campaign", "--runs", str(runs), "--format", "json")
        answers.append(timeless(json.loads(output)) if code == 0 else (code, output))
    if answers[0] != answers[1]:
        yield f"{what}: the table differs from the quiet one"
    if stage.counted("began") != before:
        yield f"{what}: something was trained again"


ALL = "checkpoint and rows"
STATES = [*damages([".pt", ".json", "metrics.jsonl"], {**WAYS, **DELETED}), (ALL, "swapped", WAYS["swapped"])]
"""Damage to a checkpoint, to what is said of it, to the rows before it, and all of these of another run."""


def damaged_checkpoints(stage: Stage, rng: random.Random, count: int) -> tuple[int, Findings]:
    """Commands are killed, and checkpoints of their runs, or the rows before them, are damaged in the same ways or
    deleted: a run does not go on from what is damaged, but from the checkpoint before or from its first step.
    """
    quiet, found = stage.quiet(), Findings()
    left = rng.sample(STATES, min(count, len(STATES)))
    done = len(left)
    for _ in range(3 * count):
        if not left:
            break
        shutil.rmtree(stage.runs, ignore_errors=True)
        stage.events.unlink(missing_ok=True)
        earlier = interrupt(stage)
        steps: dict[str, tuple[int, str]] = {}
        for attempt in sorted((stage.runs / "store" / "attempts").iterdir()):
            newest = newest_step(attempt)
            if newest is None or not left:
                continue
            if rng.random() < 0.5:
                restore_before(attempt, newest, earlier)
            file, name, way = left.pop()
            others = [each for each in attempt.parent.iterdir() if each != attempt and newest_step(each)]
            whole = [each for each in others if each.name.partition(".")[0] not in steps]
            other = rng.choice(whole or others or [quiet])
            damage_attempt(rng, attempt, file, way, other)
            steps[attempt.name.partition(".")[0]] = newest, f"{file} {name}"
        lies = stage.finish(1)
        for run_id, (step, what) in steps.items():
            file = stage.runs / "store" / run_id[:2] / run_id / "result.json"
            resumed = json.loads(file.read_text())["record"].get("resumed_at", []) if file.exists() else []
            # A bit of the JSON may be in a number that nothing rests on; that the bits are equal is seen below.
            if step in resumed and what != ".json one bit":
                lies.append(f"{what}: it went on at {resumed} all the same")
        found.add(stage.examine())
        found.lies += lies
    return done - len(left), found


def interrupt(stage: Stage) -> dict[Path, bytes]:
    """Kill a command and its runs once half of them have checkpoints; returns the files of earlier checkpoints."""
    earlier: dict[Path, bytes] = {}

    def half_have() -> bool:
        for file in (stage.runs / "store" / "attempts").glob("*/checkpoint/step-*.json"):
            if file not in earlier:
                with suppress(OSError):  # it has been removed since
                    state = file.with_suffix(".pt")
                    earlier.update({state: state.read_bytes(), file: file.read_bytes()})
        return len({file.parent for file in earlier}) >= max(1, min(stage.n_runs, stage.workers) - 1)

    with stage.command() as driver:
        stage.wait_until(lambda: driver.poll() is not None or half_have())
        with suppress(ProcessLookupError):
            os.killpg(driver.pid, signal.SIGKILL)
        driver.wait()
        stage.wait_until(lambda: not stage.workers_alive(), 60)
    return earlier


def newest_step(attempt: Path) -> int | None:
    files = sorted((attempt / "checkpoint").glob("step-*.json"))
    return int(files[-1].stem.partition("-")[2]) if files else None


def restore_before(attempt: Path, newest: int, earlier: Mapping[Path, bytes]) -> None:
    """The checkpoint before the newest is there as well, as where a run is killed before it removes that."""
    for file, content in earlier.items():
        if file.parent.parent == attempt and int(file.stem.partition("-")[2]) < newest:
            file.write_bytes(content)


def damage_attempt(rng: random.Random, attempt: Path, file: str, way: Way, other: Path) -> None:
    if file == ALL:
        shutil.rmtree(attempt / "checkpoint")
        shutil.copytree(other / "checkpoint", attempt / "checkpoint")
        mine, theirs = attempt / "metrics.jsonl", other / "metrics.jsonl"
    elif file.startswith("."):
        mine, theirs = (max((each / "checkpoint").glob(f"step-*{file}"), default=each) for each in (attempt, other))
    else:
        mine, theirs = attempt / file, other / file
    if file == "metrics.jsonl":  # rows after the checkpoint are cut off, and may be damaged
        about = json.loads(max((attempt / "checkpoint").glob("step-*.json")).read_text())
        mine.write_bytes(mine.read_bytes()[: about["metrics"]["size"]])
    change(rng, mine, way, theirs if theirs.is_file() else mine.with_name("nothing"))
