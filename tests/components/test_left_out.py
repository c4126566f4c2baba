"""What can be left out of a layer: the residual, the mixer, the feedforward."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.small_grids import small_config
from torch import nn

from ablation.bench.profile import profile_training_step
from ablation.bench.target import BenchTarget
from ablation.components.context import Cache
from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.model.counts import count_inference_cost, count_parameters
from ablation.model.generate import SamplingParams, cacheable, generate
from ablation.registry import REGISTRY
from ablation.training.run import train

TOKENS = torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(0))
LEFT_OUT = {
    "residual": {"model.residual": "none"},
    "feedforward": {"model.feedforward": "none"},
    "mixer": {"model.mixer": "none", "model.position": "learned"},
}
every_part = pytest.mark.parametrize("part", LEFT_OUT)


def test_without_residual_a_block_is_its_sublayers(make_model: Any) -> None:
    """f(norm(x)) one after another: x alone does not go on."""
    block = make_model({"model.residual": "none"}).stack.blocks[0]
    model = make_model({"model.residual": "none"})
    seen: dict[nn.Module, Any] = {}
    for f in model.stack.blocks[0].sublayers:
        f.register_forward_hook(lambda module, inputs, y: seen.update({module: (inputs[0], y)}))
    out: list[torch.Tensor] = []
    model.stack.blocks[0].register_forward_hook(lambda module, inputs, y: out.append(y))
    model(TOKENS)
    (_, y), (normed, z) = (seen[f] for f in model.stack.blocks[0].sublayers)
    torch.testing.assert_close(normed, block.norms[1](y), rtol=0, atol=1e-12)
    torch.testing.assert_close(out[0], z, rtol=0, atol=0)


@pytest.mark.parametrize("block", REGISTRY["block"])
@pytest.mark.parametrize("part", ["mixer", "feedforward"])
def test_sublayer_is_left_out_with_its_norm_and_its_residual(part: str, block: str, configure: Any) -> None:
    around = {"model.block": block}
    whole, without = (build_model(configure(each).model, 11, 12, 0) for each in (around, LEFT_OUT[part] | around))
    for full, layer in zip(whole.stack.blocks, without.stack.blocks, strict=True):
        assert len(layer.sublayers) == 1
        assert len(layer.norms) in (1, len(full.norms) // 2)
        assert len(layer.residuals) == max(1, len(full.residuals) // 2)
    parameters = dict(whole.named_parameters())
    for path, parameter in without.named_parameters():
        if "sublayers" in path:
            one, other = parameter / parameter.norm(), parameters[path] / parameters[path].norm()
            close = torch.allclose(one, other, rtol=1e-5, atol=1e-6)  # not equal: deepnorm scales by the depth
            assert close, "what is left starts with the same weights"


def test_without_a_mixer_tokens_are_alone_and_without_feedforward_not(make_model: Any) -> None:
    changed = TOKENS.clone()
    changed[:, 3] = (changed[:, 3] + 1) % 11
    for part, others_move in (("mixer", False), ("feedforward", True), ("residual", True)):
        model = make_model(LEFT_OUT[part]).eval()
        moved = (model(changed) - model(TOKENS)).abs().amax((0, -1))
        assert moved[3] > 1e-9
        assert (moved[:3] == 0).all()
        assert bool((moved[4:] > 1e-9).all()) == others_move, part


@pytest.mark.parametrize("architecture", ["decoder", "encoder", "encoder_decoder", "prefix_decoder"])
@every_part
def test_every_architecture_trains_without_it(part: str, architecture: str, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text("".join(f"{'ab'[i % 2]} c\t{'ba'[i % 2]} c\n" for i in range(40)))
    text = tmp_path / "text.txt"
    text.write_text("one two three four five\n" * 40)
    task: dict[str, Any] = {"name": "sequence_to_sequence", "path": str(pairs), "length": 12, "batch_size": 4}
    if architecture == "encoder":
        task = {"name": "masked_text", "path": str(text), "length": 12, "batch_size": 4, "validation_windows": 4}
    elif architecture == "decoder":
        task = {"name": "text", "path": str(text), "length": 12, "batch_size": 4, "validation_windows": 4}
    settings = {**LEFT_OUT[part], "model.architecture": architecture, "task": task, "training.max_steps": 2}
    assert train(small_config(settings), tmp_path)["status"] == "completed"


@every_part
def test_cache_gives_the_scores_of_one_pass_without_it(part: str, make_model: Any) -> None:
    model = make_model(LEFT_OUT[part]).eval()
    assert cacheable(model)
    cache = Cache()
    parts = torch.cat([model(chunk, cache=cache) for chunk in TOKENS.split((5, 1, 6), 1)], 1)
    torch.testing.assert_close(parts, model(TOKENS), rtol=0, atol=1e-12)
    assert (cache.n_bytes == 0) == (part == "mixer"), "nothing is cached where nothing is looked up"
    assert generate(model, TOKENS[:, :3], 4, SamplingParams(temperature=0)).shape == (2, 7)


def test_counts_know_what_is_left_out(configure: Any) -> None:
    whole = count_parameters(configure({"model.position": "learned"}).model, 11, 12).parameters
    for part in ("mixer", "feedforward"):
        config = configure({"model.position": "learned", **LEFT_OUT[part]})
        model = build_model(configure({"model.position": "learned"}).model, 11, 12, 0)
        gone = [block.sublayers[part == "feedforward"] for block in model.stack.blocks]
        gone += [block.norms[0] for block in model.stack.blocks]
        n_gone = sum(parameter.numel() for module in gone for parameter in module.parameters())
        assert count_parameters(config.model, 11, 12).parameters == whole - n_gone
        cost = count_inference_cost(config.model, config.task.build())
        assert (cost.cache_bytes_per_token == 0) == (part == "mixer")


@every_part
def test_profile_shows_what_is_left(part: str, configure: Any) -> None:
    taken = profile_training_step(BenchTarget(configure(LEFT_OUT[part])), 1)
    names = {row["part"] for row in taken.as_dict()["parts"]}
    assert ("feedforward" in names) == (part != "feedforward")
    assert ("attention" in names) == (part != "mixer")


def test_layer_without_anything_is_refused_in_one_line(make_model: Any) -> None:
    both = {"model.mixer": "none", "model.feedforward": "none", "model.position": "learned"}
    message = "layer 0: mixer none and feedforward none leave it empty; keep one of them"
    with pytest.raises(ValueError, match=message):
        make_model(both)
    override = {"first": 1, "set": {"mixer": "none", "feedforward": "none"}}
    with pytest.raises(ValueError, match=message.replace("0", "1")):
        make_model({"model.layers": [override]})


def test_single_layers_can_leave_a_sublayer_out(make_model: Any) -> None:
    """Attention in every second layer only, feedforwards in all."""
    model = make_model({"model.layers": [{"every": 2, "first": 1, "set": {"mixer": "none"}}]})
    assert [len(block.sublayers) for block in model.stack.blocks] == [2, 1]
    assert model(TOKENS).isfinite().all()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"model.mixer": "none"},
            "mixer none has no use for position rope; position can be: learned, none, sinusoidal",
        ),
        ({"model.feedforward": {"name": "moe", "expert": "none"}}, "expert none: a mixture of nothing"),
        (
            {"model.residual": "none", "model.block": {"name": "pre_norm", "dropout_on": "stream"}},
            "block.dropout_on stream: this residual has no stream",
        ),
        (
            {"model.architecture": {"name": "encoder_decoder", "cross": "none"}},
            "none cannot attend to an encoder; architecture.cross can be",
        ),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], message: str, make_model: Any) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(settings)


def test_checkpoint_is_refused_without_a_mixer(configure: Any, tmp_path: Path) -> None:
    """The norm of the feedforward would be given the weights of another one."""
    import hashlib

    model = build_model(configure({}).model, 11, 12, 0)
    file = tmp_path / "weights.safetensors"
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, str(file))
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    start = {"model.initialization": {"name": "pretrained", "path": str(file), "fingerprint": digest}}
    kept = configure({**start, **LEFT_OUT["feedforward"]})
    assert count_parameters(kept.model, 11, 12).parameters
    loaded = dict(build_model(kept.model, 11, 12, 1).named_parameters())
    original = dict(model.named_parameters())
    assert all(torch.equal(parameter, original[path]) for path, parameter in loaded.items())
    with pytest.raises(InputError, match="initialization pretrained: a layer without a mixer"):
        count_parameters(configure({**start, **LEFT_OUT["mixer"]}).model, 11, 12)
