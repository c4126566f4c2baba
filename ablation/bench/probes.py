"""Probe: one number that an untrained model has."""

# DOC-TO-MERGE: 'How sharp attention is before anything has been learned.\n\nShapes: B texts, H heads of queries, L queries, S keys.\n'

# DOC-TO-MERGE: "How much the order of a text's tokens matters to what is made of it."

# DOC-TO-MERGE: 'How much the other texts of a batch matter to what is made of one.'

# DOC-TO-MERGE: 'How far a text read token by token is from the same text read at once.'

# DOC-TO-MERGE: 'How gradients depend on depth at the first step.'

# DOC-TO-MERGE: 'Where the parameters are.'

import inspect
import math
from copy import deepcopy
from dataclasses import dataclass
from statistics import stdev
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..components.attention_backend import AttentionBackend
from ..components.base import OutProjection
from ..components.block import Block
from ..components.context import Cache
from ..components.feedforward import Feedforward
from ..components.mixer.base import Mixer
from ..config.experiment import ExperimentConfig
from ..model.build import build_model
from ..model.generate import cacheable
from ..registry import register
from ..rng import generator
from ..tasks.base import IGNORED, Examples, Task


@dataclass(frozen=True)
class ProbeInput:
    """A model as it is before its first step, in float64, with the task that it would learn."""

    config: ExperimentConfig
    task: Task
    model: nn.Module

    @classmethod
    def of(cls, config: ExperimentConfig) -> "ProbeInput":
        """With the weights of the configuration's own seed."""
        task: Task = config.task.build()
        model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
        return cls(config, task, model.double().eval())

    def examples(self, n: int = 8) -> Examples:
        """The first of those it would be validated on."""
        return {name: tensor[:n] for name, tensor in self.task.validation().items()}

    def scores(self, examples: Examples, **inputs: Any) -> Tensor:
        """What the model makes of them."""
        given = {name: tensor for name, tensor in examples.items() if name != "targets"}
        scores: Tensor = self.model(**given, **inputs)
        return scores

    def loss(self, examples: Examples) -> Tensor:
        """Nats per target."""
        scores = self.scores(examples)
        return nn.functional.cross_entropy(scores.flatten(0, -2), examples["targets"].flatten(), ignore_index=IGNORED)


class Probe:
    """Base of the probes."""

    better: ClassVar[Literal["lower", "higher"] | None] = None

    def __call__(self, subject: ProbeInput) -> float:
        """The number. Errors: ValueError where this model has none."""
        raise NotImplementedError


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Of any two numbers in the same place."""
    return float((one - other).abs().max())


FORWARD = inspect.signature(AttentionBackend.forward)


@torch.no_grad()
def attention_weights(subject: ProbeInput) -> tuple[Tensor, Tensor]:
    """Of the first layer, with the mask: both (B, H, L, S). Errors: ValueError where no backend attends."""
    seen: list[tuple[Tensor, Tensor]] = []

    def look(module: nn.Module, arguments: Any, named: Any) -> None:
        given = FORWARD.bind(module, *arguments, **named)
        given.apply_defaults()
        a = given.arguments
        k = a["k"].repeat_interleave(a["q"].size(1) // a["k"].size(1), dim=1)
        scores = a["q"] @ k.mT * a["scale"]
        if a["soft_cap"] is not None:
            scores = a["soft_cap"] * (scores / a["soft_cap"]).tanh()
        if a["bias"] is not None:
            scores = scores + a["bias"]
        mask = a["context"].mask.expand_as(scores)
        seen.append((scores.masked_fill(~mask, -math.inf).softmax(-1), mask))

    handles = [
        module.register_forward_pre_hook(look, with_kwargs=True)
        for module in subject.model.modules()
        if isinstance(module, AttentionBackend)
    ]
    try:
        subject.scores(subject.examples())
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise ValueError(f"attention weights: mixer {subject.config.model.mixer.name!r} has none")
    return seen[0]


@register(
    "probe", "attention_entropy", source="Vaswani et al. 2017, arXiv:1706.03762; Zhai et al. 2023, arXiv:2303.06296"
)
class AttentionEntropy(Probe):
    """Entropy of the first layer's attention weights, of the most that is possible: 1 looks everywhere alike, 0 at one.

    Mean over texts, heads and the queries that may look at eight keys or more.
    """

    def __call__(self, subject: ProbeInput) -> float:
        weights, mask = attention_weights(subject)
        entropy = -(weights * weights.clamp_min(1e-300).log()).sum(-1)
        n_keys = mask.sum(-1)
        return float((entropy / n_keys.to(entropy.dtype).log())[n_keys >= 8].mean())


@register("probe", "softmax_gradient", source="Vaswani et al. 2017, arXiv:1706.03762, footnote 4")
class SoftmaxGradient(Probe):
    """Sum of w (1 - w) over the first layer's attention weights: how much a change of a score can still do.

    It is the trace of the softmax's derivative; near 0 it is saturated. Mean over texts, heads and queries as above.
    """

    better = "higher"

    def __call__(self, subject: ProbeInput) -> float:
        weights, mask = attention_weights(subject)
        return float((weights * (1 - weights)).sum(-1)[mask.sum(-1) >= 8].mean())


@register(
    "probe", "order_sensitivity", source="Kazemnejad et al. 2023, arXiv:2305.19466; Haviv et al. 2022, arXiv:2203.16634"
)
class OrderSensitivity(Probe):
    """How far the scores of a text's last token move when those before it are shuffled; 0: it reads a bag of words."""

    @torch.no_grad()
    def __call__(self, subject: ProbeInput) -> float:
        if subject.task.kind == "seq2seq":
            raise ValueError("order_sensitivity: of a text that is made from another, it is not defined")
        tokens = subject.examples()["tokens"]
        order = torch.randperm(tokens.size(1) - 1, generator=generator(subject.config.seed, "shuffle"))
        shuffled = torch.cat([tokens[:, order], tokens[:, -1:]], 1)
        one, other = (subject.model(text) for text in (tokens, shuffled))
        if one.dim() == 3:  # of a class there is one score per text, of tokens one per token
            one, other = one[:, -1], other[:, -1]
        return largest_difference(one, other)


