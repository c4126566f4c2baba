"""What `ablate bench` measures: all cells of a grid timed by turns, in several fresh processes, apart from training.

A replicate is a process: where its memory happened to lie is the same for all its rounds. Within it stands the median
over rounds of the logarithm of the ratio to the baseline; over the processes, a Student t.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any

from torch import Generator

from ..rng import derive, generator
from .rounds import Clock, Job, Round, log_ratio, make_reference_job, time_round, typical_seconds, undisturbed_rounds
from .target import BenchTarget, Experiment

SCHEMA = 1
"""Of bench.json."""

ProgressCallback = Callable[[str, float], object]
"""Hears how far a process is: ``("ready", seconds that its rounds will take)``, then ``("round", its number)``."""


def measure(
    experiments: Mapping[str, Experiment],
    kinds: Sequence[str],
    lengths: Sequence[int],
    n_rounds: int,
    process: int,
    tell: ProgressCallback = lambda what, number: None,
    order: int = 0,
) -> dict[str, Any]:
    """One process's share, as plain data; ``experiments`` by the label of their cell, the baseline first.

    The turns of each round are drawn from ``order`` and the number of the process.
    What cannot be timed is left out, and ``notes`` says why, by label and measure.
    """
    notes: dict[str, dict[str, str]] = {label: {} for label in experiments}
    subjects: dict[str, BenchTarget] = {}
    for label, experiment in experiments.items():
        try:
            subjects[label] = BenchTarget(experiment)
        except Exception as error:
            notes[label] = {kind: f"cannot be built: {reason(error)}" for kind in kinds}
    if not subjects:
        return {"notes": notes, "measures": {}, "dropped": {}, "cells": {}, "record": {}}
    first = next(iter(subjects.values()))
    longest = {length: common_length(subjects.values(), length) for length in lengths}
    measures = describe(kinds, longest)
    jobs: dict[str, dict[str, Job]] = {}
    for name, about in measures.items():
        jobs[name] = {}
        for label, subject in subjects.items():
            try:
                jobs[name][label] = make_job(subject, name, about).calibrated(subject.conditions.clock)
            except Exception as error:
                notes[label][name] = reason(error)
    canary = make_reference_job(first.conditions.device).calibrated(first.conditions.clock)
    random = generator(order, process)
    rounds = time_all(jobs, canary, first.conditions.clock, n_rounds, random, tell)
    baseline = next(iter(experiments))
    kept = {name: undisturbed_rounds(timed) for name, timed in rounds.items()}
    return {
        "record": {**first.conditions.record(), "compile": first.training.compile},
        "measures": measures,
        "dropped": {name: len(timed) - len(kept[name]) for name, timed in rounds.items()},
        "cells": {
            label: {
                "measures": {
                    name: replicate(kept[name], label, baseline, measures[name]) for name in jobs if label in jobs[name]
                },
                **({} if process else exact_counts(subject, longest.values(), notes[label])),
            }
            for label, subject in subjects.items()
        },
        "notes": notes,
    }


def interleaving_seed(seed: int, run_ids: Iterable[str]) -> int:
    """What the turns are drawn from: another ``seed`` or another grid gives others."""
    return derive(seed, "bench", *run_ids)


def describe(kinds: Sequence[str], longest: Mapping[int, int]) -> dict[str, dict[str, Any]]:
    """All measures by name: ``prefill`` is at the first of the lengths, ``prefill@2048`` at a further one.

    ``longest`` says for every length that is wanted the one that all cells can be given; those that agree are one.
    """
    measures: dict[str, dict[str, Any]] = {}
    if "training_step" in kinds:
        measures["training_step"] = {"unit": "s", "better": "lower"}
    for number, length in enumerate(dict.fromkeys(longest.values())):
        ending = f"@{length}" if number else ""
        capped = [wanted for wanted, given in longest.items() if given == length != wanted]
        cap = {"instead_of": capped} if capped else {}
        if "prefill" in kinds:
            measures[f"prefill{ending}"] = {"unit": "s", "better": "lower", "length": length, "batch": 1, **cap}
        if "decode" in kinds:
            measures[f"decode{ending}"] = {"unit": "tokens/s", "better": "higher", "context": length, **cap}
    return measures


def make_job(subject: BenchTarget, name: str, about: Mapping[str, Any]) -> Job:
    """Errors: ValueError when the model cannot do it."""
    if name == "training_step":
        return Job(subject.training_step, subject.model.train)
    if "length" in about:
        return Job(subject.prefill(about["length"]), subject.model.eval)
    if subject.obstacle_to_decoding is not None:
        raise ValueError(subject.obstacle_to_decoding)
    return Job(subject.decode(about["context"]), subject.model.eval)


def common_length(subjects: Iterable[BenchTarget], length: int) -> int:
    """``length``, or as much of it as the positions of every subject can tell apart."""
    return min(longest_prefill(subject, length) for subject in subjects)


def longest_prefill(subject: BenchTarget, length: int) -> int:
    """``length``, or what the model is built for where it fails beyond and only there."""
    subject.model.eval()
    if length <= subject.max_length:
        return length
    try:
        subject.prefill(length)()
    except Exception:  # whatever it is: where it is not the length, the timing will meet it again and name it
        return subject.max_length if succeeds(subject.prefill(subject.max_length)) else length
    return length


def succeeds(call: Callable[[], object]) -> bool:
    """Whether it raises nothing."""
    try:
        call()
    except Exception:
        return False
    return True


def time_all(
    jobs: Mapping[str, Mapping[str, Job]],
    canary: Job,
    clock: Clock,
    n_rounds: int,
    random: Generator,
    tell: ProgressCallback,
) -> dict[str, list[Round]]:
    """All rounds of every measure; those of different measures take turns."""
    rounds: dict[str, list[Round]] = {name: [] for name, arms in jobs.items() if arms}
    start = time.perf_counter()
    for number in range(n_rounds):
        for name, timed in rounds.items():
            timed.append(time_round(jobs[name], canary, clock, random))
        if not number:
            tell("ready", (time.perf_counter() - start) * n_rounds)
        tell("round", number + 1)
    return rounds


def replicate(rounds: Sequence[Round], label: str, baseline: str, about: Mapping[str, Any]) -> dict[str, float | None]:
    """What one process says of one cell, in the unit of the measure; no ratio where the baseline was not timed."""
    seconds = typical_seconds(rounds, label)
    ratio = log_ratio(rounds, label, baseline) if baseline in rounds[0].seconds else None
    if about["better"] == "lower":
        return {"value": seconds, "log_ratio": ratio}
    return {"value": 1 / seconds, "log_ratio": None if ratio is None else 0.0 - ratio}


def exact_counts(subject: BenchTarget, lengths: Iterable[int], notes: dict[str, str]) -> dict[str, Any]:
    """What needs no rounds, since it is the same every time; ``notes`` receives why it is not there."""
    counts: dict[str, Callable[[], Any]] = {
        "cache_bytes": lambda: cache_bytes(subject, lengths),
        "peak_memory_bytes": subject.peak_memory,
    }
    counted = {}
    for name, count in counts.items():
        try:
            counted[name] = count()
        except Exception as error:
            counted[name], notes[name] = None, reason(error)
    return counted


def cache_bytes(subject: BenchTarget, lengths: Iterable[int]) -> dict[str, int] | None:
    """What the cache of one text holds at these lengths and a quarter of each; None where there is none."""
    if subject.obstacle_to_decoding is not None:
        return None
    several = sorted({max(1, part) for length in lengths for part in (length // 4, length)})
    return {str(length): subject.cache_of(length)[0].n_bytes for length in several}


def summarize(
    grid: str, labels: Sequence[str], n_rounds: int, processes: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, Any]:
    """bench.json: every measure of every cell, its median over the processes and its log ratio in each of them.

    ``log_ratios`` are log(value of the cell / value of the baseline); empty where the baseline was not timed, and then
    ``notes`` says so.
    """
    first = processes[0]
    baseline = labels[0]
    cells = []
    for label in labels:
        notes = {name: why for one in reversed(processes) for name, why in one["notes"][label].items()}
        told = [one["cells"].get(label, {"measures": {}}) for one in processes]
        measures: dict[str, Any] = dict.fromkeys(first["measures"])
        for name in first["measures"]:
            timed = [cell["measures"].get(name) for cell in told]
            if name in notes or not all(timed):
                continue
            ratios = [one["log_ratio"] for one in timed]
            compared = all(ratio is not None and math.isfinite(ratio) for ratio in ratios)
            measures[name] = {"value": median(one["value"] for one in timed), "log_ratios": ratios if compared else []}
            if not compared:
                notes[name] = f"not compared: the baseline, {baseline}, was not timed"
        cells.append(
            {
                "label": label,
                "measures": measures,
                "cache_bytes": told[0].get("cache_bytes"),
                "peak_memory_bytes": told[0].get("peak_memory_bytes"),
                "notes": notes,
            }
        )
    return {
        "schema": SCHEMA,
        "grid": grid,
        "record": first["record"],
        "processes": len(processes),
        "rounds": n_rounds,
        "seed": seed,
        "dropped_rounds": sum(sum(one["dropped"].values()) for one in processes),
        "timed_rounds": n_rounds * sum(len(one["dropped"]) for one in processes),
        "measures": first["measures"],
        "cells": cells,
    }


def reason(error: Exception) -> str:
    """What stopped a measure, in one line."""
    first = (str(error).splitlines() or [""])[0]
    return first if first and isinstance(error, ValueError) else f"{type(error).__name__}: {first}".rstrip(": ")
