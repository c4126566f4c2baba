"""The last layer read out is the model itself; similarity of streams does not depend on how they are turned."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from ablation.inspect.evaluation import Validation
from ablation.inspect.sites import sublayers
from ablation.inspect.streams import added_norms, cka, logit_lens, streams_of
from ablation.tasks.generated.copying import Copy
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


def test_streams_leave_padding_out(make_model: MODELS) -> None:
    task = Copy(symbols=4, length=8, batch_size=4)
    validation = Validation.of(task, 6)
    streams = streams_of(make_model(), sublayers(make_model()), validation)
    assert streams == {} or all(len(x) <= 6 * 12 for x in streams.values())


def test_cka_is_one_for_a_turned_and_scaled_copy_and_small_for_noise() -> None:
    random = torch.Generator().manual_seed(0)
    x = torch.randn(400, 8, generator=random, dtype=torch.float64)
    turn, _ = torch.linalg.qr(torch.randn(8, 8, generator=random, dtype=torch.float64))
    assert cka(x, 3 * x @ turn + 1) == pytest.approx(1)
    assert cka(x, torch.randn(400, 8, generator=random, dtype=torch.float64)) < 0.1
    assert cka(x, torch.ones(400, 3, dtype=torch.float64)) == 0
