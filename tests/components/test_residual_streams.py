"""Residuals of several streams against the paper's algorithm, an implementation of others, and the single stream."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, linear, rms_norm

from ablation.bench.profile import of_kind, profile_training_step
from ablation.bench.target import BenchTarget
from ablation.components.base import BuildContext
from ablation.components.norm import BatchNorm
from ablation.components.residual import (
    HyperConnections,
    ManifoldHyperConnections,
    NormalizedLinear,
    Residual,
    sinkhorn,
)
from ablation.model.build import build_model
from ablation.model.counts import count_inference_cost, count_parameters
from ablation.optim.decay import decaying_parameters
from ablation.optim.optimizer import AdamW, hidden_matrices
from ablation.registry import REGISTRY
from ablation.tasks.generated.copying import Copy
from ablation.training.monitor.activations import Activations
from ablation.training.monitor.base import TrainingHistory

M, N = 16, 4
SHAPE = BuildContext(d_model=M, n_layers=2, n_heads=4, n_kv_heads=4, max_length=12)
NAMES = ["hyper_connections", "manifold_hyper_connections"]
WAYS = [*NAMES, {"name": "hyper_connections", "dynamic": False}]
TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))
X = torch.randn(3, 5, N, M, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
Y = torch.randn(3, 5, M, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
every_name = pytest.mark.parametrize("name", NAMES)
every_way = pytest.mark.parametrize("way", WAYS, ids=["dynamic", "manifold", "static"])


def close(one: Tensor, other: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=atol)


def perturbed(module: Any, width: float = 0.3) -> Any:
    """Every parameter moved, none by as much as another."""
    for seed, parameter in enumerate(module.parameters()):
        parameter.data += width * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return module


@pytest.fixture
def make_undisturbed(configure: Any) -> Callable[..., Any]:
    """Models as they are before the first step, in float64."""
    return lambda changes: build_model(configure(changes).model, 11, 12, 0).double().eval()


# The formulas


class Algorithm(nn.Module):
    """Zhu et al., appendix: the pseudo-code of hyper-connections, names and all."""

    def __init__(self, dim: int, rate: int, layer_id: int, dynamic: bool):
        super().__init__()
        self.dynamic = dynamic
        self.static_beta = nn.Parameter(torch.ones(rate))
        init_alpha0 = torch.zeros(rate, 1)
        init_alpha0[layer_id % rate, 0] = 1.0
        self.static_alpha = nn.Parameter(torch.cat([init_alpha0, torch.eye(rate)], dim=1))
        if dynamic:
            self.dynamic_alpha_fn = nn.Parameter(torch.zeros(dim, rate + 1))
            self.dynamic_alpha_scale = nn.Parameter(torch.ones(1) * 0.01)
            self.dynamic_beta_fn = nn.Parameter(torch.zeros(dim))
            self.dynamic_beta_scale = nn.Parameter(torch.ones(1) * 0.01)
            self.layer_norm = nn.LayerNorm(dim)

    def width_connection(self, h: Tensor) -> tuple[Tensor, Tensor]:
        alpha, beta = self.static_alpha[None, None, ...], self.static_beta[None, None, ...]
        if self.dynamic:
            norm_h = self.layer_norm(h)
            alpha = alpha + torch.tanh(norm_h @ self.dynamic_alpha_fn) * self.dynamic_alpha_scale
            beta = beta + torch.tanh(norm_h @ self.dynamic_beta_fn) * self.dynamic_beta_scale
        return torch.einsum("blnk,blnd->blkd", alpha.expand(*h.shape[:2], -1, -1), h), beta.expand(*h.shape[:3])

    def depth_connection(self, mix_h: Tensor, h_o: Tensor, beta: Tensor) -> Tensor:
        return torch.einsum("blh,bln->blnh", h_o, beta) + mix_h[..., 1:, :]

    def carry(self, ours: HyperConnections) -> None:
        static = ours.static.detach().view(len(self.static_beta), -1)
        state = {"static_alpha": static[:, :-1], "static_beta": static[:, -1]}
        if self.dynamic:
            state |= {"dynamic_alpha_fn": ours.map[:, :-1], "dynamic_beta_fn": ours.map[:, -1]}
            state |= {"dynamic_alpha_scale": ours.scale[:1], "dynamic_beta_scale": ours.scale[1:]}
            state |= {f"layer_norm.{key}": value for key, value in ours.norm.state_dict().items()}
        self.load_state_dict({key: value.detach() for key, value in state.items()}, strict=True)


@pytest.mark.parametrize("sublayer", [0, 6])
@pytest.mark.parametrize("dynamic", [True, False])
def test_hyper_connections_are_the_algorithm_of_the_paper(dynamic: bool, sublayer: int) -> None:
    ours = HyperConnections(replace(SHAPE, sublayer=sublayer), dynamic=dynamic)
    theirs, start = Algorithm(M, N, sublayer, dynamic).double(), Algorithm(M, N, sublayer, dynamic)
    start.carry(ours)
    for one, other in zip(start.parameters(), Algorithm(M, N, sublayer, dynamic).parameters(), strict=True):
        assert torch.equal(one, other), "they start alike"
    theirs.carry(perturbed(ours.double()))
    mixed, beta = theirs.width_connection(X)
    close(ours.read(X), mixed[..., 0, :])
    close(ours(X, Y), theirs.depth_connection(mixed, Y, beta))
    assert (ours.read(X) - X[..., sublayer % N, :]).abs().max() > 0.1, "the noise has its say"


def test_manifold_hyper_connections_are_those_of_deepseek_v4() -> None:
    from transformers.models.deepseek_v4.modeling_deepseek_v4 import DeepseekV4Config, DeepseekV4HyperConnection

    ours = perturbed(ManifoldHyperConnections(SHAPE, init_value=0.4), 0.5)
    theirs = DeepseekV4HyperConnection(
        DeepseekV4Config(hidden_size=M, hc_mult=N, hc_sinkhorn_iters=20, hc_eps=1e-12, rms_norm_eps=1e-6)
    )
    # theirs is the transpose of A: by places, the two first parts stay
    order = [*range(2 * N), *(2 * N + torch.arange(N * N).view(N, N).T.flatten()).tolist()]
    state = {"fn": ours.map[order], "base": ours.shift[order], "scale": ours.scale}
    theirs.load_state_dict({key: value.detach() for key, value in state.items()}, strict=True)
    x, y = X.float(), Y.float()
    post, comb, collapsed = theirs(x)
    close(ours.read(x), collapsed, 1e-5)
    # as DeepseekV4DecoderLayer.forward has it
    close(ours(x, y), post.unsqueeze(-1) * y.unsqueeze(-2) + comb.mT @ x, 1e-5)
    assert (comb - comb.mT).abs().max() > 0.05, "of a symmetric one the transpose would tell nothing"
    assert (comb[0, 0] - comb[0, 1]).abs().max() > 0.01, "it does not depend on the token"


@every_way
def test_output_is_added_to_the_streams_it_is_given_whichever_were_read(way: Any) -> None:
    name, settings = (way, {}) if isinstance(way, str) else (way["name"], {"dynamic": way["dynamic"]})
    residual = perturbed(REGISTRY["residual"][name](name=name, **settings).build(SHAPE).double())
    other = X.flip(0)
    residual.read(other)
    expected = residual(other, Y)
    assert residual.kept is None  # or a graph as large as the streams would live on until the next pass
    residual.read(X)
    close(residual(other, Y), expected)
    close(residual(other, Y), expected)


def test_normalized_map_is_a_map_of_rms_norm_and_has_its_gradients() -> None:
    x, weight = torch.randn(2, 3, 8, dtype=torch.float64), torch.randn(5, 8, dtype=torch.float64)
    expected = linear(rms_norm(x, (8,), eps=1e-3), weight)
    torch.testing.assert_close(NormalizedLinear.apply(x, weight, 1e-3), expected, rtol=1e-14, atol=1e-14)
    assert torch.autograd.gradcheck(NormalizedLinear.apply, (x.requires_grad_(), weight.requires_grad_(), 1e-3))


def test_sinkhorn_equals_alternating_row_and_column_scaling() -> None:
    logits = torch.randn(7, N, N, dtype=torch.float64)
    matrix = logits.exp()
    for _ in range(20):
        matrix = matrix / matrix.sum(-2, keepdim=True)
        matrix = matrix / matrix.sum(-1, keepdim=True)
    close(sinkhorn(logits, 20), matrix)
    close(sinkhorn(logits, 300).sum(-1), torch.ones(7, N, dtype=torch.float64))
    close(sinkhorn(logits, 300).sum(-2), torch.ones(7, N, dtype=torch.float64))
    assert (sinkhorn(logits, 1).sum(-2) - 1).abs().max() > 0.01
    far = sinkhorn(torch.tensor([[0.0, 1000.0], [500.0, -1000.0]]), 20)  # whose exponentials are 0 and infinite
    close(far, torch.tensor([[0.0, 1.0], [1.0, 0.0]]), 1e-6)


def test_manifold_mixing_makes_no_stream_larger_than_the_largest() -> None:
    mixed = perturbed(ManifoldHyperConnections(SHAPE).double())(X, torch.zeros_like(Y))
    assert not torch.allclose(mixed, X, atol=0.1)
    assert (mixed.abs().amax(-2) <= X.abs().amax(-2) + 1e-12).all()
    close(mixed.mean(-2), X.mean(-2), 1e-2)  # columns are as near to a sum of 1 as 20 iterations come


def test_manifold_starts_with_its_initial_weights() -> None:
    start = ManifoldHyperConnections(replace(SHAPE, sublayer=6), init_value=0.7).double()
    shares = torch.full((N, N), 0.1, dtype=torch.float64).fill_diagonal_(0.7)
    close(start(X, torch.zeros_like(Y)), shares @ X, 1e-6)
    close(start.read(X), (shares @ X)[..., 6 % N, :], 1e-6)
    close(start(torch.zeros_like(X), Y), Y.unsqueeze(-2).expand_as(X))


# Whole models


@pytest.mark.parametrize("norm", ["layer_norm", "none"])
@pytest.mark.parametrize("block", REGISTRY["block"])
@every_way
def test_model_of_several_streams_starts_as_that_of_one(way: Any, block: str, norm: str, make_undisturbed: Any) -> None:
    changes = {"model.block": block, "model.norm": norm, "model.n_layers": 3}
    several, one = (make_undisturbed({**changes, "model.residual": residual}) for residual in (way, "plain"))
    close(several(TOKENS), one(TOKENS), 1e-5 if way == "manifold_hyper_connections" else 1e-12)  # whose logits round
    state = several.state_dict()
    assert all(torch.equal(state[path], tensor) for path, tensor in one.state_dict().items())


@pytest.mark.parametrize("architecture", ["encoder", "encoder_decoder"])
@every_name
def test_encoders_too_start_as_those_of_one_stream(name: str, architecture: str, make_undisturbed: Any) -> None:
    """A memory and what is pooled are of one stream again."""
    more = {"source": TOKENS.flip(1)} if architecture == "encoder_decoder" else {}
    changes = {"model.architecture": architecture, "model.block": "post_norm"}
    several, one = (make_undisturbed({**changes, "model.residual": residual}) for residual in (name, "plain"))
    close(several(TOKENS, **more), one(TOKENS, **more), 1e-5)


@every_name
@pytest.mark.parametrize(("block", "n_sublayers"), [("pre_norm", 2), ("parallel", 1)])
def test_each_sublayer_starts_with_reading_the_next_stream(
    name: str, block: str, n_sublayers: int, make_undisturbed: Any
) -> None:
    def read(stack: Any) -> list[int]:
        streams = torch.eye(N, dtype=torch.float64).unsqueeze(-1).expand(N, N, M)[None]  # one stream is there at a time
        joins = [join for block in stack.blocks for join in block.residuals]
        return [int(join.read(streams)[0, :, 0].argmax()) for join in joins]

    model = make_undisturbed({"model.residual": name, "model.block": block, "model.n_layers": 3})
    assert read(model.stack) == [number % N for number in range(3 * n_sublayers)]
    changes = {"model.residual": name, "model.block": block, "model.architecture": "encoder_decoder"}
    both = make_undisturbed(changes)
    assert read(both.encoder) == [number % N for number in range(2 * n_sublayers)]
    n_deeper = 1 if block == "parallel" else 3
    assert read(both.decoder) == [number % N for number in range(2 * n_deeper)]


@pytest.mark.parametrize("block", REGISTRY["block"])
@every_way
def test_streams_all_matter_and_differ_after_a_few_steps(way: Any, block: str, make_undisturbed: Any) -> None:
    model = make_undisturbed({"model.residual": way, "model.block": block, "model.n_layers": 4})
    seen: list[Tensor] = []
    handle = model.stack.blocks[0].register_forward_hook(lambda module, inputs, x: seen.append(x.detach()))
    assert torch.equal(model(TOKENS), model(TOKENS))
    assert (seen[0] - seen[0][..., :1, :]).abs().max() < 1e-6, "at the start they are alike"
    optimizer = AdamW(lr=0.01, weight_decay=0.1).build(model)
    for _ in range(3):
        optimizer.zero_grad()
        cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.roll(-1, 1).flatten()).backward()
        optimizer.step()
    after = model(TOKENS)
    streams = seen[-1].unbind(-2)
    assert all((streams[i] - streams[j]).abs().max() > 1e-4 for i in range(N) for j in range(i))
    handle.remove()
    moved = []
    for stream in range(N):
        bump = torch.zeros(N, M, dtype=torch.float64)
        bump[stream] = torch.linspace(-1, 1, M)
        handle = model.stack.blocks[0].register_forward_hook(lambda module, inputs, x, bump=bump: x + bump)
        moved.append(model(TOKENS) - after)
        handle.remove()
    assert all(one.abs().max() > 1e-2 for one in moved)
    assert all((moved[i] - moved[j]).abs().max() > 1e-2 for i in range(N) for j in range(i))


@pytest.mark.parametrize("block", ["post_norm", "deepnorm"])
@pytest.mark.parametrize("norm", REGISTRY["norm"])
@every_name
def test_norm_of_the_stream_norms_each_of_several(name: str, norm: str, block: str, make_model: Any) -> None:
    model = make_model({"model.residual": name, "model.norm": norm, "model.block": block})
    assert model(TOKENS).isfinite().all()
    norm_of_stream = model.stack.blocks[0].norms[0]
    close(norm_of_stream(X), torch.stack([norm_of_stream(stream) for stream in X.unbind(-2)], -2))
    if isinstance(norm_of_stream, BatchNorm):  # in training over all there is
        norm_of_stream.reset_parameters()
        normed = norm_of_stream.train()(X)
        close(normed.mean((0, 1, 2)), torch.zeros(M, dtype=torch.float64))
        close(normed.var((0, 1, 2), correction=0), torch.ones(M, dtype=torch.float64), 1e-4)


@every_name
def test_dropout_acts_on_each_stream_apart_and_not_on_the_input(name: str, make_model: Any) -> None:
    class Seen(Residual):
        def __init__(self, inner: Residual):
            super().__init__(SHAPE)
            self.inner = inner

        def expand(self, x: Tensor) -> Tensor:
            return self.inner.expand(x)

        def read(self, x: Tensor) -> Tensor:
            read.append(x)
            return self.inner.read(x)

        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            joined.append(x)
            return self.inner(x, y)

    read: list[Tensor] = []
    joined: list[Tensor] = []
    block = {"name": "pre_norm", "dropout_on": "stream"}
    model = make_model({"model.residual": name, "model.block": block, "model.dropout": 0.5}).train()
    join = model.stack.blocks[0].residuals[0]
    join.residual = Seen(join.residual)
    model(TOKENS)
    gone = joined[0] == 0
    assert not (read[0] == 0).any() and gone.double().mean() == pytest.approx(0.5, abs=0.1)
    assert all((gone[..., i, :] != gone[..., j, :]).any() for i in range(N) for j in range(i))


@every_name
def test_streams_stay_in_float32_in_mixed_precision(name: str) -> None:
    """Sixteen bits would round them anew in every sublayer."""
    x, y = X.float(), torch.zeros_like(Y).bfloat16()
    residual = REGISTRY["residual"][name](name=name).build(SHAPE)
    with torch.autocast("cpu", torch.bfloat16):
        joined, read = residual(x, y), residual.read(x)
    assert joined.dtype == read.dtype == torch.float32
    close(joined, residual(x, y.float()), 1e-6)
    close(read, residual.read(x), 1e-6)


# What is counted and observed


@every_way
def test_stream_maps_decay_and_static_weights_do_not(way: Any, make_undisturbed: Any) -> None:
    model = make_undisturbed({"model.residual": way})
    decaying = decaying_parameters(model)
    for block in model.stack.blocks:
        own = dict(block.residuals[0].residual.named_parameters())
        for path, parameter in own.items():
            assert (parameter in decaying) == (path == "map"), path
        assert not any(parameter is one for parameter in own.values() for one in hidden_matrices(model))


@pytest.mark.parametrize(
    ("way", "parameters", "multiplied"),
    [
        ({"name": "hyper_connections", "dynamic": False}, N * (N + 2), (1 + N + 1) * N * M),
        ({"name": "hyper_connections"}, N * (N + 2) + (N + 2) * M + 2 + 2 * M, (1 + N + 1) * N * M + N * M * (N + 2)),
        (
            {"name": "manifold_hyper_connections"},
            (N + 2) * N * (N * M + 1) + 3,
            (1 + N + 1) * N * M + N * M * (N + 2) * N,
        ),
    ],
)
def test_stream_parameters_and_flops_equal_a_hand_count(
    way: dict[str, Any], parameters: int, multiplied: int, configure: Any
) -> None:
    """Reading, mixing and adding, and the maps that say how, in each of four sublayers."""
    several, one = (configure({"model.residual": residual}).model for residual in (way, "plain"))
    assert count_parameters(several, 11, 12).parameters - count_parameters(one, 11, 12).parameters == 4 * parameters
    task = Copy(symbols=10, length=12, validation_examples=1)
    flops = count_inference_cost(several, task).flops_per_token - count_inference_cost(one, task).flops_per_token
    assert flops == 4 * 2 * multiplied
    taken = profile_training_step(BenchTarget(configure({"model.residual": way})), 1)
    assert of_kind(taken.flops, "residual") == 3 * 48 * flops, "of 48 tokens, forward and back; reading counts too"


@every_name
def test_activations_are_those_of_all_streams(name: str, make_model: Any) -> None:
    model, observer = make_model({"model.residual": name}), Activations()
    padding = torch.arange(12) >= 3 * torch.arange(3)[:, None]
    seen: list[Tensor] = []
    handles = [
        *observer.register_hooks(model),
        *(block.register_forward_hook(lambda *hooked: seen.append(hooked[2])) for block in model.stack.blocks),
    ]
    with torch.no_grad():
        model(TOKENS, padding=padding)
        found = observer.measure(model, 1, None)
    for handle in handles:
        handle.remove()
    assert all(x.shape == (3, 12, N, M) for x in seen)
    expected = [float((x.square().mean((-1, -2))[padding].mean()).sqrt()) for x in seen]
    by_depth = observer.summary(TrainingHistory([], [], None, 0, 0))["activation_by_depth"]
    assert by_depth == pytest.approx(expected) and found["activation_rms_max"] == pytest.approx(max(expected))


@every_name
def test_mean_of_all_streams_is_what_the_last_norm_is_given(name: str, make_model: Any) -> None:
    model, seen = make_model({"model.residual": name}), []
    model.stack.blocks[-1].register_forward_hook(lambda module, inputs, x: seen.append(x.mean(-2)))
    model.stack.norm.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model(TOKENS)
    close(*seen)