@register("probe", "batch_sensitivity", source="Ba et al. 2016, arXiv:1607.06450")
class BatchSensitivity(Probe):
    """How far a text's scores move, in training, when seven others join its batch; 0: not at all."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, subject: ProbeInput) -> float:
        tokens = subject.examples()["tokens"]
        model = deepcopy(subject.model)  # running averages of a batch would stay behind
        for module in model.modules():
            # the noise of dropout, which mixers have inside, would hide what is looked for
            module.training = not isinstance(module, nn.Dropout | Mixer)
        return largest_difference(model(tokens)[:1], model(tokens[:1]))


@register("probe", "step_by_step_gap", source="Katharopoulos et al. 2020, arXiv:2006.16236")
class StepByStepGap(Probe):
    """The largest difference of any score between one pass over a text and one token at a time with the cache."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, subject: ProbeInput) -> float:
        if subject.task.kind != "causal_lm":
            raise ValueError("step_by_step_gap: only a model that foretells the next token reads token by token")
        if not cacheable(subject.model):
            raise ValueError(f"step_by_step_gap: mixer {subject.config.model.mixer.name!r} cannot go on from a cache")
        tokens = subject.examples()["tokens"]
        cache = Cache()
        steps = [subject.model(column[:, None], cache=cache) for column in tokens.unbind(1)]
        return largest_difference(torch.cat(steps, 1), subject.model(tokens))


def gradient_norms(subject: ProbeInput) -> list[float]:
    """Of the last map of each block's feedforward, from the first block to the last, of the loss of one batch.

    It is the map that the theorem of Xiong et al. is about. Errors: ValueError where there are no depths to compare.
    """
    blocks = [module for module in subject.model.modules() if isinstance(module, Block)]
    if len(blocks) < 2:
        raise ValueError("gradient norms by depth: they need two layers or more")
    weights = [[module.weight for module in _last_maps(block)] for block in blocks]
    loss = subject.loss(subject.examples())
    flat = torch.autograd.grad(loss, [weight for layer in weights for weight in layer], materialize_grads=True)
    found, gradients = [], iter(flat)
    for layer in weights:
        found.append(math.sqrt(sum(float(next(gradients).square().sum()) for _ in layer)))
    if not all(found):
        raise ValueError("gradient norms by depth: a layer has no gradient, so there is no logarithm of it")
    return found


def _last_maps(block: Block) -> list[OutProjection]:
    feedforwards = [sublayer for sublayer in block.sublayers if isinstance(sublayer, Feedforward)]
    return [module for layer in feedforwards for module in layer.modules() if isinstance(module, OutProjection)]


@register("probe", "gradient_last_to_first", source="Xiong et al. 2020, arXiv:2002.04745")
class GradientLastToFirst(Probe):
    """The logarithm of the last layer's gradient norm over the first layer's; 0: both learn alike."""

    def __call__(self, subject: ProbeInput) -> float:
        norms = gradient_norms(subject)
        return math.log(norms[-1] / norms[0])


@register("probe", "gradient_unevenness", source="Wang et al. 2022, arXiv:2203.00555")
class GradientUnevenness(Probe):
    """The standard deviation of the logarithm of the gradient norm over the layers; 0: all learn alike."""

    better = "lower"

    def __call__(self, subject: ProbeInput) -> float:
        return stdev(math.log(norm) for norm in gradient_norms(subject))


@register("probe", "feedforward_share", source="Geva et al. 2020, arXiv:2012.14913")
class FeedforwardShare(Probe):
    """The share of the blocks' parameters that the feedforward sublayers hold; embeddings and readout not counted."""

    def __call__(self, subject: ProbeInput) -> float:
        blocks = [module for module in subject.model.modules() if isinstance(module, Block)]
        of_blocks = sum(parameter.numel() for block in blocks for parameter in block.parameters())
        sublayers = [sublayer for block in blocks for sublayer in block.sublayers]
        feedforwards = [sublayer for sublayer in sublayers if isinstance(sublayer, Feedforward)]
        return sum(parameter.numel() for layer in feedforwards for parameter in layer.parameters()) / of_blocks
