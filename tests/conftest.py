"""What the tests share: the baseline made tiny, models of it, and a registry that forgets what a test adds."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from support import BASE
from support.small_grids import ROOT, TINY, Ablate, in_process
from torch import nn

torch.set_num_threads(1)
os.environ["PYTHONPATH"] = str(ROOT)  # for the processes that tests start, in whatever folder
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as of what a script started in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # and so in the commands that tests interrupt
settings.register_profile("ablation", deadline=None, database=None, derandomize=True, max_examples=20)
settings.load_profile("ablation")


@pytest.fixture(autouse=True)
def the_same_random_numbers_in_every_test() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def configure() -> Callable[..., Any]:
    """``configure({path: value})``: the baseline of conf/base.yaml made tiny, with these values laid over it."""
    from ablation.config.layered import read_base

    base = read_base(BASE)
    for path, value in TINY.items():
        base.set(path, value, base.base, ())

    def make(changes: Mapping[str, Any] | None = None) -> Any:
        draft = base.copy()
        for path, value in (changes or {}).items():
            draft.set(path, value, draft.base, ())
        return draft.build()

    return make


@pytest.fixture(scope="session")
def make_model(configure: Callable[..., Any]) -> Callable[..., nn.Module]:
    """``make_model({path: value})``: that configuration's model in float64, not training, for 11 different tokens.

    Noise is added to every parameter, so that gains other than 1 and shifts other than 0 have their say.
    """
    from ablation.model.build import build_model
    from ablation.rng import generator

    def make(changes: Mapping[str, Any] | None = None, *, length: int = 12, seed: int = 0) -> nn.Module:
        model = build_model(configure(changes).model, 11, length, seed).double().eval()
        with torch.no_grad():
            for path, parameter in model.named_parameters():
                noise = torch.randn(parameter.shape, generator=generator(seed, "noise", path), dtype=torch.float64)
                parameter += 0.1 * noise
        return model

    return make


@pytest.fixture
def scratch_registry() -> Iterator[dict[str, dict[str, Any]]]:
    """The registry; what a test registers is gone after it, and so are the plug-ins it loaded."""
    from ablation.config.experiment import rebuild
    from ablation.registry import REGISTRY

    before, modules = {slot: dict(members) for slot, members in REGISTRY.items()}, set(sys.modules)
    yield REGISTRY
    REGISTRY.clear()
    REGISTRY.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("ablation_plugin_"):
            del sys.modules[name]
    rebuild()


@pytest.fixture
def ablate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Ablate:
    """The command line in this process, in a new folder."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, capsys)
