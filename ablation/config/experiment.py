"""The schema of an experiment's configuration. The values of the baseline are in conf/base.yaml."""

from typing import Annotated, Any, Literal

import torch
from pydantic import Field, NonNegativeInt, PositiveInt

from .. import components, optim, tasks  # noqa: F401  importing them fills the slots
from ..model.config import ModelConfig
from ..model.trained import LoRAConfig, Patterns
from ..optim.optimizer import Optimizer
from ..optim.schedule import Schedule
from ..processes import interrupt_postponed
from ..registry import (
    REGISTRY,
    ComponentConfig,
    Config,
    Slot,
    added_later,
    component,
    excluded_from_id,
    rebuild_components,
    revised,
)
from ..tasks.base import Task
from ..training import monitor  # noqa: F401  importing it fills its slot
from ..training.monitor.base import Monitor

ALL_MONITORS = tuple(component("monitor", name) for name in sorted(REGISTRY["monitor"]))


Device = Literal["cpu", "cuda", "mps"]
Precision = Literal["32-true", "bf16-mixed", "16-mixed", "64-true"]


class EarlyStoppingConfig(Config):
    """When a run ends before ``max_steps``."""

    patience: PositiveInt
    """Evaluations in a row without an improvement of the task's primary metric, after which a run ends."""
    min_delta: Annotated[float, Field(ge=0)] = 0.0
    """By more than this an evaluation has to be better than the best before, to be an improvement."""


class TrainingConfig(Config):
    """How one run is trained, whatever its model."""

    max_steps: PositiveInt
    """Optimizer steps."""
    precision: Literal["auto", Precision]
    """auto: bf16-mixed on CUDA, 32-true elsewhere."""
    device: Annotated[Literal["auto", Device], excluded_from_id]
    gradient_clip: Annotated[float, Field(gt=0)] | None
    """Largest norm of the gradient of all parameters together; null: no clipping."""
    accumulate: Annotated[PositiveInt, revised(2, unless=1)]
    """Batches per optimizer step. The step is that of one batch with all their targets, but for statistics of a batch:
    batch norms, and the balance of experts, whose mean over the batches is added."""
    evaluate_every: PositiveInt
    """Optimizer steps between two evaluations on the validation sets; the last step is always followed by one."""
    compile: bool
    """Whether the model is compiled by torch.compile."""
    log_every: Annotated[PositiveInt, excluded_from_id] = 10
    """Optimizer steps between two rows in metrics.jsonl."""
    threads: PositiveInt = 1
    """Compute threads of one run on a CPU. Results depend on it in the last bits, so the machine never decides it."""
    ranks: Annotated[PositiveInt, added_later(1)] = 1
    """Processes of one run, each on a GPU or on ``threads`` cores of one machine, which share every batch (DDP). Its
    results are those of one rank but for rounding, dropout, batch norms and the balance of experts, which are of each
    share; an interrupted run begins anew."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Probability mass of each target that is spread evenly over the vocabulary or the classes, in training only
    (Szegedy et al. 2015, arXiv:1512.00567)."""
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight in the training loss of the mean of (log Z)^2, where Z is the normalizer of the output softmax (Chowdhery
    et al. 2022, arXiv:2204.02311)."""
    ema_decay: Annotated[Annotated[float, Field(gt=0, lt=1)] | None, added_later(None)] = None
    """What is evaluated and kept is a moving average of the weights with this decay: the mean of all weights so far,
    then the exponential one (Polyak and Juditsky 1992; Tarvainen and Valpola 2017, arXiv:1703.01780); null: the weights
    themselves."""
    freeze: Annotated[Patterns, added_later([])] = ()
    """Parameters that are not trained: roles, or paths with ``*``, as `ablate show` lists them."""
    lora: Annotated[LoRAConfig | None, added_later(None)] = None
    """Low-rank updates that are trained in place of the weights (Hu et al. 2021, arXiv:2106.09685). They are part of
    the weights of the completed run; null: none."""
    early_stopping: Annotated[EarlyStoppingConfig | None, added_later(None)] = None
    """When a run ends before its last step; its results and weights are then those of the step at which it ends, what
    monitors measure that of their last measurement. null: never."""
    callbacks: Annotated[tuple[Annotated[ComponentConfig[Any], Slot("callback")], ...], added_later([])] = ()
    """Callbacks of Lightning, from plugins, which may change the numbers of a run."""
    save_weights: Annotated[bool, excluded_from_id] = True
    """Whether a completed run stores its weights, which `ablate generate` needs."""
    step_timeout: Annotated[Annotated[float, Field(gt=0)] | None, excluded_from_id] = 1800.0
    """Seconds without a batch, of training or evaluation, after which a run counts as hanging and is ended; null:
    never."""
    monitors: Annotated[tuple[Annotated[ComponentConfig[Monitor], Slot("monitor")], ...], excluded_from_id] = (
        ALL_MONITORS
    )
    """Measures of stability taken during training. They do not change its results."""
    monitor_every: Annotated[PositiveInt, excluded_from_id] = 50
    """Optimizer steps between two measurements of the monitors; the last step is always followed by one."""
    checkpoint_seconds: Annotated[Annotated[float, Field(gt=0)] | None, excluded_from_id] = 60.0
    """Seconds between two checkpoints, from which an interrupted run goes on; null: never by time. Shorter runs write
    none."""
    checkpoint_steps: Annotated[PositiveInt | None, excluded_from_id] = None
    """Optimizer steps between two checkpoints, besides those by time; null: never by steps."""
    keep_state: Annotated[bool, excluded_from_id] = True
    """Whether a completed run keeps, beside its weights, the state from which a run of more ``max_steps`` goes on,
    where the schedule allows; no effect without ``save_weights``."""

    @property
    def cores(self) -> int:
        """How many a run uses."""
        return self.threads * self.ranks

    def resolve_hardware(self) -> tuple[Device, Precision]:
        """Device and precision of a run on this machine. Errors: ValueError for an impossible pair."""
        device, precision = self.device, self.precision
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if precision == "auto":
            precision = "bf16-mixed" if device == "cuda" else "32-true"
        if precision == "16-mixed" and device == "cpu":
            raise ValueError("training.precision 16-mixed needs a GPU; on a CPU take bf16-mixed")
        return device, precision


class TrackingConfig(Config):
    """Where the runs are mirrored to."""

    mode: Literal["auto", "online", "offline", "disabled"]
    """auto: online if there is an API key and the server answers, else offline."""
    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]
    entity: Annotated[Annotated[str, Field(min_length=1)] | None, added_later(None)] = None
    """The user or team of the project; null: the one that W&B takes by default."""
    tags: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=64)], ...], added_later([])] = ()
    """Tags of every run, beside the grid's name."""
    notes: Annotated[str | None, added_later(None)] = None
    """What is written beside every run, in words."""


