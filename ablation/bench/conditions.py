"""Under what conditions costs are measured: the device, precision and threads that a run would train with."""

import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import torch


class Training(Protocol):
    """What is asked of the configuration of the training."""

    @property
    def device(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def compile(self) -> bool: ...
    @property
    def accumulate(self) -> int: ...
    @property
    def gradient_clip(self) -> float | None: ...
    @property
    def label_smoothing(self) -> float: ...
    @property
    def z_loss(self) -> float: ...


_LOWER = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Conditions:
    """As the trainer would set them for one run."""

    device: torch.device
    precision: str
    threads: int

    @classmethod
    def of(cls, training: Training) -> "Conditions":
        """Errors: ValueError for what the device cannot do."""
        device, precision = training.device, training.precision
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if precision == "auto":
            precision = "bf16-mixed" if device == "cuda" else "32-true"
        if precision == "16-mixed" and device == "cpu":
            raise ValueError("training.precision 16-mixed needs a GPU; on a CPU take bf16-mixed")
        return cls(torch.device(device), precision, training.threads)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """The threads and the precision of the run, for what is computed inside."""
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        lower = _LOWER.get(self.precision)
        with torch.autocast(self.device.type, lower or torch.bfloat16, enabled=lower is not None):
            yield

    def clock(self) -> float:
        """Seconds, read when the device has done all that it was given."""
        self.synchronize()
        return time.perf_counter()

    def synchronize(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def record(self) -> dict[str, str | int]:
        """What timings may be compared only within."""
        return {
            "host": platform.node(),
            "machine": platform.machine(),
            "device": self.device.type,
            "torch": torch.__version__,
            "threads": self.threads,
            "precision": self.precision,
        }
