# ruff: noqa: T201
"""How long each mixer takes forward and backward, as a ratio to attention at the same shape.

    python tests/benchmarks/mixer_speed.py --rounds 9

All mixers of the registry, with their defaults, take turns in one process and on one thread, in an order drawn anew in
each round; ``ratio`` is the median over rounds of the time of a mixer over that of ``attention`` in the same round, and
beside it stands what half of the rounds gave. Attention takes part twice: what the second is off 1 is the error of the
measurement. A turn is one pass of the sublayer alone over 16 texts, and its gradients. On a CPU all is time of the
processor, on CUDA of the clock.
"""

import argparse
import os
import random
import time
from collections.abc import Callable
from statistics import median

import torch
from torch import Tensor

from ablation.components.architecture.masks import causal_context
from ablation.components.base import BuildContext
from ablation.components.initialization import GPT2
from ablation.components.position.base import Position
from ablation.model.build import initialize
from ablation.processes import HUGE_PAGES
from ablation.registry import REGISTRY

ATTENTION, AGAIN = "attention", "attention, once more"
TEXTS, HEADS = 16, 4


def now(device: str) -> float:
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def turn(name: str, d_model: int, length: int, device: str) -> Callable[[], float]:
    """What passes once through the mixer and back, and tells the seconds."""
    shape = BuildContext(d_model=d_model, n_layers=2, n_heads=HEADS, n_kv_heads=HEADS, max_length=length)
    mixer = REGISTRY["mixer"][name](name=name).build(shape)
    initialize(mixer, GPT2(shape), 0)
    mixer.to(device)
    tokens = torch.zeros(TEXTS, length, dtype=torch.long, device=device)
    context = causal_context(Position(shape), tokens, None, None, None, None)
    x: Tensor = torch.randn(TEXTS, length, d_model, generator=torch.Generator().manual_seed(0)).to(device)
    x.requires_grad_()

    def seconds() -> float:
        start = now(device)
        y = mixer(x, context)
        y.backward(torch.ones_like(y))
        seconds = now(device) - start
        mixer.zero_grad()
        x.grad = None
        return seconds

    return seconds


def all_mixers() -> list[str]:
    return [name for name, config in REGISTRY["mixer"].items() if not config.component.left_out]


def measure(d_model: int, length: int, n_rounds: int, device: str, mixers: list[str]) -> dict[str, list[float]]:
    """Seconds of each of these mixers in every round."""
    turns = {name: turn(name, d_model, length, device) for name in mixers}
    turns[AGAIN] = turn(ATTENTION, d_model, length, device)
    for seconds in turns.values():
        seconds()  # the first of anything is slow
    order, measured = random.Random(0), {name: [] for name in turns}
    for _ in range(n_rounds):
        for name in order.sample(list(turns), len(turns)):
            measured[name].append(turns[name]())
    return measured


def main() -> None:
    os.environ.setdefault(HUGE_PAGES, "1")  # as runs have
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--d-model", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--length", type=int, nargs="+", default=[128, 512])
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for d_model in options.d_model:
        for length in options.length:
            measured = measure(d_model, length, options.rounds, options.device, all_mixers())
            attention = measured[ATTENTION]
            print(f"d_model {d_model}, length {length}: attention takes {1000 * median(attention):.2f} ms")
            print(f"  {'mixer':20} {'ratio':>8} {'half of the rounds':>20}")
            for name, seconds in measured.items():
                ratios = sorted(one / base for one, base in zip(seconds, attention, strict=True))
                low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
                print(f"  {name:20} {median(ratios):8.2f} {low:12.2f} {high:7.2f}")


if __name__ == "__main__":
    main()
