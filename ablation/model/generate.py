"""Generation: one token after another, each chosen from the model's logits.

Shapes: B sequences, L tokens so far, V vocabulary.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, ParamSpec

import torch
from torch import Generator, Tensor, nn

from ..components.architecture.base import accepted_inputs, call_model
from ..components.base import at_least_float32
from ..components.context import Cache
from ..components.mixer.base import Mixer
from ..components.position.base import Position
from .direct import direct_calls

P = ParamSpec("P")


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen: the most probable (``temperature`` 0), or sampled from a truncated distribution."""

    temperature: float = 1.0
    """Logits are divided by it: below 1 sharper, above 1 flatter, 0 (or next to it) the most probable token."""
    top_k: int | None = None
    """Sample from the k most probable tokens only."""
    top_p: float | None = None
    """Sample from the most probable tokens that together have this probability (Holtzman et al. 2019,
    arXiv:1904.09751); 0: the most probable token alone."""

    def __post_init__(self) -> None:
        """Errors: ValueError that begins with the name of the field."""
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise ValueError(f"temperature must be a finite number, 0 or above, not {self.temperature}")
        if self.top_k is not None and self.top_k < 1:
            raise ValueError(f"top_k must be 1 or above, not {self.top_k}")
        if self.top_p is not None and not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p must be from 0 to 1, not {self.top_p}")

    def __call__(self, logits: Tensor, random: Generator | None = None) -> Tensor:
        """Logits (B, V) -> token ids (B,)."""
        logits = at_least_float32(logits)
        if self.temperature < torch.finfo(logits.dtype).tiny:  # 0, or so small that dividing by it would overflow
            return logits.argmax(-1)
        logits = (logits - logits.amax(-1, keepdim=True)) / self.temperature  # at most 0: no quotient becomes inf
        if self.top_k is not None:
            smallest = logits.topk(min(self.top_k, logits.size(-1))).values[:, -1:]
            logits = logits.masked_fill(logits < smallest, float("-inf"))
        if self.top_p is not None:
            ordered, order = logits.sort(-1, descending=True)
            p = ordered.softmax(-1)
            excluded = p.cumsum(-1) - p >= self.top_p  # the tokens before it have enough probability already
            excluded[:, 0] = False  # the best token, whatever top_p is
            logits = logits.masked_fill(excluded.scatter(-1, order, excluded), float("-inf"))
        return torch.multinomial(logits.softmax(-1), 1, generator=random).squeeze(-1)


