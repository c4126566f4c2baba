"""Every kind of task and model can be looked into, and every kind of knock-out is about it."""

import json
from collections.abc import Callable
from itertools import takewhile
from typing import Any

import pytest
from torch import nn

from ablation.inspect.evaluation import Validation, cut
from ablation.inspect.knockout import Knockouts
from ablation.inspect.measures import MEASURES, N_EXAMPLES, measure
from ablation.inspect.parts import ABLATIONS, FAMILIES
from ablation.inspect.record import How, inspect_model
from ablation.inspect.scores import HeadScores
from ablation.model.build import build_model
from ablation.report.render.inside import render_maps
from ablation.store.schemas import INSPECTION, INSPECTION_SCHEMA

KINDS: dict[str, dict[str, Any]] = {
    "decoder": {"task": {"name": "dyck", "length": 8, "batch_size": 4, "validation_examples": 6}},
    "encoder": {
        "task": {"name": "parity", "length": 8, "batch_size": 4, "validation_examples": 6},
        "model.architecture": "encoder",
        "model.position": "learned",
    },
    "classifying decoder": {
        "task": {"name": "parity", "length": 8, "batch_size": 4, "validation_examples": 6, "extrapolate": 2}
    },
    "encoder_decoder": {
        "task": {"name": "scan", "length": 10, "batch_size": 4, "validation_examples": 6},
        "model.architecture": "encoder_decoder",
    },
    "prefix_decoder": {
        "task": {"name": "scan", "length": 10, "batch_size": 4, "validation_examples": 6},
        "model.architecture": "prefix_decoder",
    },
    "several streams": {
        "task": {"name": "copy", "symbols": 4, "length": 8, "batch_size": 4, "validation_examples": 6},
        "model.residual": "hyper_connections",
        "model.mixer": "differential",
    },
    "induction": {"task": {"name": "induction", "length": 8, "batch_size": 4, "validation_examples": 6}},
    "no heads": {
        "task": {"name": "induction", "length": 8, "batch_size": 4, "validation_examples": 6},
        "model.mixer": "lstm",
        "model.position": "none",
    },
}


def built(configure: Callable[..., Any], kind: str) -> tuple[nn.Module, Any]:
    config = configure({"model.n_layers": 2, **KINDS[kind]})
    task = config.task.build()
    return build_model(config.model, task.vocabulary, task.longest, 0, task.n_classes), task


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_every_kind_of_model_is_looked_into(configure: Callable[..., Any], kind: str, ablation: Any) -> None:
    model, task = built(configure, kind)
    families = FAMILIES if ablation == "zero" else FAMILIES[:4]
    found = inspect_model(model, task, cut(task.validation(), 2), How(ablation, families, ablation == "mean"))
    record = {"run": "0" * 32, "seed": 0, **found.record}
    cell = {"label": "x", "unit": task.unit, "runs": [json.loads(json.dumps(record))]}
    written = {"schema": INSPECTION_SCHEMA, "grid": "g", "ablation": ablation, "cells": [cell], "similarities": []}
    assert INSPECTION(written) is None
    measures = set(record["measures"])
    assert all(set(each["measures"]) == measures for each in record["knockouts"])
    assert len({each["part"] for each in record["knockouts"]}) == len(record["knockouts"])
    n_features = 16 if ablation == "zero" else 0
    assert sum(each["family"] == "features" for each in record["knockouts"]) == n_features
    assert len(found.maps) == 2
    for example in found.maps:
        for layer in example["maps"]:
            for head in layer["weights"]:
                assert len(head) == len(layer["queries"]) and {len(row) for row in head} == {len(layer["keys"])}
        render_maps(example, 80)


def test_places_of_an_encoder_decoder_are_named_by_their_stack(configure: Callable[..., Any]) -> None:
    model, task = built(configure, "encoder_decoder")
    found = inspect_model(model, task, cut(task.validation(), 1), How(prunes=False))
    parts = {each["part"] for each in found.record["knockouts"]}
    assert {"encoder layer 0 head 0", "decoder layer 1 head 3", "decoder layer 1 cross head 3"} <= parts
    assert {"decoder layer 0 cross", "encoder layer 1 feedforward", "decoder layer 1", "positions"} <= parts
    shapes = {(m["stack"], m["sublayer"]): (m["queries"], m["keys"]) for m in found.maps[0]["maps"]}
    source, target = shapes["encoder", "mixer"][0], shapes["decoder", "mixer"][0]
    assert shapes["decoder", "cross"] == (target, source) and source != target


def test_looking_into_a_model_leaves_it_as_it_was(configure: Callable[..., Any]) -> None:
    model, task = built(configure, "decoder")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    inspect_model(model, task, cut(task.validation(), 1), How(families=FAMILIES))
    assert all((tensor == before[name]).all() for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["decoder", "induction"])
def test_measures_for_claims_are_those_of_the_record(configure: Callable[..., Any], kind: str) -> None:
    model, task = built(configure, kind)
    found = measure(model, task, list(MEASURES))
    record = inspect_model(model, task, cut(task.validation(), 1), How(n_examples=N_EXAMPLES)).record
    without = {each["part"]: each["measures"]["loss"] for each in record["knockouts"]}
    loss = record["measures"]["loss"]
    assert found["loss_without_last_layer"] == pytest.approx(without["layer 1"] - loss)
    assert found["loss_without_first_layer"] == pytest.approx(without["layer 0"] - loss)
    assert found["loss_without_positions"] == pytest.approx(without["positions"] - loss)
    for name in ("induction", "previous", "answer"):
        scores = [head["scores"][name] for head in record["heads"] if name in head["scores"]]
        assert found[f"largest_{name}"] == max(scores, default=None)
    free = list(takewhile(lambda step: step["measures"]["loss"] - loss <= 0.01, record["pruning"]))
    assert found["free_heads"] == (free[-1]["share"] if free else 0.0)
    model, task = built(configure, "no heads")
    assert all(measure(model, task, list(MEASURES))[name] is None for name in ("free_heads", "attention_to_first"))


@pytest.mark.parametrize(
    ("name", "superfluous"),
    [
        ("largest_induction", (Knockouts, "scores")),
        ("attention_to_first", (Validation, "score")),
        ("loss_without_positions", (HeadScores, "add")),
        ("loss_without_last_layer", (Knockouts, "prune")),
    ],
)
def test_measure_computes_nothing_that_only_others_need(
    configure: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str, superfluous: tuple[type, str]
) -> None:
    def fail(*_: Any) -> None:
        raise AssertionError(f"{superfluous[1]} is not needed")

    model, task = built(configure, "decoder")
    monkeypatch.setattr(*superfluous, fail)
    assert measure(model, task, [name])[name] is not None