class ExperimentConfig(Config):
    """The configuration of one run: one cell with one seed."""

    model: ModelConfig
    task: Annotated[ComponentConfig[Task], Slot("task")]
    optimizer: Annotated[ComponentConfig[Optimizer], Slot("optimizer")]
    schedule: Annotated[ComponentConfig[Schedule], Slot("schedule")]
    training: TrainingConfig
    tracking: Annotated[TrackingConfig, excluded_from_id]
    metrics: Annotated[tuple[Annotated[ComponentConfig[Any], Slot("metric")], ...], added_later([])] = ()
    """Metrics that are measured beside those that the task has, on all of its sets."""
    start_from: Annotated[Annotated[str, Field(min_length=1)] | None, added_later(None)] = None
    """The run whose weights this one starts with: its id, or GRID:CELL, of which each seed starts from the run in its
    place; GRID is the name of a grid, or a file beside the grid's, which is trained first. What the weights lack, or
    have in another shape, is initialized; null: everything is."""
    seed: NonNegativeInt

    @property
    def training_tokens(self) -> int:
        """How many tokens a run trains on."""
        task: Any = self.task  # whose settings every task has, as generated tasks do
        return int(self.training.max_steps * self.training.accumulate * task.batch_size * task.length)


def rebuild() -> None:
    """Make every configuration accept the components that were registered after its class was defined."""
    with interrupt_postponed():
        rebuild_components()
        for config in Config.__subclasses__():  # in the order of definition, so inner configurations come first
            if config is not ComponentConfig:
                config.model_rebuild(force=True)
