"""One cell, built and ready to be timed: its training step, and what inference asks of it.

Shapes: B batch, L tokens.
"""

import copy
from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..components.context import Cache
from ..model.build import build_model
from ..model.config import ModelConfig
from ..model.generate import cacheable
from ..registry import ComponentConfig
from ..rng import generator
from ..tasks.base import Examples, Task
from ..tasks.loss import training_loss
from .conditions import Conditions, Training


class Experiment(Protocol):
    """What is asked of the configuration of a run."""

    @property
    def model(self) -> ModelConfig: ...
    @property
    def task(self) -> ComponentConfig[Any]: ...
    @property
    def optimizer(self) -> ComponentConfig[Any]: ...
    @property
    def training(self) -> Training: ...
    @property
    def seed(self) -> int: ...


class BenchTarget:
    """A model with its optimizer and one real batch of its task.

    The learning rate is zero: a step does all its work, yet the thousandth finds the weights of the first, so that
    neither overfitting nor numbers that vanish change what is timed. ``training.compile`` holds for the training step;
    inference is timed as `ablate generate` does it, uncompiled.
    """

    def __init__(self, experiment: Experiment):
        self.conditions = Conditions.of(experiment.training)
        self.training = experiment.training
        self.seed = experiment.seed
        device, double = self.conditions.device, self.conditions.precision == "64-true"
        task: Task = experiment.task.build()
        self.vocabulary, self.kind = task.vocabulary, task.kind
        self.max_length = experiment.model.max_length or task.longest
        model = build_model(experiment.model, task.vocabulary, task.longest, experiment.seed, task.n_classes)
        self.model = model.to(device, torch.float64 if double else None)
        self.trained: nn.Module = torch.compile(self.model) if self.training.compile else self.model  # type: ignore[assignment]
        self.optimizer = experiment.optimizer.build().build(self.model)
        for group in self.optimizer.param_groups:
            group["lr"] = 0.0
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.conditions.precision == "16-mixed")
        examples = task.training(experiment.seed, 0)
        self.batch: Examples = {name: tensor[: task.batch_size].to(device) for name, tensor in examples.items()}

    @property
    def obstacle_to_decoding(self) -> str | None:
        """Why no token can be written after another with a cache, None where it can."""
        if not self.model.causal:
            return "an encoder writes no text"
        if self.kind == "classification":
            return "it tells classes and writes no text"
        if not cacheable(self.model):
            return "its mixer cannot go on from a cache"
        return None

    def logits(self, losses: list[Tensor]) -> Tensor:
        """Of the batch; ``losses`` receives what sublayers add."""
        inputs = {name: tensor for name, tensor in self.batch.items() if name != "targets"}
        return self.trained(**inputs, losses=losses)

    def loss(self, logits: Tensor, losses: list[Tensor]) -> Tensor:
        """What training minimizes of the batch."""
        return training_loss(logits, self.batch["targets"], losses, self.training)[0]

    def update(self) -> None:
        """Clip the gradients and let the optimizer step."""
        self.scaler.unscale_(self.optimizer)
        if self.training.gradient_clip is not None:
            nn.utils.clip_grad_norm_(self.model.parameters(), self.training.gradient_clip)
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def training_step(self) -> None:
        """Forward, backward, optimizer: all batches of one step, each of them the one batch."""
        self.optimizer.zero_grad()
        for _ in range(self.training.accumulate):
            losses: list[Tensor] = []
            with self.conditions.entered():
                loss = self.loss(self.logits(losses), losses) / self.training.accumulate
            self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self.update()

    def prefill(self, length: int) -> Callable[[], Tensor]:
        """One text of ``length`` tokens, forward, into an empty cache where there is one.

        Of an encoder-decoder: a source of that length is read and the first token of the target written.
        """
        tokens, cached = self.text(length), self.obstacle_to_decoding is None
        if self.kind == "seq2seq":
            inputs: dict[str, Tensor] = {"source": tokens, "tokens": tokens[:, :1]}
        else:
            inputs = {"tokens": tokens}
        return lambda: self.infer(**inputs, **({"cache": Cache()} if cached else {}))

    def decode(self, length: int) -> Callable[[], Tensor]:
        """The ``length``-th token of one text, after a cache of all before it; each call starts from that cache.

        Of an encoder-decoder: with a source of ``length`` tokens, read beforehand.
        """
        before, inputs = self.cache_of(length - 1)
        token = self.text(1)

        def one_token() -> Tensor:
            cache = copy.copy(before)
            cache.kept = dict(before.kept)
            return self.infer(tokens=token, cache=cache, **inputs)

        return one_token

    def cache_of(self, length: int) -> tuple[Cache, dict[str, Any]]:
        """The cache of ``length`` tokens, and what else the model wants to go on from it."""
        inputs: dict[str, Any] = {}
        cache = Cache()
        with torch.no_grad(), self.conditions.entered():
            if self.kind == "seq2seq":
                inputs["memory"] = self.model.encode(self.text(length + 1))  # type: ignore[operator]
            self.model.eval()(self.text(length), cache=cache, **inputs)
        return cache, inputs

    def infer(self, **inputs: Any) -> Tensor:
        with torch.no_grad(), self.conditions.entered():
            return self.model(**inputs)

    def text(self, length: int) -> Tensor:
        """Tokens at random, (1, ``length``)."""
        draw = generator(self.seed, "timed text")
        return torch.randint(self.vocabulary, (1, length), generator=draw).to(self.conditions.device)

    def peak_memory(self) -> int | None:
        """Bytes that the training step holds at most, with weights, gradients and optimizer; None on a CPU."""
        if self.conditions.device.type != "cuda":
            return None
        self.model.train()
        self.training_step()  # which makes the optimizer's state
        self.optimizer.zero_grad()
        self.conditions.synchronize()
        torch.cuda.reset_peak_memory_stats()
        others = torch.cuda.memory_allocated() - self.n_bytes
        self.training_step()
        self.conditions.synchronize()
        return torch.cuda.max_memory_allocated() - others

    @property
    def n_bytes(self) -> int:
        """Of weights, buffers and the optimizer's state."""
        states = (value for state in self.optimizer.state.values() for value in state.values())
        kept = [*self.model.parameters(), *self.model.buffers(), *(x for x in states if isinstance(x, Tensor))]
        return sum(tensor.nbytes for tensor in {id(tensor): tensor for tensor in kept}.values())
