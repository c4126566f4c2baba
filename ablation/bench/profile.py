"""What ``ablate profile`` measures: the parts of one training step and of one decoded token.

Seconds are wall time between entering and leaving a scope (see ``recorder``). FLOPs are those of torch's counter, 2 per
multiply-add, charged to scopes in the same way; it counts matrix multiplications alone, and none inside torch's fused
recurrent kernels. Steps that other programs slowed down are left out: each number is the mean over the steps that took
no longer than the median step, so that the parts still add up to the whole.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..config.experiment import ExperimentConfig
from ..errors import InputError
from ..plugins import reason
from ..tasks.base import count_tokens
from .busy import reason_busy
from .measure import longest_prefill
from .recorder import Frame, Path, Recorder
from .rounds import Job
from .scopes import KINDS, ProfiledCache, profiled
from .target import BenchTarget, Conditions

FORWARD, BACKWARD, OPTIMIZER = Frame("forward"), Frame("backward"), Frame("optimizer", "optimizer")
LOSS = Frame("loss", "loss")
SCHEMA = 1

Step = Callable[[Recorder], None]


@dataclass(frozen=True)
class Profile:
    """One kind of step and its parts."""

    plain_seconds: float
    """Of an unprofiled step: the median."""
    seconds: Mapping[Path, float]
    """Of a profiled step, by the innermost scope; what is in no scope of a known kind is ``other``."""
    flops: Mapping[Path, float]
    busy: str | None = None
    """Why the machine was too busy for these times to be trusted."""

    @property
    def overhead(self) -> float:
        """What profiling adds, relative to the unprofiled step: 0.2 is a fifth more."""
        return sum(self.seconds.values()) / self.plain_seconds - 1

    def parts(self) -> list[dict[str, Any]]:
        """Seconds, FLOPs and their fractions by kind of work, in the order of ``KINDS``; fractions add up to 1."""
        total_seconds, total_flops = sum(self.seconds.values()), sum(self.flops.values())
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
                    "fraction": seconds / total_seconds,
                    "flops": round(flops),
                    "flops_fraction": flops / total_flops if total_flops else 0.0,
                }
            )
        return rows

    def as_dict(self) -> dict[str, Any]:
        """As plain data, with the nested scopes."""
        return {
            "seconds": self.plain_seconds,
            "profiled_seconds": sum(self.seconds.values()),
            "overhead": self.overhead,
            "busy": self.busy,
            "parts": self.parts(),
            "tree": tree(self.seconds),
        }


def of_kind(spent: Mapping[Path, float], kind: str) -> float:
    """What was charged to scopes of this kind."""
    return sum(value for path, value in spent.items() if _kind(path) == kind)


def _kind(path: Path) -> str:
    return path[-1].kind if path else "other"


def tree(spent: Mapping[Path, float]) -> list[dict[str, Any]]:
    """The nested scopes, in the order of the pass; ``seconds`` include those of the scopes inside."""
    inner: dict[Frame, dict[Path, float]] = {}
    for path, value in spent.items():
        if path:
            inner.setdefault(path[0], {})[path[1:]] = value
    return [
        {"name": frame.name, "kind": frame.kind, "seconds": sum(below.values()), "inside": tree(below)}
        for frame, below in inner.items()
    ]


def profile(conditions: Conditions, model: nn.Module, step: Step, plain: Job, n_steps: int) -> Profile:
    """``n_steps`` profiled steps of a model, each after an unprofiled one."""
    clock = conditions.clock
    recorder = Recorder(clock)
    plain_seconds, running, profiles = [], [], []
    for number in range(n_steps + 1):
        started = time.thread_time()
        plain_seconds.append(plain.seconds(clock))
        running.append(time.thread_time() - started)
        with profiled(model, recorder):
            recorder.begin()
            step(recorder)
            recorder.charge(())
        if number:  # the first warms up
            profiles.append(recorder.spent)
    # A thread that others or a device work for waits for them, also where nothing else runs.
    alone = conditions.device.type == "cpu" and torch.get_num_threads() == 1
    busy = reason_busy(plain_seconds[1:], sum(running[1:]) if alone else None)
    return Profile(median(plain_seconds[1:]), typical(profiles), count_flops(model, step), busy)


def typical(steps: Sequence[Mapping[Path, float]]) -> dict[Path, float]:
    """The mean over the steps that took no longer than the median one; all have the same scopes."""
    totals = [sum(step.values()) for step in steps]
    undisturbed = [step for step, total in zip(steps, totals, strict=True) if total <= median(totals)]
    return {path: sum(step.get(path, 0.0) for step in undisturbed) / len(undisturbed) for path in undisturbed[0]}


def count_flops(model: nn.Module, step: Step) -> dict[Path, float]:
    """The FLOPs of one step; attention is computed unfused, since the counter does not know every fused kernel."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        recorder = Recorder(lambda: float(counter.get_total_flops()))
        with profiled(model, recorder):
            recorder.begin()
            step(recorder)
            recorder.charge(())
    return recorder.spent