def inference_only(search: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """Run in torch's inference mode, where an operation costs less than under no_grad; the result is usable outside."""

    @wraps(search)
    def searched(*args: P.args, **kwargs: P.kwargs) -> Tensor:
        with torch.inference_mode():
            tokens = search(*args, **kwargs)
        return tokens.clone()

    return searched


@inference_only
def generate(
    model: nn.Module,
    tokens: Tensor,
    n_new: int,
    sampling: SamplingParams,
    random: Generator | None = None,
    end: int | None = None,
    padding: Tensor | None = None,
    **inputs: Any,
) -> Tensor:
    """Continue sequences (B, L) by up to ``n_new`` tokens -> (B, L + n), filled up with ``end`` after an end.

    ``padding`` (B, L), True at tokens, lets sequences of several lengths share a batch: each is padded in front, and
    continues as it would alone. ``inputs`` go to the model with every step, such as an encoder's ``memory``. With a
    cache each token costs one step, else one pass over all before it. Where positions are limited, a longer sequence is
    cropped to its last tokens, the first of which gets the first position. Errors: ValueError without a token to
    continue from, as in a row with padding at its end, and for a model that takes no padding.
    """
    check_continuable(tokens, n_new, padding)
    model.eval()
    cache, limit = Cache() if cacheable(model) else None, max_positions(model)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    new = tokens
    with direct_calls(model):
        for _ in range(n_new):
            if limit is not None and tokens.size(1) > limit:
                cache = None  # cropping moves every token to another position
            step = {"tokens": new if cache else crop_to_context(limit, tokens), **inputs}
            if padding is not None:
                step["padding"] = padding[:, -new.size(1) :] if cache else crop_to_context(limit, padding)
            chosen = sampling(call_model(model, step, cache=cache)[:, -1], random)
            if end is not None:
                chosen = chosen.masked_fill(ended, end)
                ended |= chosen == end
            new = chosen[:, None]
            tokens = torch.cat([tokens, new], 1)
            if padding is not None:
                padding = torch.cat([padding, torch.ones_like(new, dtype=torch.bool)], 1)
            if end is not None and ended.all():
                break
    return tokens


def check_continuable(tokens: Tensor, n_new: int, padding: Tensor | None = None) -> None:
    """Errors: ValueError where there is no last token to continue from, or a negative number of new ones."""
    if not tokens.size(1):
        raise ValueError("there is no token to continue from: give at least one")
    if n_new < 0:
        raise ValueError(f"n_new must be 0 or above, not {n_new}")
    if padding is not None and padding.shape != tokens.shape:
        raise ValueError(f"padding has the shape {tuple(padding.shape)}, the tokens {tuple(tokens.shape)}")
    if padding is not None and not padding[:, -1].all():
        raise ValueError("a sequence ends with padding: pad in front, so that each continues from its last token")


@inference_only
def beam_search(
    model: nn.Module,
    tokens: Tensor,
    n_new: int,
    n_beams: int,
    end: int | None = None,
    alpha: float = 0.6,
    **inputs: Any,
) -> Tensor:
    """The continuation of one sequence (1, L) with the best score among those of ``n_beams`` beams -> (1, L + n).

    The score is the sum of the log probabilities of the n new tokens, the end token included, over
    ((5 + n) / 6) ** ``alpha`` (Wu et al. 2016, arXiv:1609.08144, equation 14, without coverage); ``alpha`` 0: the sum.
    In each step the best ``n_beams`` continuations of all beams count: of these, those that end are finished. The other
    beams go on, filled up to ``n_beams`` with the next best that do not end. The search stops with ``n_beams`` finished
    sequences, as in transformers with ``early_stopping``, or after ``n_new`` tokens; an unfinished sequence is returned
    only where none has finished. One beam is greedy decoding. Cache and cropping are as in ``generate``; ``inputs``
    with a batch of 1 are repeated for the beams. Errors: ValueError for other than one sequence, and without a beam or
    a token.
    """
    check_continuable(tokens, n_new)
    if len(tokens) != 1 or n_beams < 1:
        raise ValueError(f"a beam search needs one sequence and one beam or more, not {len(tokens)} and {n_beams}")
    model.eval()
    cache, limit = Cache() if cacheable(model) else None, max_positions(model)
    beams, totals = tokens, torch.zeros(1, dtype=torch.float64)
    new = beams
    finished: list[tuple[float, Tensor]] = []
    with direct_calls(model):
        for length in range(1, n_new + 1):
            repeated = {
                name: value.expand(len(beams), *value.shape[1:]) if isinstance(value, Tensor) else value
                for name, value in inputs.items()
            }
            if limit is not None and beams.size(1) > limit:
                cache = None  # cropping moves every token to another position
            step = new if cache else crop_to_context(limit, beams)
            logits = call_model(model, {"tokens": step, **repeated}, cache=cache)[:, -1]
            # In float64, so that rounded sums do not exchange tokens; on the CPU, since some accelerators have none. A
            # stable sort, as argmax does, takes the first of equals.
            candidates = (totals[:, None] + logits.cpu().double().log_softmax(-1)).flatten()
            scores, order = candidates.sort(descending=True, stable=True)
            scores, order = scores[: 2 * n_beams], order[: 2 * n_beams].to(tokens.device)
            rows, columns = order // logits.size(-1), order % logits.size(-1)
            grown, ends = torch.cat([beams[rows], columns[:, None]], 1), columns == (-1 if end is None else end)
            penalty = ((5 + length) / 6) ** alpha
            finished += [
                (float(score) / penalty, beam[None])
                for score, beam, is_end in zip(scores[:n_beams], grown, ends, strict=False)
                if is_end and score > -math.inf  # an end that is impossible is none
            ]
            kept = (~ends).nonzero().squeeze(-1)[:n_beams]
            beams, totals = grown[kept], scores[kept.cpu()]
            new = beams[:, -1:]
            if cache is not None:
                cache.select(rows[kept])
            if len(finished) >= n_beams or not len(beams):
                break
    return max(finished, key=lambda pair: pair[0])[1] if finished else beams[:1]


def max_positions(model: nn.Module) -> int | None:
    """The longest sequence whose positions the model can encode, None where there is no limit."""
    limits: list[int | None] = [getattr(module, "max_positions", None) for module in model.modules()]
    return min((limit for limit in limits if limit is not None), default=None)


def crop_to_context(limit: int | None, tokens: Tensor) -> Tensor:
    """The last ``limit`` tokens of (B, L)."""
    return tokens if limit is None else tokens[:, -limit:]


def cacheable(model: nn.Module) -> bool:
    """Whether the model takes a cache, and every mixer and position of it can continue from one."""
    accepted = accepted_inputs(model)
    if accepted is not None and "cache" not in accepted:
        return False
    return all(part.cacheable for part in model.modules() if isinstance(part, Mixer | Position))
