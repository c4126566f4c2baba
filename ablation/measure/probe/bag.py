"""How much the order of a text's tokens matters to what is made of it."""

import torch

from ...randomness import generator
from ...registry import register
from .contract import Probe, Subject, largest_difference


@register(
    "probe", "order_sensitivity", source="Kazemnejad et al. 2023, arXiv:2305.19466; Haviv et al. 2022, arXiv:2203.16634"
)
class OrderSensitivity(Probe):
    """How far the scores of a text's last token move when those before it are shuffled; 0: it reads a bag of words."""

    @torch.no_grad()
    def __call__(self, subject: Subject) -> float:
        if subject.task.kind == "sequence":
            raise ValueError("order_sensitivity: of a text that is made from another, it is not defined")
        tokens = subject.examples()["tokens"]
        order = torch.randperm(tokens.size(1) - 1, generator=generator(subject.config.seed, "shuffle"))
        shuffled = torch.cat([tokens[:, order], tokens[:, -1:]], 1)
        one, other = (subject.model(text) for text in (tokens, shuffled))
        if one.dim() == 3:  # of a class there is one score per text, of tokens one per token
            one, other = one[:, -1], other[:, -1]
        return largest_difference(one, other)
