"""How much the other texts of a batch matter to what is made of one."""

import torch

from ...registry import register
from .contract import Probe, Subject, largest_difference


@register("probe", "batch_sensitivity", source="Ba et al. 2016, arXiv:1607.06450")
class BatchSensitivity(Probe):
    """How far a text's scores move, in training, when seven others join its batch; 0: not at all."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, subject: Subject) -> float:
        tokens = subject.examples()["tokens"]
        for module in subject.model.modules():
            if not isinstance(module, torch.nn.Dropout):  # whose noise would hide what is looked for
                module.training = True
        return largest_difference(subject.model(tokens)[:1], subject.model(tokens[:1]))
