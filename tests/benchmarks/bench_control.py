# ruff: noqa: T201
"""Whether `ablate bench` sees differences where there are none: cells of one architecture under several labels.

    python tests/benchmarks/bench_control.py --repetitions 4

The cells differ in `schedule.warmup_ratio`, on which no timing depends. Each repetition is a bench of its own and
prints, for every ratio to the baseline, whether its 95 % interval covers 1. In the long run 19 of 20 should.
"""

import argparse
import math
import tempfile
from collections import defaultdict
from pathlib import Path
from statistics import median

import yaml

from ablation.bench.measure import summarize
from ablation.bench.processes import measure_plan
from ablation.config.bundled import conf
from ablation.report.bench import ratio_and_interval
from ablation.stats.contrast import paired
from ablation.study.manifest import load_plan

WARMUPS = [0.1, 0.2, 0.3]


def write_grid(folder: Path) -> Path:
    """The quickstart's model, at half its depth, with nothing that varies but the warm-up."""
    grid = {
        "name": "control",
        "base": str(conf() / "base.yaml"),
        "set": {"model.d_model": 64, "model.n_layers": 2, "task.length": 64, "task.batch_size": 8},
        "factors": {"schedule.warmup_ratio": WARMUPS},
    }
    grid["set"] |= {"training.device": "cpu", "tracking.mode": "disabled"}  # type: ignore[index]
    file = folder / "control.yaml"
    file.write_text(yaml.safe_dump(grid, sort_keys=False))
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repetitions", type=int, default=4, help="benches (default: 4)")
    parser.add_argument("--processes", type=int, default=5, help="of each (default: 5)")
    parser.add_argument("--rounds", type=int, default=10, help="in each of them (default: 10)")
    options = parser.parse_args()
    covered: dict[str, list[bool]] = defaultdict(list)
    ratios: dict[str, list[float]] = defaultdict(list)
    dropped = timed = 0
    with tempfile.TemporaryDirectory() as folder:
        plan = load_plan(write_grid(Path(folder)), (), 1, ())
    for repetition in range(options.repetitions):
        results = measure_plan(
            plan, ["training_step", "prefill", "decode"], [128], options.rounds, options.processes, repetition
        )
        result = summarize(plan.name, [cell.label for cell in plan.cells], options.rounds, results)
        dropped, timed = dropped + result["dropped_rounds"], timed + result["timed_rounds"]
        for cell in result["cells"][1:]:
            for name, measured in cell["measures"].items():
                contrast = paired(measured["log_ratios"], [0.0] * options.processes)
                assert contrast.delta is not None
                covered[name].append(not contrast.excludes_zero)
                ratios[name].append(math.exp(contrast.delta))
                print(f"{repetition + 1} {cell['label']:14} {name:14}", *ratio_and_interval(measured["log_ratios"]))
    print(f"{dropped} of {timed} rounds dropped")
    for name, seen in covered.items():
        away = median(abs(ratio - 1) for ratio in ratios[name])
        print(f"{name:14} {sum(seen)} of {len(seen)} intervals cover 1; ratios are off by {away:.1%} (median)")
    everything = [cover for seen in covered.values() for cover in seen]
    print(f"all            {sum(everything)} of {len(everything)} intervals cover 1")


if __name__ == "__main__":
    main()
