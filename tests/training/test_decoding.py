"""Texts that are made from others: exact match, with the length given or not, and what decoding writes."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import BASE
from torch import Tensor
from torchmetrics.functional.text import word_error_rate

from ablation.model.build import build_model
from ablation.registry import REGISTRY
from ablation.tasks.base import IGNORED, Examples
from ablation.tasks.examples import PAD
from ablation.tasks.generated.scan import Scan
from ablation.tasks.metrics import ExactMatch, ExactMatchOfLength, edit_distance
from ablation.tasks.pairs import BEGIN, END
from ablation.training.batches import ValidationBatches
from ablation.training.evaluation import GreedyDecodingEval

OTHER = 5


def test_edits_are_counted_per_token_of_the_targets() -> None:
    assert edit_distance([[3, 4, 5], [7]], [[3, 5], [7]]) == pytest.approx(1 / 3), "one token too many, of three"
    assert edit_distance([[], [7]], [[3, 5], [7]]) == pytest.approx(2 / 3)
    assert edit_distance([[4, 3]], [[3, 4]]) == 1.0, "two places changed, of two"
    assert edit_distance([[3, 3, 3, 3]], [[4]]) == 4.0
    assert edit_distance([[]], [[]]) == 0.0 and edit_distance([[3]], [[]]) == 1.0


def test_edit_distance_of_ids_equals_word_error_rate() -> None:
    random = torch.Generator().manual_seed(0)
    sizes = torch.randint(1, 14, (2, 40), generator=random).tolist()
    texts = [[torch.randint(9, 17, (size,), generator=random).tolist() for size in side] for side in sizes]
    written, targets = texts
    spelled = [[" ".join(f"word{id}" for id in text) for text in side] for side in texts]
    assert edit_distance(written, targets) == pytest.approx(word_error_rate(*spelled).item())


def score(metric: Any, logits: Tensor, targets: Tensor) -> float:
    metric.update(logits, targets)
    value: float = metric.compute().item()
    return value


def test_given_the_length_tokens_after_the_end_are_ignored() -> None:
    targets = torch.tensor([[3, 4, END, IGNORED], [3, END, IGNORED, IGNORED]])
    logits = torch.zeros(2, 4, 6)
    for row, best in enumerate(([3, 4, END, 0], [3, END, 0, 0])):
        logits[row, range(4), best] = 5.0
    assert score(ExactMatch(), logits, targets) == score(ExactMatchOfLength(END), logits, targets) == 1.0
    late = logits.clone()
    late[0, 2, OTHER] = 9.0  # it would go on where it should end
    early = logits.clone()
    early[0, 1, END] = 9.0  # it would end where it should go on
    for missed in (late, early):
        assert score(ExactMatch(), missed, targets) == 0.5
        assert score(ExactMatchOfLength(END), missed, targets) == 1.0
    wrong = logits.clone()
    wrong[0, 1, OTHER] = 9.0
    assert score(ExactMatchOfLength(END), wrong, targets) == 0.5


@pytest.fixture(
    scope="module",
    params=[name for name, part in REGISTRY["architecture"].items() if "seq2seq" in part.component.tasks],  # type: ignore[attr-defined]
)
def trained(request: pytest.FixtureRequest) -> tuple[Any, Examples, Scan]:
    """A model that was shown a few commands until it could write some of them, those commands, and the task."""
    from ablation.config.layered import read_base

    task = Scan(length=12, validation_examples=24)
    draft = read_base(BASE)
    small = {"model.architecture": request.param, "model.d_model": 32, "model.n_layers": 1, "model.dropout": 0.0}
    for path, value in small.items():
        draft.set(path, value, draft.base, ())
    model: Any = build_model(draft.build().model, task.vocabulary, task.longest, 0).train()
    examples = task.validation()
    targets = examples["targets"]
    inputs = {name: tensor for name, tensor in examples.items() if name != "targets"}
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(150):
        logits = model(**inputs)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            if score(ExactMatch(), logits, targets) >= 0.4:
                break
    return model.eval(), examples, task


def by_hand(model: Any, examples: Examples, row: int, n_new: int, forbidden: list[int]) -> list[int]:
    """Greedy decoding of one pair without a cache, a batch or padding; up to the end, which is not part of it."""
    source = examples["source"][row : row + 1]
    source = source[source != PAD][None]
    text = [BEGIN]
    for _ in range(n_new):
        with torch.no_grad():
            logits = model(torch.tensor([text]), source=source)[0, -1]
        logits[forbidden] = -torch.inf
        text.append(int(logits.argmax()))
        if text[-1] == END:
            return text[1:-1]
    return text[1:]


def answers(examples: Examples) -> list[list[int]]:
    return [[id for id in row if id not in (IGNORED, END)] for row in examples["targets"].tolist()]


def test_decoding_writes_what_a_step_by_step_loop_writes(trained: Any) -> None:
    model, examples, task = trained
    decoding = GreedyDecodingEval(task, model, {})
    texts = list(decoding.token_lists(decoding.decode(examples)))
    assert texts == [by_hand(model, examples, row, task.length, []) for row in range(len(texts))]
    assert 0 < sum(text == answer for text, answer in zip(texts, answers(examples), strict=True)) < len(texts)


def test_exact_match_is_the_fraction_of_correct_decodings(trained: Any) -> None:
    """Logits after the right tokens tell it: with the length left open, and with it given."""
    model, examples, task = trained
    with torch.no_grad():
        logits = model(**{name: tensor for name, tensor in examples.items() if name != "targets"})
    right = answers(examples)
    rows = range(len(right))
    freely = sum(by_hand(model, examples, row, task.length, []) == right[row] for row in rows)
    assert score(ExactMatch(), logits, examples["targets"]) == pytest.approx(freely / len(right))
    given = sum(by_hand(model, examples, row, len(right[row]), [END]) == right[row] for row in rows)
    assert score(ExactMatchOfLength(END), logits, examples["targets"]) == pytest.approx(given / len(right))
    assert 0 < freely <= given < len(right)


def test_every_set_is_decoded_when_training_ends(trained: Any) -> None:
    import contextlib

    model, examples, task = trained
    half = {name: tensor[:10] for name, tensor in examples.items()}
    decoding = GreedyDecodingEval(
        task, model, {"": ValidationBatches(examples, 1), "@some": ValidationBatches(half, 2)}
    )
    trainer: Any = SimpleNamespace(precision_plugin=SimpleNamespace(forward_context=contextlib.nullcontext))
    decoding.on_train_end(trainer, SimpleNamespace(device=torch.device("cpu")))  # type: ignore[arg-type]
    written = [by_hand(model, examples, row, task.length, []) for row in range(24)]
    assert decoding.scores == {
        "edit_distance": pytest.approx(edit_distance(written, answers(examples))),
        "edit_distance@some": pytest.approx(edit_distance(written[:10], answers(half))),
    }
    assert decoding.scores["edit_distance"] > 0
