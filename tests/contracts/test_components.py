"""The contract of every registered component: a new one is tested by being registered.

What only one slot promises is in the file of that slot; hyper-parameters have test_hyperparameters.py, tasks
tasks/test_task.py, optimizers and schedules optim/test_optim.py.
"""

import json
from itertools import combinations, product
from typing import Any

import pytest
import torch
import yaml
from support.components import COMPONENTS, CONFIG_PATHS, LIST_SLOTS, MODEL_COMPONENTS, TESTED_ELSEWHERE, settings_for
from torch import nn
from torch.nn.functional import cross_entropy

from ablation.components.architecture.masks import causal_context
from ablation.config.layered import dump, load
from ablation.model.build import build_model
from ablation.registry import REGISTRY
from ablation.yaml import parse

every_component = pytest.mark.parametrize(("slot", "name"), COMPONENTS)
every_part_of_the_model = pytest.mark.parametrize(("slot", "name"), MODEL_COMPONENTS)

TOKENS = torch.randint(11, (3, 12), generator=torch.Generator().manual_seed(0))


def assert_no_token_sees_a_later_one(model: nn.Module) -> None:
    exchanged = TOKENS[0].repeat(12, 1)
    exchanged.diagonal().add_(1).remainder_(11)
    with torch.no_grad():
        outputs = model(torch.cat([TOKENS[:1], exchanged]))
    moved = (outputs[1:] - outputs[0]).abs().amax(-1)  # (which token was exchanged, where it is seen)
    assert moved.tril(-1).max() < 1e-12, "a token sees a later one"
    assert moved.diagonal().min() > 1e-9, "a token does not see itself"
    assert moved.triu(1).max() > 1e-9, "nothing is seen of the past"


def test_every_slot_has_a_path_in_the_configuration() -> None:
    assert set(REGISTRY) == set(CONFIG_PATHS), "name a new slot in CONFIG_PATHS, and its components are tested"


@every_component
def test_every_component_has_a_source_and_a_summary(slot: str, name: str) -> None:
    config = REGISTRY[slot][name]
    assert config.source.strip()
    assert config.component.__doc__, "what it inherits says what its base is"
    assert len(config.summary()) > 5


@every_component
def test_every_component_is_complete_without_hyperparameters(slot: str, name: str, configure: Any) -> None:
    kind = REGISTRY[slot][name]
    config = kind(name=name)
    assert kind.model_validate_json(json.dumps({"name": name})) == config
    if CONFIG_PATHS[slot] is not None:
        whole = dump(configure(settings_for(slot, name) if slot in LIST_SLOTS else {CONFIG_PATHS[slot]: name}))
        for key in CONFIG_PATHS[slot].split("."):
            whole = whole[key]
        plain = config.model_dump(mode="json")
        assert whole == ([plain] if slot in LIST_SLOTS else plain)


@every_component
def test_every_configuration_survives_yaml(slot: str, name: str, configure: Any) -> None:
    if CONFIG_PATHS[slot] is None:
        config = REGISTRY[slot][name](name=name)
        plain = parse(yaml.safe_dump(config.model_dump(mode="json")), "dumped.yaml").value
        assert type(config).model_validate_json(json.dumps(plain)) == config
    else:
        config = configure(settings_for(slot, name) if slot in LIST_SLOTS else {CONFIG_PATHS[slot]: name})
        assert load(parse(yaml.safe_dump(dump(config)), "dumped.yaml").value) == config


@every_part_of_the_model
def test_every_sublayer_and_every_block_preserves_the_shape(slot: str, name: str, configure: Any) -> None:
    model = build_model(configure(settings_for(slot, name)).model, 11, 12, 0)
    context = causal_context(model.stack.position, TOKENS, None, None, None, None)
    x = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))
    for block in model.stack.blocks:
        stream = block.residuals[0].expand(x)
        assert block(stream, context).shape == stream.shape
        for sublayer in block.sublayers:
            assert sublayer(x, context).shape == x.shape
    assert model(TOKENS).shape == (3, 12, 11)


@every_part_of_the_model
def test_every_part_is_causal(slot: str, name: str, make_model: Any) -> None:
    assert_no_token_sees_a_later_one(make_model(settings_for(slot, name)).eval())
    assert_no_token_sees_a_later_one(make_model(settings_for(slot, name)).train())


