# ruff: noqa: T201
"""What commands cost on large grids: planning, going on where nothing is missing, status, tables, the page, scheduling.

    python tests/benchmarks/scale.py
    python tests/benchmarks/scale.py --only table report

Each figure is that of a command in a process of its own: its wall time and its peak of resident memory, with Python's
start and all imports. The store of runs is written beforehand, with files of the size that training writes. It ends
with code 1 where a goal is missed; the goals are for two cores.

Of the memory, what the process allocated is printed beside the whole. The rest are pages of the files of libraries,
which all processes have in common. Of the files of a library that has just been installed the kernel may map more at
once: `import torch` alone has 80 MB of such pages where they were read from the disk, and had 140 after installing.
"""

import argparse
import io
import json
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy

from ablation.config.bundled import conf
from ablation.grid.file import read_grid
from ablation.grid.plan import Plan, Run
from ablation.grid.planner import make_plan
from ablation.launch.queue import run_queue
from ablation.store.attempts import Ended, Order, begin, commit
from ablation.store.code import code_version
from ablation.store.results import SCHEMA
from ablation.store.runs import Store
from ablation.study.manifest import save_plan

GRID = """\
name: {name}
base: base.yaml
set:
  task: {{name: copy, length: 16, batch_size: 8}}
  training.max_steps: 400
  training.evaluate_every: 50
  training.device: cpu
  tracking.mode: disabled
factors:
  model.norm: [layer_norm, rms_norm]
  model.position: [rope, alibi]
  optimizer.lr: {rates}
  optimizer.weight_decay: {decays}
  training.label_smoothing: {smoothings}
seeds: {seeds}
"""
COMMAND = "import sys; from ablation.cli import main; sys.exit(main())"
MEASURE = """
import json, os, subprocess, sys, threading, time
allocated = []
def watch(status):
    while True:
        try:
            with open(status) as lines:
                allocated.extend(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
        except OSError:  # it has ended, or this is not Linux
            return
        time.sleep(0.005)
started = time.monotonic()
process = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]], stdout=subprocess.DEVNULL)
threading.Thread(target=watch, args=[f"/proc/{process.pid}/status"], daemon=True).start()
_, status, used = os.wait4(process.pid, 0)
seconds = time.monotonic() - started
print(json.dumps([seconds, used.ru_maxrss, max(allocated, default=0), os.waitstatus_to_exitcode(status)]))
"""
"""A small process that starts the command, whose peak of memory would otherwise be at least that of this one."""
TINY = {"quality": {"primary": "loss", "final": {"loss": 1.0}}, "efficiency": {"parameters": 1}}
PLAN = 200
"""Megabytes that a plan may allocate: of 300 in all, 100 are of the files of libraries read from the disk."""
LOOKS, ROWS = 8, 40
"""Evaluations of a run, and the rows of its training."""


@dataclass(frozen=True)
class Goal:
    name: str
    seconds: float
    allocated: float | None = None
    """Megabytes without the pages of libraries' files."""


@dataclass(frozen=True)
class Cost:
    seconds: float
    megabytes: float
    allocated: float
    """Of these, what the process allocated; all of them where the system does not say."""


def write_grid(folder: Path, name: str, levels: tuple[int, int, int], seeds: int) -> Path:
    """A factorial of 4 models with so many learning rates, weight decays and amounts of label smoothing."""
    rates, decays, smoothings = levels
    (folder / "base.yaml").write_bytes((conf() / "base.yaml").read_bytes())
    file = folder / f"{name}.yaml"
    file.write_text(
        GRID.format(
            name=name,
            rates=[round(1e-3 * 1.1**i, 7) for i in range(rates)],
            decays=[round(0.01 * (i + 1), 3) for i in range(decays)],
            smoothings=[round(0.01 * i, 3) for i in range(smoothings)],
            seeds=seeds,
        )
    )
    return file


def write_store(plan: Plan, root: Path) -> None:
    """The files of every run of a plan, as if it had been trained, and the manifest; without waiting for the disk."""
    from ablation.config.layered import dump

    store, code, rng = Store(root), code_version(plan.runs[0].config), random.Random(0)
    of_seed = {seed: rng.gauss(0, 0.02) for seed in plan.seeds}
    example_losses = io.BytesIO()
    numpy.save(example_losses, numpy.ones((2, 512), "float32"), allow_pickle=False)
    for number, cell in enumerate(plan.cells):
        of_cell = rng.gauss(0, 0.05) if number else 0.0
        for run in cell.runs:
            directory = store.directory(run.id)
            directory.mkdir(parents=True)
            loss = 2.0 + of_seed[run.seed] + of_cell + rng.gauss(0, 0.01)
            record = {
                "schema": SCHEMA, "id": run.id, "seed": run.seed, "config": dump(run.config), "identity": run.identity,
                "code": code, "data": dict(run.data), "measured_on": dict(run.measured_on), "plugins": [],
            }  # fmt: skip
            (directory / "run.json").write_text(
                json.dumps(record)
            )  # without indents, which take Python ten times as long
            (directory / "result.json").write_text(json.dumps(result_of(run, loss, rng)))
            (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows_of(loss, rng)))
            (directory / "example_losses.npy").write_bytes(example_losses.getvalue())
    save_plan(plan, store)


