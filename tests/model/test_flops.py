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
from ablation.model.build import build_uninitialized
from ablation.model.flops import FlopCounter, shaped

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
        lambda x: x.long().add_(x),
        lambda x: torch.cat([x, x[0]]),
        lambda x: torch.cat([x, x.T]),
        lambda x: torch.stack([x, x.T]),
        lambda x: torch.nn.functional.layer_norm(x, (7,)),
        lambda x: x.add_(torch.empty(2, 3, 5, device="meta")),
    ],
)
def test_operands_that_do_not_fit_together_are_refused_in_torchs_words(wrong: Any) -> None:
    with pytest.raises((RuntimeError, NotImplementedError)) as theirs:
        wrong(torch.empty(3, 5, device="meta"))
    with pytest.raises((RuntimeError, NotImplementedError)) as ours, FlopCounter():
        wrong(torch.empty(3, 5, device="meta"))
    assert str(ours.value) == str(theirs.value)


@pytest.mark.skipif(not hasattr(TorchDispatchMode, "_should_skip_dynamo"), reason="this torch has no such switch")
def test_planning_does_not_import_torchs_compiler(tmp_path: Path) -> None:
    """In a process of its own, of whose imports Python writes a list."""
    command = [sys.executable, "-X", "importtime", "-c", "from ablation.cli import main; main()"]
    plan = ["plan", str(BASE.parent / "grids" / "quickstart.yaml"), "--runs", str(tmp_path / "runs")]
    run = subprocess.run([*command, *plan], capture_output=True, text=True, check=True, timeout=120)
    imported = {line.rpartition("|")[2].strip() for line in run.stderr.splitlines()}
    assert "ablation.model.flops" in imported
    assert not imported & {"torch._dynamo", "sympy"}
