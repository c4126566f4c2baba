"""The last layer read out is the model itself; similarity of streams does not depend on how they are turned."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ablation.inspect.evaluation import Validation, forward
from ablation.inspect.sites import sublayers
from ablation.inspect.streams import added_norms, cka, logit_lens, streams_of
from ablation.study.inspection import similarities
from ablation.tasks.generated.copying import Copy, Reverse
from ablation.tasks.generated.memory import Induction

MODELS = Callable[..., nn.Module]


@pytest.mark.parametrize(
    "changes", [{}, {"model.block": "post_norm"}, {"model.residual": "hyper_connections"}], ids=str
)
def test_last_layer_of_the_logit_lens_is_the_model(make_model: MODELS, changes: dict[str, Any]) -> None:
    model = make_model({"model.n_layers": 2, **changes})
    validation = Validation.of(Induction(symbols=10, length=12, batch_size=4), 8)
    lens = logit_lens(model, sublayers(model), validation)
    assert [each["layer"] for each in lens] == [0, 1]
    assert lens[-1]["measures"] == pytest.approx(validation.score(model))
    assert lens[0]["measures"]["loss"] != pytest.approx(lens[1]["measures"]["loss"])


def test_norm_of_what_is_added_is_one_where_nothing_else_is_in_the_stream(make_model: MODELS) -> None:
    model = make_model({"model.n_layers": 1, "model.residual": "none"})
    validation = Validation.of(Induction(symbols=10, length=12, batch_size=4), 8)
    norms = added_norms(model, sublayers(model), validation)
    assert norms[-1]["norm"] == pytest.approx(1)  # without a stream the last sublayer's output takes its place


@pytest.mark.parametrize(
    ("architecture", "stack"), [("encoder_decoder", "decoder "), ("prefix_decoder", "")], ids=["two stacks", "one"]
)
def test_streams_are_those_at_the_target_without_padding(
    scan_model: Callable[..., Any], architecture: str, stack: str
) -> None:
    model, validation = scan_model(architecture)
    examples = validation.sets[""]
    streams = streams_of(model, sublayers(model), validation)
    n_tokens = int(examples["padding"].sum())
    assert {place: len(x) for place, x in streams.items()} == dict.fromkeys(
        [f"{stack}layer 0", f"{stack}layer 1"], n_tokens
    )
    norm = (model.decoder if stack else model.stack).norm
    with torch.no_grad():
        logits = forward(model, examples)[examples["padding"]]
        torch.testing.assert_close(model.head(norm(streams[f"{stack}layer 1"])), logits)


def test_streams_of_a_task_without_padding_are_those_at_all_tokens(make_model: MODELS) -> None:
    validation = Validation.of(Copy(symbols=4, length=8, batch_size=4), 6)
    model = make_model()
    n_tokens = validation.sets[""]["tokens"].numel()
    assert [len(x) for x in streams_of(model, sublayers(model), validation).values()] == [n_tokens] * 2


def test_streams_of_different_architectures_are_compared(scan_model: Callable[..., Any]) -> None:
    streams = {}
    for architecture in ("encoder_decoder", "prefix_decoder"):
        model, validation = scan_model(architecture)
        streams[architecture] = [streams_of(model, sublayers(model), validation)]
    found = {
        (each["one"], each["other"]): each["values"] for each in similarities(streams, dict.fromkeys(streams, "scan"))
    }
    assert set(found) == {(a, b) for i, a in enumerate(streams) for b in list(streams)[i:]}
    assert found["encoder_decoder", "encoder_decoder"]["decoder layer 1"]["decoder layer 1"] == pytest.approx(1)
    assert set(found["encoder_decoder", "prefix_decoder"]) == {"decoder layer 0", "decoder layer 1"}


def test_streams_at_other_examples_are_not_compared(make_model: MODELS) -> None:
    model = make_model()
    tasks = {"copy": Copy(symbols=4, length=8, batch_size=4), "reverse": Reverse(symbols=4, length=8, batch_size=4)}
    streams = {name: [streams_of(model, sublayers(model), Validation.of(task, 6))] for name, task in tasks.items()}
    assert len({len(x) for (of_seed,) in streams.values() for x in of_seed.values()}) == 1
    found = similarities(streams, {name: name for name in tasks})
    assert [(each["one"], each["other"]) for each in found] == [("copy", "copy"), ("reverse", "reverse")]


def test_cka_is_one_for_a_turned_and_scaled_copy_and_small_for_noise() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=random, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=random, dtype=torch.float64))
    assert cka(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert cka(x, torch.randn(400, 8, generator=random, dtype=torch.float64)) < 0.1
    assert cka(x, torch.ones(400, 3, dtype=torch.float64)) == 0