def result_of(run: Run, loss: float, rng: random.Random) -> dict[str, Any]:
    """A result.json with all that training and the monitors measure."""
    scores = {"loss": loss, "accuracy": 0.9 - loss / 4, "exact_match": max(0.0, 0.6 - loss / 4)}
    return {
        "schema": SCHEMA,
        "id": run.id,
        "status": "completed",
        "reason": None,
        "quality": {
            "primary": "exact_match",
            "better": "higher",
            "directions": {"loss": "lower", "accuracy": "higher", "exact_match": "higher"},
            "final": scores,
            "best": scores,
            "mean_last": {name: value * 1.01 for name, value in scores.items()},
            "by_position": {},
        },
        "stability": {
            "diverged": False,
            "diverged_at_step": None,
            "initial_loss": 2.8 + rng.gauss(0, 0.01),
            "activation_by_depth": [rng.gauss(0.1, 0.01) for _ in range(4)],
            "attention_logit_max": rng.gauss(5.5, 0.5),
            "attention_logit_growth": rng.gauss(6, 0.5),
            "gradient_by_depth": [rng.gauss(0.6, 0.01) for _ in range(4)],
            "gradient_growth": rng.gauss(0, 0.1),
            "gradient_norm_median": rng.gauss(1.4, 0.1),
            "gradient_norm_max": rng.gauss(3.3, 0.3),
            "gradient_norm_tail": rng.gauss(2.3, 0.1),
            "clipped_fraction": rng.random(),
            "log_z": rng.gauss(3, 0.1),
            "log_z_growth": rng.gauss(0.1, 0.01),
            "spikes": rng.randrange(3),
            "spike_score": rng.randrange(3) / 400,
            "update_ratio_median": rng.gauss(0.004, 0.0001),
        },
        "efficiency": {
            "parameters": 804_224,
            "steps": 400,
            "tokens": 51_200,
            "training_seconds": 7.6,
            "tokens_per_second": rng.gauss(6500, 100),
        },
        "record": {"host": "vm", "machine": "x86_64", "device": "cpu", "precision": "32-true", "threads": 1,
                   "python": "3.11.7", "torch": "2.13.0", "lightning": "2.6.6", "ablation": "0.1.0"},
        "measured_on": dict(run.measured_on),
    }  # fmt: skip