def profile_training_step(target: BenchTarget, n_steps: int) -> Profile:
    """Forward, backward and optimizer on one batch."""

    def step(recorder: Recorder) -> None:
        with recorder.scope(OPTIMIZER):
            target.optimizer.zero_grad()
        for _ in range(target.training.accumulate):
            losses: list[Tensor] = []
            with target.conditions.applied(), recorder.scope(FORWARD):
                logits = target.logits(losses)
                with recorder.scope(LOSS):
                    loss = target.scaler.scale(target.loss(logits, losses) / target.training.accumulate)
            recorder.backward(loss, BACKWARD)
        with recorder.scope(OPTIMIZER):
            target.update()

    target.model.train()
    return profile(target.conditions, target.model, step, Job(target.training_step), n_steps)


def profile_decoding(target: BenchTarget, context: int, n_steps: int) -> Profile:
    """One token forward after a cache of ``context`` - 1 tokens. Errors: ValueError when the model cannot do it."""
    if target.reason_no_decoding is not None:
        raise ValueError(target.reason_no_decoding)
    before, inputs = target.filled_cache(context - 1)
    token = target.random_tokens(1)

    def step(recorder: Recorder) -> None:
        with recorder.scope(FORWARD):
            target.infer(tokens=token, cache=ProfiledCache(recorder, before), **inputs)

    target.inferred.eval()
    return profile(target.conditions, target.inferred, step, Job(target.decode(context)), n_steps)


def compare_compiled(target: BenchTarget, n_steps: int) -> dict[str, float]:
    """The training step through torch.compile, interleaved with the eager one; a compiled graph shows no parts.

    ``speedup`` is the median of eager / compiled. Errors: RuntimeError, one line, when it cannot be compiled, as
    without a C++ compiler.
    """
    clock, eager = target.conditions.clock, target.model
    compiled: Any = torch.compile(target.model)

    def job(model: Any) -> Job:
        return Job(target.training_step, lambda: setattr(target, "trained", model.train()))

    try:
        for _ in range(3):  # it compiles, and once more when a shape changes
            job(compiled).seconds(clock)
        pairs = [(job(eager).seconds(clock), job(compiled).seconds(clock)) for _ in range(n_steps)]
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise RuntimeError(f"torch.compile failed, {type(error).__name__}: {lines[0] if lines else ''}") from error
    finally:
        target.trained = eager
    return {
        "seconds": median(seconds for _, seconds in pairs),
        "eager_seconds": median(seconds for seconds, _ in pairs),
        "speedup": median(seconds / fast for seconds, fast in pairs),
    }


def profile_experiment(experiment: ExperimentConfig, n_steps: int, context: int, compile: bool) -> dict[str, Any]:
    """The JSON of ``ablate profile``: a training step, a decoded token, and with ``compile`` the compiled step.

    The token is the one at ``context``, or at the longest that the model supports. Errors: InputError when the model
    cannot be built or trained.
    """
    eager = experiment.training.model_copy(update={"compile": False})  # hooks are not called inside a compiled graph
    try:
        target = BenchTarget(experiment.model_copy(update={"training": eager}))
        training = profile_training_step(target, n_steps)
    except Exception as error:
        raise InputError(f"the model cannot be profiled: {reason(error)}") from error
    tokens = count_tokens(target.batch) * target.training.accumulate
    return {
        "schema": SCHEMA,
        "record": target.conditions.record(),
        "steps": n_steps,
        "training_step": {**training.as_dict(), "tokens": tokens},
        "decode": _decoding(target, context, n_steps),
        "compiled": _compiled(target, n_steps) if compile else None,
    }


def _decoding(target: BenchTarget, context: int, n_steps: int) -> dict[str, Any]:
    """The profile of one decoded token, or the reason for none."""
    try:
        if target.reason_no_decoding is None:
            context = longest_prefill(target, context)
        return {"context": context, **profile_decoding(target, context, n_steps).as_dict()}
    except Exception as error:
        return {"reason_missing": reason(error)}


def _compiled(target: BenchTarget, n_steps: int) -> dict[str, Any]:
    try:
        return {**compare_compiled(target, n_steps)}
    except RuntimeError as error:
        return {"reason_missing": str(error)}
