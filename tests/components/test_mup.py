"""The coordinate check of the maximal update parametrization: what a few steps of Adam move is as large in wide models.

As in Yang et al. 2022, arXiv:2203.03466, section D.1: the slope of the change over the width, both as logarithms.
"""

import math
from typing import Any

import numpy
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ablation.components.mixer.base import split_heads
from ablation.model.build import build_model
from ablation.rng import generator

pytestmark = pytest.mark.slow

WIDTHS, SEEDS, STEPS = (32, 64, 128, 256), (0, 1, 2), 8
VOCABULARY, LENGTH, N_CLASSES = 32, 12, 5
MUP = {
    "model.initialization": {"name": "mup", "std": 0.1, "base": 32},
    "model.mixer": {"name": "attention", "scale": "width"},
    "optimizer.base_width": 32,
}
STANDARD = {
    "model.initialization": {"name": "gpt2", "std": 0.1},
    "model.mixer": "attention",
    "optimizer.base_width": None,
}
AROUND = {
    "model.position": "learned",
    "model.tie_embeddings": False,
    "optimizer": {"name": "adamw", "lr": 0.02, "weight_decay": 0.0},
}


def changes(configure: Any, width: int, seed: int, settings: dict[str, Any], classes: bool) -> dict[str, float]:
    """By how much, root mean square, the steps move the stream, the first scores of attention and the logits."""
    config = configure({**AROUND, **settings, "model.d_model": width})
    model = build_model(config.model, VOCABULARY, LENGTH, seed, N_CLASSES if classes else None)
    optimizer = config.optimizer.build().build(model)
    texts = torch.randint(VOCABULARY, (2, LENGTH + 1), generator=generator(seed, "texts"))
    tokens, targets = texts[:, :-1], texts[:, 1:]
    before = seen(model, tokens)
    for _ in range(STEPS):
        optimizer.zero_grad()
        asked = targets[:, -1] % N_CLASSES if classes else targets.flatten()
        cross_entropy(model(tokens).flatten(0, -2), asked).backward()
        optimizer.step()
    after = seen(model, tokens)
    return {what: (after[what] - before[what]).square().mean().sqrt().item() for what in after}


@torch.no_grad()
def seen(model: torch.nn.Module, tokens: Tensor) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: found.update({name: output})

    mixer = model.stack.blocks[0].sublayers[0]
    places = {"stream": model.stack.blocks[-1], "q": mixer.query, "k": mixer.key}
    hooks = [module.register_forward_hook(keep(name)) for name, module in places.items()]
    found["logits"] = model(tokens)
    for hook in hooks:
        hook.remove()
    q, k = (split_heads(found.pop(name), mixer.n_heads) for name in ("q", "k"))
    return {**found, "scores": q @ k.mT * mixer.scale}


def slopes(configure: Any, settings: dict[str, Any], classes: bool = False) -> dict[str, float]:
    """Of the logarithm of each change over that of the width, the mean over the seeds."""
    rows = [[changes(configure, width, seed, settings, classes) for seed in SEEDS] for width in WIDTHS]
    widths = numpy.log(WIDTHS)
    return {
        what: numpy.polyfit(widths, [numpy.mean([math.log(change[what]) for change in row]) for row in rows], 1)[0]
        for what in rows[0][0]
    }


def test_updates_do_not_grow_with_the_width(configure: Any) -> None:
    found = slopes(configure, MUP)
    assert abs(found["stream"]) < 0.15 and abs(found["logits"]) < 0.15, found
    assert found["scores"] < 0, found  # at the start queries and keys are not yet aligned, the less the wider
    divided_by_less = slopes(configure, {**MUP, "model.mixer": "attention"})
    assert divided_by_less["scores"] > found["scores"] + 0.25


def test_class_scores_do_not_grow_with_the_width(configure: Any) -> None:
    assert abs(slopes(configure, MUP, classes=True)["logits"]) < 0.15


def test_updates_grow_in_the_standard_parametrization(configure: Any) -> None:
    found = slopes(configure, STANDARD)
    assert min(found.values()) > 0.4, found


@pytest.mark.parametrize("part", ["optimizer.base_width", "model.initialization"])
def test_updates_grow_where_a_part_of_mup_is_missing(part: str, configure: Any) -> None:
    assert slopes(configure, {**MUP, part: STANDARD[part]})["stream"] > 0.4