def rows_of(loss: float, rng: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in range(1, ROWS + 1):
        step = row * 10
        at = {"step": step, "tokens": step * 128, "seconds": round(step * 0.019, 4)}
        now = loss + 0.8 * (1 - row / ROWS) + rng.gauss(0, 0.01)
        rows.append({**at, "train/loss": now, "train/gradient_norm": rng.gauss(1.4, 0.1),
                     "train/learning_rate": 0.001, "train/tokens_per_second": rng.gauss(6500, 100)})  # fmt: skip
        if row % (ROWS // LOOKS) == 0:
            scores = {"loss": now, "accuracy": 0.9 - now / 4, "exact_match": max(0.0, 0.6 - now / 4)}
            rows.append({**at, **{f"validation/{name}": value for name, value in scores.items()}})
    return rows


def cost_of(*arguments: str) -> Cost:
    """Of one command, from the start of its process to the end."""
    command = [sys.executable, "-c", MEASURE, COMMAND, *arguments]
    answer = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    seconds, used, allocated, code = json.loads(answer)
    if code:
        raise SystemExit(f"ablate {' '.join(arguments)} ended with code {code}")
    in_all = used * (1 if sys.platform == "darwin" else 1024) / 1e6
    return Cost(seconds, in_all, allocated * 1024 / 1e6 or in_all)


class Immediate:
    """A launcher whose runs are over as soon as they begin: each commits a tiny result."""

    def __init__(self) -> None:
        self.running: dict[str, Order] = {}
        self.open_files, self.committing = 0, 0.0

    @property
    def free(self) -> int:
        return 2 - len(self.running)

    def start(self, order: Order) -> None:
        self.running[order.run_id] = order

    def wait(self, seconds: float) -> list[Ended]:
        started = time.process_time()
        ended = []
        for order in self.running.values():
            attempt = begin(order)
            commit(attempt, "result.json", {"status": "completed", "reason": None, **TINY})
            ended.append(Ended(order.run_id, "committed", "completed", where=attempt.name))
        self.running.clear()
        self.committing += time.process_time() - started
        if Path("/proc/self/fd").is_dir():
            self.open_files = max(self.open_files, sum(1 for _ in Path("/proc/self/fd").iterdir()))
        return ended

    def stop(self, patience: float) -> list[Ended]:
        return []


def schedule(plan: Plan, root: Path) -> tuple[float, float, int]:
    """Milliseconds of a run beside its commit, megabytes that the peak has grown by since the first, and open files."""
    launcher, store = Immediate(), Store(root)
    run_queue(plan.runs[:100], store, launcher)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, launcher.committing = time.process_time(), 0.0
    run_queue(plan.runs[100:], store, launcher)
    spent = time.process_time() - started - launcher.committing
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return (
        1e3 * spent / (len(plan.runs) - 100),
        grown * (1 if sys.platform == "darwin" else 1024) / 1e6,
        launcher.open_files,
    )


def main() -> int:
    """Print every figure beside its goal; the code is 1 where one is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", default=[], help="names of figures")
    parser.add_argument("--cells", type=int, default=2000, help="of the grid with 5 seeds, 100 at least (2000)")
    arguments = parser.parse_args()
    only, cells = arguments.only, arguments.cells
    with tempfile.TemporaryDirectory() as folder:
        missed = measure(Path(folder), lambda name: not only or any(word in name for word in only), cells)
    for name in missed:
        print(f"missed: {name}")
    return 1 if missed else 0


def measure(folder: Path, chosen: Callable[[str], bool], cells: int) -> list[str]:
    """The names of the figures that miss their goals."""
    smoothings = max(1, cells // 400)
    wide = write_grid(folder, "wide", (25, 20, smoothings), 1)
    deep = (
        write_grid(folder, "deep", (10, 10, smoothings), 5)
        if cells >= 400
        else write_grid(folder, "deep", (5, 5, 1), 5)
    )
    seeds = write_grid(folder, "seeds", (1, 1, 1), 25_000)
    none, runs = str(folder / "none"), folder / "runs"
    figures: list[tuple[Goal, Sequence[str]]] = [
        (Goal("plan of 10,000 cells", 3.0, PLAN), ("plan", str(wide), "--runs", none)),
        (Goal("plan of 4 cells x 25,000 seeds", 10.0), ("plan", str(seeds), "--runs", none)),
        (Goal("run with nothing to do, 10,000 runs", 1.5), ("run", str(deep), "--runs", str(runs))),
        (Goal("status of 10,000 runs", 1.5), ("status", "deep", "--runs", str(runs))),
        (Goal("list of 10,000 runs", 1.5), ("list", "--runs", str(runs))),
        (Goal("table of 2,000 cells x 5 seeds", 3.0), ("table", "deep", "--runs", str(runs))),
        (Goal("report of 2,000 cells x 5 seeds", 10.0), ("report", "deep", "--runs", str(runs))),
    ]
    if any(chosen(goal.name) for goal, arguments in figures if str(runs) in arguments):
        write_store(make_plan(read_grid(deep)), runs)
        cost_of("list", "--runs", str(runs))  # as after any other command, the runs have been read once
        if chosen("run with nothing to do, 10,000 runs"):
            cost_of("run", str(deep), "--runs", str(runs))  # the command is given twice
    missed = []
    for goal, arguments in figures:
        if not chosen(goal.name):
            continue
        cost = cost_of(*arguments)
        bound = f" and {goal.allocated:.0f} MB allocated" if goal.allocated else ""
        print(
            f"{goal.name}: {cost.seconds:.2f} s, {cost.megabytes:.0f} MB, of which {cost.allocated:.0f} MB allocated "
            f"(goal: {goal.seconds:g} s{bound})",
            flush=True,
        )
        if cost.seconds > goal.seconds or cost.allocated > (goal.allocated or cost.allocated):
            missed.append(goal.name)
    if chosen("queue"):
        milliseconds, megabytes, files = schedule(make_plan(read_grid(deep)), folder / "queue")
        print(
            f"queue: {milliseconds:.2f} ms a run beside its commit, {megabytes:.0f} MB more than after 100 runs, "
            f"{files} open files at most (goal: 5 ms, 50 MB, 50 files)",
            flush=True,
        )
        if milliseconds > 5 or megabytes > 50 or files > 50:
            missed.append("queue")
    return missed


if __name__ == "__main__":
    sys.exit(main())
