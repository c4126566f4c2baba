"""Stability: warning signs in a run's numbers, the class of a cell, and the sensitivity to the learning rate.

Thresholds come from the literature where it has any. A run that exceeds one is not broken, but deserves attention. How
many steps were clipped is no sign: at the usual limit of 1 a healthy short run clips many.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from ..store.results import measured

Stability = Literal["stable", "fragile", "unstable"]

LARGE_LOGIT = 100.0
"""Kimi team 2025, arXiv:2507.20534, hold attention logits below it."""
HUGE_LOGIT = 1e4
"""Wortsman et al. 2023, arXiv:2309.14322: runs above it diverged."""
LARGE_LOG_Z = 5.0
LOG_Z_DRIFT = 0.5
"""Nats in the last half of a run; a large log Z alone may come from a large vocabulary, and every log Z fluctuates."""
DEPTH_GROWTH = 0.1
"""Of the log of the gradient's norm per layer."""
MIN_BLOCKS = 4
"""With fewer blocks a growth per layer means little."""
UPDATE_RATIO = (1e-4, 1e-2)
GRADIENT_TAIL = 20.0


def warning_signs(stability: Mapping[str, Any]) -> list[str]:
    """The warning signs of one run, each in a few words, the worst first.

    ``stability`` is that entry of result.json. What was not monitored gives no sign.
    """
    return list(_signs(stability))


def classify_stability(runs: Sequence[Mapping[str, Any]]) -> Stability | None:
    """The class of a cell, from ``stability`` of each of its runs; None where no run has ended.

    - *unstable*: at least one diverged;
    - *fragile*: none did, and at least one shows a sign (see ``warning_signs``);
    - *stable*: neither. That bounds the rate of divergence, see ``rate_bound``.
    """
    if not runs:
        return None
    if any(run.get("diverged") for run in runs):
        return "unstable"
    return "fragile" if any(True for run in runs for _ in _signs(run)) else "stable"


def _signs(stability: Mapping[str, Any]) -> Iterator[str]:
    return (text for sign in SIGNS if (text := sign(stability)) is not None)


def _diverged(run: Mapping[str, Any]) -> str | None:
    if not run.get("diverged"):
        return None
    step = run.get("diverged_at_step")
    return "diverged" if step is None else f"diverged at step {step}"


def _attention(run: Mapping[str, Any]) -> str | None:
    largest, growth = _number(run, "attention_logit_max"), _number(run, "attention_logit_growth")
    if largest is None or largest <= LARGE_LOGIT:
        return None
    growing = ", growing" if growth is not None and growth > 0 else ""
    if largest > HUGE_LOGIT:
        return f"largest attention logit {largest:.3g}{growing}: bad"
    return f"largest attention logit {largest:.3g}{growing}" if growing else None


def _spikes(run: Mapping[str, Any]) -> str | None:
    n_spikes, score = _number(run, "spikes"), _number(run, "spike_score")
    if not n_spikes or score is None:
        return None
    return f"{n_spikes:.0f} loss {'spike' if n_spikes == 1 else 'spikes'}, {100 * score:.2g} % of steps"


def _log_z(run: Mapping[str, Any]) -> str | None:
    log_z, growth = _number(run, "log_z"), _number(run, "log_z_growth")
    if log_z is None or growth is None or abs(log_z) <= LARGE_LOG_Z:
        return None
    return f"log Z {log_z:.3g}, growing" if math.copysign(1.0, log_z) * growth > LOG_Z_DRIFT else None


def _depth(run: Mapping[str, Any]) -> str | None:
    growth = _number(run, "gradient_growth")
    blocks = run.get("gradient_by_depth")
    too_few = isinstance(blocks, list) and len(blocks) < MIN_BLOCKS
    if growth is None or abs(growth) <= DEPTH_GROWTH or too_few:
        return None
    verb = "grow" if growth > 0 else "fade"
    return f"first gradients {verb} by {100 * abs(math.expm1(growth)):.0f} % per layer (lambda {growth:+.2f})"


def _update(run: Mapping[str, Any]) -> str | None:
    ratio, (low, high) = _number(run, "update_ratio_median"), UPDATE_RATIO
    if ratio is None or low <= ratio <= high:
        return None
    side, limit = ("below", low) if ratio < low else ("above", high)
    return f"a step moves the weights by {ratio:.1e} of their size, {side} {limit:.0e}"


def _tail(run: Mapping[str, Any]) -> str | None:
    tail = _number(run, "gradient_norm_tail")
    return f"largest gradient {tail:.0f} times the median" if tail is not None and tail > GRADIENT_TAIL else None


SIGNS: tuple[Callable[[Mapping[str, Any]], str | None], ...] = (
    _diverged,
    _attention,
    _spikes,
    _log_z,
    _tail,
    _depth,
    _update,
)


def _number(run: Mapping[str, Any], name: str) -> float | None:
    return measured(run.get(name))


def rate_bound(n_runs: int) -> float:
    """The rate of divergence above which ``n_runs`` runs without any would be seen in less than 5 % of cases.

    The upper end of Clopper and Pearson's one-sided 95 % interval (1934): .45 for 5 runs, .22 for 12.
    """
    return 1 - float(0.05 ** (1 / n_runs))


def learning_rate_sensitivity(losses_by_rate: Mapping[float, Sequence[float]], initial: float) -> tuple[float, ...]:
    """The loss that is added, on average, by not knowing the learning rate (Wortsman et al. 2023, arXiv:2309.14322).

    Per seed, the mean over the rates of min(final loss, ``initial``) - best loss. ``losses_by_rate`` holds by learning
    rate the final loss of each seed, in the same order, nan or inf where the run diverged. The mean is over the
    logarithm of the rate: each rate has the weight of the interval up to the midpoints to its neighbors, which is equal
    for log-spaced rates.

    Errors: ValueError for fewer than two rates, rates that are not positive, or a rate with other seeds.
    """
    rates, by_seed = _sweep(losses_by_rate, initial)
    x = [math.log(rate) for rate in rates]
    extended = [2 * x[0] - x[1], *x, 2 * x[-1] - x[-2]]
    weights = [(after - before) / 2 for before, after in zip(extended, extended[2:], strict=False)]
    return tuple(
        math.fsum(weight * (loss - min(losses)) for weight, loss in zip(weights, losses, strict=True)) / sum(weights)
        for losses in by_seed
    )


def _sweep(losses_by_rate: Mapping[float, Sequence[float]], initial: float) -> tuple[list[float], list[list[float]]]:
    """The rates in order, and for each seed the losses over them, none above ``initial``."""
    rates = sorted(losses_by_rate)
    if len(rates) < 2 or rates[0] <= 0 or not math.isfinite(rates[-1]):
        raise ValueError(f"a sweep needs two or more positive learning rates, not {rates}")
    if len({len(losses) for losses in losses_by_rate.values()}) != 1:
        raise ValueError("every learning rate of a sweep needs the same seeds")
    capped = [
        [min(loss, initial) if math.isfinite(loss) else initial for loss in losses_by_rate[rate]] for rate in rates
    ]
    return rates, [list(seed) for seed in zip(*capped, strict=True)]
