"""What an experiment is made of, as it stands in a YAML file. The baseline itself is conf/base.yaml."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from .. import components, optim, tasks  # noqa: F401  fill the slots
from ..model.config import ModelConfig
from ..optim.optimizer import Optimizer
from ..optim.schedule import Schedule
from ..registry import REGISTRY, ComponentConfig, Config, Slot, component, excluded_from_id, rebuild_components
from ..tasks.base import Task
from ..training import monitor  # noqa: F401  fills its slot
from ..training.monitor.base import Monitor

ALL_MONITORS = tuple(component("monitor", name) for name in sorted(REGISTRY["monitor"]))


class TrainingConfig(Config):
    """How one run is trained, whatever its model."""

    max_steps: PositiveInt
    """Optimizer steps."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    """auto: bf16-mixed on CUDA, 32-true elsewhere."""
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], excluded_from_id]
    gradient_clip: Annotated[float, Field(gt=0)] | None
    """Largest norm of the whole gradient; null: not clipped."""
    accumulate: PositiveInt
    """Batches per optimizer step."""
    evaluate_every: PositiveInt
    """Optimizer steps between two looks at the validation set; the last step is always followed by one."""
    compile: bool
    """Whether the model goes through torch.compile."""
    log_every: Annotated[PositiveInt, excluded_from_id] = 10
    """Optimizer steps between two rows in metrics.jsonl."""
    threads: PositiveInt = 1
    """Compute threads of one run on a CPU. They change the last bits, so they are never taken from the machine."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of what is asked for that is spread evenly over the vocabulary or the classes, in training alone (Szegedy
    et al. 2015, arXiv:1512.00567)."""
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the mean of log Z squared, Z the softmax's normalizer, in what training minimizes (Chowdhery et al.
    2022, arXiv:2204.02311)."""
    save_weights: Annotated[bool, excluded_from_id] = True
    """Whether a completed run leaves its weights, which `ablate generate` needs."""
    monitors: Annotated[tuple[Annotated[ComponentConfig[Monitor], Slot("monitor")], ...], excluded_from_id] = (
        ALL_MONITORS
    )
    """What is watched of the stability while a run trains. They change no number of it."""
    monitor_every: Annotated[PositiveInt, excluded_from_id] = 50
    """Optimizer steps between two looks of the observers; the last step is always followed by one."""


class TrackingConfig(Config):
    """Where the mirror of the runs goes."""

    mode: Literal["auto", "online", "offline", "disabled"]
    """auto: online where a key and the server are found, else offline."""
    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]


class ExperimentConfig(Config):
    """One cell with one seed."""

    model: ModelConfig
    task: Annotated[ComponentConfig[Task], Slot("task")]
    optimizer: Annotated[ComponentConfig[Optimizer], Slot("optimizer")]
    schedule: Annotated[ComponentConfig[Schedule], Slot("schedule")]
    training: TrainingConfig
    tracking: Annotated[TrackingConfig, excluded_from_id]
    seed: NonNegativeInt


def rebuild() -> None:
    """Let the configuration know of components that were registered since it was made."""
    rebuild_components()
    for config in (ModelConfig, TrainingConfig, ExperimentConfig):  # inner ones first
        config.model_rebuild(force=True)
