"""The LightningModule around a model: its loss, metrics and optimizer."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import lightning.pytorch as lightning
import torch
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

from ..components.architecture.base import call_model
from ..config.experiment import ExperimentConfig
from ..rng import derive
from ..tasks.base import Examples, Task, model_inputs
from ..tasks.extra_metrics import all_metrics
from ..tasks.loss import training_loss
from .batches import TrainingBatch
from .unregistered import load_unregistered_state, own_attributes, set_attributes, unregistered_state

UNREGISTERED = "unregistered"
"""The key of what torch does not save, in a checkpoint."""


class Learner(lightning.LightningModule):
    """Trains a model on a task.

    ``suffixes`` of the metrics' names, one for each validation loader; ``alive`` is called with every batch. Errors:
    ValueError when the task has no metric ``loss``.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        task: Task,
        model: nn.Module,
        suffixes: Iterable[str] = ("",),
        alive: Callable[[], None] = lambda: None,
    ):
        super().__init__()
        self.automatic_optimization = False  # Lightning's closures around a step cost as much as a small model
        self.config, self.task, self.alive = config, task, alive
        self.parameters_in_order = list(model.parameters())
        self.make_optimizer = partial(config.optimizer.build().for_model, model)  # of the model before it is compiled
        self.model: nn.Module = cast(nn.Module, torch.compile(model)) if config.training.compile else model
        by_set = []
        for suffix in suffixes:
            metrics = all_metrics(task, config.metrics, suffix.removeprefix("@"))
            by_set.append({f"{name}{suffix}": metric for name, metric in metrics.items()})
        if "loss" not in by_set[0]:
            raise ValueError(f"task {type(task).__name__}: metrics() has no 'loss', only {', '.join(by_set[0])}")
        self.names_by_set = [list(metrics) for metrics in by_set]
        self.metrics = nn.ModuleDict({name: metric for metrics in by_set for name, metric in metrics.items()})
        self.gradient_norm = torch.tensor(0.0)
        """The norm of the whole gradient of the last step, before clipping."""
        self.learning_rate = 0.0
        """The learning rate of the last step."""
        self.of_optimizer: dict[str, Any] = {}
        """Attributes of the optimizer that a checkpoint has."""
        self.before_clipping: Callable[[], None] | None = None
        """Called in every step, once its gradients are computed."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "_current_fx_name":  # Lightning sets it around every hook, which torch makes as slow as the hooks
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        attributes = own_attributes(self.trainer.optimizers[0])
        checkpoint[UNREGISTERED] = {"model": unregistered_state(self.plain_model()), "optimizer": attributes}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # Lightning converts a module after its weights are loaded, which would round those in double precision.
        self.trainer.precision_plugin.convert_module(self)
        load_unregistered_state(self.plain_model(), checkpoint[UNREGISTERED]["model"])
        self.of_optimizer = checkpoint[UNREGISTERED]["optimizer"]

    def on_train_start(self) -> None:
        set_attributes(self.trainer.optimizers[0], self.of_optimizer)

    def plain_model(self) -> nn.Module:
        """The model as it is where it is not compiled."""
        return cast(nn.Module, getattr(self.model, "_orig_mod", self.model))

    def on_train_batch_start(self, batch: TrainingBatch, batch_index: int) -> None:
        # Dropout is a function of (seed, batch), so that nothing else that takes random numbers can shift it.
        rank = ("rank", self.trainer.global_rank) if self.trainer.global_rank else ()
        seed = derive(self.config.seed, "batch", self.trainer.fit_loop.epoch_loop.total_batch_idx, *rank)
        torch.default_generator.manual_seed(seed)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)
        elif self.device.type == "mps":
            torch.mps.manual_seed(seed)

    def forward(self, batch: Examples, losses: list[Tensor] | None = None) -> Tensor:
        """The model's output for a batch: logits (B, L, vocabulary), (B, classes) or what the task's own loss takes.

        ``losses`` collects what sublayers add to the loss.
        """
        self.alive()
        return call_model(self.model, model_inputs(batch), losses=losses)

    def training_step(self, batch: TrainingBatch, batch_index: int) -> dict[str, Tensor]:
        """Gradients of a batch, and after the last batch of a step the step; returns ``loss`` and ``task_loss``."""
        optimizer, accumulate = cast(LightningOptimizer, self.optimizers()), self.config.training.accumulate
        if batch_index % accumulate == 0:
            optimizer.zero_grad()
        loss, task_loss = self.minimized(batch)
        self.manual_backward(loss if accumulate == 1 else loss / accumulate)
        if (batch_index + 1) % accumulate == 0:
            optimizer.step()
            cast(LRScheduler, self.lr_schedulers()).step()
        return {"loss": loss, "task_loss": task_loss}

    def minimized(self, batch: TrainingBatch) -> tuple[Tensor, Tensor]:
        """What is minimized, and the task's loss in it, by which runs are compared.

        Their means over the batches of a step, of which the gradients are, are those over all its targets.
        """
        losses: list[Tensor] = []
        logits = self(batch.examples, losses)
        training = self.config.training
        return training_loss(
            self.task,
            logits,
            batch.examples,
            losses,
            label_smoothing=training.label_smoothing,
            z_loss=training.z_loss,
            weight=batch.weight,
        )

    def validation_step(self, batch: Examples, batch_index: int, dataloader_idx: int = 0) -> Tensor:
        logits: Tensor = self(batch)
        for name in self.names_by_set[dataloader_idx]:
            self.metrics[name].update(logits, batch["targets"])  # type: ignore[operator]
        return logits

    def scores(self) -> dict[str, float]:
        """Every metric over the validation steps since the last call."""
        scores = {name: float(metric.compute()) for name, metric in self.metrics.items()}  # type: ignore[operator]
        for metric in self.metrics.values():
            metric.reset()  # type: ignore[operator]
        return scores

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if scaler is not None and getattr(optimizer, "_step_supports_amp_scaling", False):
            scaler.unscale_(optimizer)  # a fused optimizer would do so only in its step, after clipping
        if self.before_clipping is not None:
            self.before_clipping()
        gradients = [parameter.grad for parameter in self.parameters_in_order if parameter.grad is not None]
        self.gradient_norm = nn.utils.get_total_norm(gradients)
        self.learning_rate = optimizer.param_groups[0]["lr"]
        if self.config.training.gradient_clip is not None:
            largest = self.config.training.gradient_clip
            nn.utils.clip_grads_with_norm_(self.parameters_in_order, largest, self.gradient_norm)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer()
        schedule, n_steps = self.config.schedule.build(), self.config.training.max_steps
        scheduler = LambdaLR(optimizer, lambda step: float(schedule.factor(step, n_steps)))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}
