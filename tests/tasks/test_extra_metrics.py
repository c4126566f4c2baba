"""Extra metrics: measured beside those of the task, registered here or by a plugin."""

import json
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from support.small_grids import Ablate, one_line, output, plan_of, small_config, write_grid

from ablation.tasks.base import IGNORED
from ablation.tasks.metrics import TokenAccuracy, TokenCalibrationError
from ablation.training.run import train

PLUGIN = '''
"""{tag}"""
import torch
from torchmetrics import MeanMetric

from ablation import IGNORED, Task, register


@register("metric", "entropy", source="Shannon 1948")
class Entropy(MeanMetric):
    """The mean entropy of the predictions."""

    higher_is_better = False
    unit = "bits"

    def __init__(self, task: Task, *, base: float = 2.0):
        super().__init__()
        self.base = base

    def update(self, logits, targets):
        p = logits[targets != IGNORED].float().softmax(-1)
        super().update(-(p * p.log()).sum(-1) / torch.tensor(self.base).log())
'''


@pytest.fixture
def plugin(tmp_path: Path, scratch_registry: Any) -> Path:
    file = tmp_path / "entropy.py"
    file.write_text(PLUGIN.replace("{tag}", str(tmp_path)))
    return file


def made_up(n_classes: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn((30, 7, n_classes), generator=generator)
    targets = torch.randint(n_classes, (30, 7), generator=generator)
    return logits, targets.masked_fill(torch.rand(targets.shape, generator=generator) < 0.2, IGNORED)


@pytest.mark.parametrize("k", [1, 3, 12])
def test_top_k_accuracy_is_that_of_sorted_logits(k: int) -> None:
    (logits, targets), metric = made_up(), TokenAccuracy(12, k)
    metric.update(logits, targets)
    known = targets != IGNORED
    highest = numpy.argsort(-logits[known].numpy(), axis=1)[:, :k]
    expected = (highest == targets[known].numpy()[:, None]).any(1).mean()
    assert float(metric.compute()) == pytest.approx(expected)


def test_calibration_error_is_that_of_its_formula() -> None:
    (logits, targets), metric = made_up(), TokenCalibrationError(12, 10)
    metric.update(logits, targets)
    known = targets != IGNORED
    confidence, predicted = logits[known].softmax(-1).max(-1)
    right, sure = (predicted == targets[known]).double().numpy(), confidence.double().numpy()
    bins = numpy.minimum((sure * 10).astype(int), 9)
    inside = [bins == number for number in set(bins.tolist())]
    gaps = [each.mean() * abs(right[each].mean() - sure[each].mean()) for each in inside]
    assert float(metric.compute()) == pytest.approx(sum(gaps), abs=1e-5)


def test_extra_metrics_are_measured_on_every_set_and_change_no_other_number(tmp_path: Path) -> None:
    extra = {"metrics": [{"name": "top_k_accuracy", "k": 2}, "calibration_error"]}
    sets = {"task": {"name": "text", "length": 16, "batch_size": 4, "validation_windows": 8, "extrapolate": 2}}
    for name in ("plain", "extra"):
        (tmp_path / name).mkdir()
    plain = train(small_config(sets), tmp_path / "plain")["quality"]
    quality = train(small_config({**sets, **extra}), tmp_path / "extra")["quality"]
    added = quality["final"].keys() - plain["final"].keys()
    assert added == {f"{name}{suffix}" for name in ("top_k_accuracy", "calibration_error") for suffix in ("", "@2x")}
    assert {name: quality["final"][name] for name in plain["final"]} == plain["final"]
    assert (quality["directions"]["top_k_accuracy@2x"], quality["directions"]["calibration_error"]) == (
        "higher",
        "lower",
    )
    assert quality["final"]["top_k_accuracy"] >= quality["final"]["accuracy"]


def test_metric_of_a_plugin_has_a_column_with_its_unit(tmp_path: Path, plugin: Path, ablate: Ablate) -> None:
    file = write_grid(tmp_path, settings={"metrics": ["entropy"]}, seeds=3)
    output(ablate("run", file, "--plugin", plugin, "--workers", "1"))
    table = json.loads(output(ablate("table", "small", "--json")))
    assert table["measures"]["entropy"]["unit"] == "bits" and table["measures"]["entropy"]["better"] == "lower"
    assert 0 < table["cells"][0]["metrics"]["entropy"]["mean"] <= 5
    assert "entropy in bits" in output(ablate("table", "small", "--format", "markdown"))
    by_entropy = output(ablate("table", "small", "--metric", "entropy"))
    assert "entropy in bits, lower is better" in by_entropy


def test_metric_of_a_plugin_can_be_what_a_grid_is_about(tmp_path: Path, plugin: Path) -> None:
    file = write_grid(tmp_path, settings={"metrics": ["entropy"]})
    file.write_text(f"{file.read_text()}metric: entropy\nmargins: {{entropy: 0.1}}\n")
    plan = plan_of(file, [plugin])
    assert (plan.metric, plan.better, plan.margins["entropy"]) == ("entropy", "lower", 0.1)


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["accurcy"], "metrics"),
        (["top_k_accuracy", "top_k_accuracy"], "'top_k_accuracy' is measured already"),
        ([{"name": "top_k_accuracy", "k": 99}], "top_k_accuracy: k is 99, and there are only"),
    ],
)
def test_a_metric_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, metrics: list[Any], message: str, ablate: Ablate
) -> None:
    answer = ablate("plan", write_grid(tmp_path, settings={"metrics": metrics}))
    assert answer.code == 2 and message in one_line(answer)
