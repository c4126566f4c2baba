"""Where the training of a run begins: at its first step, at a checkpoint of its own, or where a shorter run ended."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from lightning import __version__ as lightning_version

from ..config.experiment import ExperimentConfig
from ..config.identity import canonical
from ..store.checkpoints import ANEW, CHECKPOINT
from ..store.code import code_version
from ..store.files import unreadable, unwritable
from ..store.rows import METRICS
from .further import CONTINUE, settings
from .state_file import SUFFIX, UnusableStateError, copy_state, digest_of, read_about

LOG = logging.getLogger(__name__)


Circumstances = Mapping[str, Any]


@dataclass(frozen=True)
class Origin:
    """A state that a run goes on from, and the part of ``metrics`` that belongs to it."""

    file: Path
    step: int
    metrics: Path
    metrics_size: int
    is_shorter_run: bool = False


def circumstances(config: ExperimentConfig) -> dict[str, Any]:
    """What has to be the same when a run goes on: its settings, and all that changes the last bits of its numbers."""
    device, precision = config.training.resolve_hardware()
    return {
        "settings": sha256(canonical(settings(config)).encode()).hexdigest(),
        "code": code_version(config),
        "torch": torch.__version__,
        "lightning": lightning_version,
        "threads": config.training.threads,
        "precision": precision,
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def find_origin(config: ExperimentConfig, directory: Path, further: Path | None = None) -> Origin | None:
    """The newest checkpoint in ``directory`` that can be used, else the end of the run in ``further``, else None.

    What is there and is not used is a warning in the log, in one line.
    """
    here = circumstances(config) if further or (directory / CHECKPOINT).is_dir() else {}
    folder = directory / CHECKPOINT
    for file in sorted(folder.glob(f"step-*{SUFFIX}"), reverse=True):
        try:
            return _origin(file, directory / METRICS, here, config.training.max_steps)
        except UnusableStateError as error:
            LOG.warning("checkpoint %s is not used: %s", file.name, error)
    if folder.is_dir():
        _begin_anew(folder)
    if further is not None:
        try:
            return _origin(further / CONTINUE, further / METRICS, here, config.training.max_steps, is_shorter_run=True)
        except UnusableStateError as error:
            LOG.warning("not continued from the shorter run in %s: %s", further, error)
    if here:
        LOG.warning("training begins at the first step")
    return None


def _begin_anew(folder: Path) -> None:
    """Remove copies of checkpoints that cannot be used, and say so to later attempts. Errors: StorageError."""
    try:
        for file in folder.iterdir():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        (folder / ANEW).touch()
    except OSError as error:
        raise unwritable(folder, error) from None


def take_over_metrics(origin: Origin | None, metrics: Path) -> None:
    """Make ``metrics`` the rows before the origin. Errors: StorageError."""
    try:
        if origin is None:
            metrics.write_bytes(b"")
            return
        if origin.metrics != metrics:
            shutil.copyfile(origin.metrics, metrics)
        os.truncate(metrics, origin.metrics_size)
    except OSError as error:
        raise unwritable(metrics, error) from None


def keep_state(directory: Path) -> None:
    """Keep the state that a longer run goes on from, where there is one, beside the weights of a run that has ended.

    The checkpoints stay until the run has its end, which is written after this. Errors: StorageError.
    """
    if (directory / CHECKPOINT / CONTINUE).exists():
        copy_state(directory / CHECKPOINT / CONTINUE, directory / CONTINUE)


def _origin(file: Path, metrics: Path, here: Circumstances, max_steps: int, *, is_shorter_run: bool = False) -> Origin:
    """Errors: UnusableStateError."""
    about = read_about(file)
    for difference in _differences(about, here):
        raise UnusableStateError(difference)
    try:
        step, length, rows = int(about["step"]), int(about["max_steps"]), about["metrics"]
        size, digest = int(rows["size"]), str(rows["sha256"])
    except (KeyError, TypeError, ValueError):
        raise UnusableStateError("its JSON is damaged") from None
    if length >= max_steps if is_shorter_run else length != max_steps:
        raise UnusableStateError(f"it is of a run of {length} steps, this one has {max_steps}")
    try:
        if metrics.stat().st_size < size or digest_of(metrics, size) != digest:
            raise UnusableStateError(f"{metrics.name} does not have the rows before it")
    except OSError as error:
        raise UnusableStateError(str(unreadable(metrics, error))) from None
    return Origin(file, step, metrics, size, is_shorter_run)


def _differences(about: Circumstances, here: Circumstances) -> Iterator[str]:
    for name, value in here.items():
        if about.get(name) != value:
            of_values = "" if name in ("settings", "code") else f" ({about.get(name)}, now {value})"
            yield f"it was made with other {name}{of_values}"
