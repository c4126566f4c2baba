"""Own models and tasks: any nn.Module, with a loss and metrics that its task brings, through the usual path."""

from pathlib import Path
from typing import Any

import pytest
import torch
from support.small_grids import plan_of, write_grid

from ablation.bench.measure import measure
from ablation.compare.measures import measures
from ablation.errors import InputError
from ablation.grid.plan import Plan
from ablation.store.files import read_json
from ablation.store.runs import Store
from ablation.tasks.base import Task, count_tokens
from ablation.tasks.loss import training_loss
from ablation.training.attempt import train_order

pytestmark = pytest.mark.usefixtures("scratch_registry")

OWN = '''
"""{tag}"""
import torch
from torch import nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError

from ablation import Task, generator, register


@register("task", "brightness")
class Brightness(Task):
    """Predict the mean brightness of random images."""

    kind = "image_regression"
    primary = "absolute_error"

    def __init__(self, *, size: int = 6, batch_size: int = 4, n_examples: int = 24):
        super().__init__(length=1, batch_size=batch_size)
        self.size, self.n_examples = size, n_examples

    def training(self, seed, epoch):
        return self.images(generator(seed, "images", epoch))

    def validation(self):
        return self.images(generator(0, "images", "validation"))

    def images(self, random):
        images = torch.rand(self.n_examples, 1, self.size, self.size, generator=random)
        return {{"images": images, "targets": images.mean((1, 2, 3))}}

    def loss(self, logits, batch):
        return nn.functional.mse_loss(logits, batch["targets"])

    def metrics(self):
        return {{"loss": MeanSquaredError(), "absolute_error": MeanAbsoluteError()}}


@register("architecture", "cnn")
class CNN(nn.Module):
    """A convolution, pooled, and a linear map to one number."""

    tasks = ("image_regression",)

    def __init__(self, parts, build, vocabulary, n_classes, *, channels: int = 4):
        super().__init__()
        self.convolution = nn.Conv2d(1, channels, 3)
        self.head = nn.Linear(channels, 1)

    def forward(self, images):
        return self.head(self.convolution(images).relu().mean((2, 3))).squeeze(-1)


@register("architecture", "torch_encoder")
class TorchEncoder(nn.Module):
    """torch's own Transformer as a causal language model; its forward takes tokens alone."""

    tasks = ("causal_lm", "classification")

    def __init__(self, parts, build, vocabulary, n_classes):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, build.d_model)
        layer = nn.TransformerEncoderLayer(build.d_model, build.n_heads, 32, dropout=0.0, batch_first=True)
        self.layers = nn.TransformerEncoder(layer, build.n_layers, enable_nested_tensor=False)
        self.head = nn.Linear(build.d_model, vocabulary)

    def forward(self, tokens):
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.size(1), device=tokens.device)
        return self.head(self.layers(self.embedding(tokens), mask=mask, is_causal=True))
'''

LISTOPS = {"name": "listops", "length": 12, "batch_size": 4, "epoch_examples": 8, "validation_examples": 8}


def plan_cells(folder: Path, factors: dict[str, list[Any]], settings: dict[str, Any]) -> Plan:
    """The plan of a grid with the plugin."""
    folder.mkdir(exist_ok=True)
    plugin = folder / "own.py"
    plugin.write_text(OWN.format(tag=folder))  # a text is run once per process
    return plan_of(write_grid(folder, factors, settings), [plugin])


def train_cells(folder: Path, factors: dict[str, list[Any]], settings: dict[str, Any]) -> list[dict[str, Any]]:
    """Train every run of the grid as it is ordered; how each ended."""
    plan = plan_cells(folder, factors, settings)
    store, results = Store(folder / "runs"), []
    plugins = store.keep_plugins(plan.plugins, plan.name)
    for run in plan.runs:
        train_order(store.order(run, plugins))
        directory = store.directory(run.id)
        (file,) = (file for file in directory.glob("*.json") if file.name in ("result.json", "failure.json"))
        results.append(read_json(file))
    return results


