"""How far a text read token by token is from the same text read at once."""

import torch

from ...components.context import Cache
from ...models.generate import cacheable
from ...registry import register
from .contract import Probe, Subject, largest_difference


@register("probe", "step_by_step_gap", source="Katharopoulos et al. 2020, arXiv:2006.16236")
class StepByStepGap(Probe):
    """The largest difference of any score between one pass over a text and one token at a time with the cache."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, subject: Subject) -> float:
        if subject.task.kind != "causal":
            raise ValueError("step_by_step_gap: only a model that foretells the next token reads token by token")
        if not cacheable(subject.model):
            raise ValueError(f"step_by_step_gap: mixer {subject.config.model.mixer.name!r} cannot go on from a cache")
        tokens = subject.examples()["tokens"]
        cache = Cache()
        steps = [subject.model(column[:, None], cache=cache) for column in tokens.unbind(1)]
        return largest_difference(torch.cat(steps, 1), subject.model(tokens))
