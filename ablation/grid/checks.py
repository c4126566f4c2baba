"""Checks: every part of every cell is built once before anything is trained, so that what can fail then fails here.

Cells have most parts in common: each different model, optimizer, schedule, task and training is tried once for all of
them. A model is built uninitialized, which writes nothing into memory, and only if it is not too large.
"""

import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn

from ..components.architecture.base import check_inputs
from ..config.experiment import ExperimentConfig, TrainingConfig
from ..config.identity import canonical
from ..config.shared import OncePerObject
from ..errors import FAILURES, InputError
from ..model.counts import Counts, build_to_count, count
from ..model.size import TooLargeError, Training, plainly_small, refuse_too_large, size_of_model
from ..model.trained import choose_trained
from ..optim.groups import multipliers
from ..plugins import reason
from ..processes import machine_memory
from ..registry import REGISTRY, Config
from ..tasks.base import Task
from ..tasks.extra_metrics import all_metrics
from ..tasks.loss import check_terms
from ..yaml import KeyPath

Fail = Callable[[KeyPath, str], InputError]
"""Makes the error about one path of the configuration of a cell."""

OWN = __name__.partition(".")[0]


@dataclass(frozen=True)
class PlannedTask:
    """A task with its data, and what is recorded of it."""

    task: Task
    inputs: tuple[str, ...]
    """The names of the model's inputs."""
    fingerprint: str | None
    files: dict[str, dict[str, Any]]
    measured_on: dict[str, Any]


class Checks:
    """Builds the parts of one configuration after the other, each different part once."""

    def __init__(self) -> None:
        self.memory = machine_memory()
        self._model_key = OncePerObject[Config, str](lambda model: canonical(model.model_dump(mode="json")))
        self._optimizer_key = OncePerObject[Config, str](
            lambda optimizer: canonical(_without_floats(optimizer.model_dump(mode="json")))
        )
        self._counts: dict[tuple[Any, ...], Counts] = {}
        self._model: tuple[tuple[Any, ...], nn.Module] | None = None
        self._done: set[tuple[Any, ...]] = set()

    def counts(self, config: ExperimentConfig, planned: PlannedTask, fail: Fail) -> Counts:
        """The sizes of the model, after everything was tried. Errors: InputError from ``fail``."""
        task, training = planned.task, config.training
        self._once(("fit", id(config.model), id(task), id(training)), lambda: _fit_together(config, planned, fail))
        model = (self._model_key(config.model), task.vocabulary, task.longest, task.n_classes)
        optimizer, doubles = self._optimizer_key(config.optimizer), training.precision == "64-true"
        self._once(("optimizer settings", id(config.optimizer)), lambda: _build_optimizer(config, None, fail))
        self._once(
            ("model and optimizer", model, optimizer, doubles),
            lambda: _build_optimizer(config, self._built(model, config, planned, fail), fail),
        )
        self._once(("groups", model, optimizer, id(training)), lambda: _try_groups(config, task, fail))
        self._once(("training", id(training)), lambda: _try_training(training, fail))
        self._once(("schedule", id(config.schedule)), lambda: _try_schedule(config, fail))
        self._once(("metrics", id(task), id(config.metrics)), lambda: _try_metrics(config, task, fail))
        return self._counts[model]

    def _once(self, key: tuple[Any, ...], check: Callable[[], None]) -> None:
        if key not in self._done:
            check()
            self._done.add(key)

    def _built(self, key: tuple[Any, ...], config: ExperimentConfig, planned: PlannedTask, fail: Fail) -> nn.Module:
        """The model; the last one is kept, since the next cell often has another optimizer alone."""
        if self._model is None or self._model[0] != key:
            model = _build_model(config, planned, self.memory, fail)
            self._model, self._counts[key] = (key, model), count(model)
        return self._model[1]


def _fit_together(config: ExperimentConfig, planned: PlannedTask, fail: Fail) -> None:
    """That the architecture can learn the task, with this loss, at this length."""
    task, architecture = planned.task, config.model.architecture
    tasks: tuple[str, ...] = architecture.component.tasks
    if task.kind not in tasks:
        kinds = {name: member.component.tasks for name, member in REGISTRY["architecture"].items()}
        allowed = ", ".join(name for name, supported in kinds.items() if task.kind in supported)
        what = f"{architecture.name!r} cannot learn {config.task.name!r} ({task.kind}); allowed: {allowed}"
        raise fail(("model", "architecture"), what)
    try:
        check_inputs(architecture.component, planned.inputs)
    except ValueError as error:
        raise fail(("model", "architecture"), str(error)) from error
    try:
        check_terms(task, config.training.label_smoothing, config.training.z_loss)
    except InputError as error:
        path, _, what = str(error).partition(": ")
        raise fail(tuple(path.split(".")), what) from error
    if config.training.ranks > task.batch_size:
        what = f"{config.training.ranks} is more than the {task.batch_size} examples of a batch, which they share"
        raise fail(("training", "ranks"), what)
    if config.training.device == "cpu":
        for each in config.model.components():
            if not each.trains_on_cpu:
                raise fail(("model",), f"{each.slot} {each.name} does not train on a CPU, and training.device is cpu")
    if config.model.max_length is not None and config.model.max_length < task.longest:
        what = f"max_length {config.model.max_length} is shorter than the sequences of {task.longest} tokens"
        raise fail(("model", "max_length"), what)


