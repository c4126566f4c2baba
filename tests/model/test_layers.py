"""Layers that differ from the others: what ``model.layers`` overrides, where, and what it refuses."""

from typing import Any

import pytest
import torch

from ablation.components.mixer.attention import Attention
from ablation.components.mixer.recurrent import LSTM
from ablation.components.position.rotary import Rope
from ablation.errors import InputError
from ablation.model.build import build_model


def build(configure: Any, changes: dict[str, Any], length: int = 12) -> Any:
    config = configure({"model.n_layers": 6, **changes})
    return build_model(config.model, vocabulary=11, length=length, seed=0)


def mixers(model: Any) -> list[Any]:
    return [block.sublayers[0] for block in model.stack.blocks]


def test_override_matches_every_nth_layer_from_first_to_last(configure: Any) -> None:
    override = {"every": 2, "first": 1, "last": 3, "set": {"mixer.window": 4}}
    windows = [mixer.window for mixer in mixers(build(configure, {"model.layers": [override]}))]
    assert windows == [None, 4, None, 4, None, None]


def test_later_override_wins(configure: Any) -> None:
    layers = [{"set": {"mixer.window": 4}}, {"every": 6, "first": 5, "set": {"mixer.window": None}}]
    assert [mixer.window for mixer in mixers(build(configure, {"model.layers": layers}))] == [4, 4, 4, 4, 4, None]


def test_component_and_its_hyperparameter_are_set_together(configure: Any) -> None:
    override = {"last": 0, "set": {"feedforward": "glu", "feedforward.activation": "relu"}}
    first = build(configure, {"model.layers": [override]}).stack.blocks[0].sublayers[1]
    assert type(first).__name__ == "GLU" and first.activation is torch.nn.functional.relu


def test_two_rope_bases_are_shared_by_their_layers(configure: Any) -> None:
    """As in Gemma 3: local layers with a small base, every sixth global one with a large base."""
    changes = {
        "model.position": {"name": "rope", "theta": 100.0},
        "model.layers": [{"every": 3, "first": 2, "set": {"position.theta": 1000.0}}],
    }
    stack = build(configure, changes).stack
    assert isinstance(stack.position, Rope) and len(stack.other_positions) == 1
    assert stack.position_indices == [None, None, 0, None, None, 0]
    assert stack.other_positions[0].frequency[-1] < stack.position.frequency[-1]


def test_other_position_changes_the_logits(configure: Any) -> None:
    rope = {"model.position": "rope"}
    other = {**rope, "model.layers": [{"every": 2, "set": {"position": "none"}}]}
    tokens = torch.arange(11)[None]
    assert not torch.equal(build(configure, rope)(tokens), build(configure, other)(tokens))


def test_hybrid_stack_has_attention_among_recurrent_layers(configure: Any) -> None:
    changes = {
        "model.mixer": "lstm",
        "model.position": "rope",
        "model.layers": [{"every": 3, "first": 2, "set": {"mixer": "attention"}}],
    }
    kinds = [type(mixer) for mixer in mixers(build(configure, changes))]
    assert kinds == [LSTM, LSTM, Attention, LSTM, LSTM, Attention]


def test_dense_first_layer_of_a_mixture_of_experts(configure: Any) -> None:
    changes = {"model.feedforward": "moe", "model.layers": [{"last": 0, "set": {"feedforward": "mlp"}}]}
    blocks = build(configure, changes).stack.blocks
    assert [type(block.sublayers[1]).__name__ for block in blocks] == ["MLP"] + ["MixtureOfExperts"] * 5


def test_layer_without_override_starts_as_in_the_plain_model(configure: Any) -> None:
    plain = build(configure, {}).state_dict()
    changed = build(configure, {"model.layers": [{"last": 0, "set": {"feedforward": "glu"}}]}).state_dict()
    same = [name for name in plain if name.startswith("stack.blocks.1.")]
    assert same and all(torch.equal(plain[name], changed[name]) for name in same)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ({"first": 6, "set": {"mixer.window": 4}}, "layers[0]: matches none of the 6 layers"),
        ({"set": {"mixr.window": 4}}, "layers[0].set: mixr.window: allowed: position, block"),
        ({"set": {"mixer.windw": 4}}, "unknown key 'windw' of the mixer 'attention'"),
        ({"set": {"mixer": "atention"}}, "'atention' is not a mixer"),
        ({"set": {"mixer.window": 0}}, "layers[0].set: mixer.window: "),
        ({"set": {"optimizer.lr": 1}}, "layers[0].set: optimizer.lr: allowed: position"),
    ],
)
def test_wrong_override_is_one_line(configure: Any, override: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        configure({"model.n_layers": 6, "model.layers": [override]})
    assert message in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("position", ["learned", "sinusoidal"])
def test_position_of_the_embeddings_is_no_override(configure: Any, position: str) -> None:
    with pytest.raises(ValueError, match="once before the first layer"):
        build(configure, {"model.position": "rope", "model.layers": [{"last": 0, "set": {"position": position}}]})
    with pytest.raises(ValueError, match="once before the first layer"):
        build(configure, {"model.position": position, "model.layers": [{"last": 0, "set": {"position": "none"}}]})


def test_encoder_of_other_depth_follows_the_same_pattern(configure: Any) -> None:
    changes = {
        "model.architecture": {"name": "encoder_decoder", "encoder_layers": 3},
        "task": {"name": "scan", "length": 30, "batch_size": 4},
        "model.layers": [{"every": 2, "first": 1, "set": {"mixer.window": 4}}],
    }
    model = build(configure, changes)
    assert [block.sublayers[0].window for block in model.encoder.blocks] == [None, 4, None]
    assert [block.sublayers[0].window for block in model.decoder.blocks] == [None, 4, None, 4, None, 4]
