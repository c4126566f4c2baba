"""One run: that it computes what it should, and that nothing but its configuration and seed decides the numbers."""

import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support import ROOT
from support.small_grids import numbers, small_config, trouble, write_trouble
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ablation.config.layered import dump
from ablation.model.build import build_model
from ablation.plugins import load_plugins
from ablation.rng import generator
from ablation.store.attempts import Order
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.tasks.base import IGNORED, Examples, Task, count_examples
from ablation.tasks.generated.copying import Copy
from ablation.training.attempt import train_order
from ablation.training.batches import TrainingBatch, TrainingBatches, ValidationBatches
from ablation.training.learner import Learner
from ablation.training.metrics_log import DivergedError, MetricsLog
from ablation.training.monitor.gradients import GradientNorms
from ablation.training.run import train

DOUBLE = {"training.precision": "64-true", "model.dropout": 0.0, "training.log_every": 1}


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``run({path: value})``: the numbers of one run of the small configuration with these values."""
    count = iter(range(1000))

    def run(settings: dict[str, Any] | None = None) -> dict[str, Any]:
        directory = tmp_path / f"run{next(count)}"
        directory.mkdir()
        result = train(small_config(settings), directory)
        (directory / "result.json").write_text(json.dumps({"id": "", **result}, allow_nan=False))
        return numbers(directory)

    return run


@pytest.fixture
def troubled(tmp_path: Path, scratch_registry: Any) -> Callable[..., dict[str, Any]]:
    """``troubled(kind, {path: value})``: what a run leaves whose schedule gets into that kind of trouble."""
    plugins, count = load_plugins([write_trouble(tmp_path)]), iter(range(1000))

    def run(kind: str, settings: dict[str, Any] | None = None) -> dict[str, Any]:
        schedule = {key: value for key, value in trouble(kind)["schedule"][1].items() if key != "label"}
        store = Store(tmp_path / f"runs{next(count)}")
        order = Order("ab" * 16, store.root / "store" / "orders" / ("ab" * 16))
        record = {
            "id": order.run_id,
            "identity": {"fingerprint": None},
            "config": dump(small_config({**(settings or {}), "schedule": schedule})),
            "plugins": store.keep_plugins(plugins, "grid"),
        }
        write_json(order.directory / "run.json", record)
        train_order(order)
        directory = store.directory(order.run_id)
        return {file.name: json.loads(file.read_text()) for file in directory.glob("[rf]*.json")}

    return run


def training_rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in run["rows"] if "train/loss" in row]


def validation_rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in run["rows"] if "validation/loss" in row]


def losses(run: dict[str, Any]) -> list[float]:
    return [row["train/loss"] for row in training_rows(run)]


# The same numbers.


def test_same_configuration_gives_bit_identical_numbers(run: Any) -> None:
    first = run()
    run({"seed": 3, "model.n_layers": 2, "training.precision": "64-true"})
    torch.rand(7)
    assert run() == first


def test_seed_decides_the_numbers(run: Any) -> None:
    assert losses(run()) != losses(run({"seed": 1}))


def test_looking_more_often_changes_no_number_of_the_training(run: Any) -> None:
    seldom = run({"training.evaluate_every": 6, "training.log_every": 6})
    often = run({"training.evaluate_every": 1, "training.log_every": 1})
    (whole,) = losses(seldom)
    assert whole == pytest.approx(sum(losses(often)) / 6, rel=1e-6)
    assert seldom["quality"]["final"] == often["quality"]["final"]
    assert seldom["stability"] == often["stability"]


def test_dropout_is_a_function_of_seed_and_step(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    undisturbed = run({"model.dropout": 0.5})
    original = ValidationBatches.__iter__

    def drawing(batches: ValidationBatches) -> Iterator[Examples]:
        for batch in original(batches):
            torch.rand(5)
            yield batch

    monkeypatch.setattr(ValidationBatches, "__iter__", drawing)
    assert run({"model.dropout": 0.5}) == undisturbed
    assert losses(run({"model.dropout": 0.5})) != losses(run({"model.dropout": 0.0}))


def test_dropout_differs_from_step_to_step(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Copy, "training", lambda task, seed, epoch: task.sample(1, task.length, generator(0)))
    still = {**DOUBLE, "optimizer": {"name": "adamw", "lr": 1e-30, "weight_decay": 0.0}}
    with_dropout, without = losses(run({**still, "model.dropout": 0.5})), losses(run(still))
    assert max(without) - min(without) < 1e-12, "the same weights and the same example in every step"
    assert len({round(loss, 9) for loss in with_dropout}) == 6


# The right numbers.


def plainly(config: Any) -> tuple[list[float], list[float], list[float], nn.Module]:
    """Losses, gradient norms and learning rates of AdamW with warm-up and cosine, all written out, in float64."""
    task: Task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.length, config.seed).double()
    parameters = list(model.parameters())
    first = [torch.zeros_like(p) for p in parameters]
    second = [torch.zeros_like(p) for p in parameters]
    found: tuple[list[float], list[float], list[float]] = ([], [], [])
    n_steps, n_warmup = config.training.max_steps, round(config.schedule.warmup_ratio * config.training.max_steps)
    batches = (batch for epoch in range(100) for batch in in_order(task, config.seed, epoch))
    for step, batch in zip(range(n_steps), batches, strict=False):
        logits = model(batch["tokens"])
        scores, targets = logits.flatten(0, 1), batch["targets"].flatten()
        loss = cross_entropy(scores, targets, ignore_index=IGNORED)
        smoothing = config.training.label_smoothing
        smoothed = cross_entropy(scores, targets, ignore_index=IGNORED, label_smoothing=smoothing)
        z = scores[targets != IGNORED].exp().sum(-1)
        gradients = torch.autograd.grad(smoothed + config.training.z_loss * (z.log() ** 2).mean(), parameters)
        norm = math.sqrt(sum(float((g**2).sum()) for g in gradients))
        share = min(1.0, config.training.gradient_clip / (norm + 1e-6))
        if step < n_warmup:
            factor = (step + 1) / n_warmup
        else:
            done = (step - n_warmup) / (n_steps - n_warmup)
            factor = (
                config.schedule.min_lr_ratio + (1 - config.schedule.min_lr_ratio) * (1 + math.cos(math.pi * done)) / 2
            )
        rate = config.optimizer.lr * factor
        beta1, beta2 = config.optimizer.betas
        with torch.no_grad():
            for p, g, m, v in zip(parameters, gradients, first, second, strict=True):
                p.mul_(1 - rate * (config.optimizer.weight_decay if p.dim() >= 2 else 0.0))
                m.mul_(beta1).add_((1 - beta1) * share * g)
                v.mul_(beta2).add_((1 - beta2) * (share * g) ** 2)
                unbiased = m / (1 - beta1 ** (step + 1))
                p.sub_(rate * unbiased / ((v / (1 - beta2 ** (step + 1))).sqrt() + config.optimizer.eps))
        for values, value in zip(found, (float(loss.detach()), norm, rate), strict=True):
            values.append(value)
    return *found, model


def in_order(task: Task, seed: int, epoch: int) -> Iterator[Examples]:
    examples, size = task.training(seed, epoch), task.batch_size
    order = torch.randperm(count_examples(examples), generator=generator(seed, "order", epoch))
    for start in range(0, len(order) - size + 1, size):
        yield {name: tensor[order[start : start + size]] for name, tensor in examples.items()}


CLIP = 0.7
REFERENCE = {
    **DOUBLE,
    "training.max_steps": 16,
    "training.gradient_clip": CLIP,
    "optimizer": {"name": "adamw", "lr": 1e-2, "weight_decay": 0.3},
    "schedule": {"name": "cosine", "warmup_ratio": 0.25, "min_lr_ratio": 0.1},
    "task.epoch_examples": 26,  # three epochs, each with two examples that fill no batch
}


def test_run_equals_a_plain_training_loop(run: Any) -> None:
    expected_losses, expected_norms, expected_rates, _ = plainly(small_config(REFERENCE))
    rows = training_rows(run(REFERENCE))
    assert [row["step"] for row in rows] == list(range(1, 17))
    assert [row["train/loss"] for row in rows] == pytest.approx(expected_losses, rel=1e-9)
    assert [row["train/gradient_norm"] for row in rows] == pytest.approx(expected_norms, rel=1e-9)
    assert [row["train/learning_rate"] for row in rows] == pytest.approx(expected_rates, rel=1e-12)


ADDED = [{"training.label_smoothing": 0.3}, {"training.z_loss": 0.05}]
ADDED.append(ADDED[0] | ADDED[1])


@pytest.mark.parametrize("added", ADDED, ids=lambda added: "+".join(added))
def test_auxiliary_loss_is_trained_on_and_not_reported(added: dict[str, Any], run: Any) -> None:
    """Smoothing as torch has it, the square of log Z by its formula; what is shown is the cross-entropy alone."""
    settings = {**REFERENCE, **added}
    expected_losses, expected_norms, _, model = plainly(small_config(settings))
    found = run(settings)
    assert losses(found) == pytest.approx(expected_losses, rel=1e-9)
    assert [row["train/gradient_norm"] for row in training_rows(found)] == pytest.approx(expected_norms, rel=1e-9)
    assert found["stability"]["initial_loss"] == losses(run(REFERENCE))[0]
    assert losses(found)[1:] != pytest.approx(losses(run(REFERENCE))[1:], rel=1e-6)
    examples = small_config(settings).task.build().validation()
    with torch.no_grad():
        logits = model.eval()(examples["tokens"])
    asked = examples["targets"] != IGNORED
    expected = float(cross_entropy(logits[asked], examples["targets"][asked]))
    assert found["quality"]["final"]["loss"] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_training_loss_is_smoothed_cross_entropy_plus_z_loss(dtype: torch.dtype) -> None:
    def minimized(**training: float) -> Tensor:
        config = small_config({f"training.{name}": value for name, value in training.items()})
        learner = Learner(config, config.task.build(), nn.Linear(1, 1))
        learner.forward = lambda batch, losses=None: logits  # type: ignore[method-assign,assignment]
        loss, task_loss = learner.minimized(TrainingBatch({"targets": targets}))
        assert torch.equal(task_loss, plain)
        return loss

    random = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(4, 6, 9, generator=random, dtype=torch.float64)).to(dtype)
    targets = torch.randint(9, (4, 6), generator=random)
    targets[0, :4] = targets[2] = IGNORED
    flat, asked = logits.flatten(0, 1), targets.flatten() != IGNORED
    plain = cross_entropy(flat, targets.flatten(), ignore_index=IGNORED)
    close = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}[dtype]
    smoothed = cross_entropy(flat.double(), targets.flatten(), ignore_index=IGNORED, label_smoothing=0.1).item()
    squared = float((flat.double()[asked].exp().sum(-1).log() ** 2).mean())
    assert torch.equal(minimized(), plain)
    assert minimized(label_smoothing=0.1).item() == pytest.approx(smoothed, rel=close)
    assert minimized(z_loss=0.01).item() == pytest.approx(float(plain) + 0.01 * squared, rel=close)
    whole = minimized(label_smoothing=0.1, z_loss=0.01).item()
    assert whole == pytest.approx(smoothed + 0.01 * squared, rel=close)


def test_balance_of_experts_steers_and_is_not_shown(run: Any) -> None:
    """So that runs of one grid are judged by one measure."""
    mixture = {"model.feedforward": {"name": "moe", "n_experts": 3, "aux_loss_coef": 0.5}, **DOUBLE}
    weighed, free = (
        run(mixture),
        run({**mixture, "model.feedforward": mixture["model.feedforward"] | {"aux_loss_coef": 0.0}}),
    )
    assert losses(weighed)[0] == losses(free)[0]
    assert losses(weighed)[1:] != losses(free)[1:]


def test_reference_needs_its_clipping_and_its_epochs() -> None:
    _, norms, _, _ = plainly(small_config(REFERENCE))
    assert min(norms) < CLIP < max(norms), "else it would not tell a clipped gradient from another"
    assert 16 > 2 * (26 // 4)


def test_stability_counts_the_norms_before_clipping(run: Any) -> None:
    _, norms, _, _ = plainly(small_config(REFERENCE))
    stability = run(REFERENCE)["stability"]
    assert stability["gradient_norm_max"] == pytest.approx(max(norms), rel=1e-9)
    assert stability["gradient_norm_median"] == pytest.approx(sum(sorted(norms)[7:9]) / 2, rel=1e-9)
    assert stability["clipped_fraction"] == sum(norm > CLIP for norm in norms[4:]) / 12, "after the warm-up"


def test_gradient_is_unchanged_without_clipping(run: Any) -> None:
    free, loose = run({**REFERENCE, "training.gradient_clip": None}), run({**REFERENCE, "training.gradient_clip": 1e6})
    assert losses(free) == losses(loose) != losses(run(REFERENCE))
    assert free["stability"]["clipped_fraction"] == 0


def test_validation_metrics_equal_a_plain_computation(run: Any) -> None:
    *_, model = plainly(small_config(REFERENCE))
    examples = small_config(REFERENCE).task.build().validation()
    with torch.no_grad():
        logits: Tensor = model.eval()(examples["tokens"])
    asked = examples["targets"] != IGNORED
    right = logits.argmax(-1) == examples["targets"]
    final = run(REFERENCE)["quality"]["final"]
    # The metric adds up in float32.
    assert final["loss"] == pytest.approx(float(cross_entropy(logits[asked], examples["targets"][asked])), rel=1e-6)
    assert final["accuracy"] == pytest.approx(float(right[asked].double().mean()))
    assert final["exact_match"] == pytest.approx(float((right | ~asked).all(-1).double().mean()))


def test_accumulated_batches_equal_one_large_batch(run: Any) -> None:
    whole = run({**DOUBLE, "task.batch_size": 12, "training.max_steps": 5})
    parts = run({**DOUBLE, "task.batch_size": 4, "training.accumulate": 3, "training.max_steps": 5})
    assert [row["step"] for row in parts["rows"]] == [row["step"] for row in whole["rows"]]
    assert [row["tokens"] for row in parts["rows"]] == [row["tokens"] for row in whole["rows"]]
    for key in ("train/loss", "train/gradient_norm", "train/learning_rate"):
        one, other = ([row[key] for row in training_rows(each)] for each in (parts, whole))
        assert one == pytest.approx(other, rel=1e-9), key
    assert parts["quality"]["final"]["loss"] == pytest.approx(whole["quality"]["final"]["loss"], rel=1e-6)


def test_accumulation_continues_across_the_end_of_an_epoch(run: Any) -> None:
    found = run({"training.accumulate": 4, "training.max_steps": 5, "training.log_every": 1})  # epochs of 6 batches
    assert [row["tokens"] for row in training_rows(found)] == [4 * 4 * 8 * step for step in range(1, 6)]


# The course of a run.


@pytest.mark.parametrize(
    ("max_steps", "every", "expected"), [(6, 4, [4, 6]), (6, 3, [3, 6]), (6, 10, [6]), (1, 1, [1])]
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_validation_follows_its_interval_and_the_last_step_once(
    run: Any, max_steps: int, every: int, expected: list[int], accumulate: int
) -> None:
    settings = {"training.max_steps": max_steps, "training.evaluate_every": every, "training.accumulate": accumulate}
    found = run(settings)
    assert [row["step"] for row in validation_rows(found)] == expected
    assert training_rows(found)[-1]["step"] == max_steps
    assert found["tokens"] == max_steps * accumulate * 4 * 8


def test_rows_follow_their_interval_and_precede_each_validation(run: Any) -> None:
    found = run({"training.max_steps": 9, "training.evaluate_every": 3, "training.log_every": 4})
    assert [row["step"] for row in training_rows(found)] == [3, 4, 6, 8, 9]
    assert [row["step"] for row in found["rows"]] == sorted(row["step"] for row in found["rows"])


def test_best_of_each_metric_is_best_seen_and_final_last(run: Any) -> None:
    found = run({"training.max_steps": 12, "training.evaluate_every": 2, "optimizer": {"name": "adamw", "lr": 0.3}})
    rows = validation_rows(found)
    for name, value in found["quality"]["final"].items():
        seen = [row[f"validation/{name}"] for row in rows]
        assert value == seen[-1]
        assert found["quality"]["best"][name] == (min(seen) if name == "loss" else max(seen))
    assert found["quality"]["best"]["loss"] < found["quality"]["final"]["loss"], "else the test says nothing"


def test_epoch_repeats_in_a_new_order_without_duplicates() -> None:
    task = small_config().task.build()
    monotone = {"tokens": torch.arange(26)[:, None], "targets": torch.arange(26)[:, None]}
    task.training = lambda seed, epoch: monotone
    batches = [batch.examples["tokens"].flatten().tolist() for batch in TrainingBatches(task, 0, 13)]
    assert [len(batch) for batch in batches] == [4] * 13
    epochs = [list(chain(*batches[start : start + 6])) for start in (0, 6)]
    assert all(len(set(epoch)) == 24 for epoch in epochs)
    assert epochs[0] != epochs[1]
    assert epochs[0] != sorted(epochs[0])
    again = [batch.examples["tokens"].flatten().tolist() for batch in TrainingBatches(task, 0, 13)]
    assert again == batches
    assert [batch.examples["tokens"].flatten().tolist() for batch in TrainingBatches(task, 1, 13)] != batches


def test_fewer_examples_than_a_batch_are_one_batch(run: Any) -> None:
    found = run({"task.epoch_examples": 3, "training.max_steps": 4})
    assert found["tokens"] == 4 * 3 * 8
    assert found["status"] == "completed"


def test_empty_training_set_is_an_error() -> None:
    task = small_config().task.build()
    task.training = lambda seed, epoch: {"tokens": torch.empty(0, 8), "targets": torch.empty(0, 8)}
    with pytest.raises(ValueError, match="epoch 0 has no examples"):
        next(iter(TrainingBatches(task, 0, 1)))


def test_last_batch_of_the_validation_set_is_shorter() -> None:
    task = small_config().task.build()  # 10 examples
    batches = list(ValidationBatches(task.validation(), task.batch_size))
    assert len(ValidationBatches(task.validation(), task.batch_size)) == 3
    assert [len(batch["tokens"]) for batch in batches] == [4, 4, 2]
    assert torch.equal(torch.cat([batch["tokens"] for batch in batches]), task.validation()["tokens"])


def test_record_describes_the_environment_of_the_run(tmp_path: Path) -> None:
    record = train(small_config({"training.threads": 2}), tmp_path)["record"]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    assert record["threads"] == 2
    assert record["device"] == "cpu"
    assert record["precision"] == "32-true"
    assert record["torch"] == torch.__version__


# Runs that end otherwise.


@pytest.mark.parametrize("log_every", [1, 3, 100])
def test_diverged_run_is_a_result_that_names_the_step(troubled: Any, tmp_path: Path, log_every: int) -> None:
    # The learning rate of the fourth step is infinite, so the fifth has no finite loss.
    settings = {"training.max_steps": 12, "training.evaluate_every": 8, "training.log_every": log_every}
    left = troubled("explode", settings)
    assert set(left) == {"run.json", "result.json"}
    result = left["result.json"]
    assert result["status"] == "diverged"
    assert result["reason"] == "the training loss is not finite at step 5"
    assert result["quality"]["final"] == {}
    assert result["stability"]["diverged"] is True
    assert result["stability"]["diverged_at_step"] == 5
    assert math.isfinite(result["stability"]["gradient_norm_max"])
    lines = next(tmp_path.glob("runs*/store/ab/*/metrics.jsonl")).read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert rows[-1]["train/loss"] is None
    assert not any("validation/loss" in row for row in rows), "nothing is validated once it is known"


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is not JSON")


def test_divergence_is_independent_of_the_logging_interval(troubled: Any) -> None:
    settings = {"training.max_steps": 12, "training.evaluate_every": 12}
    results = [troubled("explode", {**settings, "training.log_every": every})["result.json"] for every in (1, 10)]
    assert results[0]["stability"] == results[1]["stability"]
    assert results[0]["quality"] == results[1]["quality"]


def test_numbers_after_the_divergence_do_not_count() -> None:
    settings = {"training.gradient_clip": 1.5, "schedule": {"name": "constant", "warmup_ratio": 0.0}}
    metrics_log = MetricsLog(small_config(settings), io.StringIO())
    metrics_log.gradient_norms = [1.0, 2.0, math.nan, 9.0]  # half precision may leave out a step and go on
    metrics_log.diverged = DivergedError("training", 3)
    metrics_log.losses = [4.0, 3.0, math.inf, 2.0]
    assert metrics_log.stability() == {"diverged": True, "diverged_at_step": 3, "initial_loss": 4.0}
    history = metrics_log.history()
    assert list(history.losses) == [4.0, 3.0]
    seen = GradientNorms().summary(history)
    assert (seen["gradient_norm_median"], seen["gradient_norm_max"], seen["clipped_fraction"]) == (1.5, 2.0, 0.5)


def test_run_whose_last_step_diverges_is_seen_by_the_validation(troubled: Any) -> None:
    result = troubled("explode", {"training.max_steps": 4, "training.evaluate_every": 2})["result.json"]
    assert result["status"] == "diverged"
    assert result["reason"] == "the validation loss is not finite at step 4"
    assert result["quality"]["final"] == {}
    assert result["quality"]["best"]["loss"] is not None, "of the validation after step 2"


def test_excessive_learning_rate_diverges_without_a_crash(run: Any) -> None:
    settings = {"optimizer": {"name": "adamw", "lr": 1e30}, "schedule": "constant", "training.max_steps": 20}
    assert run(settings)["status"] == "diverged"


def test_every_row_is_strict_json_in_order(run: Any, tmp_path: Path) -> None:
    run()
    lines = next(tmp_path.glob("run*/metrics.jsonl")).read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert len(rows) == 6
    assert all(list(row)[:3] == ["step", "tokens", "seconds"] for row in rows)
    assert [row["seconds"] for row in rows] == sorted(row["seconds"] for row in rows)


@pytest.mark.parametrize(
    ("kind", "filed", "reason"),
    [
        ("fail", "exception", "RuntimeError: [bold]no[/bold] luck at all"),
        ("exhaust", "oom", "MemoryError: no more"),
        ("exhaust_device", "oom", "OutOfMemoryError: CUDA out of memory"),
    ],
)
def test_exception_is_a_failure_with_its_reason_in_one_line(
    troubled: Any, capfd: pytest.CaptureFixture[str], kind: str, filed: str, reason: str
) -> None:
    left = troubled(kind)
    assert set(left) == {"run.json", "failure.json"}
    assert left["failure.json"]["kind"] == filed
    assert left["failure.json"]["reason"] == reason
    assert "Traceback" in capfd.readouterr().err, "for the log of the run"


def test_plugin_that_changed_after_the_plan_changes_nothing(troubled: Any, tmp_path: Path) -> None:
    (tmp_path / "trouble.py").write_text("raise SystemExit")
    assert troubled("none")["result.json"]["status"] == "completed"


def test_half_precision_gradient_is_unscaled_before_clipping() -> None:
    config = small_config({"training.gradient_clip": 0.01})
    task = config.task.build()
    batch = next(iter(TrainingBatches(task, 0, 1)))

    def step(scaler: torch.amp.GradScaler | None) -> tuple[Tensor, list[Tensor]]:
        learner = Learner(config, task, build_model(config.model, task.vocabulary, task.length, 0).eval())
        learner._trainer = SimpleNamespace(precision_plugin=SimpleNamespace(scaler=scaler))
        optimizer = learner.make_optimizer()
        loss, _ = learner.minimized(batch)
        (scaler.scale(loss) if scaler else loss).backward()
        learner.on_before_optimizer_step(optimizer)
        scaler.step(optimizer) if scaler else optimizer.step()
        return learner.gradient_norm, [p.detach() for p in learner.parameters_in_order]

    norm, weights = step(None)
    scaled_norm, scaled_weights = step(torch.amp.GradScaler("cpu", init_scale=1024.0))  # a power of 2: exact
    assert torch.equal(norm, scaled_norm)
    assert all(map(torch.equal, weights, scaled_weights))


def test_half_precision_is_not_traded_for_another_on_a_cpu(run: Any) -> None:
    with pytest.raises(ValueError, match="16-mixed needs a GPU"):
        run({"training.precision": "16-mixed"})


def test_run_does_not_warn_where_slurm_is_installed(tmp_path: Path) -> None:
    """Lightning warns of an executable `srun` on the path; warnings are errors in this process of its own."""
    srun = tmp_path / "bin" / "srun"
    srun.parent.mkdir()
    srun.write_text("#!/bin/sh\nexit 1\n")
    srun.chmod(0o755)
    code = "import sys; from pathlib import Path; from ablation.config.layered import load; "
    code += "from ablation.training.run import train; import json, warnings; warnings.simplefilter('error'); "
    code += "print(train(load(json.loads(sys.argv[1])), Path(sys.argv[2]))['status'])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{srun.parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-c", code, json.dumps(dump(small_config())), str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, "completed"), done.stderr
    assert "srun" not in done.stderr
