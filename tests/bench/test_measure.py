"""Interleaved timing, with a clock that the tests turn themselves; and what `ablate bench` writes."""

import json
import math
import signal
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
from support.small_grids import Ablate, command, eventually, plan_of, processes, write_grid
from torch import Tensor
from torch.nn.utils import parametrize

from ablation.bench.measure import common_length, interleaving_seed, measure, replicate, summarize, time_all
from ablation.bench.processes import measure_plan
from ablation.bench.rounds import MIN_SECONDS, Job, Round, log_ratio, time_round, typical_seconds, undisturbed_rounds
from ablation.bench.target import BenchTarget
from ablation.report.bench import ratio_and_interval, render
from ablation.rng import generator
from ablation.store.lock import hold
from ablation.training.batches import TrainingBatch
from ablation.training.learner import Learner

M, LAYERS, D = 16, 2, 4


class Machine:
    """A machine whose clock moves by what its jobs cost, times how slow it is at that moment."""

    def __init__(self, slowness: Callable[[float], float] = lambda now: 1.0):
        self.now, self.slowness = 0.0, slowness
        self.called: list[str] = []

    def clock(self) -> float:
        return self.now

    def job(self, name: str, cost: float) -> Job:
        def run() -> None:
            self.called.append(name)
            self.now += cost * self.slowness(self.now)

        return Job(run)

    def rounds(self, n_rounds: int, costs: dict[str, float], seed: int = 0) -> list[Round]:
        jobs, reference = {name: self.job(name, cost) for name, cost in costs.items()}, self.job("reference", 1.0)
        random = generator(seed, "test")
        return [time_round(jobs, reference, self.clock, random) for _ in range(n_rounds)]


def slowing(now: float) -> float:
    """Half as fast again after every 200 seconds."""
    return 1 + now / 400


def test_machine_that_slows_down_does_not_move_the_ratio():
    rounds = Machine(slowing).rounds(60, {"a": 1.0, "same": 1.0, "slower": 1.2})
    assert log_ratio(rounds, "same", "a") == pytest.approx(0.0, abs=0.01)
    assert log_ratio(rounds, "slower", "a") == pytest.approx(math.log(1.2), abs=0.01)


def test_slowing_machine_moves_ratio_of_cells_timed_in_blocks():
    machine = Machine(slowing)
    blocks = [median(machine.job(name, 1.0).seconds(machine.clock) for _ in range(60)) for name in ("a", "same")]
    assert math.log(blocks[1] / blocks[0]) > 0.1


def test_round_in_a_burst_is_dropped_and_counted():
    machine = Machine(lambda now: 4.0 if 8.0 <= now < 40.0 else 1.0)
    rounds = machine.rounds(20, {"a": 1.0, "b": 2.0})
    kept = undisturbed_rounds(rounds)
    assert 2 <= len(rounds) - len(kept) <= 3
    assert all(one.reference == 1.0 for one in kept)
    assert log_ratio(kept, "b", "a") == pytest.approx(math.log(2.0))
    assert typical_seconds(kept, "b") == pytest.approx(2.0)


def test_machine_that_is_slow_throughout_loses_no_round():
    rounds = Machine(lambda now: 7.0).rounds(9, {"a": 1.0})
    assert len(undisturbed_rounds(rounds)) == 9


def test_every_round_times_every_arm_once_in_an_order_of_its_own():
    machine, again = Machine(), Machine()
    costs = dict.fromkeys("abcd", 1.0)
    machine.rounds(12, costs, seed=3)
    orders = [tuple(machine.called[start : start + 5]) for start in range(0, 60, 5)]
    assert all(sorted(order) == sorted([*costs, "reference"]) for order in orders)
    assert len(set(orders)) > 6
    again.rounds(12, costs, seed=3)
    assert again.called == machine.called


def turns(seed: int, ids: list[str], process: int) -> list[str]:
    """Who was called when, in one process of a bench."""
    machine = Machine()
    jobs = {name: machine.job(name, 1.0) for name in "abcd"}
    random = generator(interleaving_seed(seed, ids), process)
    time_all(
        {"training_step": jobs}, machine.job("reference", 1.0), machine.clock, 6, random, lambda event, number: None
    )
    return machine.called


