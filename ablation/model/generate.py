"""Generation: one token after another, each chosen from the model's logits.

Shapes: B sequences, L tokens so far, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..components.architecture.base import accepted_inputs, call_model
from ..components.context import Cache
from ..components.mixer.base import Mixer
from ..components.position.base import Position


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen: the most probable (``temperature`` 0), or sampled from a truncated distribution."""

    temperature: float = 1.0
    """Logits are divided by it: below 1 sharper, above 1 flatter, 0 the most probable token."""
    top_k: int | None = None
    """Sample from the k most probable tokens only."""
    top_p: float | None = None
    """Sample from the most probable tokens that together have this probability (Holtzman et al. 2019,
    arXiv:1904.09751)."""

    def __call__(self, logits: Tensor, random: Generator | None = None) -> Tensor:
        """Logits (B, V) -> token ids (B,)."""
        if self.temperature == 0:
            return logits.argmax(-1)
        logits = logits / self.temperature
        if self.top_k is not None:
            smallest = logits.topk(min(self.top_k, logits.size(-1))).values[:, -1:]
            logits = logits.masked_fill(logits < smallest, float("-inf"))
        if self.top_p is not None:
            ordered, order = logits.sort(-1, descending=True)
            p = ordered.softmax(-1)
            excluded = p.cumsum(-1) - p >= self.top_p  # the tokens before it have enough probability already
            logits = logits.masked_fill(excluded.scatter(-1, order, excluded), float("-inf"))
        return torch.multinomial(logits.softmax(-1), 1, generator=random).squeeze(-1)


@torch.no_grad()
def generate(
    model: nn.Module,
    tokens: Tensor,
    n_new: int,
    sampling: SamplingParams,
    random: Generator | None = None,
    end: int | None = None,
    **inputs: Any,
) -> Tensor:
    """Continue sequences (B, L) by up to ``n_new`` tokens -> (B, L + n), filled up with ``end`` after an end.

    ``inputs`` go to the model with every step, such as an encoder's ``memory``. With a cache each token costs one step,
    else one pass over all before it. Where positions are limited, a longer sequence is cropped to its last tokens, the
    first of which gets the first position.
    """
    model.eval()
    cache, limit = Cache() if cacheable(model) else None, max_positions(model)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    new = tokens
    for _ in range(n_new):
        if limit is not None and tokens.size(1) > limit:
            cache = None  # cropping moves every token to another position
        step = new if cache else crop_to_context(limit, tokens)
        chosen = sampling(call_model(model, {"tokens": step, **inputs}, cache=cache)[:, -1], random)
        if end is not None:
            chosen = chosen.masked_fill(ended, end)
            ended |= chosen == end
        new = chosen[:, None]
        tokens = torch.cat([tokens, new], 1)
        if ended.all():
            break
    return tokens


@torch.no_grad()
def beam_search(
    model: nn.Module,
    tokens: Tensor,
    n_new: int,
    n_beams: int,
    end: int | None = None,
    alpha: float = 0.6,
    **inputs: Any,
) -> Tensor:
    """The most probable continuation of one sequence (1, L) among those of ``n_beams`` beams -> (1, L + n).

    Without ``end`` all continuations have ``n_new`` tokens. Log probabilities are divided by ((5 + n) / 6) ** ``alpha``
    (Wu et al. 2016, arXiv:1609.08144). Cache and cropping are as in ``generate``; ``inputs`` with a batch of 1 are
    repeated for the beams.
    """
    model.eval()
    cache, limit = Cache() if cacheable(model) else None, max_positions(model)
    beams, totals = tokens, torch.zeros(1, device=tokens.device)
    new = beams
    finished: list[tuple[float, Tensor]] = []
    for length in range(1, n_new + 1):
        repeated = {
            name: value.expand(len(beams), *value.shape[1:]) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        if limit is not None and beams.size(1) > limit:
            cache = None  # cropping moves every token to another position
        step = new if cache else crop_to_context(limit, beams)
        log_p = call_model(model, {"tokens": step, **repeated}, cache=cache)[:, -1].log_softmax(-1)
        vocabulary = log_p.size(-1)
        best = (totals[:, None] + log_p).flatten().topk(min(2 * n_beams, len(beams) * vocabulary))
        rows, columns = best.indices // vocabulary, best.indices % vocabulary
        grown, ends = torch.cat([beams[rows], columns[:, None]], 1), columns == (-1 if end is None else end)
        penalty = ((5 + length) / 6) ** alpha
        finished += [
            (float(total) / penalty, beam[None]) for total, beam in zip(best.values[ends], grown[ends], strict=True)
        ]
        beams, totals = grown[~ends][:n_beams], best.values[~ends][:n_beams]
        new = beams[:, -1:]
        if cache is not None:
            cache.select(rows[~ends][:n_beams])
        if len(finished) >= n_beams or not len(beams):
            break
    finished += [(float(total) / penalty, beam[None]) for total, beam in zip(totals, beams, strict=True)]
    return max(finished, key=lambda pair: pair[0])[1]


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
