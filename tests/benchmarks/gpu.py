# ruff: noqa: T201
"""What a GPU gives: a training step in bf16, with flex, compiled, and its memory; several seeds of a cell stacked.

    python tests/benchmarks/gpu.py --d-model 512 --layers 8 --length 1024 --batch 16

Each row is a training step of the same decoder: forward, loss, backward and AdamW, the median of --steps steps after
five that are not counted, over that of float32 with sdpa; beside it the peak of allocated memory. Stacked seeds are one
step of so many models at once by ``torch.func.vmap``, over as many steps one after another; the losses have to agree.
On a CPU (--device cpu) the same is measured without memory and without flex, which cannot train there.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from ablation.cli.init import conf
from ablation.config.layered import read_assignment, read_base
from ablation.model.build import build_model

VOCABULARY, WARM_UP = 256, 5
Options = argparse.Namespace


def build(options: Options, seed: int = 0, backend: str = "sdpa") -> nn.Module:
    layered = read_base(conf() / "base.yaml")
    settings = {
        "d_model": options.d_model,
        "n_layers": options.layers,
        "n_heads": options.d_model // 64 or 1,
        "dropout": 0,
        "mixer": f"{{name: attention, backend: {backend}}}",
    }
    for name, value in settings.items():
        path, value, document = read_assignment(f"model.{name}={value}")
        layered.set(path, value, document, (path,))
    return build_model(layered.build().model, VOCABULARY, options.length, seed).to(options.device)


def texts(options: Options) -> tuple[Tensor, Tensor]:
    """Tokens and the next tokens, both (batch, length)."""
    tokens = torch.randint(
        VOCABULARY, (options.batch, options.length + 1), generator=torch.Generator().manual_seed(0)
    ).to(options.device)
    return tokens[:, :-1], tokens[:, 1:]


def loss_of(logits: Tensor, targets: Tensor) -> Tensor:
    return cross_entropy(logits.flatten(0, 1), targets.flatten())


def training_step(model: nn.Module, options: Options, precision: Callable[[], AbstractContextManager[Any]]) -> Any:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    tokens, targets = texts(options)

    def step() -> None:
        optimizer.zero_grad()
        with precision():
            loss = loss_of(model(tokens), targets)
        loss.backward()
        optimizer.step()

    return step


def seconds_of(step: Callable[[], object], options: Options) -> float:
    on_cuda = options.device == "cuda"
    times = []
    for _ in range(WARM_UP + options.steps):
        if on_cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if on_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return median(times[WARM_UP:])


def variants(options: Options) -> Iterator[tuple[str, nn.Module, Callable[[], AbstractContextManager[Any]]]]:
    def bf16() -> AbstractContextManager[Any]:
        return torch.autocast(options.device, torch.bfloat16)

    yield "float32, sdpa", build(options), nullcontext
    yield "bf16, sdpa", build(options), bf16
    yield "bf16, manual", build(options, backend="manual"), bf16
    if options.device == "cuda":
        yield "bf16, flex", build(options, backend="flex"), bf16
    yield "bf16, sdpa, compiled", torch.compile(build(options)), bf16  # type: ignore[misc]


def stacked_gradients(models: list[nn.Module], tokens: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    """What computes the gradients of all models at once, and returns their losses (models,)."""
    parameters, buffers = stack_module_state(models)
    skeleton = copy.deepcopy(models[0]).to("meta")

    def loss(parameters: dict[str, Tensor], buffers: dict[str, Tensor]) -> Tensor:
        return loss_of(functional_call(skeleton, (parameters, buffers), (tokens,)), targets)

    at_once = vmap(grad_and_value(loss), randomness="different")
    return lambda: at_once(parameters, buffers)[1].detach()  # type: ignore[no-any-return]


def one_after_another(models: list[nn.Module], tokens: Tensor, targets: Tensor) -> Callable[[], Tensor]:
    def gradients() -> Tensor:
        losses = []
        for model in models:
            model.zero_grad()
            loss = loss_of(model(tokens), targets)
            loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses)

    return gradients


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--d-model", type=int, default=512)
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.exit(2, "there is no GPU here: --device cpu measures the rest\n")
    on_cuda, first = options.device == "cuda", 0.0
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if on_cuda else 'CPU'}")
    print(f"{'training step':24} {'ms':>9} {'ratio':>7} {'peak MiB':>9}")
    for name, model, precision in variants(options):
        if on_cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds = seconds_of(training_step(model, options, precision), options)
        first = first or seconds
        peak = f"{torch.cuda.max_memory_allocated() / 2**20:9.0f}" if on_cuda else ""
        print(f"{name:24} {1000 * seconds:9.2f} {seconds / first:7.2f} {peak}", flush=True)
    models, data = [build(options, seed) for seed in range(options.seeds)], texts(options)
    together, apart = stacked_gradients(models, *data), one_after_another(models, *data)
    torch.testing.assert_close(together(), apart(), rtol=1e-4, atol=1e-4)
    ratio = seconds_of(together, options) / seconds_of(apart, options)
    print(f"gradients of {options.seeds} seeds stacked over one after another: {ratio:.2f}, losses agree to 1e-4")


if __name__ == "__main__":
    main()
