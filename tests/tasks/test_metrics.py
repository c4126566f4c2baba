"""Metrics, updated batch by batch, against torch and torchmetrics called plainly on everything at once."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.functional.text import perplexity

from ablation.tasks.base import IGNORED
from ablation.tasks.generated.copying import Copy
from ablation.tasks.metrics import ExactMatch, language_metrics
from ablation.tasks.text.causal import Text


def batches() -> list[tuple[Tensor, Tensor]]:
    """Three batches of logits and targets, of different sizes, some targets not asked for."""
    generator, made = torch.Generator().manual_seed(0), []
    for n_texts in (4, 4, 1):
        logits = 2 * torch.randn(n_texts, 6, 11, generator=generator)
        targets = torch.where(torch.rand(n_texts, 6, generator=generator) < 0.5, logits.argmax(-1), 3)
        targets[torch.rand(n_texts, 6, generator=generator) < 0.3] = IGNORED
        made.append((logits, targets))
    made[0][1][:2] = made[0][0][:2].argmax(-1)  # two texts that are right throughout
    made[0][1][0, :3] = IGNORED
    return made


def test_metrics_over_batches_are_those_of_torch_over_everything() -> None:
    metrics = {**language_metrics(11, "bits_per_character"), "exact_match": ExactMatch()}
    for logits, targets in batches():
        for metric in metrics.values():
            metric.update(logits, targets)
    got = {name: metric.compute().item() for name, metric in metrics.items()}
    logits, targets = (torch.cat(tensors) for tensors in zip(*batches(), strict=True))
    asked = targets != IGNORED
    loss = cross_entropy(logits[asked], targets[asked]).item()
    assert got["loss"] == pytest.approx(loss, rel=1e-5)
    assert got["perplexity"] == pytest.approx(math.exp(loss), rel=1e-5)
    assert got["perplexity"] == pytest.approx(perplexity(logits, targets, ignore_index=IGNORED).item(), rel=1e-5)
    assert got["bits_per_character"] == pytest.approx(loss / math.log(2), rel=1e-5)
    right = logits.argmax(-1)[asked] == targets[asked]
    assert got["accuracy"] == pytest.approx(right.float().mean().item()) and 0.2 < got["accuracy"] < 0.9
    oracle = multiclass_accuracy(logits[asked], targets[asked], num_classes=11, average="micro")
    assert got["accuracy"] == pytest.approx(oracle.item())
    matches = [bool((best[a] == t[a]).all()) for best, t, a in zip(logits.argmax(-1), targets, asked, strict=True)]
    assert got["exact_match"] == pytest.approx(sum(matches) / 9) and sum(matches) >= 2


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_logits_of_mixed_precision_are_scored_in_full_precision(precision: torch.dtype) -> None:
    metrics, whole = language_metrics(11, "bits"), language_metrics(11, "bits")
    for logits, targets in batches():
        for name in metrics:
            metrics[name].update(logits.to(precision), targets)
            whole[name].update(logits.to(precision).float(), targets)
    assert all(torch.equal(metrics[name].compute(), whole[name].compute()) for name in metrics)


def test_confident_mistake_is_costly_and_not_endless() -> None:
    metrics, logits = language_metrics(2, "bits"), torch.tensor([[[150.0, 0.0], [0.0, 0.0], [0.0, 0.0]]])
    for metric in metrics.values():
        metric.update(logits, torch.tensor([[1, 1, IGNORED]]))
    assert metrics["loss"].compute().item() == pytest.approx((150 + math.log(2)) / 2)
    assert metrics["perplexity"].compute().item() == pytest.approx(math.exp((150 + math.log(2)) / 2), rel=1e-4)


def test_metrics_can_be_reset() -> None:
    for metric in {**language_metrics(11, "bits"), "exact_match": ExactMatch()}.values():
        first, *_, last = batches()
        metric.update(*last)
        alone = metric.compute()
        metric.reset()
        metric.update(*first)
        metric.reset()
        metric.update(*last)
        assert torch.equal(metric.compute(), alone)


def test_copying_model_scores_one_and_an_error_costs_the_sequence() -> None:
    task = Copy()
    examples = task.validation()
    logits = one_hot(examples["targets"].clamp(min=0), task.vocabulary) * 50.0
    wrong = logits.clone()
    wrong[:100, -1] = 0.0
    wrong[:100, -1, task.vocabulary - 1] = 50.0
    metrics = task.metrics()
    for given_logits, share in ((logits, 1.0), (wrong, 1 - 100 / len(logits))):
        for metric in metrics.values():
            metric.reset()
            metric.update(given_logits, examples["targets"])
        assert metrics["exact_match"].compute().item() == pytest.approx(share)
    assert metrics["loss"].compute() > 0


def test_bytes_and_characters_of_one_text_have_bits_per_character_in_common(tmp_path: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("ein Käse für die Größe der Übung, señor ;\n" * 60, encoding="utf-8")
    task = Text(path=file, level="byte", length=8, batch_size=4)
    metrics, validation = task.metrics(), bytes(task.parts[1].tolist())
    logits, targets = torch.randn(3, 8, task.vocabulary), torch.randint(task.vocabulary, (3, 8))
    for metric in metrics.values():
        metric.update(logits, targets)
    per_byte, per_character = metrics["bits_per_byte"].compute(), metrics["bits_per_character"].compute()
    n_characters = len(validation.decode(errors="ignore"))
    assert n_characters < len(validation)
    torch.testing.assert_close(per_character, per_byte * len(validation) / n_characters)
    file.write_bytes(b"\xff\xfe no text \xff" * 300)
    assert "bits_per_character" not in Text(path=file, level="byte", length=8, batch_size=4).metrics()
