"""Weight decay by role: which parameters it shrinks, of torch's modules and of components."""

from typing import Any

import pytest
import torch
from support.components import MODEL_COMPONENTS, settings_for
from torch import nn

from ablation.config.layered import dump, load_recorded
from ablation.model.build import build_model
from ablation.optim.decay import NORMS, decaying_parameters, parameter_roles
from ablation.registry import REGISTRY

VARIANTS: list[dict[str, Any]] = [
    {"model.tie_embeddings": False},
    {"model.architecture": "encoder_decoder"},
    {"model.mixer": {"name": "attention", "bias": True, "sinks": True, "gate": "head", "value_residual": True}},
    {"model.mixer": {"name": "disentangled", "share_projections": False}, "model.position": "none"},
    {"model.mixer": {"name": "convolution", "bias": True}, "model.position": "none"},
    {"model.feedforward": {"name": "mlp", "bias": True}},
    {"model.residual": {"name": "hyper_connections", "dynamic": False}},
]
"""What has parameters that no component has by default."""
for variant in VARIANTS:
    if variant.get("model.mixer", {}).get("sinks"):
        variant["model.mixer"]["backend"] = "manual"
COMPONENTS = [settings_for(slot, name) for slot, name in MODEL_COMPONENTS]


def label(settings: dict[str, Any]) -> str:
    return "+".join(f"{path.rpartition('.')[2]}={value}" for path, value in settings.items())


def paths(model: nn.Module, **convention: Any) -> set[str]:
    """The paths of all parameters that decay."""
    decaying = decaying_parameters(model, **convention)
    return {path for path, parameter in model.named_parameters() if parameter in decaying}


OWN = {
    "Attention": {"sinks": False, "shares": False},
    "Differential": {"vectors": False},
    "DynamicTanh": {"slope": False, "weight": False, "bias": False},
    "Fire": {"weight": True, "out": True, "shift": False, "c": False, "stretch": False},  # the maps of a network
    "GatedDelta": {"log_rate": False, "step": False},
    "Hyena": {"direct": False},
    "HyperConnections": {"map": True, "static": False, "scale": False},
    "KerpleLog": {"p": False, "a": False},
    "KerplePower": {"p": False, "a": False},
    "LayerScale": {"share": False},
    "LongFilter": {"first": True, "second": True, "last": True, "shifts": False},
    "Mamba": {"log_rate": False, "step": False, "direct": False},
    "ManifoldHyperConnections": {"map": True, "scale": False, "shift": False},
    "ReZero": {"share": False},
    "ScaleNorm": {"length": False},
    "ShortConvolution": {"weight": True, "bias": False},
    "T5": {"table": False},
    "TransformHead": {"bias": False},
    "TransformerXL": {"content_bias": False, "distance_bias": False},
    "UnitLength": {"gain": False},
}
"""The parameters that are no torch module's, by the class that has them, and whether they decay."""


@pytest.mark.parametrize("settings", COMPONENTS + VARIANTS, ids=label)
def test_every_parameter_of_every_component_has_a_role(settings: dict[str, Any], make_model: Any) -> None:
    """Those that are no torch module's are declared where they are made, and listed here, so none is left to chance."""
    model = make_model(settings)
    decaying = paths(model)
    for path, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            here = f"{path}.{name}"
            if isinstance(module, (*NORMS, nn.Linear, nn.Embedding, nn.RNNBase)):
                assert type(module).__dict__.get("decayed_parameters") is None
                is_weight = "weight" in name and not isinstance(module, NORMS)
                assert (here in decaying) == is_weight, here
                continue
            owner = type(module)
            assert any("decayed_parameters" in vars(kind) for kind in owner.__mro__), f"{owner.__name__} has {name}"
            assert (here in decaying) == OWN[owner.__name__][name], here


def test_every_parameter_listed_here_exists(make_model: Any) -> None:
    every = [module for settings in COMPONENTS + VARIANTS for module in make_model(settings).modules()]
    found = {(type(module).__name__, name) for module in every for name, _ in module.named_parameters(recurse=False)}
    assert {(owner, name) for owner, names in OWN.items() for name in names} <= found


def test_matrices_that_are_no_weights_decayed_before_and_do_not_now(make_model: Any) -> None:
    mamba = make_model({"model.mixer": "mamba", "model.position": "none"})
    rates = {path for path, _ in mamba.named_parameters() if path.endswith("log_rate")}
    assert len(rates) == 2
    assert paths(mamba, decay_on="matrices") - paths(mamba) == rates
    biases = make_model({"model.position": "t5"})
    assert paths(biases, decay_on="matrices") - paths(biases) == {"stack.position.table"}


