"""A run that is interrupted after any step and goes on gives the same bits as one that was not."""

import os
import random
import signal
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from support.resume import RUN, STEPS, interrupted, left_by, stop_after
from support.small_grids import eventually, small_config

from ablation.plugins import load_plugins
from ablation.registry import REGISTRY
from ablation.tasks.generated.copying import Copy
from ablation.training import run as run_module
from ablation.training.batches import TrainingBatches
from ablation.training.checkpoint import Stopped
from ablation.training.learner import Learner
from ablation.training.run import train

EVERY_STEP = range(1, STEPS)
OPTIONS = {"soap": {"every": 3}, "adamw": {"base_width": 4}}
OPTIMIZERS = {name: {"name": name, **OPTIONS.get(name, {})} for name in sorted(REGISTRY["optimizer"])}
SCHEDULES = sorted(REGISTRY["schedule"])


@pytest.fixture
def same(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """``same({path: value}, steps)``: that a run interrupted there leaves the same; returns what it leaves."""
    whole: dict[str, Any] = {}
    number = iter(range(10**6))

    def same(settings: Mapping[str, Any] | None = None, at: Any = EVERY_STEP, **options: Any) -> dict[str, Any]:
        key = repr(settings)
        if key not in whole:
            whole[key] = interrupted(tmp_path / f"whole{next(number)}", settings, **options)
        found = interrupted(tmp_path / f"parts{next(number)}", settings, at, **options)
        for name, value in whole[key].items():
            assert found[name] == value, name
        return found

    return same


# Every step.


@pytest.mark.parametrize("step", [1, 3, 5, 11])
def test_run_goes_on_exactly_from_one_step_to_its_end(same: Any, step: int) -> None:
    same(at=[step])


def test_run_goes_on_exactly_where_each_step_is_interrupted(same: Any) -> None:
    same(at=EVERY_STEP)


@pytest.mark.parametrize("number", range(max(len(OPTIMIZERS), len(SCHEDULES))))
def test_any_optimizer_and_any_schedule_goes_on_exactly(same: Any, number: int) -> None:
    optimizers = list(OPTIMIZERS.values())
    settings = {"optimizer": optimizers[number % len(optimizers)], "schedule": SCHEDULES[number % len(SCHEDULES)]}
    same(settings, at=[4, 6])


@pytest.mark.slow
@pytest.mark.parametrize("schedule", ["constant", "cosine", "wsd"])
@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=list(OPTIMIZERS))
def test_sweep_over_all_steps_optimizers_and_schedules(same: Any, optimizer: dict[str, Any], schedule: str) -> None:
    for step in EVERY_STEP:
        same({"optimizer": optimizer, "schedule": schedule}, at=[step])


# Every kind of run.


@pytest.mark.parametrize(
    "settings",
    [
        {"training.accumulate": 1},
        {"training.accumulate": 4},  # a step goes on in the next epoch
        {"training.accumulate": 1, "task.epoch_examples": 3},  # epochs of one smaller batch
        {"training.label_smoothing": 0.2, "training.z_loss": 0.1},
        {"training.precision": "bf16-mixed"},
        {"training.precision": "64-true"},
        {"training.evaluate_every": 1, "training.monitor_every": 1, "training.log_every": 1},
        {"training.evaluate_every": 100, "training.monitor_every": 100, "training.log_every": 100},
        {"training.save_weights": False, "training.monitors": []},
        {"optimizer": {"name": "adamw", "base_width": 4, "lr_multipliers": {"embedding": 0.5, "stack.*": 2.0}}},
        {"optimizer": {"name": "muon", "lr_multipliers": {"*.weight": 0.5, "norm": 4.0}}},
        {"model.norm": "batch_norm"},
        {"model.feedforward": {"name": "moe", "n_experts": 3}, "training.accumulate": 1},
        {"model.tie_embeddings": False, "model.position": "none", "model.mixer": "mamba"},
    ],
    ids=str,
)
def test_run_goes_on_exactly_with_other_settings(same: Any, settings: dict[str, Any]) -> None:
    same(settings, at=[4])