def test_cnn_learns_a_regression_with_its_own_loss(tmp_path: Path) -> None:
    channels = [{"name": "cnn", "channels": n} for n in (4, 8)]
    settings = {"task": {"name": "brightness"}, "training.max_steps": 12, "optimizer": {"name": "adamw", "lr": 0.05}}
    for result in train_cells(tmp_path, {"model.architecture": channels}, settings):
        assert result["status"] == "completed", result
        quality = result["quality"]
        assert (quality["primary"], quality["better"]) == ("absolute_error", "lower")
        assert set(quality["final"]) == {"loss", "absolute_error"}
        assert quality["final"]["loss"] < result["stability"]["initial_loss"]
        assert quality["by_position"] == {}
        assert result["stability"]["log_z"] is None, "a regression has no logits"
        assert result["efficiency"]["tokens"] == 12 * 4, "examples, where there are no tokens"


def test_default_margin_in_nats_does_not_hold_for_an_own_loss(tmp_path: Path) -> None:
    settings = {"task": {"name": "brightness"}}
    plan = plan_cells(tmp_path / "own", {"model.architecture": ["cnn"]}, settings)
    assert plan.manifest()["margins"] == {"loss": None}
    assert measures(["loss"], {}, plan.manifest()["margins"])["loss"].margin is None
    assert plan_of(write_grid(tmp_path)).manifest()["margins"] == {}


def test_own_model_is_timed_in_training_alone(tmp_path: Path) -> None:
    config = plan_cells(tmp_path, {"model.architecture": ["cnn"]}, {"task": {"name": "brightness"}}).runs[0].config
    result = measure({"cnn": config}, ["training_step", "prefill", "decode"], [4], 1, 0)
    assert set(result["cells"]["cnn"]["measures"]) == {"training_step"}
    assert result["notes"]["cnn"] == dict.fromkeys(["prefill", "decode"], "the task has no tokens")


def test_torch_encoder_that_takes_tokens_alone_is_a_language_model(tmp_path: Path) -> None:
    factors = {"model.architecture": ["decoder", "torch_encoder"]}
    ours, theirs = train_cells(tmp_path, factors, {"training.max_steps": 12})
    assert ours["status"] == theirs["status"] == "completed", theirs
    assert set(ours["quality"]["final"]) == set(theirs["quality"]["final"])
    assert theirs["quality"]["final"]["loss"] < theirs["stability"]["initial_loss"]
    assert theirs["stability"]["log_z"] is not None
    assert theirs["efficiency"]["tokens"] == ours["efficiency"]["tokens"]


def test_model_without_padding_is_refused_for_a_task_that_has_it(tmp_path: Path) -> None:
    message = (
        "model.architecture: TorchEncoder.forward does not take 'padding', which the task provides; it takes tokens"
    )
    with pytest.raises(InputError, match=message):
        train_cells(tmp_path, {"model.architecture": ["torch_encoder"]}, {"task": LISTOPS})


def test_terms_of_the_cross_entropy_are_refused_in_the_plan(tmp_path: Path) -> None:
    settings = {"task": {"name": "brightness"}, "training.z_loss": 0.1}
    with pytest.raises(InputError, match=r"training\.z_loss: needs a cross-entropy"):
        train_cells(tmp_path, {"model.architecture": ["cnn"]}, settings)


def test_architecture_is_refused_for_a_kind_it_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'decoder' cannot learn 'brightness' \\(image_regression\\); allowed: cnn"):
        train_cells(tmp_path, {"model.architecture": ["decoder", "cnn"]}, {"task": {"name": "brightness"}})


class OwnLoss(Task):
    def loss(self, logits: torch.Tensor, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        return (logits - batch["targets"]).square().mean()


@pytest.mark.parametrize("name", ["label_smoothing", "z_loss"])
def test_own_loss_refuses_terms_of_the_cross_entropy(name: str) -> None:
    task, batch = OwnLoss(1, 2), {"images": torch.zeros(2, 3), "targets": torch.ones(2)}
    loss, task_loss = training_loss(task, torch.zeros(2), batch, [torch.tensor(0.5)])
    assert (float(loss), float(task_loss)) == (1.5, 1.0)
    with pytest.raises(InputError, match=f"training.{name}: needs a cross-entropy, and task OwnLoss has its own loss"):
        training_loss(task, torch.zeros(2), batch, **{name: 0.1})


def test_tokens_are_counted_and_else_examples() -> None:
    assert count_tokens({"tokens": torch.zeros(3, 5), "targets": torch.zeros(3, 5)}) == 15
    assert count_tokens({"images": torch.zeros(3, 1, 8, 8), "targets": torch.zeros(3)}) == 3
