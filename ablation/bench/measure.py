"""What ``ablate bench`` measures: all cells of a grid timed in interleaved rounds, in several fresh processes.

A replicate is a process, since all its rounds share one layout of memory. Its value is the median over rounds of the
logarithm of the ratio to the baseline; over the processes stands a Student t.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Any

from torch import Generator

from ..config.experiment import ExperimentConfig
from ..model.direct import direct_calls
from ..plugins import reason
from ..rng import derive, generator
from ..store.schemas import BENCH_SCHEMA
from .rounds import Clock, Job, Round, log_ratio, make_reference_job, time_round, typical_seconds, undisturbed_rounds
from .target import BenchTarget

ProgressCallback = Callable[[str, float], object]
"""Called with ``("ready", expected seconds of all rounds)`` once, and with ``("round", number)`` after each round."""


def measure(
    experiments: Mapping[str, ExperimentConfig],
    kinds: Sequence[str],
    lengths: Sequence[int],
    n_rounds: int,
    process: int,
    progress: ProgressCallback = lambda event, number: None,
    order: int = 0,
) -> dict[str, Any]:
    """The measurements of one process, as plain data; ``experiments`` by the label of their cell, the baseline first.

    ``order`` and the number of the process seed the order within each round. What cannot be timed is left out, and
    ``notes`` says why, by label and measure.
    """
    notes: dict[str, dict[str, str]] = {label: {} for label in experiments}
    targets: dict[str, BenchTarget] = {}
    for label, experiment in experiments.items():
        try:
            targets[label] = BenchTarget(experiment)
        except Exception as error:
            notes[label] = {kind: f"cannot be built: {reason(error)}" for kind in kinds}
    if not targets:
        return {"notes": notes, "measures": {}, "dropped": {}, "cells": {}, "record": {}}
    first = next(iter(targets.values()))
    clock = first.conditions.clock
    allowed = {length: common_length(targets.values(), length) for length in lengths}
    measures = describe(kinds, allowed)
    jobs: dict[str, dict[str, Job]] = {}
    for name, about in measures.items():
        jobs[name] = {}
        for label, target in targets.items():
            try:
                jobs[name][label] = make_job(target, name, about).calibrated(target.conditions.clock)
            except Exception as error:
                notes[label][name] = reason(error)
    reference_job = make_reference_job(first.conditions.device).calibrated(clock)
    rounds = time_all(jobs, reference_job, clock, n_rounds, generator(order, process), progress)
    baseline = next(iter(experiments))
    valid = {name: undisturbed_rounds(timed) for name, timed in rounds.items()}
    return {
        "record": {**first.conditions.record(), "compile": first.training.compile},
        "measures": measures,
        "dropped": {name: len(timed) - len(valid[name]) for name, timed in rounds.items()},
        "cells": {
            label: {
                "measures": {
                    name: replicate(valid[name], label, baseline, measures[name])
                    for name in jobs
                    if label in jobs[name]
                },
                "step_tokens": target.step_tokens,
                **({} if process else exact_counts(target, allowed.values(), notes[label])),
            }
            for label, target in targets.items()
        },
        "notes": notes,
    }


def interleaving_seed(seed: int, run_ids: Iterable[str]) -> int:
    """The seed of the order within rounds: another one for another ``seed`` or another grid."""
    return derive(seed, "bench", *run_ids)


def describe(kinds: Sequence[str], allowed: Mapping[int, int]) -> dict[str, dict[str, Any]]:
    """All measures by name: ``prefill`` is at the first of the lengths, ``prefill@2048`` at another one.

    ``allowed`` gives, for every requested length, the one that all cells support; equal ones are measured once.
    """
    measures: dict[str, dict[str, Any]] = {}
    if "training_step" in kinds:
        measures["training_step"] = {"unit": "s", "better": "lower"}
    for number, length in enumerate(dict.fromkeys(allowed.values())):
        suffix = f"@{length}" if number else ""
        capped = [requested for requested, supported in allowed.items() if supported == length != requested]
        cap = {"instead_of": capped} if capped else {}
        if "prefill" in kinds:
            measures[f"prefill{suffix}"] = {"unit": "s", "better": "lower", "length": length, "batch": 1, **cap}
        if "decode" in kinds:
            measures[f"decode{suffix}"] = {"unit": "tokens/s", "better": "higher", "context": length, **cap}
    return measures


def make_job(target: BenchTarget, name: str, measure: Mapping[str, Any]) -> Job:
    """What is timed for a measure. Errors: ValueError when the model cannot do it."""
    if name == "training_step":
        return Job(target.training_step, target.model.train)
    infer = partial(Job, prepare=target.inferred.eval, around=partial(direct_calls, target.inferred))
    if "length" in measure:
        return infer(target.prefill(measure["length"]))
    if target.reason_no_decoding is not None:
        raise ValueError(target.reason_no_decoding)
    return infer(target.decode(measure["context"]))


def common_length(targets: Iterable[BenchTarget], length: int) -> int:
    """``length``, or the longest below it that the positions of all models support."""
    return min(longest_prefill(target, length) for target in targets)


def longest_prefill(target: BenchTarget, length: int) -> int:
    """``length``, or the model's own ``max_length`` where only longer sequences fail."""
    target.inferred.eval()
    if length <= target.max_length:
        return length
    try:
        target.prefill(length)()
    except Exception:  # if the length is not the cause, the timing fails again and reports it
        return target.max_length if succeeds(lambda: target.prefill(target.max_length)()) else length
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
    reference_job: Job,
    clock: Clock,
    n_rounds: int,
    random: Generator,
    progress: ProgressCallback,
) -> dict[str, list[Round]]:
    """All rounds of every measure, those of different measures interleaved."""
    rounds: dict[str, list[Round]] = {name: [] for name, of_measure in jobs.items() if of_measure}
    start = time.perf_counter()
    for number in range(n_rounds):
        for name, timed in rounds.items():
            timed.append(time_round(jobs[name], reference_job, clock, random))
        if not number:
            progress("ready", (time.perf_counter() - start) * n_rounds)
        progress("round", number + 1)
    return rounds