def test_decoding_after_the_end_is_the_same(same: Any, tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.tsv"
    pairs.write_text(
        "".join(f"{'b a ' * (1 + i % 3)}\t{'a b c ' * (i % 3)}{'c' if i % 2 else 'a b'}\n" for i in range(60))
    )
    task = {"name": "sequence_to_sequence", "path": str(pairs), "length": 24, "batch_size": 4}
    found = same({"model.architecture": "encoder_decoder", "task": task}, at=[3, 11])
    assert "edit_distance" in found["result"]["quality"]["final"]


def test_losses_by_position_and_example_are_the_same(same: Any, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The quick brown fox jumps over the lazy dog, and the dog does not mind at all. " * 20)
    task = {"name": "text", "path": str(text), "level": "char", "length": 8, "batch_size": 2}
    found = same({"task": task, "training.evaluate_every": 5}, at=[5, 10, 11])
    assert found["result"]["quality"]["by_position"][""]["loss"]
    assert found["example_losses.npy"]


def test_run_that_starts_from_weights_goes_on_exactly(same: Any, tmp_path: Path) -> None:
    interrupted(tmp_path / "first", {"seed": 5})
    found = same(at=[1, 6], start=tmp_path / "first" / "weights.safetensors")
    assert found["rows"] != interrupted(tmp_path / "scratch")["rows"]


@pytest.mark.parametrize("log_every", [1, 5, 100])
def test_divergence_is_noticed_at_the_same_step(same: Any, log_every: int) -> None:
    settings = {"optimizer": {"name": "sgd", "lr": 1e30}, "training.evaluate_every": 100}
    whole = {**settings, "training.log_every": log_every, "training.gradient_clip": None}
    found = same(whole, at=[1])
    assert found["result"]["status"] == "diverged"


def test_scale_of_half_precision_is_part_of_the_state(same: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    scales: list[float] = []
    original = lightning.Trainer

    def trainer(*, precision: str, plugins: list[Any], **options: Any) -> lightning.Trainer:
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**20, growth_interval=2)
        made = original(plugins=[*plugins, MixedPrecision("16-mixed", "cpu", scaler)], **options)
        scales.append(scaler.get_scale())
        monkeypatch.setattr(
            scaler, "update", lambda update=scaler.update: (update(), scales.append(scaler.get_scale()))
        )
        return made

    monkeypatch.setattr(run_module.lightning, "Trainer", trainer)
    same(at=[1, 2, 5, 9])
    assert len(set(scales)) > 2, "else the test says nothing"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")  # torch's own
def test_compiled_run_goes_on_exactly(same: Any) -> None:
    same({"training.compile": True}, at=[7])


# Components of one's own.

PLUGIN = '''
"""{tag}"""
import torch
from torch import nn

from ablation import Monitor, Optimizer, Schedule, Task, generator, register
from ablation.training.monitor.base import Series
from torchmetrics import MeanSquaredError


@register("task", "sums")
class Sums(Task):
    """Predict a sum."""

    kind, primary = "regression", "loss"

    def __init__(self, *, batch_size: int = 4):
        super().__init__(length=1, batch_size=batch_size)

    def training(self, seed, epoch):
        x = torch.rand(24, 3, generator=generator(seed, "sums", epoch))
        return {{"x": x, "targets": x.sum(1)}}

    def validation(self):
        return self.training(0, -1)

    def loss(self, logits, batch):
        return nn.functional.mse_loss(logits, batch["targets"])

    def metrics(self):
        return {{"loss": MeanSquaredError()}}


@register("architecture", "counting")
class Counting(nn.Module):
    """A linear map that changes with what it has counted in attributes and a buffer that is not saved."""

    tasks = ("regression",)

    def __init__(self, parts, build, vocabulary, n_classes):
        super().__init__()
        self.map = nn.Linear(3, 1)
        self.norm = nn.BatchNorm1d(3)
        self.register_buffer("mean", torch.zeros(3), persistent=False)
        self.calls, self.last = 0, None

    def forward(self, x):
        if self.training:
            self.calls += 1
            self.mean.lerp_(x.detach().mean(0), 0.3)
            self.last = x.detach().amax(0) if self.last is None else torch.maximum(self.last, x.detach().amax(0))
        x = self.norm(x) + self.mean * self.calls + (0 if self.last is None else self.last)
        return self.map(nn.functional.dropout(x, 0.2, self.training)).squeeze(1)


class Sign(torch.optim.Optimizer):
    """Counts its steps in an attribute."""

    def __init__(self, groups, lr):
        super().__init__(groups, {{"lr": lr}})
        self.n_steps = 0

    @torch.no_grad()
    def step(self, closure=None):
        with torch.enable_grad():
            loss = closure()
        self.n_steps += 1
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    w.sub_(group["lr"] / self.n_steps**0.5 * w.grad.sign())
        return loss


@register("optimizer", "counting_sign")
class CountingSign(Optimizer):
    """The sign of the gradient."""

    def __init__(self, *, lr: float = 0.01):
        super().__init__()
        self.lr = lr

    def build(self, model):
        return Sign([{{"params": list(model.parameters())}}], self.lr)


@register("schedule", "bumpy")
class Bumpy(Schedule):
    """Every third step is small."""

    def after(self, step, n_steps, n_warmup):
        return 0.1 if step % 3 == 0 else 1.0


@register("monitor", "gatherer")
class Gatherer(Monitor):
    """Gathers in all types that it may."""

    def __init__(self, *, width: int = 2):
        self.width = width
        self.series = {{"sizes": Series(), 3: [Series()]}}
        self.seen, self.largest, self.pair = set(), None, (0, None)

    def before_update(self, model, step, is_measured):
        norm = torch.stack([p.grad.abs().max() for p in model.parameters() if p.grad is not None]).max()
        self.largest = norm if self.largest is None else torch.maximum(norm, self.largest)
        self.pair = (self.pair[0] + 1, step)

    def measure(self, model, step, logits):
        self.series["sizes"].add(step, self.largest.item())
        self.series[3][0].add(step, self.pair[0])
        self.seen.add(step)
        return {{"largest": self.largest.item(), "pairs": float(self.pair[0])}}

    def summary(self, history):
        sizes = self.series["sizes"].points
        return {{"gathered": [len(sizes), sum(self.seen), *map(float, self.series[3][0].values)], "width": self.width}}
'''
OWN = {
    "task": {"name": "sums"},
    "model.architecture": "counting",
    "optimizer": "counting_sign",
    "schedule": "bumpy",
    "training.monitors": ["gatherer", "update_ratio"],
}


def load(folder: Path, text: str) -> None:
    file = folder / "plugin.py"
    file.write_text(textwrap.dedent(text).format(tag=folder))
    load_plugins([file])


def test_components_of_ones_own_go_on_exactly(same: Any, tmp_path: Path, scratch_registry: Any) -> None:
    load(tmp_path, PLUGIN)
    found = same(OWN, at=[3, 4, 5])
    assert found["result"]["stability"]["gathered"][:2] == [6, 2 + 4 + 6 + 8 + 10 + 12]


UNSAVABLE = '''
"""{tag}"""
from collections import deque

from ablation import Monitor, register


@register("monitor", "recent")
class Recent(Monitor):
    """Holds what no checkpoint can."""

    def __init__(self):
        self.steps = [deque()]

    def before_update(self, model, step, is_measured):
        self.steps[0].append(step)
'''
OWN_STATE = """
    def state_dict(self):
        return {{"steps": list(self.steps[0])}}

    def load_state_dict(self, state):
        self.steps = [deque(state["steps"])]

    def summary(self, history):
        return {{"steps": list(self.steps[0])}}
"""


def test_monitor_that_cannot_be_saved_is_refused_before_training(tmp_path: Path, scratch_registry: Any) -> None:
    load(tmp_path, UNSAVABLE)
    with pytest.raises(
        TypeError, match=r"monitor Recent: steps\[0\] is a deque.*give it a state_dict and a load_state_dict of its own"
    ):
        train(small_config({**RUN, "training.monitors": ["recent"]}), tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == ""


NUMPY = '''
"""{tag}"""
import numpy

from ablation import Schedule, register


@register("schedule", "by_numpy")
class ByNumpy(Schedule):
    """Its factors are NumPy's, which no checkpoint can hold."""

    def after(self, step, n_steps, n_warmup):
        return numpy.cos(numpy.float64(step / n_steps))
'''


def test_schedule_may_compute_with_numpy(same: Any, tmp_path: Path, scratch_registry: Any) -> None:
    load(tmp_path, NUMPY)
    same({"schedule": "by_numpy"}, at=[5])


def test_monitor_may_have_a_state_of_its_own(same: Any, tmp_path: Path, scratch_registry: Any) -> None:
    load(tmp_path, UNSAVABLE + OWN_STATE)
    found = same({"training.monitors": ["recent"]}, at=[4, 5])
    assert found["result"]["stability"]["steps"] == list(range(1, STEPS + 1))


# How a run is interrupted.


def test_signal_among_the_batches_of_a_step_stops_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    handler = signal.signal(signal.SIGTERM, lambda number, frame: asked.append(number))
    original, batches = Learner.training_step, iter(range(100))

    def step(learner: Learner, batch: Any, batch_index: int) -> Any:
        if next(batches) == 6:  # the first of two in the fourth step
            os.kill(os.getpid(), signal.SIGTERM)
        return original(learner, batch, batch_index)

    monkeypatch.setattr(Learner, "training_step", step)
    try:
        with pytest.raises(Stopped) as stopped:
            train(small_config(RUN), tmp_path, stop=lambda: bool(asked))
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert stopped.value.step == 4
    result = train(small_config(RUN), tmp_path)
    assert result["record"]["resumed_at"] == [4]
    assert left_by(tmp_path, result) == interrupted(tmp_path / "whole")


def test_run_is_not_stopped_after_its_last_step(tmp_path: Path) -> None:
    result = train(small_config(RUN), tmp_path, stop=stop_after(STEPS))
    assert result["status"] == "completed"
    assert "resumed_at" not in result["record"]
    assert not (tmp_path / "checkpoint").exists()


def test_time_of_a_run_is_that_of_all_its_parts(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        train(small_config({**RUN, "training.log_every": 1}), tmp_path, stop=stop_after(8))
    before = (tmp_path / "metrics.jsonl").read_text()
    result = train(small_config({**RUN, "training.log_every": 1}), tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text().startswith(before)
    seconds = [row for row in (tmp_path / "metrics.jsonl").read_text().splitlines() if "train/loss" in row]
    assert len(seconds) == STEPS
    times = [float(row.partition('"seconds":')[2].partition(",")[0]) for row in seconds]
    assert times == sorted(times)
    assert result["efficiency"]["training_seconds"] == pytest.approx(times[-1], abs=1e-3)


def test_time_of_steps_that_are_in_no_row_yet_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {**RUN, "training.log_every": 100, "training.evaluate_every": 100}
    original = Learner.training_step
    with monkeypatch.context() as slow, pytest.raises(Stopped):
        slow.setattr(Learner, "training_step", lambda *arguments: (time.sleep(0.2), original(*arguments))[1])
        train(small_config(settings), tmp_path, stop=stop_after(4))
    assert train(small_config(settings), tmp_path)["efficiency"]["training_seconds"] > 8 * 0.2


def test_skipped_batches_and_epochs_are_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    task = small_config().task.build()
    batches = TrainingBatches(task, 0, 20, 2)
    steps = iter(batches)
    for _ in range(2 * 8):  # 3 steps an epoch
        next(steps)
    later = TrainingBatches(task, 0, 20, 2)
    later.load_state_dict(batches.state_dict())
    made: list[int] = []
    original = Copy.training
    monkeypatch.setattr(Copy, "training", lambda task, seed, epoch: made.append(epoch) or original(task, seed, epoch))
    rest = list(later)
    assert made == [2, 3, 4, 5, 6]
    for one, other in zip(rest, steps, strict=True):
        assert one.weight == other.weight
        assert all(torch.equal(one.examples[name], other.examples[name]) for name in one.examples)


# Processes that are killed.


def train_in(directory: Path, settings: dict[str, Any], kill_after: int | None = None) -> int:
    """The wait status of a process that trains; it kills itself after so many steps."""
    child = os.fork()
    if child == 0:
        steps = iter(range(1, 10**6))

        def stop() -> bool:
            if next(steps) == kill_after:
                os.kill(os.getpid(), signal.SIGKILL)
            return False

        try:
            train(small_config(settings), directory, stop=stop)
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1]


def test_killed_process_costs_the_steps_since_its_checkpoint(tmp_path: Path) -> None:
    settings = {**RUN, "training.checkpoint_steps": 4}
    assert os.WTERMSIG(train_in(tmp_path, settings, kill_after=7)) == signal.SIGKILL
    assert os.WTERMSIG(train_in(tmp_path, settings, kill_after=6)) == signal.SIGKILL
    result = train(small_config(settings), tmp_path)
    assert result["record"]["resumed_at"] == [4, 8]
    assert left_by(tmp_path, result) == interrupted(tmp_path / "whole")


@pytest.mark.slow
def test_long_run_survives_twenty_kills_at_random_moments(tmp_path: Path) -> None:
    settings = {**RUN, "training.max_steps": 1000, "training.checkpoint_steps": 3, "schedule": "constant"}
    folder, moments = tmp_path / "checkpoint", random.Random(0)
    for _ in range(20):
        before = sorted(folder.glob("*.json"))
        child = os.fork()
        if child == 0:
            try:
                train(small_config(settings), tmp_path)
            finally:
                os._exit(0)
        eventually(lambda before=before: sorted(folder.glob("*.json")) != before)
        time.sleep(moments.uniform(0.0, 0.05))
        os.kill(child, signal.SIGKILL)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1]), "the run is too short"
    result = train(small_config(settings), tmp_path)
    assert len(result["record"]["resumed_at"]) == 20
    assert left_by(tmp_path, result) == interrupted(tmp_path / "whole", settings)