@pytest.mark.parametrize("name", REGISTRY["mixer"])
def test_mixer_depends_on_n_heads_or_declares_otherwise(name: str, make_model: Any) -> None:
    four, two = (make_model({**settings_for("mixer", name), "model.n_heads": n_heads})(TOKENS) for n_heads in (4, 2))
    assert torch.equal(four, two) != REGISTRY["mixer"][name].component.uses_heads


PAIRS = list(combinations(("position", "block", "norm", "mixer", "attention_backend", "feedforward"), 2))


@pytest.mark.parametrize("slots", PAIRS, ids=" x ".join)
def test_every_pair_is_causal_or_refused(slots: tuple[str, str], make_model: Any) -> None:
    for names in product(*(REGISTRY[slot] for slot in slots)):
        pair = list(zip(slots, names, strict=True))
        if any(part in TESTED_ELSEWHERE for part in pair):
            continue
        changes = {CONFIG_PATHS[slot]: name for slot, name in pair}
        if slots == ("mixer", "attention_backend") and "backend" not in REGISTRY["mixer"][names[0]].hyperparameters():
            continue
        if "mixer" in slots and "position" not in slots:
            changes |= settings_for("mixer", names[slots.index("mixer")])
        try:
            model = make_model(changes)
        except ValueError as refusal:
            assert any(name in str(refusal) for name in names), f"{pair}: {refusal}"
            continue
        assert_no_token_sees_a_later_one(model.train())


@every_part_of_the_model
def test_sequences_of_a_batch_are_independent(slot: str, name: str, make_model: Any) -> None:
    model = make_model(settings_for(slot, name)).train()
    alone = torch.cat([model(text[None]) for text in TOKENS])
    torch.testing.assert_close(model(TOKENS), alone, rtol=0, atol=1e-12)


@every_part_of_the_model
def test_every_parameter_learns(slot: str, name: str, make_model: Any) -> None:
    model = make_model({**settings_for(slot, name), "model.tie_embeddings": False}).train()
    losses: list[torch.Tensor] = []
    loss = cross_entropy(model(TOKENS, losses=losses).flatten(0, 1), TOKENS.roll(-1, 1).flatten())
    (loss + sum(losses)).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{path} is not used"
        assert parameter.grad.isfinite().all() and parameter.grad.any(), f"{path} has no gradient"


@every_part_of_the_model
def test_same_comes_out_twice_unless_dropout_is_at_work(slot: str, name: str, make_model: Any) -> None:
    model = make_model({**settings_for(slot, name), "model.dropout": 0.5})
    assert torch.equal(model(TOKENS), model(TOKENS))
    model.train()
    assert not torch.equal(model(TOKENS), model(TOKENS))


@every_part_of_the_model
def test_every_part_goes_through_a_checkpoint(slot: str, name: str, make_model: Any) -> None:
    model, other = make_model(settings_for(slot, name), seed=0), make_model(settings_for(slot, name), seed=1)
    assert not torch.equal(model(TOKENS), other(TOKENS))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(TOKENS), other(TOKENS))


@pytest.mark.parametrize("backend", ["manual", "sdpa"])
@every_part_of_the_model
def test_every_part_trains_in_mixed_precision(slot: str, name: str, backend: str, configure: Any) -> None:
    changes = settings_for(slot, name)
    if slot not in ("mixer", "attention_backend"):
        changes = {"model.mixer.backend": backend} | changes
    model = build_model(configure(changes).model, 11, 12, 0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(TOKENS).float()
        cross_entropy(outputs.flatten(0, 1), TOKENS.flatten()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    exact = model(TOKENS)
    assert (outputs - exact).norm() < 0.05 * exact.norm()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*Function.* should not be instantiated:DeprecationWarning")  # torch's own doing
@every_part_of_the_model
def test_every_part_is_compiled_without_a_break(slot: str, name: str, configure: Any) -> None:
    """What ``training.compile`` asks for; "eager" stops short of the compiler of the machine."""
    if name in ("lstm", "gru"):
        pytest.skip("torch's own LSTM and GRU break the graph")
    model = build_model(configure(settings_for(slot, name)).model, 11, 12, 0)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(TOKENS), model(TOKENS))
