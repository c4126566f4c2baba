"""One run, from its configuration to its result. It reads and writes nothing but its directory, and the weights that it
starts from."""

import contextlib
import logging
import platform
import re
import warnings
from collections.abc import Callable, Mapping
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy

from .. import __version__
from ..config.experiment import ExperimentConfig
from ..model.build import build_model
from ..model.trained import choose_trained, count_trained, merge_updates
from ..model.weights import load_fitting, save_weights
from ..store.code import commit
from ..store.example_losses import save_example_losses
from ..store.files import replacing
from ..store.results import WEIGHTS
from ..store.rows import METRICS
from ..tasks.base import Task
from ..tasks.extra_metrics import all_metrics, unit_of
from .batches import TrainingBatches, final_sets, validation_sets
from .callbacks import build_callbacks
from .checkpoint import Checkpoints, never
from .early_stopping import EarlyStopping
from .ema import WeightEMA
from .evaluation import FinalEval, GreedyDecodingEval, LastLosses, MinimalPairsEval
from .learner import Learner
from .metrics_log import DivergedError, MetricsLog
from .monitoring import MonitorCallback
from .origin import find_origin, keep_state, take_over_metrics
from .ranks import this_rank
from .state_file import StateFiles

LOG = logging.getLogger(__name__)

BY_CALLBACK = "one of training.callbacks ended it"
IGNORED_WARNINGS = (
    r".isinstance\(treespec, LeafSpec\). is deprecated",  # Lightning 2.6 uses a deprecated name of torch 2.13's pytree
    "The `srun` command is available",  # a run starts its own processes, also on a machine with Slurm
)