def test_matrices_are_tensors_of_two_axes_and_all_is_all(make_model: Any) -> None:
    model = make_model({"model.residual": "hyper_connections", "model.mixer": "differential"})
    every = dict(model.named_parameters())
    assert paths(model, decay_on="matrices") == {path for path, one in every.items() if one.dim() >= 2}
    assert paths(model, decay_on="all") == set(every)


@pytest.mark.parametrize("decay_on", ["weights", "matrices", "all"])
@pytest.mark.parametrize("tied", [True, False])
def test_embeddings_can_be_left_out(decay_on: Any, tied: bool, make_model: Any) -> None:
    """A table that is the LM head too is an embedding; a head of its own is a linear map."""
    model = make_model({"model.position": "learned", "model.tie_embeddings": tied})
    left_out = paths(model, decay_on=decay_on) - paths(model, decay_on=decay_on, embeddings=False)
    assert left_out == {"embedding.table.weight", "stack.position.table.weight"}
    heads = [each.path for each in parameter_roles(model) if each.role == "lm_head"]
    assert len(heads) == (not tied)


class Own(nn.Module):
    """Modules of torch that own models are made of."""

    decayed_parameters: tuple[str, ...] = ("mixing",)

    def __init__(self) -> None:
        super().__init__()
        self.mixing, self.rates = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
        self.attention = nn.MultiheadAttention(4, 2, add_bias_kv=True)
        self.convolution, self.recurrent = nn.Conv2d(1, 2, 3), nn.GRU(3, 3)
        self.layer, self.batch = nn.LayerNorm((2, 2)), nn.BatchNorm2d(2)
        self.bag = nn.EmbeddingBag(3, 2)


def test_modules_of_torch_decay_by_their_weights() -> None:
    assert paths(Own()) == {
        "mixing",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
        "convolution.weight",
        "recurrent.weight_ih_l0",
        "recurrent.weight_hh_l0",
        "bag.weight",
    }
    roles = {each.path: each.role for each in parameter_roles(Own())}
    assert (roles["rates"], roles["mixing"], roles["layer.weight"]) == ("own", "weight", "norm")
    assert (roles["attention.bias_k"], roles["recurrent.bias_ih_l0"], roles["bag.weight"]) == (
        "bias",
        "bias",
        "embedding",
    )


def test_declaration_of_what_does_not_exist_is_an_error() -> None:
    module = Own()
    module.decayed_parameters = ("mixnig",)
    with pytest.raises(ValueError, match=r"Own\.decayed_parameters: 'mixnig' is not a parameter; it has mixing, rates"):
        parameter_roles(module)


class Frozen(nn.Linear):
    """A linear map whose weights are not to decay."""

    decayed_parameters = ()


def test_declaration_replaces_the_rule_of_the_type() -> None:
    model = nn.Sequential(Frozen(2, 2), nn.Linear(2, 2))
    assert paths(model) == {"1.weight"}


@pytest.mark.parametrize("name", REGISTRY["optimizer"])
def test_every_optimizer_decays_what_the_convention_says(name: str, make_model: Any) -> None:
    """By the groups that it makes, those of scaled or orthogonalized matrices too."""
    for settings in ({"model.mixer": "mamba", "model.position": "none"}, {"model.position": "t5"}):
        model = make_model({**settings, "model.tie_embeddings": False})
        for hyper in ({}, {"decay_on": "matrices"}, {"decay_on": "all"}, {"decay_embeddings": False}):
            optimizer = REGISTRY["optimizer"][name](name=name, weight_decay=0.3, **hyper).build().build(model)
            decaying = {p for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
            convention = {key.replace("decay_embeddings", "embeddings"): value for key, value in hyper.items()}
            assert decaying == decaying_parameters(model, **convention), hyper


def test_convention_of_an_earlier_run_is_read_as_it_was(configure: Any) -> None:
    config = configure({"optimizer": {"name": "adamw", "decay_on": "matrices"}})
    recorded = dump(config)
    for field in ("decay_on", "decay_embeddings"):
        del recorded["optimizer"][field]
    assert load_recorded(recorded) == config
    assert dump(load_recorded(dump(configure({})))) == dump(configure({}))
    assert build_model(load_recorded(recorded).model, 11, 12, 0) is not None