def replicate(
    rounds: Sequence[Round], label: str, baseline: str, measure: Mapping[str, Any]
) -> dict[str, float | None]:
    """One process's value of one cell, in the unit of the measure; no ratio where the baseline was not timed."""
    seconds = typical_seconds(rounds, label)
    ratio = log_ratio(rounds, label, baseline) if baseline in rounds[0].seconds else None
    if measure["better"] == "lower":
        return {"value": seconds, "log_ratio": ratio}
    return {"value": 1 / seconds, "log_ratio": None if ratio is None else 0.0 - ratio}


def exact_counts(target: BenchTarget, lengths: Iterable[int], notes: dict[str, str]) -> dict[str, Any]:
    """What is counted once, as it never varies; ``notes`` receives why a count is missing."""
    functions: dict[str, Callable[[], Any]] = {
        "cache_bytes": lambda: cache_bytes(target, lengths),
        "peak_memory_bytes": target.peak_memory,
    }
    counts = {}
    for name, count in functions.items():
        try:
            counts[name] = count()
        except Exception as error:
            counts[name], notes[name] = None, reason(error)
    return counts


def cache_bytes(target: BenchTarget, lengths: Iterable[int]) -> dict[str, int] | None:
    """Bytes of the cache of one sequence at these lengths and a quarter of each; None for a model without one."""
    if target.reason_no_decoding is not None:
        return None
    points = sorted({max(1, part) for length in lengths for part in (length // 4, length)})
    return {str(length): target.filled_cache(length)[0].n_bytes for length in points}


def summarize(
    grid: str, labels: Sequence[str], n_rounds: int, processes: Sequence[Mapping[str, Any]], seed: int = 0
) -> dict[str, Any]:
    """The content of bench.json: every measure of every cell, as median over processes and log ratio in each process.

    ``log_ratios`` are log(value of the cell / value of the baseline); empty where the baseline was not timed, which
    ``notes`` then says.
    """
    first = processes[0]
    baseline = labels[0]
    cells = []
    for label in labels:
        notes = {name: text for process in reversed(processes) for name, text in process["notes"][label].items()}
        results = [process["cells"].get(label, {"measures": {}}) for process in processes]
        measures: dict[str, Any] = dict.fromkeys(first["measures"])
        for name in first["measures"]:
            replicates = [cell["measures"].get(name) for cell in results]
            if name in notes or not all(replicates):
                continue
            ratios = [one["log_ratio"] for one in replicates]
            is_compared = all(ratio is not None and math.isfinite(ratio) for ratio in ratios)
            value = median(one["value"] for one in replicates)
            measures[name] = {"value": value, "log_ratios": ratios if is_compared else []}
            if not is_compared:
                notes[name] = f"not compared: the baseline, {baseline}, was not timed"
        cells.append(
            {
                "label": label,
                "measures": measures,
                "cache_bytes": results[0].get("cache_bytes"),
                "peak_memory_bytes": results[0].get("peak_memory_bytes"),
                "notes": notes,
            }
        )
    return {
        "schema": BENCH_SCHEMA,
        "grid": grid,
        "record": first["record"],
        "processes": len(processes),
        "rounds": n_rounds,
        "seed": seed,
        "dropped_rounds": sum(sum(process["dropped"].values()) for process in processes),
        "timed_rounds": n_rounds * sum(len(process["dropped"]) for process in processes),
        "measures": first["measures"],
        "cells": cells,
    }
