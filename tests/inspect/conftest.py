"""Models that read a source with padding and write a target with padding."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ablation.inspect.evaluation import Validation
from ablation.model.build import build_model

ScanModel = Callable[..., tuple[Any, Validation]]


@pytest.fixture(scope="session")
def scan_model(configure: Callable[..., Any]) -> ScanModel:
    """``scan_model(architecture, {path: value})``: a model of two layers in float64, and 6 examples of SCAN."""

    def make(architecture: str, changes: dict[str, Any] | None = None) -> tuple[nn.Module, Validation]:
        task = {"name": "scan", "length": 9, "batch_size": 4, "validation_examples": 6}
        config = configure({"model.n_layers": 2, "task": task, "model.architecture": architecture, **(changes or {})})
        built = config.task.build()
        model = build_model(config.model, built.vocabulary, built.longest, 0, built.n_classes).double().eval()
        validation = Validation.of(built, None)
        examples = validation.sets[""]
        assert not examples["padding"].all() and not examples["source_padding"].all()
        assert examples["tokens"].shape == examples["source"].shape == torch.Size([6, 9])
        return model, validation

    return make
