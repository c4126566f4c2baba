"""Counting without torch's compiler, against torch's own counter and its own kernels on the meta device."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support import BASE
from support.components import MODEL_COMPONENTS, settings_for
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ablation.components.architecture.base import call_model
from ablation.components.context import Cache
from ablation.model import counts
from ablation.model.build import build_uninitialized
from ablation.model.counts import count_inference_cost
from ablation.model.flops import FlopCounter, shaped
from ablation.tasks.generated.copying import Copy

V, L = 11, 12
MODELS = [
    *(settings_for(slot, name) for slot, name in MODEL_COMPONENTS),
    *({"model.architecture": name} for name in ("encoder", "encoder_decoder", "prefix_decoder")),
    {"model.mixer": {"name": "attention", "backend": "flex"}},
    {"model.mixer": {"name": "attention", "window": 3}},
    {"model.norm": "batch_norm"},
]


class Compared(FlopCounter):
    """Every result found from shapes is what torch finds: its shape, its type, its order in memory."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        ours = shaped(func, args, kwargs or {})
        if ours is not None and not func._schema.is_mutable:
            theirs = func(*args, **(kwargs or {}))
            assert outlines(ours) == outlines(theirs), func
        return super().__torch_dispatch__(func, types, args, kwargs)


def outlines(results: Any) -> list[Any]:
    tensors = [results] if isinstance(results, Tensor) else list(results)
    return [
        (x.shape, x.dtype, x.device, [step for step, size in zip(x.stride(), x.shape, strict=True) if size > 1])
        for x in tensors
    ]


def once(config: Any, *, cached: bool) -> None:
    """A pass of a model on the meta device."""
    model = build_uninitialized(config, V, L, None, device="meta").eval()
    inputs: dict[str, Any] = {"tokens": torch.empty(1, L, dtype=torch.long, device="meta")}
    if config.architecture.name in ("encoder_decoder", "prefix_decoder"):
        inputs["source"] = inputs["tokens"]
    call_model(model, inputs, **({"cache": Cache()} if cached else {}))


@pytest.mark.parametrize("changes", MODELS, ids=lambda changes: str(next(iter(changes.values()))))
@torch.no_grad()
def test_flops_are_those_of_torchs_counter(changes: dict[str, Any], configure: Any) -> None:
    config = configure(changes).model
    with FlopCounterMode(display=False) as theirs:
        once(config, cached=False)
    with Compared() as ours:
        once(config, cached=False)
    assert ours.total == theirs.get_total_flops() > 0


@torch.no_grad()
@pytest.mark.parametrize("mixer", ["transformer_xl", "disentangled"])
def test_biases_by_distance_cost_the_same_on_every_backend(mixer: str, configure: Any) -> None:
    totals = set()
    for backend in ("manual", "sdpa", "flex"):
        changes = {"model.position": "none", "model.mixer": {"name": mixer, "backend": backend}}
        with FlopCounter() as counter:
            once(configure(changes).model, cached=False)
        totals.add(counter.total)
    assert len(totals) == 1


@torch.no_grad()
def test_a_pass_with_a_cache_counts_the_same(configure: Any) -> None:
    config = configure().model
    with FlopCounterMode(display=False) as theirs:
        once(config, cached=True)
    with FlopCounter() as ours:
        once(config, cached=True)
    assert ours.total == theirs.get_total_flops() > 0


