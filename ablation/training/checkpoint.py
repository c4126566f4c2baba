"""Checkpoints of a run, from which it goes on after an interruption as if there had been none, to the last bit.

What belongs to the state of a run, between two optimizer steps and after what is due there, validation and monitors:

- by Lightning: parameters and buffers, the optimizer, the schedule, the scaler of half precision, the loop's counters;
- ``TrainingBatches``: the position in the order of training, which is a function of (seed, epoch);
- ``MetricsLog``: what the rows so far were made of, and the steps that are not in a row yet; ``metrics.jsonl`` itself
  is cut to where it ended;
- ``EarlyStopping``: the best evaluation, and how many came after it;
- ``MonitorCallback``: the state of each monitor;
- ``WeightEMA``: the average of the weights;
- ``CallbackStates``, and those of ``training.callbacks`` with a state of their own;
- ``Learner``: what modules and optimizers keep unregistered;
- ``Checkpoints``: where the run went on before.

Random numbers are none of it: each batch is seeded by its number. Gradients are none: the next step begins by deleting
them. ``LastLosses`` and ``GreedyDecodingEval`` begin after the last checkpoint.
"""

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as lightning

from ..config.experiment import ExperimentConfig
from ..store.checkpoints import ANEW, CHECKPOINT
from ..store.files import sync_folder, unwritable
from ..store.rows import METRICS
from .further import CONTINUE, continuing_step
from .metrics_log import MetricsLog
from .origin import Origin, circumstances
from .state_file import SUFFIX, digest_of, remove_state


class Stopped(Exception):  # noqa: N818 - the name of an ending, not of a fault
    """Training was asked to stop, and has saved its state after ``step`` optimizer steps."""

    def __init__(self, step: int):
        super().__init__(f"stopped after step {step}")
        self.step = step


def never() -> bool:
    """Whether to stop: no."""
    return False


class Checkpoints(lightning.Callback):
    """Saves the state of a run by time, by steps and when it is asked to stop. It has to be the last callback.

    There is none after the last step, when the run is all but over. Besides, the state that a longer run goes on from
    is kept where the schedule has one.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        directory: Path,
        metrics_log: MetricsLog,
        origin: Origin | None = None,
        stop: Callable[[], bool] = never,
    ):
        training = config.training
        self.config, self.training, self.directory = config, training, directory
        self.metrics_log, self.origin, self.stop = metrics_log, origin, stop
        self.folder = directory / CHECKPOINT
        keeps = training.keep_state and training.save_weights and training.ranks == 1
        self.kept_step = continuing_step(config) if keeps else 0
        """After which the state for a longer run is saved; 0: none is."""
        self.step = 0
        self.resumed_at: list[int] = []
        """The steps at which this run went on after an interruption."""
        self.continued_at: int | None = None
        """The step at which it went on from a shorter run."""
        self._is_durable = False
        """Whether the folders of the checkpoints are on the disk."""
        self._saved = 0.0
        """When the last checkpoint was written, or training began."""
        self._on_sigterm = signal.getsignal(signal.SIGTERM)

    def state_dict(self) -> dict[str, Any]:
        return {"step": self.step, "resumed_at": self.resumed_at, "continued_at": self.continued_at}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert self.origin is not None
        self.step = state["step"]
        if self.origin.is_shorter_run:
            self.continued_at = self.step
        else:
            self.resumed_at, self.continued_at = [*state["resumed_at"], self.step], state["continued_at"]

    def on_train_start(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        # Lightning has put its own handler around the one of this process; it would end the run between two batches.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self._on_sigterm)
        self._saved = time.monotonic()

    def on_train_batch_end(
        self, trainer: lightning.Trainer, learner: lightning.LightningModule, outputs: Any, batch: Any, index: int
    ) -> None:
        if trainer.global_step == self.step:  # the step has more batches
            return
        self.step = trainer.global_step
        if self.step % self.training.evaluate_every:
            self.between_steps(trainer)

    def on_validation_end(self, trainer: lightning.Trainer, learner: lightning.LightningModule) -> None:
        self.between_steps(trainer)

    def between_steps(self, trainer: lightning.Trainer) -> None:
        """Save what is due. Errors: Stopped; StorageError; TypeError for a state that cannot be saved."""
        training = self.training
        if self.step == training.max_steps or trainer.should_stop:
            return
        if training.ranks > 1:  # it would have to be at the same step on all; such a run begins anew
            if self.stop():
                raise Stopped(self.step)
            return
        if self.step == self.kept_step:
            self.save(trainer, self.folder / CONTINUE)
        stopping = self.stop()
        by_steps = training.checkpoint_steps is not None and self.step % training.checkpoint_steps == 0
        seconds = training.checkpoint_seconds
        if stopping or by_steps or (seconds is not None and time.monotonic() - self._saved >= seconds):
            self.save(trainer, self.folder / f"step-{self.step:09}{SUFFIX}")
            self.remove_others()
            self._saved = time.monotonic()
        if stopping:
            raise Stopped(self.step)

    def save(self, trainer: lightning.Trainer, file: Path) -> None:
        """Write a state that stands when this returns, with all rows before it on the disk."""
        start = time.perf_counter()
        metrics, stream = self.directory / METRICS, self.metrics_log.stream
        try:
            if not self._is_durable:  # or a power cut may take the folders, with all that is in them
                self.folder.mkdir(exist_ok=True)
                sync_folder(self.directory)
                sync_folder(self.directory.parent)
                self._is_durable = True
            stream.flush()
            os.fsync(stream.fileno())
        except OSError as error:
            raise unwritable(file, error) from None
        about = {
            "step": self.step,
            "max_steps": self.training.max_steps,
            "metrics": {"size": metrics.stat().st_size, "sha256": digest_of(metrics)},
            **circumstances(self.config),
        }
        trainer.save_checkpoint(file, weights_only=False, storage_options=about)
        self.metrics_log.leave_out(time.perf_counter() - start)

    def remove_others(self) -> None:
        """Remove earlier checkpoints, and what an interrupted write has left."""
        kept = {f"step-{self.step:09}", Path(CONTINUE).stem, ANEW}
        try:
            for file in [file for file in self.folder.iterdir() if file.stem not in kept]:
                remove_state(file) if file.suffix == SUFFIX else file.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(self.folder, error) from None

    def record(self) -> dict[str, Any]:
        """What result.json says of it under ``record``: nothing of a run that was trained in one go."""
        resumed = {"resumed_at": self.resumed_at} if self.resumed_at else {}
        return resumed if self.continued_at is None else {**resumed, "continued_at": self.continued_at}
