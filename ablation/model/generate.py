"""Generation: one token after another, each chosen from the scores that the model gives.

Shapes: B texts, L tokens so far, V vocabulary.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ..components.context import Cache
from ..components.mixer.base import Mixer
from ..components.position.base import Position


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is chosen: the best (``temperature`` 0), or drawn from what is left of the distribution."""

    temperature: float = 1.0
    """Scores are divided by it: below 1 sharper, above 1 flatter, 0 the best alone."""
    top_k: int | None = None
    """Only the so many best."""
    top_p: float | None = None
    """Only the best that together hold this share (Holtzman et al. 2019, arXiv:1904.09751)."""

    def __call__(self, scores: Tensor, random: Generator | None = None) -> Tensor:
        """Scores (B, V) -> token ids (B,)."""
        if self.temperature == 0:
            return scores.argmax(-1)
        scores = scores / self.temperature
        if self.top_k is not None:
            least = scores.topk(min(self.top_k, scores.size(-1))).values[:, -1:]
            scores = scores.masked_fill(scores < least, float("-inf"))
        if self.top_p is not None:
            best, order = scores.sort(-1, descending=True)
            shares = best.softmax(-1)
            beyond = shares.cumsum(-1) - shares >= self.top_p  # what comes before it holds enough already
            scores = scores.masked_fill(beyond.scatter(-1, order, beyond), float("-inf"))
        return torch.multinomial(scores.softmax(-1), 1, generator=random).squeeze(-1)


@torch.no_grad()
def generate(
    model: nn.Module,
    tokens: Tensor,
    n_new: int,
    choice: SamplingParams,
    random: Generator | None = None,
    end: int | None = None,
    **inputs: Any,
) -> Tensor:
    """Continue texts (B, L) by up to ``n_new`` tokens -> (B, L + n), filled up with ``end`` where a text has ended.

    ``inputs`` go to the model with every step, such as an encoder's ``memory``. Where every mixer can go on from a
    cache, each token costs one step, else one pass over all before it. Where the positions come to an end, a longer
    text slides through them: the last tokens alone are looked at, the first of them in the first place.
    """
    model.eval()
    cache, reach = Cache() if cacheable(model) else None, max_positions(model)
    ended = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    new = tokens
    for _ in range(n_new):
        if reach is not None and tokens.size(1) > reach:
            cache = None  # all that it keeps stood in another place
        scores = model(new if cache else crop_to_context(reach, tokens), cache=cache, **inputs)[:, -1]
        chosen = choice(scores, random)
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
    """The most probable continuation of one text (1, L) that beams of width ``n_beams`` find -> (1, L + n).

    Without ``end`` all continuations are of ``n_new`` tokens. Probabilities are compared per ((5 + n) / 6) ** ``alpha``
    (Wu et al. 2016, arXiv:1609.08144). A cache spares passes, and long texts slide, as in ``generate``; ``inputs`` with
    a batch of 1 are repeated for the beams.
    """
    model.eval()
    cache, reach = Cache() if cacheable(model) else None, max_positions(model)
    beams, totals = tokens, torch.zeros(1, device=tokens.device)
    new = beams
    finished: list[tuple[float, Tensor]] = []
    for length in range(1, n_new + 1):
        repeated = {
            name: value.expand(len(beams), *value.shape[1:]) if isinstance(value, Tensor) else value
            for name, value in inputs.items()
        }
        if reach is not None and beams.size(1) > reach:
            cache = None  # all that it keeps stood in another place
        shares = model(new if cache else crop_to_context(reach, beams), cache=cache, **repeated)[:, -1].log_softmax(-1)
        vocabulary = shares.size(-1)
        best = (totals[:, None] + shares).flatten().topk(min(2 * n_beams, len(beams) * vocabulary))
        rows, columns = best.indices // vocabulary, best.indices % vocabulary
        grown, ends = torch.cat([beams[rows], columns[:, None]], 1), columns == (-1 if end is None else end)
        penalty = ((5 + length) / 6) ** alpha
        finished += [
            (float(total) / penalty, text[None]) for total, text in zip(best.values[ends], grown[ends], strict=True)
        ]
        beams, totals = grown[~ends][:n_beams], best.values[~ends][:n_beams]
        new = beams[:, -1:]
        if cache is not None:
            cache.choose(rows[~ends][:n_beams])
        if len(finished) >= n_beams or not len(beams):
            break
    finished += [(float(total) / penalty, text[None]) for total, text in zip(totals, beams, strict=True)]
    return max(finished, key=lambda pair: pair[0])[1]


def max_positions(model: nn.Module) -> int | None:
    """How many tokens of a text the model can tell the places of, None where there is no end."""
    ends: list[int | None] = [getattr(module, "max_positions", None) for module in model.modules()]
    return min((end for end in ends if end is not None), default=None)


def crop_to_context(reach: int | None, tokens: Tensor) -> Tensor:
    """The last ``reach`` tokens of (B, L)."""
    return tokens if reach is None else tokens[:, -reach:]


def cacheable(model: nn.Module) -> bool:
    """Whether every mixer and every position of the model can go on from a cache."""
    return all(part.cacheable for part in model.modules() if isinstance(part, Mixer | Position))
