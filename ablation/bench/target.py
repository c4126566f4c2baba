"""One cell, built and ready to be timed under the conditions in which it would train: its training step, and inference.

Shapes: B batch, L tokens.
"""

import copy
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..components.architecture.base import call_model
from ..components.context import Cache
from ..config.experiment import ExperimentConfig, TrainingConfig
from ..model.build import build_model
from ..model.generate import cacheable
from ..model.trained import choose_trained
from ..rng import generator
from ..tasks.base import Examples, Task, count_tokens, model_inputs
from ..tasks.loss import training_loss

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class Conditions:
    """Device, precision and threads, as the trainer would set them for the run."""

    device: torch.device
    precision: str
    threads: int

    @classmethod
    def of(cls, training: TrainingConfig) -> "Conditions":
        """Errors: ValueError for a precision that the device cannot do."""
        device, precision = training.resolve_hardware()
        return cls(torch.device(device), precision, training.threads)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """What is computed inside has the threads and the precision of the run."""
        if torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        dtype = _AUTOCAST.get(self.precision)
        with torch.autocast(self.device.type, dtype or torch.bfloat16, enabled=dtype is not None):
            yield

    def clock(self) -> float:
        """Seconds, read once the device has finished all its work."""
        self.synchronize()
        return time.perf_counter()

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)

    def record(self) -> dict[str, str | int]:
        """What must agree for two timings to be comparable."""
        return {
            "host": platform.node(),
            "machine": platform.machine(),
            "device": self.device.type,
            "torch": torch.__version__,
            "threads": self.threads,
            "precision": self.precision,
        }


class BenchTarget:
    """A model with its optimizer and one real batch of its task.

    The learning rate is zero: a step does all its work, but the weights stay as they are, so that neither overfitting
    nor vanishing numbers change what is timed. ``training.compile`` applies to the training step; inference is timed
    as ``ablate generate`` does it, uncompiled.
    """

    def __init__(self, config: ExperimentConfig):
        self.conditions = Conditions.of(config.training)
        self.training = config.training
        self.seed = config.seed
        device, double = self.conditions.device, self.conditions.precision == "64-true"
        self.task: Task = config.task.build()
        self.max_length = config.model.max_length or self.task.longest
        model = build_model(config.model, self.task.vocabulary, self.task.longest, config.seed, self.task.n_classes)
        model = model.to(device, torch.float64 if double else None)
        self.inferred = copy.deepcopy(model).eval() if config.training.lora is not None else model
        """The model as a run leaves it: without low-rank updates, which become part of the weights."""
        choose_trained(model, config.training.freeze, config.training.lora, config.seed)
        self.model = model
        self.trained: nn.Module = torch.compile(self.model) if self.training.compile else self.model  # type: ignore[assignment]
        """The model as the training step calls it."""
        self.optimizer = config.optimizer.build().for_model(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.conditions.precision == "16-mixed")
        examples = self.task.training(config.seed, 0)
        self.batch: Examples = {name: tensor[: self.task.batch_size].to(device) for name, tensor in examples.items()}

    @property
    def step_tokens(self) -> int:
        """Tokens of a training step, with padding; examples where the inputs are not tokens."""
        return self.training.accumulate * count_tokens(self.batch)

    @property
    def reason_no_decoding(self) -> str | None:
        """Why no token can be generated after another with a cache, None where one can."""
        if self.task.kind == "classification":
            return "a classifier generates no text"
        if not self.task.vocabulary:
            return "the task has no tokens"
        if not getattr(self.model, "causal", False):
            return "an encoder generates no text"
        if not cacheable(self.model):
            return "the model cannot use a cache"
        return None

    def logits(self, losses: list[Tensor]) -> Tensor:
        """The model's output for the batch; ``losses`` collects what sublayers add to the loss."""
        return call_model(self.trained, model_inputs(self.batch), losses=losses)

    def loss(self, logits: Tensor, losses: list[Tensor]) -> Tensor:
        """What training minimizes on the batch."""
        label_smoothing, z_loss = self.training.label_smoothing, self.training.z_loss
        return training_loss(self.task, logits, self.batch, losses, label_smoothing=label_smoothing, z_loss=z_loss)[0]

    def update(self) -> None:
        """Clip the gradients and step the optimizer."""
        self.scaler.unscale_(self.optimizer)
        if self.training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def training_step(self) -> None:
        """Forward, backward and optimizer; where a step accumulates batches, the same batch each time."""
        self.optimizer.zero_grad()
        for _ in range(self.training.accumulate):
            losses: list[Tensor] = []
            with self.conditions.applied():
                loss = self.loss(self.logits(losses), losses) / self.training.accumulate
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.update()

    def prefill(self, length: int) -> Callable[[], Tensor]:
        """A forward pass over one sequence of ``length`` tokens, which fills a cache if the model has one.

        An encoder-decoder encodes a source of that length and decodes the first token of the target.
        """
        tokens, cached = self.random_tokens(length), self.reason_no_decoding is None
        if self.task.kind == "seq2seq":
            inputs: dict[str, Tensor] = {"source": tokens, "tokens": tokens[:, :1]}
        else:
            inputs = {"tokens": tokens}
        return lambda: self.infer(**inputs, **({"cache": Cache()} if cached else {}))

    def decode(self, length: int) -> Callable[[], Tensor]:
        """The ``length``-th token of a sequence, after a cache of all before it; each call starts from that cache.

        An encoder-decoder has a source of ``length`` tokens, encoded beforehand.
        """
        before, inputs = self.filled_cache(length - 1)
        token = self.random_tokens(1)

        return lambda: self.infer(tokens=token, cache=before.copy(), **inputs)

    def filled_cache(self, length: int) -> tuple[Cache, dict[str, Any]]:
        """The cache after ``length`` tokens, and the other inputs that continuing from it takes."""
        inputs: dict[str, Any] = {}
        cache = Cache()
        with torch.no_grad(), self.conditions.applied():
            if self.task.kind == "seq2seq":
                inputs["memory"] = self.inferred.encode(self.random_tokens(length + 1))  # type: ignore[operator]
            self.inferred.eval()(self.random_tokens(length), cache=cache, **inputs)
        return cache, inputs

    def infer(self, **inputs: Any) -> Tensor:
        """A forward pass without gradients."""
        with torch.no_grad(), self.conditions.applied():
            return self.inferred(**inputs)

    def random_tokens(self, length: int) -> Tensor:
        """Random token ids, (1, ``length``). Errors: ValueError where the task has no tokens."""
        if not self.task.vocabulary:
            raise ValueError("the task has no tokens")
        random = generator(self.seed, "timed text")
        return torch.randint(self.task.vocabulary, (1, length), generator=random).to(self.conditions.device)

    def peak_memory(self) -> int | None:
        """The most bytes that the training step holds, with weights, gradients and optimizer; None except on CUDA."""
        if self.conditions.device.type != "cuda":
            return None
        self.model.train()
        self.training_step()  # which creates the optimizer's state
        self.optimizer.zero_grad()
        self.conditions.synchronize()
        torch.cuda.reset_peak_memory_stats()
        others = torch.cuda.memory_allocated() - self.n_bytes
        self.training_step()
        self.conditions.synchronize()
        return torch.cuda.max_memory_allocated() - others

    @property
    def n_bytes(self) -> int:
        """Bytes of weights, buffers and the optimizer's state."""
        states = (value for state in self.optimizer.state.values() for value in state.values())
        tensors = [*self.model.parameters(), *self.model.buffers(), *(x for x in states if isinstance(x, Tensor))]
        return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in tensors}.values())
