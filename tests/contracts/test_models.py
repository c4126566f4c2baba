"""Norms, blocks, residuals, mixtures, first weights in whole models: who sees whom, caches, padding, gradients."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ablation.components.context import Cache
from ablation.model.build import build_model

PARTS: list[tuple[str, Any]] = [
    ("block", "deepnorm"),
    ("block", "branch_norm"),
    ("block", "layer_norm_scaling"),
    ("block", {"name": "parallel", "shared_norm": False}),
    ("block", {"name": "pre_norm", "dropout_on": "stream"}),
    ("norm", {"name": "layer_norm", "bias": False}),
    ("norm", {"name": "rms_norm", "unit_offset": True}),
    ("norm", "scale_norm"),
    ("norm", "dyt"),
    ("norm", "batch_norm"),
    ("residual", "scaled"),
    ("residual", "rezero"),
    ("residual", "layer_scale"),
    ("residual", "hyper_connections"),
    ("residual", {"name": "hyper_connections", "streams": 3, "dynamic": False}),
    ("residual", "manifold_hyper_connections"),
    ("feedforward", {"name": "moe", "n_experts": 4}),
    ("feedforward", {"name": "moe", "n_experts": 3, "top_k": 1, "renormalize": False, "expert": {"name": "glu"}}),
    ("initialization", "zero_out"),
    ("initialization", "small"),
    ("initialization", "t5"),
    ("initialization", "mup"),
    ("initialization", "default_torch"),
]
every_part = pytest.mark.parametrize(("slot", "value"), PARTS)
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
SOURCE = TOKENS.flip(1)


def exchanged() -> Tensor:
    """The first text with one token exchanged, each in turn."""
    texts = TOKENS[0].repeat(12, 1)
    texts.diagonal().add_(1).remainder_(11)
    return texts


def moved(model: nn.Module) -> Tensor:
    """How far the output at a token (second axis) moves as a token (first axis) is exchanged."""
    with torch.no_grad():
        return torch.cat([(model(text[None]) - model(TOKENS[:1])).abs().amax(-1) for text in exchanged()])


@pytest.mark.parametrize("training", [False, True])
@every_part
def test_every_decoder_is_causal(slot: str, value: Any, training: bool, make_model: Any) -> None:
    seen = moved(make_model({f"model.{slot}": value}).train(training))
    if value == "batch_norm" and training:
        assert seen.tril(-1).max() > 1e-3, "the warning would be wrong"
        return
    assert seen.tril(-1).max() < 1e-12
    assert seen.diagonal().min() > 1e-9 and seen.triu(1).max() > 1e-9


@every_part
def test_every_token_of_an_encoder_sees_every_other(slot: str, value: Any, make_model: Any) -> None:
    seen = moved(make_model({f"model.{slot}": value, "model.architecture": "encoder"}))
    assert seen.min() > 1e-12


@every_part
def test_step_by_step_is_the_whole_at_once(slot: str, value: Any, make_model: Any) -> None:
    model, cache = make_model({f"model.{slot}": value}), Cache()
    with torch.no_grad():
        steps = torch.cat([model(part, cache=cache) for part in TOKENS.split([1, 1, 4, 1, 5], 1)], 1)
        torch.testing.assert_close(steps, model(TOKENS), rtol=0, atol=1e-11)


@every_part
def test_padding_does_not_reach_the_tokens(slot: str, value: Any, make_model: Any) -> None:
    model = make_model({f"model.{slot}": value})
    alone = model(TOKENS[:, :7])
    rubbish = torch.full((3, 5), 10)
    after, before = torch.cat([TOKENS[:, :7], rubbish], 1), torch.cat([rubbish, TOKENS[:, :7]], 1)
    there = (torch.arange(12) < 7).expand(3, -1)
    torch.testing.assert_close(model(after, padding=there)[:, :7], alone, rtol=0, atol=1e-11)
    torch.testing.assert_close(model(before, padding=there.flip(1))[:, 5:], alone, rtol=0, atol=1e-11)


@pytest.mark.parametrize("architecture", ["decoder", "encoder_decoder"])
@every_part
def test_every_parameter_gets_a_gradient(slot: str, value: Any, architecture: str, make_model: Any) -> None:
    changes = {f"model.{slot}": value, "model.architecture": architecture, "model.tie_embeddings": False}
    model = make_model(changes).train()
    more = {"source": SOURCE} if architecture == "encoder_decoder" else {}
    losses: list[Tensor] = []
    scores = model(TOKENS, **more, losses=losses)
    loss = cross_entropy(scores.flatten(0, 1), TOKENS.roll(-1, 1).flatten())
    (loss + torch.stack([*losses, loss]).sum()).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), path
    n_mixtures = sum(path.endswith("router.weight") for path, _ in model.named_parameters())
    assert len(losses) == n_mixtures == (0 if slot != "feedforward" else 4 if more else 2)


@every_part
def test_both_backends_agree_and_the_same_comes_out_twice(slot: str, value: Any, make_model: Any) -> None:
    one, other = (
        make_model({"model.mixer": {"name": "attention", "backend": backend}, f"model.{slot}": value})(TOKENS)
        for backend in ("manual", "sdpa")
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-11)
    model = make_model({f"model.{slot}": value, "model.dropout": 0.5})
    assert torch.equal(model(TOKENS), model(TOKENS))
    model.train()
    assert not torch.equal(model(TOKENS), model(TOKENS))


KNOBS: list[tuple[str, str, dict[str, Any]]] = [
    ("block", "pre_norm", {"dropout_on": "stream"}),
    ("block", "post_norm", {"dropout_on": "stream"}),
    ("block", "sandwich", {"dropout_on": "stream"}),
    ("block", "branch_norm", {"dropout_on": "stream"}),
    ("block", "layer_norm_scaling", {"dropout_on": "stream"}),
    ("block", "parallel", {"dropout_on": "stream"}),
    ("block", "parallel", {"shared_norm": False}),
    ("block", "deepnorm", {"dropout_on": "stream"}),
    ("block", "deepnorm", {"alpha": 1.0}),
    ("block", "deepnorm", {"beta": 1.0}),
    ("norm", "layer_norm", {"bias": False}),
    ("norm", "rms_norm", {"unit_offset": True}),
    ("norm", "scale_norm", {"eps": 4.0}),
    ("norm", "dyt", {"alpha": 1.0}),
    ("norm", "batch_norm", {"eps": 0.1}),
    ("norm", "batch_norm", {"momentum": 0.5}),
    ("residual", "scaled", {"alpha": 0.4}),
    ("residual", "rezero", {"init_value": 0.5}),
    ("residual", "layer_scale", {"init_value": 1.0}),
    ("feedforward", "moe", {"n_experts": 4}),
    ("feedforward", "moe", {"top_k": 3}),
    ("feedforward", "moe", {"renormalize": False}),
    ("feedforward", "moe", {"aux_loss_coef": 0.0}),
    ("feedforward", "moe", {"router_z_loss_coef": 0.0}),
    ("feedforward", "moe", {"expert": {"name": "glu"}}),
    ("initialization", "zero_out", {"std": 0.1}),
    ("initialization", "mup", {"std": 0.1}),
    ("initialization", "mup", {"base": 64}),
]


@pytest.mark.parametrize(("slot", "name", "hyper"), KNOBS)
def test_every_hyperparameter_has_an_effect(slot: str, name: str, hyper: dict[str, Any], configure: Any) -> None:
    def effect(more: dict[str, Any]) -> dict[str, Tensor]:
        config = configure({f"model.{slot}": {"name": name, **more}, "model.dropout": 0.2})
        model, losses = build_model(config.model, 11, 12, 0).double(), []
        weights = {f"weight {path}": p.detach().clone() for path, p in model.named_parameters()}
        torch.manual_seed(0)
        scores = model(TOKENS, losses=losses)
        torch.stack([cross_entropy(scores.flatten(0, 1), TOKENS.flatten()), *losses]).sum().backward()
        gradients = {f"gradient {path}": p.grad for path, p in model.named_parameters() if p.grad is not None}
        return weights | gradients | {"training": scores, "trained": model.eval()(TOKENS)}

    default, again, other = effect({}), effect({}), effect(hyper)
    assert all(torch.equal(default[key], again[key]) for key in default)
    assert default.keys() != other.keys() or not all(
        default[key].shape == other[key].shape and torch.equal(default[key], other[key]) for key in default
    )


@every_part
def test_every_part_trains_in_mixed_precision(slot: str, value: Any, configure: Any) -> None:
    model = build_model(configure({f"model.{slot}": value}).model, 11, 12, 0)
    with torch.autocast("cpu", torch.bfloat16):
        scores = model(TOKENS, losses=(losses := [])).float()
        loss = cross_entropy(scores.flatten(0, 1), TOKENS.flatten())
    (loss + sum(losses)).backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert loss.isfinite()