def test_turns_come_from_the_grid_the_seed_and_the_process() -> None:
    first = turns(0, ["1a", "2b"], 0)
    assert turns(0, ["1a", "2b"], 0) == first
    for other in ((1, ["1a", "2b"], 0), (0, ["1a", "3c"], 0), (0, ["1a", "2b"], 1)):
        called = turns(*other)
        assert sorted(called) == sorted(first)
        assert called != first


def test_each_process_uses_the_order_of_its_grid_and_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[dict[str, Any]] = []
    monkeypatch.setattr("ablation.bench.processes._in_fresh_process", lambda task, *_: tasks.append(task))
    plans = [
        plan_of(write_grid(tmp_path / name, {"model.norm": [name, "none"]})) for name in ("rms_norm", "layer_norm")
    ]
    for plan, seed in ((plans[0], 0), (plans[0], 0), (plans[0], 1), (plans[1], 0)):
        measure_plan(plan, ["prefill"], [4], 1, 2, seed)
    orders = [task["order"] for task in tasks]
    assert orders[0] == orders[1] == orders[2] == orders[3]
    assert len({orders[0], orders[4], orders[6]}) == 3
    assert [task["process"] for task in tasks[:2]] == [0, 1]


def test_short_job_is_repeated_until_the_timing_is_long_enough():
    machine = Machine()
    job = machine.job("short", MIN_SECONDS / 5).calibrated(machine.clock)
    assert job.repeats == 8
    assert job.seconds(machine.clock) == pytest.approx(MIN_SECONDS / 5)
    assert machine.job("long", 2 * MIN_SECONDS).calibrated(machine.clock).repeats == 1


def test_log_ratios_are_of_values_in_the_unit_of_the_measure():
    rounds = Machine().rounds(3, {"a": 1.0, "b": 2.0})
    seconds = replicate(rounds, "b", "a", {"unit": "s", "better": "lower"})
    tokens = replicate(rounds, "b", "a", {"unit": "tokens/s", "better": "higher"})
    assert seconds == pytest.approx({"value": 2.0, "log_ratio": math.log(2)})
    assert tokens == pytest.approx({"value": 0.5, "log_ratio": -math.log(2)})


def process_result(process: int, *, missing: str | None = None) -> dict[str, Any]:
    """What one process measured of two cells."""
    labels = [label for label in ("base", "other") if label != missing]
    ratio = {"base": 0.0, "other": 0.1 * process}
    return {
        "record": {"host": "h", "device": "cpu"},
        "measures": {"training_step": {"unit": "s", "better": "lower"}},
        "dropped": {"training_step": process},
        "cells": {
            label: {
                "measures": {
                    "training_step": {
                        "value": 1.0 + process,
                        "log_ratio": None if missing == "base" else ratio[label],
                    }
                },
                "cache_bytes": None if process else {"8": 64},
                "peak_memory_bytes": None,
            }
            for label in labels
        },
        "notes": {label: {"training_step": "no memory"} if label == missing else {} for label in ("base", "other")},
    }


def test_cell_has_one_median_log_ratio_per_process():
    result = summarize("g", ["base", "other"], 4, [process_result(process) for process in range(3)])
    base, other = result["cells"]
    assert base["measures"]["training_step"] == {"value": 2.0, "log_ratios": [0.0, 0.0, 0.0]}
    assert other["measures"]["training_step"] == {"value": 2.0, "log_ratios": pytest.approx([0.0, 0.1, 0.2])}
    assert (other["cache_bytes"], other["peak_memory_bytes"], other["notes"]) == ({"8": 64}, None, {})
    assert (result["processes"], result["rounds"], result["dropped_rounds"], result["timed_rounds"]) == (3, 4, 3, 12)


def test_cell_that_one_process_could_not_time_gives_the_reason():
    result = summarize("g", ["base", "other"], 4, [process_result(0), process_result(1, missing="other")])
    assert result["cells"][1]["measures"] == {"training_step": None}
    assert result["cells"][1]["notes"] == {"training_step": "no memory"}


