"""One run, from its configuration to its result. Everything it knows and says passes through its directory."""

import logging
import platform
import traceback
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from .. import __version__
from ..config import ExperimentConfig, load
from ..data.task import Task
from ..models import build_model
from ..store.files import read_json, write_json, write_json_once
from .journal import Journal
from .learner import Learner
from .loader import training_loader, validation_loaders

SCHEMA = 1
"""Of result.json and failure.json."""


def execute(directory: Path) -> None:
    """Train the run whose run.json stands in ``directory``; leaves result.json, or failure.json with the reason."""
    run = read_json(directory / "run.json")
    try:
        result = train(load(run["config"]), directory)
    except Exception as error:
        traceback.print_exc()  # into the run's log
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        reason = f"{type(error).__name__}: {error}"
        failure = {"schema": SCHEMA, "id": run["id"], "kind": "oom" if out_of_memory else "exception", "reason": reason}
        write_json(directory / "failure.json", failure)
        return
    write_json_once(directory / "result.json", {"schema": SCHEMA, "id": run["id"], **result})


def train(config: ExperimentConfig, directory: Path) -> dict[str, Any]:
    """Train from the first step to the last; rows go to metrics.jsonl as they come. Returns what result.json says."""
    torch.set_num_threads(config.training.threads)
    task: Task = config.data.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    validation = validation_loaders(task)
    learner = Learner(config, task, model, validation)
    journal = Journal(config, directory / "metrics.jsonl")
    trainer = make_trainer(config, directory, journal)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        trainer.fit(learner, training_loader(task, config.seed), list(validation.values()))
        if journal.diverged_at is None and config.training.max_steps % config.training.evaluate_every:
            trainer.validate(learner, list(validation.values()), verbose=False)
    journal.close()
    diverged = journal.diverged_at is not None
    better = {name: metric.higher_is_better for name, metric in learner.metrics.items()}
    return {
        "status": "diverged" if diverged else "completed",
        "reason": f"the loss is not finite at step {journal.diverged_at}" if diverged else None,
        "quality": {"primary": task.primary, "better": task.better, **journal.quality(better)},  # type: ignore[arg-type]
        "stability": journal.stability(),
        "efficiency": {"parameters": sum(p.numel() for p in model.parameters()), **journal.efficiency()},
        "record": record(trainer, config),
    }


def make_trainer(config: ExperimentConfig, directory: Path, journal: Journal) -> lightning.Trainer:
    """Lightning's loop with everything off that would write, print or resume by itself."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    training = config.training
    accelerator = training.device
    if accelerator == "auto":
        accelerator = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    precision = training.precision
    if precision == "auto":
        precision = "bf16-mixed" if accelerator == "cuda" else "32-true"
    return lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        precision=precision,
        max_steps=training.max_steps,
        max_epochs=-1,
        accumulate_grad_batches=training.accumulate,
        val_check_interval=training.evaluate_every * training.accumulate,
        check_val_every_n_epoch=None,
        callbacks=[journal],
        default_root_dir=directory,
        plugins=[LightningEnvironment()],  # a cluster's environment would make Lightning resume on its own
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def record(trainer: lightning.Trainer, config: ExperimentConfig) -> dict[str, Any]:
    """What may change the last bits of a number without being part of the run's identity."""
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "device": trainer.strategy.root_device.type,
        "precision": trainer.precision,
        "threads": config.training.threads,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": version("lightning"),
        "ablation": __version__,
    }
