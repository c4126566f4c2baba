"""The contract of every registered component: a new one is tested by being registered.

What only one slot promises is in the file of that slot; hyper-parameters have test_hyperparameters.py, tasks
test_tasks.py, optimisers and schedules test_optimisation.py.
"""

import json
from typing import Any

import pytest
import torch
import yaml
from torch import nn
from torch.nn.functional import cross_entropy

import ablation.config
import ablation.grid  # fills the slot of the designs
from ablation.models import build_model
from ablation.registry import REGISTRY
from ablation.strict_yaml import parse

PLACES = {
    "architecture": "model.architecture",
    "position": "model.position",
    "block": "model.block",
    "norm": "model.norm",
    "mixer": "model.mixer",
    "backend": "model.mixer.backend",
    "feedforward": "model.feedforward",
    "residual": "model.residual",
    "initialisation": "model.initialisation",
    "data": "data",
    "optimiser": "optimiser",
    "schedule": "schedule",
    "design": None,  # of a grid, not of an experiment
}
EVERY = [(slot, name) for slot, members in REGISTRY.items() for name in members]
OF_THE_MODEL = [(slot, name) for slot, name in EVERY if (PLACES.get(slot) or "").startswith("model.")]
every_component = pytest.mark.parametrize(("slot", "name"), EVERY)
every_part_of_the_model = pytest.mark.parametrize(("slot", "name"), OF_THE_MODEL)

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


def test_every_slot_has_a_place_in_the_configuration() -> None:
    assert set(REGISTRY) == set(PLACES), "name a new slot in PLACES, and its components are tested"


@every_component
def test_every_component_names_its_source_and_says_what_it_is(slot: str, name: str) -> None:
    config = REGISTRY[slot][name]
    assert config.source.strip()
    assert config.component.__doc__, "what it inherits says what its base is"
    assert len(config.meaning()) > 5


@every_component
def test_every_component_is_complete_without_hyperparameters(slot: str, name: str, configure: Any) -> None:
    kind = REGISTRY[slot][name]
    config = kind(name=name)
    assert kind.model_validate_json(json.dumps({"name": name})) == config
    if PLACES[slot] is not None:
        whole = ablation.config.dump(configure({PLACES[slot]: name}))
        for key in PLACES[slot].split("."):
            whole = whole[key]
        assert whole == config.model_dump(mode="json")


@every_component
def test_every_configuration_survives_yaml(slot: str, name: str, configure: Any) -> None:
    if PLACES[slot] is None:
        config = REGISTRY[slot][name](name=name)
        plain = parse(yaml.safe_dump(config.model_dump(mode="json")), "dumped.yaml").value
        assert type(config).model_validate_json(json.dumps(plain)) == config
    else:
        config = configure({PLACES[slot]: name})
        assert ablation.config.load(parse(yaml.safe_dump(ablation.config.dump(config)), "dumped.yaml").value) == config


@every_part_of_the_model
def test_every_sublayer_and_every_block_keeps_the_shape(slot: str, name: str, configure: Any) -> None:
    model = build_model(configure({PLACES[slot]: name}).model, 11, 12, 0)
    context = model.context(TOKENS, None, None, None)
    x = torch.randn(3, 12, 16, generator=torch.Generator().manual_seed(1))
    for block in model.blocks:
        assert block(x, context).shape == x.shape
        for sublayer in block.sublayers:
            assert sublayer(x, context).shape == x.shape
    assert model(TOKENS).shape == (3, 12, 11)


@every_part_of_the_model
def test_no_part_sees_the_future(slot: str, name: str, make_model: Any) -> None:
    assert_no_token_sees_a_later_one(make_model({PLACES[slot]: name}).eval())
    assert_no_token_sees_a_later_one(make_model({PLACES[slot]: name}).train())


@pytest.mark.parametrize("backend", REGISTRY["backend"])
@pytest.mark.parametrize("mixer", REGISTRY["mixer"])
@pytest.mark.parametrize("block", REGISTRY["block"])
@pytest.mark.parametrize("position", REGISTRY["position"])
def test_no_combination_sees_the_future(position: str, block: str, mixer: str, backend: str, make_model: Any) -> None:
    changes = {"model.position": position, "model.block": block, "model.mixer": mixer}
    if "backend" in REGISTRY["mixer"][mixer].hyperparameters():
        changes["model.mixer.backend"] = backend
    assert_no_token_sees_a_later_one(make_model(changes).train())


@every_part_of_the_model
def test_every_text_of_a_batch_is_on_its_own(slot: str, name: str, make_model: Any) -> None:
    model = make_model({PLACES[slot]: name}).train()
    alone = torch.cat([model(text[None]) for text in TOKENS])
    torch.testing.assert_close(model(TOKENS), alone, rtol=0, atol=1e-12)


@every_part_of_the_model
def test_every_parameter_learns(slot: str, name: str, configure: Any) -> None:
    model = build_model(configure({PLACES[slot]: name, "model.tie_embeddings": False}).model, 11, 12, 0)
    cross_entropy(model(TOKENS).flatten(0, 1), TOKENS.roll(-1, 1).flatten()).backward()
    for path, parameter in model.named_parameters():
        assert parameter.grad is not None, f"{path} is not used"
        assert parameter.grad.isfinite().all() and parameter.grad.any(), f"{path} has no gradient"


@every_part_of_the_model
def test_the_same_comes_out_twice_unless_dropout_is_at_work(slot: str, name: str, make_model: Any) -> None:
    model = make_model({PLACES[slot]: name, "model.dropout": 0.5})
    assert torch.equal(model(TOKENS), model(TOKENS))
    model.train()
    assert not torch.equal(model(TOKENS), model(TOKENS))


@every_part_of_the_model
def test_every_part_goes_through_a_checkpoint(slot: str, name: str, make_model: Any) -> None:
    model, other = make_model({PLACES[slot]: name}, seed=0), make_model({PLACES[slot]: name}, seed=1)
    assert not torch.equal(model(TOKENS), other(TOKENS))
    other.load_state_dict(model.state_dict())
    assert torch.equal(model(TOKENS), other(TOKENS))


@pytest.mark.parametrize("backend", REGISTRY["backend"])
@every_part_of_the_model
def test_every_part_trains_in_mixed_precision(slot: str, name: str, backend: str, configure: Any) -> None:
    config = configure({"model.mixer": {"name": "attention", "backend": backend}, PLACES[slot]: name})
    model = build_model(config.model, 11, 12, 0)
    with torch.autocast("cpu", torch.bfloat16):
        outputs = model(TOKENS).float()
        cross_entropy(outputs.flatten(0, 1), TOKENS.flatten()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    exact = model(TOKENS)
    assert (outputs - exact).norm() < 0.05 * exact.norm()


@every_part_of_the_model
def test_every_part_is_compiled_without_a_break(slot: str, name: str, configure: Any) -> None:
    """What ``training.compile`` asks for; "eager" stops short of the compiler of the machine."""
    model = build_model(configure({PLACES[slot]: name}).model, 11, 12, 0)
    torch.compiler.reset()
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(TOKENS), model(TOKENS))