def test_missing_baseline_leaves_values_without_comparison():
    result = summarize("g", ["base", "other"], 4, [process_result(0, missing="base")])
    assert result["cells"][1]["measures"]["training_step"] == {"value": 1.0, "log_ratios": []}
    assert "the baseline, base, was not timed" in result["cells"][1]["notes"]["training_step"]


def test_interval_that_excludes_one_does_not_round_onto_it():
    ratio, interval = ratio_and_interval([0.0004, 0.00041, 0.00039])
    low, high = map(float, interval.strip("[]").split(","))
    assert 1 < low <= float(ratio) <= high
    assert ratio_and_interval([0.1, 0.1]) == ("1.105", "")


@pytest.mark.parametrize(
    ("mixer", "n_kv_heads", "per_token", "fixed"),
    [
        ("attention", 4, 2 * LAYERS * 4 * D * 4, 0),
        ("attention", 1, 2 * LAYERS * 1 * D * 4, 0),
        # The next token is the third of its window; what came before is evicted.
        ({"name": "attention", "window": 3}, 2, 0, 2 * 2 * LAYERS * 2 * D * 4),
        ("lstm", None, 0, 2 * LAYERS * round(0.55 * M) * 4),
    ],
)
def test_bytes_of_the_cache_are_those_of_the_formula(
    mixer: Any, n_kv_heads: int | None, per_token: int, fixed: int, configure: Any
) -> None:
    changes = {"model.mixer": mixer, "model.n_kv_heads": n_kv_heads, "model.position": "none"}
    target = BenchTarget(configure(changes))
    result = measure({"base": configure(changes)}, [], [8], 1, 0)
    for length in (2, 8):
        assert target.filled_cache(length)[0].n_bytes == length * per_token + fixed
        assert result["cells"]["base"]["cache_bytes"][str(length)] == length * per_token + fixed


@pytest.mark.parametrize("mixer", ["attention", {"name": "attention", "window": 3}, "lstm"])
def test_every_decoded_token_starts_from_the_same_cache(mixer: Any, configure: Any) -> None:
    target = BenchTarget(configure({"model.mixer": mixer, "model.position": "none"}))
    decode = target.decode(6)
    whole = target.infer(tokens=torch.cat([target.random_tokens(5), target.random_tokens(1)], 1))[:, -1:]
    for _ in range(2):
        torch.testing.assert_close(decode(), whole)


def test_training_step_computes_gradients_and_keeps_weights(configure: Any) -> None:
    target = BenchTarget(configure({"training.accumulate": 2}))
    before = {name: weight.clone() for name, weight in target.model.named_parameters()}
    target.training_step()
    for name, weight in target.model.named_parameters():
        assert torch.equal(weight, before[name])
        assert weight.grad is not None and weight.grad.abs().sum() > 0
    assert target.batch["tokens"].shape == (4, 12)


def test_low_rank_updates_are_timed_in_training_and_are_part_of_the_weights_in_inference(configure: Any) -> None:
    target = BenchTarget(configure({"training.lora": {"rank": 2, "alpha": 4}}))
    assert any(map(parametrize.is_parametrized, target.model.modules()))
    assert not any(map(parametrize.is_parametrized, target.inferred.modules()))
    tokens = target.random_tokens(5)
    torch.testing.assert_close(target.infer(tokens=tokens), target.model.eval()(tokens))
    target.training_step()
    target.decode(6)()
    plain = BenchTarget(configure())
    assert plain.inferred is plain.model


def test_timed_step_minimizes_what_training_does(configure: Any) -> None:
    changes = {"training.label_smoothing": 0.3, "training.z_loss": 0.01}
    for config in (configure(changes), configure()):
        target = BenchTarget(config)
        losses: list[Tensor] = []
        ours = target.loss(target.logits(losses), losses)
        learner = Learner(config, config.task.build(), target.model)
        torch.testing.assert_close(ours, learner.minimized(TrainingBatch(target.batch))[0])


def test_lengths_go_as_far_as_the_positions_of_all_cells(configure: Any) -> None:
    rope, learned = (BenchTarget(configure({"model.position": position})) for position in ("rope", "learned"))
    assert common_length([rope], 40) == 40
    assert common_length([rope, learned], 40) == 12


