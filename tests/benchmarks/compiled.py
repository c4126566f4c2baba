# ruff: noqa: T201
"""How far what `training.compile` makes of a model is from the model itself, and how long making it takes.

    python tests/benchmarks/compiled.py --slot mixer

Every component of a slot in a small model otherwise like conf/base.yaml, compiled by torch's default compiler for this
machine: the largest difference of the scores, and of any parameter's gradient over that gradient's norm, both in
float32 against eager float64; beside them those of eager float32. Tests stop short of the machine's compiler, which
takes ten seconds and more for each.
"""

import argparse
import copy
import time

import torch
from torch import Tensor, nn

from ablation.config.bundled import conf
from ablation.config.layered import read_base
from ablation.model.build import build_model
from ablation.registry import REGISTRY

TEXTS = 2


def run(model: nn.Module, tokens: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Scores, and gradients of their mean square by the parameter's path."""
    model.zero_grad()
    scores = model(tokens)
    scores.square().mean().backward()
    return scores.detach().double(), {
        path.removeprefix("_orig_mod."): parameter.grad.double()
        for path, parameter in model.named_parameters()
        if parameter.grad is not None
    }


def distance(one: tuple[Tensor, dict[str, Tensor]], truth: tuple[Tensor, dict[str, Tensor]]) -> str:
    scores = (one[0] - truth[0]).abs().max().item()
    off = [(one[1][path] - exact).norm() / exact.norm().clamp(min=1e-9) for path, exact in truth[1].items()]
    return f"{scores:10.1e} {max(off).item():10.1e}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--slot", default="mixer")
    parser.add_argument("--only", help="one component")
    parser.add_argument("--length", type=int, default=64)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'':20} {'eager':>21} {'compiled':>21} {'seconds':>8}")
    for name in [options.only] if options.only else REGISTRY[options.slot]:
        draft = read_base(conf() / "base.yaml")
        draft.set("model.position", "none", draft.base, ())  # which every mixer supports
        for path, value in {f"model.{options.slot}": name, "model.d_model": 32, "model.dropout": 0.0}.items():
            draft.set(path, value, draft.base, ())
        model = build_model(draft.build().model, 11, options.length, 0)
        tokens = torch.randint(11, (TEXTS, options.length), generator=torch.Generator().manual_seed(0))
        truth, eager = run(copy.deepcopy(model).double(), tokens), run(model, tokens)
        torch.compiler.reset()
        start = time.perf_counter()
        compiled = run(torch.compile(model), tokens)  # type: ignore[arg-type]
        seconds = time.perf_counter() - start
        print(f"{name:20} {distance(eager, truth)} {distance(compiled, truth)} {seconds:8.1f}", flush=True)


if __name__ == "__main__":
    main()
