"""What `ablate profile` measures: one training step and one decoded token, by what they are spent on.

The seconds are the wall time between entering and leaving a scope (see ``recorder``), the FLOPs those of torch's
counter, 2 per multiply-add, charged in the same way: they know matrix multiplications alone, and none inside torch's
fused recurrent kernels. Steps that other programs held up are left out: each figure is the mean over those steps that
took no longer than the median step, so that parts still add up to the whole.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor

from .recorder import Frame, Path, Recorder
from .rounds import Job
from .scopes import KINDS, ProfiledCache, profiled
from .target import BenchTarget

FORWARD, BACKWARD, OPTIMISER = Frame("forward"), Frame("backward"), Frame("optimizer", "optimizer")
LOSS = Frame("loss", "loss")
SCHEMA = 1

Step = Callable[[Recorder], None]


@dataclass(frozen=True)
class Profile:
    """One kind of step, taken apart."""

    plain_seconds: float
    """Of a step that nobody looks into: the median."""
    seconds: Mapping[Path, float]
    """Of a step that was looked into, by the innermost scope; what is in no part is charged to kind ``other``."""
    flops: Mapping[Path, float]

    @property
    def overhead(self) -> float:
        """What looking costs, over the step without it: 0.2 is a fifth more."""
        return sum(self.seconds.values()) / self.plain_seconds - 1

    def parts(self) -> list[dict[str, Any]]:
        """By kind of work, in the order of ``KINDS``: seconds and shares; the shares of all add up to 1."""
        whole, work = sum(self.seconds.values()), sum(self.flops.values())
        rows = []
        for kind in KINDS:
            seconds, flops = of_kind(self.seconds, kind), of_kind(self.flops, kind)
            if not seconds and not flops:
                continue
            backward = sum(spent for path, spent in self.seconds.items() if _kind(path) == kind and BACKWARD in path)
            rows.append(
                {
                    "part": kind,
                    "seconds": seconds,
                    "backward_seconds": backward,
                    "share": seconds / whole,
                    "flops": round(flops),
                    "flops_share": flops / work if work else 0.0,
                }
            )
        return rows

    def as_dict(self) -> dict[str, Any]:
        return {
            "seconds": self.plain_seconds,
            "profiled_seconds": sum(self.seconds.values()),
            "overhead": self.overhead,
            "parts": self.parts(),
            "tree": tree(self.seconds),
        }


def of_kind(spent: Mapping[Path, float], kind: str) -> float:
    """All that was charged to scopes of this kind."""
    return sum(value for path, value in spent.items() if _kind(path) == kind)


def _kind(path: Path) -> str:
    return path[-1].kind if path else "other"


def tree(spent: Mapping[Path, float]) -> list[dict[str, Any]]:
    """The scopes nested, in the order in which they were met; ``seconds`` include those of the scopes inside."""
    inner: dict[Frame, dict[Path, float]] = {}
    for path, value in spent.items():
        if path:
            inner.setdefault(path[0], {})[path[1:]] = value
    return [
        {"name": frame.name, "kind": frame.kind, "seconds": sum(below.values()), "inside": tree(below)}
        for frame, below in inner.items()
    ]


def profile(subject: BenchTarget, step: Step, plain: Job, n_steps: int) -> Profile:
    """``n_steps`` steps looked into, each after one that is not."""
    clock = subject.conditions.clock
    recorder = Recorder(clock)
    unseen, seen = [], []
    for number in range(n_steps + 1):
        unseen.append(plain.seconds(clock))
        recorder.begin()
        with profiled(subject.model, recorder):
            recorder.begin()
            step(recorder)
            recorder.charge(())
        if number:  # the first warms up
            seen.append(recorder.spent)
    return Profile(median(unseen[1:]), typical(seen), count_flops(subject, step))


def typical(steps: Sequence[Mapping[Path, float]]) -> dict[Path, float]:
    """The mean over the steps that took no longer than the median one; they have the same scopes."""
    totals = [sum(step.values()) for step in steps]
    usual = [step for step, total in zip(steps, totals, strict=True) if total <= median(totals)]
    return {path: sum(step.get(path, 0.0) for step in usual) / len(usual) for path in usual[0]}


def count_flops(subject: BenchTarget, step: Step) -> dict[Path, float]:
    """The FLOPs of one step; attention is counted as the formula's, since not every fused kernel is known."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        recorder = Recorder(lambda: float(counter.get_total_flops()))
        with profiled(subject.model, recorder):
            recorder.begin()
            step(recorder)
            recorder.charge(())
    return recorder.spent


def profile_training_step(subject: BenchTarget, n_steps: int) -> Profile:
    """Forward, backward and optimizer on one batch."""

    def step(recorder: Recorder) -> None:
        with recorder.scope(OPTIMISER):
            subject.optimizer.zero_grad()
        for _ in range(subject.training.accumulate):
            losses: list[Tensor] = []
            with subject.conditions.entered(), recorder.scope(FORWARD):
                logits = subject.logits(losses)
                with recorder.scope(LOSS):
                    loss = subject.scaler.scale(subject.loss(logits, losses) / subject.training.accumulate)
            recorder.backward(loss, BACKWARD)
        with recorder.scope(OPTIMISER):
            subject.update()

    subject.model.train()
    return profile(subject, step, Job(subject.training_step), n_steps)


def profile_decoding(subject: BenchTarget, context: int, n_steps: int) -> Profile:
    """One token forward after a cache of ``context`` - 1 tokens. Errors: ValueError when the model cannot do it."""
    if subject.obstacle_to_decoding is not None:
        raise ValueError(subject.obstacle_to_decoding)
    before, inputs = subject.cache_of(context - 1)
    token = subject.text(1)

    def step(recorder: Recorder) -> None:
        with recorder.scope(FORWARD):
            subject.infer(tokens=token, cache=ProfiledCache(recorder, before), **inputs)

    subject.model.eval()
    return profile(subject, step, Job(subject.decode(context)), n_steps)


def compare_compiled(subject: BenchTarget, n_steps: int) -> dict[str, float]:
    """The training step through torch.compile, by turns with the eager one; inside a compiled graph no parts are told.

    ``speedup`` is the median over the turns of eager / compiled. Errors: RuntimeError, one line, when it cannot be
    compiled, as without a C++ compiler.
    """
    clock, eager = subject.conditions.clock, subject.model
    compiled: Any = torch.compile(subject.model)

    def job(model: Any) -> Job:
        return Job(subject.training_step, lambda: setattr(subject, "trained", model.train()))

    try:
        for _ in range(3):  # it compiles, and once more where it finds a shape that varies
            job(compiled).seconds(clock)
        turns = [(job(eager).seconds(clock), job(compiled).seconds(clock)) for _ in range(n_steps)]
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise RuntimeError(f"torch.compile failed, {type(error).__name__}: {lines[0] if lines else ''}") from error
    finally:
        subject.trained = eager
    return {
        "seconds": median(seconds for _, seconds in turns),
        "eager_seconds": median(seconds for seconds, _ in turns),
        "speedup": median(seconds / fast for seconds, fast in turns),
    }
