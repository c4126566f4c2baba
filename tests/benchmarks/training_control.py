# ruff: noqa: T201
"""Controls on runs that are really trained: nothing is claimed where nothing differs, and what is bad is seen.

    python tests/benchmarks/training_control.py --workers 2

A/A: one tiny model trained from 240 seeds, cut into 40 comparisons of three seeds with three others. At 5 % two false
claims are expected; more than five, whose chance is 1 %, are a failure. Determinism: the same configuration and seed,
trained again in another folder, leave the same number to the last bit. Positive: 30 times the learning rate is called
worse, or has diverged. All runs go through the launcher and the store, as those of a user do.

Came out on two cores, 248 runs in 82 s: 2 false claims in 40 (3 in 40 at a tenth of the learning rate); determinism to
the last bit; 30 times the learning rate is worse by 0.264 nats, by more than the margin.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from ablation.config.bundled import conf
from ablation.stats.family import Hypothesis, adjust_family
from ablation.stats.verdict import signed_differences

COMPARISONS, SEEDS, MOST_FALSE = 40, 3, 5
LEARNING_RATE = 0.03
"""One at which so small a model learns within so few steps: at a tenth of it, 30 times more is an improvement."""
SETTINGS = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.n_heads": 2,
    "model.dropout": 0.0,
    "task": {"name": "text", "length": 32, "batch_size": 16, "validation_windows": 64},
    "training.max_steps": 60,
    "training.evaluate_every": 60,
    "training.device": "cpu",
    "training.monitors": [],
    "training.save_weights": False,
    "tracking.mode": "disabled",
}


def train(folder: Path, runs: str, rates: list[float], seeds: list[int], workers: int) -> list[list[float | None]]:
    """The loss of every rate and seed, lower is better; None where the run diverged."""
    name = f"rates{len(rates)}"
    grid = {"name": name, "base": str(conf() / "base.yaml"), "set": SETTINGS,
            "factors": {"optimizer.lr": rates}, "seeds": seeds}  # fmt: skip
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(grid, sort_keys=False))
    words = ["run", str(file), "--runs", str(folder / runs), "--workers", str(workers)]
    program = "import sys; from ablation.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", program, *words], check=True, stdout=subprocess.DEVNULL)
    manifest = json.loads((folder / runs / name / "manifest.json").read_text())
    return [[_loss(folder / runs, run["id"]) for run in cell["runs"]] for cell in manifest["cells"]]


def _loss(runs: Path, run_id: str) -> float | None:
    result = json.loads((runs / "store" / run_id[:2] / run_id / "result.json").read_text())
    return result["quality"]["final"]["loss"] if result["status"] == "completed" else None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--comparisons", type=int, default=COMPARISONS)
    arguments = parser.parse_args()
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seeds = list(range(2 * SEEDS * arguments.comparisons))
        [losses] = train(folder, "runs", [LEARNING_RATE], seeds, arguments.workers)
        groups = [losses[at : at + SEEDS] for at in range(0, len(losses), SEEDS)]
        trials = [
            Hypothesis(signed_differences(a, b, "lower"), None) for a, b in zip(groups[::2], groups[1::2], strict=True)
        ]
        false = sum(adjust_family([trial])[0].label != "inconclusive" for trial in trials)

        [again] = train(folder, "again", [LEARNING_RATE], seeds[:3], arguments.workers)
        same = again == losses[:3]

        good, bad = train(folder, "runs", [LEARNING_RATE, 30 * LEARNING_RATE], seeds[:5], arguments.workers)
        diverged = bad.count(None)
        verdict = None if diverged else adjust_family([Hypothesis(signed_differences(bad, good, "lower"), 0.01)])[0]
    caught = verdict is None or verdict.label == "worse"
    print(f"A/A: {false} false claims in {len(trials)} comparisons of {SEEDS} seeds; at most {MOST_FALSE}")
    print(f"determinism: {'the same to the last bit' if same else f'{again} is not {losses[:3]}'}")
    print(f"positive: {f'{diverged} of 5 diverged' if verdict is None else f'{verdict.sentence} ({verdict.mean:.3f})'}")
    print(f"{len(seeds) + 8} runs in {time.perf_counter() - start:.0f} s")
    sys.exit(not (false <= MOST_FALSE and same and caught))


if __name__ == "__main__":
    main()
