"""Going on further: a run of more steps that begins where a shorter one ended, and gives the same bits as from scratch.

Both have the same learning rates in the first steps, of which the schedule knows how many.
"""

from typing import Any

from ..config.experiment import ExperimentConfig
from ..config.layered import dump

CONTINUE = "continue.pt"
"""The state that a longer run goes on from, in the directory of a completed run."""
WITHOUT_EFFECT = ("save_weights", "keep_state", "checkpoint_seconds", "checkpoint_steps", "step_timeout")
"""Settings of training that change neither its numbers nor its rows."""


def settings(config: ExperimentConfig) -> dict[str, Any]:
    """All of a configuration that changes a number or a row of a run, but for its length."""
    fields = dump(config)
    training = {name: value for name, value in fields["training"].items() if name not in WITHOUT_EFFECT}
    return {**fields, "training": {**training, "max_steps": None}, "tracking": None}


def continuing_step(config: ExperimentConfig) -> int:
    """The last step of a run that has all in common with every longer run; 0 where there is none.

    The learning rate of the next step, which is part of a state, is shared as well. So it is never the very last step,
    after which a run validates, logs and measures where a longer one may not.
    """
    return max(0, config.schedule.build().shared_steps(config.training.max_steps) - 1)


def continuation(config: ExperimentConfig, earlier: ExperimentConfig) -> int | str:
    """The step at which a run goes on from a finished one of ``earlier``; or why it cannot, in one sentence."""
    n_steps, n_earlier = config.training.max_steps, earlier.training.max_steps
    if n_steps <= n_earlier:
        return f"the earlier run has {n_earlier} steps, this one no more than {n_steps}"
    if different := _different(settings(config), settings(earlier)):
        return f"the earlier run has another {different}"
    schedule, name = config.schedule.build(), config.schedule.name
    step = continuing_step(earlier)
    factors = ((schedule.factor(i, n_steps), schedule.factor(i, n_earlier)) for i in range(n_earlier))
    first = next((i for i, (one, other) in enumerate(factors) if one != other), n_earlier)
    if first <= step or (not step and first < n_earlier):
        why = f"schedule {name} depends on training.max_steps from step {first + 1} on"
        if schedule.n_warmup(n_steps) == schedule.n_warmup(n_earlier):
            return f"{why}; constant, and wsd before its decay, do not"
        return f"{why}, through the length of its warm-up; warmup_steps sets it in steps"
    if not step:
        return f"a run of {n_earlier} step{'s' * (n_earlier > 1)} of schedule {name} keeps no state to go on from"
    return step


def _different(one: object, other: object, place: str = "") -> str | None:
    """The path of the first value in which two configurations differ."""
    if isinstance(one, dict) and isinstance(other, dict):
        names = [*one, *(name for name in other if name not in one)]
        inside = (_different(one.get(name), other.get(name), f"{place}.{name}" if place else name) for name in names)
        return next((path for path in inside if path), None)
    return None if one == other else place