def _build_model(config: ExperimentConfig, planned: PlannedTask, memory: float, fail: Fail) -> nn.Module:
    task = planned.task
    sizes = config.model, task.vocabulary, task.longest, task.n_classes
    kept = config.optimizer.component.state_per_parameter + (config.training.ema_decay is not None)
    numbers = Training(kept, 8 if config.training.precision == "64-true" else 4)
    try:
        if not plainly_small(config.model, task.vocabulary, task.longest):
            refuse_too_large(*sizes, numbers, memory)
        try:
            model = build_to_count(*sizes)
        except (TooLargeError, RuntimeError, MemoryError, OverflowError):
            refuse_too_large(*sizes, numbers, memory)
            raise
        if not size_of_model(model).fits(numbers, memory):
            refuse_too_large(*sizes, numbers, memory)
    except TooLargeError as error:
        raise fail(error.keys, str(error)) from None
    except FAILURES as error:
        raise fail(("model",), reason(error)) from error
    return model


def _build_optimizer(config: ExperimentConfig, model: nn.Module | None, fail: Fail) -> None:
    """Only its constructor where there is no ``model``.

    This package's own optimizers are not built for a model, which tests do for every setting: torch would import its
    compiler, a second for nothing. That modules say rightly what decays is seen all the same.
    """
    try:
        optimizer = config.optimizer.build()
        if model is None:
            return
        if type(optimizer).build.__module__.partition(".")[0] != OWN:
            optimizer.build(model)
        else:
            optimizer.decaying(model)
    except FAILURES as error:
        raise fail(("optimizer",), reason(error)) from error


def _try_groups(config: ExperimentConfig, task: Task, fail: Fail) -> None:
    """That every pattern chooses parameters of the model, as it is when it is trained."""
    training, optimizer = config.training, config.optimizer.build()
    if not (training.freeze or training.lora or optimizer.lr_multipliers):
        return
    model = build_to_count(config.model, task.vocabulary, task.longest, task.n_classes)
    try:
        choose_trained(model, training.freeze, training.lora, config.seed)
    except InputError as error:
        path, _, what = str(error).partition(": ")
        raise fail(tuple(path.split(".")), what) from None
    try:
        multipliers(model, optimizer.lr_multipliers)
    except InputError as error:
        raise fail(("optimizer", "lr_multipliers"), str(error)) from None


def _try_schedule(config: ExperimentConfig, fail: Fail) -> None:
    try:
        config.schedule.build()
    except FAILURES as error:
        raise fail(("schedule",), reason(error)) from error


def _try_training(training: TrainingConfig, fail: Fail) -> None:
    try:
        device, _ = training.resolve_hardware()
    except ValueError as error:
        path, _, what = str(error).partition(" ")
        raise fail(tuple(path.split(".")), what) from None
    if training.compile and device == "cpu" and not _has_compiler():
        raise fail(("training", "compile"), f"on a CPU it needs the C++ compiler {_compiler()}, which is not installed")
    for index, monitor in enumerate(training.monitors):
        try:
            monitor.build()
        except FAILURES as error:
            raise fail(("training", "monitors", index), reason(error)) from error
    for index, callback in enumerate(training.callbacks):
        place = "training", "callbacks", index
        if any(callback.name == other.name for other in training.callbacks[:index]):
            raise fail(place, f"{callback.name!r} is there twice")
        try:
            built = callback.build()
        except FAILURES as error:
            raise fail(place, reason(error)) from error
        if not hasattr(built, "on_train_batch_end"):
            raise fail(place, f"{type(built).__name__} is no subclass of lightning.pytorch.Callback")


def _try_metrics(config: ExperimentConfig, task: Task, fail: Fail) -> None:
    """Only those from elsewhere: this package's own are tested, and torchmetrics takes two seconds to import."""
    if type(task).metrics.__module__.partition(".")[0] != OWN:
        try:
            task.metrics()
        except FAILURES as error:
            raise fail(("task",), f"metrics: {reason(error)}") from error
    if config.metrics:
        try:
            all_metrics(task, config.metrics)
        except FAILURES as error:
            raise fail(("metrics",), reason(error).removeprefix("metrics: ")) from error


def _compiler() -> str:
    default = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    return (os.environ.get("CXX") or default).split()[0]


def _has_compiler() -> bool:
    return shutil.which(_compiler()) is not None


def _without_floats(value: Any) -> Any:
    """A setting without its fractions: by rates and decays nothing is built otherwise."""
    if isinstance(value, dict):
        return {key: _without_floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_floats(item) for item in value]
    return 0.0 if isinstance(value, float) else value