def test_cell_that_cannot_decode_gives_the_reason(configure: Any) -> None:
    experiments = {
        "base": configure(),
        "reader": configure({"model.architecture": "encoder", "task.name": "masked_text"}),
        "broken": configure({"model.n_heads": 16}),
    }
    events: list[tuple[str, float]] = []
    result = measure(experiments, ["prefill", "decode"], [4], 2, 0, lambda what, number: events.append((what, number)))
    assert result["notes"]["base"] == {}
    assert result["notes"]["reader"] == {"decode": "an encoder generates no text"}
    assert set(result["cells"]["reader"]["measures"]) == {"prefill"}
    assert "cannot be built: rope" in result["notes"]["broken"]["prefill"]
    assert [what for what, _ in events] == ["ready", "round", "round"]
    summary = summarize("g", list(experiments), 2, [result])
    assert [cell["measures"]["decode"] is None for cell in summary["cells"]] == [False, True, True]
    assert [cell["measures"]["prefill"] is None for cell in summary["cells"]] == [False, False, True]


def test_bench_writes_what_the_comparison_reads(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, {"model.mixer": ["attention", "lstm"]}, {"model.position": "none"})
    options = ("--processes", "2", "--rounds", "2", "--lengths", "8,16", "--seed", "7", "--runs", tmp_path / "runs")
    answer = ablate("bench", grid, *options, "--json")
    assert answer.code == 0, answer.err
    assert "2 cells, 2 rounds in each of 2 processes" in answer.err and "it will take about" in answer.err
    written = json.loads((tmp_path / "runs" / "small" / "bench.json").read_text())
    assert written == answer.json
    assert written["seed"] == 7
    assert {"host", "machine", "device", "torch", "threads", "precision", "compile"} <= set(written["record"])
    assert list(written["measures"]) == ["training_step", "prefill", "decode", "prefill@16", "decode@16"]
    assert written["measures"]["prefill"] == {"unit": "s", "better": "lower", "length": 8, "batch": 1}
    assert written["measures"]["decode@16"] == {"unit": "tokens/s", "better": "higher", "context": 16}
    manifest = ["mixer=attention", "mixer=lstm"]
    assert [cell["label"] for cell in written["cells"]] == manifest
    for cell in written["cells"]:
        for measured in cell["measures"].values():
            assert measured["value"] > 0 and len(measured["log_ratios"]) == 2
        assert cell["notes"] == {} and cell["peak_memory_bytes"] is None
    assert all(measured["log_ratios"] == [0.0, 0.0] for measured in written["cells"][0]["measures"].values())
    assert written["cells"][0]["cache_bytes"] == {"2": 128, "4": 256, "8": 512, "16": 1024}
    lines = printed(written)
    assert max(map(len, lines)) <= 80
    assert any("no interval: 2 of the 3 processes it needs" in line for line in lines)


def printed(result: dict[str, Any]) -> list[str]:
    from rich.console import Console

    console = Console(width=80)
    with console.capture() as captured:
        console.print(render(result))
    return captured.get().splitlines()


def test_bench_refuses_what_it_does_not_know_and_what_is_in_use(ablate: Ablate, tmp_path: Path) -> None:
    grid, runs = write_grid(tmp_path), tmp_path / "runs"
    answer = ablate("bench", grid, "--only", "decoding", "--runs", runs)
    assert answer.code == 2 and "did you mean 'decode'?" in answer.err
    assert ablate("bench", grid, "--lengths", "8,x", "--runs", runs).code == 2
    assert not runs.exists()
    with hold(runs):
        assert ablate("bench", grid, "--runs", runs).code == 3


def test_interrupted_bench_writes_no_file_and_leaves_no_process(tmp_path: Path) -> None:
    grid, runs = write_grid(tmp_path), tmp_path / "runs"
    words = ("bench", grid, "--rounds", "100000", "--lengths", "4", "--runs", runs)
    with command(tmp_path, *words) as bench:
        assert bench.stderr is not None
        assert any("it will take about" in line for line in bench.stderr)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(60) == 4
        assert "Traceback" not in bench.stderr.read()
        eventually(lambda: not processes(tmp_path))
    assert not (runs / "small").exists()
