"""Frozen parameters stay as they are; low-rank updates do what their formula says and become part of the weights."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.resume import interrupted
from support.small_grids import Ablate, small_config, write_grid
from torch import Tensor, nn

from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.model.trained import LoRAConfig, choose_trained, count_trained, merge_updates
from ablation.optim.decay import decaying_parameters
from ablation.registry import REGISTRY
from ablation.training.run import train

LORA = LoRAConfig(rank=2, alpha=6.0)
QUERY = "stack.blocks.0.sublayers.0.query"


@pytest.fixture
def model() -> nn.Module:
    return build_model(small_config().model, 7, 8, 0).double()


def filled(model: nn.Module) -> None:
    """Make the updates something, which start at zero."""
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            if path.endswith(".b"):
                parameter.copy_(torch.randn(parameter.shape, generator=random, dtype=parameter.dtype))


def test_update_is_that_of_the_formula(model: nn.Module) -> None:
    """h = W x + alpha / r B A x, written out as in the paper (equation 3)."""
    query = model.get_submodule(QUERY)
    before = query.weight.detach().clone()
    choose_trained(model, (), LORA, 0)
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(query(x), x @ before.T, rtol=0, atol=0)
    filled(model)
    update: Any = query.parametrizations.weight[0]
    assert (update.a.shape, update.b.shape) == ((2, 8), (8, 2))
    torch.testing.assert_close(query(x), x @ before.T + 6.0 / 2 * (x @ update.a.T) @ update.b.T)
    assert 0 < float(update.a.detach().abs().max()) <= 8**-0.5


def test_merged_model_equals_the_one_with_updates(model: nn.Module) -> None:
    names, kinds = list(model.state_dict()), [type(module) for module in model.modules()]
    choose_trained(model, (), LORA, 0)
    filled(model)
    tokens = torch.arange(6)[None]
    with torch.no_grad():
        expected = model.eval()(tokens)
        merge_updates(model)
        torch.testing.assert_close(model(tokens), expected, rtol=1e-12, atol=1e-12)
    assert sorted(model.state_dict()) == sorted(names)
    assert [type(module) for module in model.modules()] == kinds


def test_updates_alone_are_trained(model: nn.Module) -> None:
    choose_trained(model, (), LoRAConfig(rank=2, alpha=1.0, also_trained=("norm",)), 0)
    trained = {path for path, parameter in model.named_parameters() if parameter.requires_grad}
    assert all(path.endswith((".a", ".b")) or "norm" in path for path in trained)
    assert count_trained(model) == 2 * 2 * (8 + 8) + sum(p.numel() for n, p in model.named_parameters() if "norm" in n)
    decaying = decaying_parameters(model)
    assert {path for path, parameter in model.named_parameters() if parameter in decaying and path in trained} == {
        path for path in trained if "norm" not in path
    }


def test_first_numbers_of_updates_depend_on_seed_and_path_alone(model: nn.Module) -> None:
    def first(seed: int, *patterns: str) -> Tensor:
        fresh = build_model(small_config().model, 7, 8, 0)
        choose_trained(fresh, (), LoRAConfig(rank=2, alpha=1.0, parameters=patterns), seed)
        return fresh.get_parameter(f"{QUERY}.parametrizations.weight.0.a")

    assert torch.equal(first(0, "*.query.weight"), first(0, "*.key.weight", "linear"))
    assert not torch.equal(first(0, "*.query.weight"), first(1, "*.query.weight"))


@pytest.mark.parametrize(
    ("freeze", "lora", "refused"),
    [
        (("embeding",), None, "training.freeze: 'embeding' is not a parameter .*; did you mean 'embedding'"),
        (("*",), None, "training.freeze: no parameter is left"),
        (("norm",), LORA, "training.freeze: with training.lora all is frozen"),
        ((), LoRAConfig(rank=1, alpha=1.0, parameters=("*.quary.weight",)), "training.lora.parameters: '.*quary.*' is"),
        (
            (),
            LoRAConfig(rank=1, alpha=1.0, parameters=("norm",)),
            r"training.lora.parameters: stack.*norms.* is not the",
        ),
        (
            (),
            LoRAConfig(rank=1, alpha=1.0, also_trained=("haed",)),
            "training.lora.also_trained: 'haed' is not a parameter",
        ),
    ],
)
def test_what_cannot_be_chosen_is_refused(model: nn.Module, freeze: Any, lora: Any, refused: str) -> None:
    with pytest.raises(InputError, match=refused):
        choose_trained(model, freeze, lora, 0)


# In a run.


def weights(directory: Path) -> dict[str, Tensor]:
    return load_file(directory / "weights.safetensors")


def test_frozen_parameters_stay_as_they_are(tmp_path: Path) -> None:
    config = small_config({"training.freeze": ["embedding", "*.query.weight"], "optimizer.weight_decay": 0.5})
    result = train(config, tmp_path)
    task = config.task.build()
    before = build_model(config.model, task.vocabulary, task.longest, config.seed).state_dict()
    same = {name for name, tensor in weights(tmp_path).items() if torch.equal(tensor, before[name])}
    assert same == {"embedding.table.weight", f"{QUERY}.weight"}
    frozen = sum(before[name].numel() for name in same)
    assert result["efficiency"]["trained_parameters"] == result["efficiency"]["parameters"] - frozen


@pytest.mark.parametrize("optimizer", sorted(REGISTRY["optimizer"]))
def test_run_with_updates_starts_from_weights_and_leaves_plain_ones(tmp_path: Path, optimizer: str) -> None:
    train(small_config(), tmp_path)
    (tmp_path / "lora").mkdir()
    settings = {"training.lora": {"rank": 2, "alpha": 4.0}, "optimizer": optimizer, "seed": 1}
    result = train(small_config(settings), tmp_path / "lora", start=tmp_path / "weights.safetensors")
    before, after = weights(tmp_path), weights(tmp_path / "lora")
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{QUERY}.weight", "stack.blocks.0.sublayers.0.value.weight"}
    for name in changed:
        assert torch.linalg.matrix_rank((after[name] - before[name]).double(), rtol=1e-3) <= 2
    assert result["efficiency"]["trained_parameters"] == 2 * 2 * (8 + 8)
    assert result["efficiency"]["parameters"] == sum(tensor.numel() for tensor in before.values())


def test_run_with_updates_starts_from_an_imported_checkpoint(tmp_path: Path) -> None:
    train(small_config({"model.initialization": "xavier"}), tmp_path)
    file = tmp_path / "weights.safetensors"
    imported = {"name": "pretrained", "path": str(file), "fingerprint": sha256(file.read_bytes()).hexdigest()}
    (tmp_path / "lora").mkdir()
    settings = {"training.lora": {"rank": 2, "alpha": 4.0}, "model.initialization": imported}
    train(small_config(settings), tmp_path / "lora")
    before, after = weights(tmp_path), weights(tmp_path / "lora")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"{QUERY}.weight", "stack.blocks.0.sublayers.0.value.weight"}


@pytest.mark.parametrize(
    "settings",
    [
        {"training.freeze": ["embedding", "norm"]},
        {"training.lora": {"rank": 2, "alpha": 4.0}, "optimizer": "muon", "training.ema_decay": 0.8},
        {"training.lora": {"rank": 2, "alpha": 4.0}, "optimizer.lr_multipliers": {"*.b": 4.0}},
        {"training.lora": {"rank": 2, "alpha": 4.0}, "training.precision": "64-true"},
    ],
    ids=str,
)
def test_interrupted_run_goes_on_exactly(settings: dict[str, Any], tmp_path: Path) -> None:
    whole = interrupted(tmp_path / "whole", settings)
    for number, at in enumerate([[1], [3], [6, 11], range(1, 12)]):
        assert interrupted(tmp_path / f"parts{number}", settings, at) == whole


def test_plan_says_what_is_trained(ablate: Ablate, tmp_path: Path) -> None:
    levels = [None, {"rank": 2, "alpha": 4.0}]
    grid = write_grid(tmp_path, {"training.lora": levels}, {"optimizer.lr_multipliers": {"embedding": 0.5}})
    plain, lora = ablate("plan", grid, "--json").json["cells"]
    assert plain["trained_parameters"] is None and lora["trained_parameters"] == 64
    assert plain["parameters"] == lora["parameters"]
    assert f"trained: 64 parameters; the model has {lora['parameters']:,} (" in ablate("plan", grid).out


def test_plan_refuses_patterns_that_choose_nothing(ablate: Ablate, tmp_path: Path) -> None:
    refused = ablate("plan", write_grid(tmp_path, {"training.freeze": [[], ["*.haed.*"]]}))
    assert refused.code == 2 and "training.freeze: '*.haed.*' is not a parameter" in refused.err
    lora = write_grid(tmp_path, settings={"training.lora": {"rank": 2, "alpha": 1, "parameters": ["norm"]}})
    refused = ablate("plan", lora)
    assert refused.code == 2 and "training.lora.parameters: stack" in refused.err
    updates = {"training.lora": {"rank": 2, "alpha": 1}, "optimizer.lr_multipliers": {"*.b": 16}}
    assert ablate("plan", write_grid(tmp_path, settings=updates)).code == 0