@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: x @ x,
        lambda x: torch.bmm(x[None], x[None]),
        lambda x: torch.addmm(x, x, x),
        lambda x: torch.addmm(x, x, x.T),
        lambda x: x + x.T,
        lambda x: x.cpu(),
        lambda x: x + torch.zeros(3, 5),
        lambda x: torch.cat([x, torch.zeros(3, 5)]),
        lambda x: torch.cat([x, x], 2),
        lambda x: torch.constant_pad_nd(x, [1, 1, 1]),
        lambda x: torch.constant_pad_nd(x, [1, 1, 1, 1, 1, 1]),
        lambda x: torch.stack([x, x], 3),
        lambda x: x.mean([2]),
        lambda x: x.mean([0, 0]),
        lambda x: x.roll(1, 2),
        lambda x: x[0].tril(),
        lambda x: torch.mm(x, x[0]),
        lambda x: torch.bmm(x, x.T),
        lambda x: x.long().div_(2),
        lambda x: torch.nn.functional.embedding(x, x),
        lambda x: torch.nn.functional.layer_norm(x, (5,), torch.zeros(4, device="meta")),
        lambda x: x.long().add_(x),
        lambda x: torch.cat([x, x[0]]),
        lambda x: torch.cat([x, x.T]),
        lambda x: torch.stack([x, x.T]),
        lambda x: torch.nn.functional.layer_norm(x, (7,)),
        lambda x: x.add_(torch.empty(2, 3, 5, device="meta")),
    ],
)
def test_operands_that_do_not_fit_together_are_refused_in_torchs_words(wrong: Any) -> None:
    with pytest.raises((RuntimeError, IndexError, TypeError)) as theirs:
        wrong(torch.empty(3, 5, device="meta"))
    with pytest.raises((RuntimeError, IndexError, TypeError)) as ours, FlopCounter():
        wrong(torch.empty(3, 5, device="meta"))
    assert str(ours.value) == str(theirs.value)


@pytest.mark.parametrize(
    "unusual",
    [
        lambda x: x.sum().sum(-1),
        lambda x: torch.constant_pad_nd(x, [1, 2, 0, 3]),
        lambda x: torch.constant_pad_nd(x, [-1, 2]),
        lambda x: torch.constant_pad_nd(x.transpose(1, 2), [0, 1]),
        lambda x: x.sum().mean(-1),
        lambda x: x.sum([]),
        lambda x: torch.cat([x.permute(0, 3, 1, 2)] * 2, 1).permute(0, 2, 3, 1).view(2, 5, -1),
        lambda x: torch.stack([x.permute(0, 3, 1, 2)] * 2).permute(0, 1, 3, 4, 2),
        lambda x: torch.nn.functional.layer_norm(x.half(), (3,)),
        lambda x: torch.nn.functional.layer_norm(x.double(), (3,)),
        lambda x: x.half().softmax(-1, dtype=torch.float32),
        lambda x: x.mean(-1, dtype=torch.float64),
        lambda x: torch.cat([x.half(), x], 1),
        lambda x: x + torch.tensor(2.0, dtype=torch.float64),
        lambda x: torch.where(x > 0, x, 0.0),
        lambda x: x.transpose(1, 2).add_(x.sum(1, keepdim=True).transpose(1, 2)),
        lambda x: torch.special.bessel_j0(x.half()),
    ],
)
def test_results_of_unusual_operations_are_torchs(unusual: Any) -> None:
    theirs = unusual(torch.empty(2, 5, 7, 3, device="meta"))
    with FlopCounter():
        ours = unusual(torch.empty(2, 5, 7, 3, device="meta"))
    assert outlines(ours) == outlines(theirs)


def test_what_the_counter_does_not_know_is_left_to_that_of_torch(
    configure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ignorant(FlopCounter):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            raise TypeError("cond")

    config, task = configure().model, Copy(symbols=V - 1, length=L, validation_examples=1)
    known = count_inference_cost(config, task)
    monkeypatch.setattr(counts, "FlopCounter", Ignorant)
    assert count_inference_cost(config, task) == known


@pytest.mark.skipif(not hasattr(TorchDispatchMode, "_should_skip_dynamo"), reason="this torch has no such switch")
def test_planning_does_not_import_torchs_compiler(tmp_path: Path) -> None:
    """In a process of its own, of whose imports Python writes a list."""
    command = [sys.executable, "-X", "importtime", "-c", "from ablation.cli import main; main()"]
    plan = ["plan", str(BASE.parent / "grids" / "quickstart.yaml"), "--runs", str(tmp_path / "runs")]
    run = subprocess.run([*command, *plan], capture_output=True, text=True, check=True, timeout=120)
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "ablation.model.flops" in imported
    assert not imported & {"torch._dynamo", "sympy"}