def train(
    config: ExperimentConfig,
    directory: Path,
    task: Task | None = None,
    start: Path | None = None,
    stop: Callable[[], bool] = never,
    further: Path | None = None,
    alive: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Train to the last step, writing rows to metrics.jsonl; returns what result.json says.

    ``task`` is that of the configuration where its data were already read; ``start`` has the weights of the run that
    this one starts from. Training begins at the newest checkpoint in ``directory`` that can be used, else where the
    run of fewer steps in the directory ``further`` ended, else at the first step. ``stop`` is asked after each step;
    ``alive`` is called with every batch of training and evaluation.

    Errors: Stopped, once ``stop`` says so, with the state saved unless there are several ranks.
    """
    training = config.training
    torch.set_num_threads(training.threads)
    origin = find_origin(config, directory, further)
    task = task or config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    if start is not None and origin is None and (missing := load_fitting(model, start)):
        LOG.warning("not in run %s in this shape, so initialized: %s", config.start_from, ", ".join(missing))
    choose_trained(model, training.freeze, training.lora, config.seed)
    n_trained = count_trained(model)
    validation = validation_sets(task)
    learner = Learner(config, task, model, validation, alive)
    batches = TrainingBatches(
        task,
        config.seed,
        training.max_steps,
        training.accumulate,
        this_rank() if training.ranks > 1 else 0,
        training.ranks,
    )
    take_over_metrics(origin, directory / METRICS)
    with (directory / METRICS).open("a", encoding="utf-8") as stream, warnings.catch_warnings():
        for message in IGNORED_WARNINGS:
            warnings.filterwarnings("ignore", message)
        metrics_log = MetricsLog(config, stream)
        monitoring = MonitorCallback(config, task, model, metrics_log)
        rule = training.early_stopping
        stopping = [] if rule is None else [EarlyStopping(rule, task.primary, task.better, metrics_log)]
        averaging = [] if training.ema_decay is None else [WeightEMA(model, training.ema_decay)]
        final, pairs = FinalEval(partial(all_metrics, task, config.metrics), final_sets(task)), MinimalPairsEval(task)
        decoding = GreedyDecodingEval(task, model, validation, alive)
        own = build_callbacks(training)
        losses = LastLosses(task, validation, 0 if stopping or own else training.max_steps)
        checkpoints = Checkpoints(config, directory, metrics_log, origin, stop)
        callbacks = [metrics_log, *stopping, monitoring, *own, *averaging, decoding, final, pairs, losses, checkpoints]
        trainer = make_trainer(config, directory, callbacks)
        with contextlib.suppress(DivergedError):  # a result as well, which the log has
            trainer.fit(
                learner,
                batches,
                list(validation.values()),
                ckpt_path=None if origin is None else origin.file,
                weights_only=True,
            )
    merge_updates(model)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    has_weights = training.save_weights and not metrics_log.diverged
    if has_weights:
        with replacing(directory / WEIGHTS) as staged:
            save_weights(model, staged)
    if metrics_log.diverged is None and (by_example := losses.by_example()) is not None:
        save_example_losses(directory, by_example.numpy())
    if has_weights:
        keep_state(directory)
    diverged = metrics_log.divergence()
    stopped = metrics_log.stopped_early(next((each.reason for each in stopping if each.reason), BY_CALLBACK))
    better: dict[str, Any] = {name: metric.higher_is_better for name, metric in learner.metrics.items()}
    quality = metrics_log.quality(better)
    better |= final.higher_is_better
    directions = {name: None if higher is None else "higher" if higher else "lower" for name, higher in better.items()}
    if units := {name: unit for name, metric in learner.metrics.items() if (unit := unit_of(metric))}:  # type: ignore[arg-type]
        quality["units"] = units
    quality["by_position"] = losses.by_position()
    quality["final"] |= final.scores | decoding.scores | pairs.scores
    directions |= dict.fromkeys(decoding.scores, "lower") | dict.fromkeys(pairs.scores, "higher")
    return {
        "status": "diverged" if diverged else "completed",
        "reason": diverged[1] if diverged else _stopped_in_words(stopped),
        "quality": {"primary": task.primary, "better": task.better, "directions": directions, **quality},
        "stability": {**metrics_log.stability(), **monitoring.summary()},
        "efficiency": {
            "parameters": n_parameters,
            **({} if n_trained == n_parameters else {"trained_parameters": n_trained}),
            **metrics_log.efficiency(),
        },
        "record": {
            **environment(trainer, config),
            **checkpoints.record(),
            **({} if stopped is None else {"stopped_early": stopped}),
        },
    }


def _stopped_in_words(stopped: Mapping[str, Any] | None) -> str | None:
    if stopped is None:
        return None
    return f"stopped early after {stopped['step']} of {stopped['of']} steps: {stopped['reason']}"


class NoProfiler(PassThroughProfiler):
    """Lightning's profiler for none, without a generator for every hook of every step."""

    nothing = contextlib.nullcontext()

    def profile(self, action_name: str) -> contextlib.nullcontext[None]:  # type: ignore[override]
        return self.nothing


def make_trainer(config: ExperimentConfig, directory: Path, callbacks: list[lightning.Callback]) -> lightning.Trainer:
    """Lightning's Trainer with all switched off that writes, prints or resumes by itself."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    training = config.training
    accelerator, precision = training.resolve_hardware()
    return lightning.Trainer(
        accelerator=accelerator,
        devices=training.ranks,
        # A part that a batch leaves out, such as an expert, has no gradient there.
        strategy="auto" if training.ranks == 1 else DDPStrategy(find_unused_parameters=True),
        use_distributed_sampler=False,
        precision=precision,
        max_steps=training.max_steps,
        max_epochs=1,  # of Lightning's: one pass over all batches of the run
        val_check_interval=training.evaluate_every * training.accumulate,
        check_val_every_n_epoch=None,
        callbacks=callbacks,
        default_root_dir=directory,
        # A cluster's environment would make Lightning resume on its own.
        plugins=[LightningEnvironment(), StateFiles()],
        profiler=NoProfiler(),
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


@cache
def processor() -> str:
    """The model of the processor, as far as the system says, and the instructions that torch uses of it."""
    found = None
    with contextlib.suppress(OSError):
        found = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    model = found[1].strip() if found else platform.processor()  # which starts a program
    return f"{model} ({torch.backends.cpu.get_cpu_capability()})".strip()


def environment(trainer: lightning.Trainer, config: ExperimentConfig) -> dict[str, Any]:
    """What may change the last bits of a number but is no part of the run's identity."""
    device = trainer.strategy.root_device
    return {
        "host": platform.node(),
        "machine": platform.machine(),
        "processor": processor(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": trainer.precision,
        "threads": config.training.threads,
        **({"ranks": config.training.ranks} if config.training.ranks > 1 else {}),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "lightning": version("lightning"),
        "ablation": __version__,
        **({"commit": known} if (known := commit()) else {}),
    }
