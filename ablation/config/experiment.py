"""What an experiment is made of, as it stands in a YAML file. The baseline itself is conf/base.yaml."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from .. import components, data  # noqa: F401  fill the slots
from ..models import ModelConfig
from ..registry import REGISTRY, AddedLater, ComponentConfig, Config, Elsewhere, Slot, rebuild_components

OBSERVERS = tuple(REGISTRY["observer"][name](name=name) for name in sorted(REGISTRY["observer"]))


class TrainingConfig(Config):
    """How one run is trained, whatever its model."""

    max_steps: PositiveInt
    """Optimiser steps."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "64-true"]
    """auto: bf16-mixed on CUDA, 32-true elsewhere."""
    device: Annotated[Literal["auto", "cpu", "cuda", "mps"], Elsewhere()]
    gradient_clip: Annotated[float, Field(gt=0)] | None
    """Largest norm of the whole gradient; null: not clipped."""
    accumulate: PositiveInt
    """Batches per optimiser step."""
    evaluate_every: PositiveInt
    """Optimiser steps between two looks at the validation set; the last step is always followed by one."""
    compile: bool
    """Whether the model goes through torch.compile."""
    log_every: Annotated[PositiveInt, Elsewhere()] = 10
    """Optimiser steps between two rows in metrics.jsonl."""
    threads: PositiveInt = 1
    """Compute threads of one run on a CPU. They change the last bits, so they are never taken from the machine."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1), AddedLater(0.0)] = 0.0
    """Share of what is asked for that is spread evenly over the vocabulary or the classes, in training alone (Szegedy
    et al. 2015, arXiv:1512.00567)."""
    z_loss: Annotated[float, Field(ge=0), AddedLater(0.0)] = 0.0
    """Weight of the mean of log Z squared, Z the softmax's normaliser, in what training minimises (Chowdhery et al.
    2022, arXiv:2204.02311)."""
    keep_weights: Annotated[bool, Elsewhere()] = True
    """Whether a completed run leaves its weights, which `ablate generate` needs."""
    observers: Annotated[tuple[Annotated[ComponentConfig, Slot("observer")], ...], Elsewhere()] = OBSERVERS
    """What is watched of the stability while a run trains. They change no number of it."""
    observe_every: Annotated[PositiveInt, Elsewhere()] = 50
    """Optimiser steps between two looks of the observers; the last step is always followed by one."""


class TrackingConfig(Config):
    """Where the mirror of the runs goes."""

    mode: Literal["auto", "online", "offline", "disabled"]
    """auto: online where a key and the server are found, else offline."""
    project: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^/\\#?%:]+$")]


class ExperimentConfig(Config):
    """One cell with one seed."""

    model: ModelConfig
    data: Annotated[ComponentConfig, Slot("data")]
    optimiser: Annotated[ComponentConfig, Slot("optimiser")]
    schedule: Annotated[ComponentConfig, Slot("schedule")]
    training: TrainingConfig
    tracking: Annotated[TrackingConfig, Elsewhere()]
    seed: NonNegativeInt


def rebuild() -> None:
    """Let the configuration know of components that were registered since it was made."""
    rebuild_components()
    for config in (ModelConfig, TrainingConfig, ExperimentConfig):  # inner ones first
        config.model_rebuild(force=True)
