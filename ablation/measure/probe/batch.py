"""How much the other texts of a batch matter to what is made of one."""

from copy import deepcopy

import torch
from torch import nn

from ...components.mixer import Mixer
from ...registry import register
from .contract import Probe, Subject, largest_difference


@register("probe", "batch_sensitivity", source="Ba et al. 2016, arXiv:1607.06450")
class BatchSensitivity(Probe):
    """How far a text's scores move, in training, when seven others join its batch; 0: not at all."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, subject: Subject) -> float:
        tokens = subject.examples()["tokens"]
        model = deepcopy(subject.model)  # running averages of a batch would stay behind
        for module in model.modules():
            # the noise of dropout, which mixers have inside, would hide what is looked for
            module.training = not isinstance(module, nn.Dropout | Mixer)
        return largest_difference(model(tokens)[:1], model(tokens[:1]))
