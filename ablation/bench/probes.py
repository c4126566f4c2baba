"""Probes: numbers of an untrained model.

They measure the sharpness of attention, sensitivity to the order of tokens and to the other sequences of a batch, the
gap between decoding step by step and at once, gradients by depth, and where the parameters are.

Shapes: B sequences, H heads of queries, L queries, S keys.
"""

import math
from copy import deepcopy
from dataclasses import dataclass
from statistics import stdev
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from ..components.architecture.base import call_model
from ..components.attention_backend import AttentionBackend, AttentionInputs, attention_scores, masked_softmax
from ..components.base import Linear
from ..components.block import Block
from ..components.context import Cache
from ..components.feedforward import Feedforward
from ..components.mixer.base import Mixer
from ..config.experiment import ExperimentConfig
from ..model.build import build_model
from ..model.generate import cacheable
from ..registry import register
from ..rng import generator
from ..tasks.base import Examples, Task, model_inputs


@dataclass(frozen=True)
class ProbeInput:
    """A model before its first step, in float64, and the task that it would learn."""

    config: ExperimentConfig
    task: Task
    model: nn.Module

    @classmethod
    def of(cls, config: ExperimentConfig) -> "ProbeInput":
        """The model of a configuration, initialized from the configuration's seed."""
        task: Task = config.task.build()
        model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
        return cls(config, task, model.double().eval())

    def examples(self, n: int = 8) -> Examples:
        """The first ``n`` examples of the validation set."""
        return {name: tensor[:n] for name, tensor in self.task.validation().items()}

    def logits(self, examples: Examples) -> Tensor:
        """The model's output for the examples."""
        return call_model(self.model, model_inputs(examples))

    def loss(self, examples: Examples) -> Tensor:
        """The task's loss on the examples."""
        return self.task.loss(self.logits(examples), examples)


class Probe:
    """Base class of the probes."""

    better: ClassVar[Literal["lower", "higher"] | None] = None

    def __call__(self, probe_input: ProbeInput) -> float:
        """The number. Errors: ValueError where it is not defined for this model."""
        raise NotImplementedError


def largest_difference(one: Tensor, other: Tensor) -> float:
    """The largest absolute difference between two tensors of the same shape."""
    return float((one - other).abs().max())


@torch.no_grad()
def attention_weights(probe_input: ProbeInput) -> tuple[Tensor, Tensor]:
    """The first layer's attention weights and mask, both (B, H, L, S). Errors: ValueError where there are none."""
    layers: list[tuple[Tensor, Tensor]] = []

    def before_backend(module: nn.Module, arguments: tuple[AttentionInputs]) -> None:
        (inputs,) = arguments
        scores = attention_scores(inputs)
        mask = inputs.mask.expand_as(scores)
        layers.append((masked_softmax(scores, mask, inputs.sinks), mask))

    handles = [
        module.register_forward_pre_hook(before_backend)
        for module in probe_input.model.modules()
        if isinstance(module, AttentionBackend)
    ]
    try:
        probe_input.logits(probe_input.examples())
    finally:
        for handle in handles:
            handle.remove()
    if not layers:
        raise ValueError(f"attention weights: mixer {probe_input.config.model.mixer.name!r} has none")
    return layers[0]


@register(
    "probe", "attention_entropy", source="Vaswani et al. 2017, arXiv:1706.03762; Zhai et al. 2023, arXiv:2303.06296"
)
class AttentionEntropy(Probe):
    """Entropy of the first layer's attention weights over its maximum: 1 for uniform weights, 0 for a single key.

    Mean over sequences, heads and the queries that may attend to eight keys or more.
    """

    def __call__(self, probe_input: ProbeInput) -> float:
        weights, mask = attention_weights(probe_input)
        entropy = -(weights * weights.clamp_min(1e-300).log()).sum(-1)
        n_keys = mask.sum(-1)
        return float((entropy / n_keys.to(entropy.dtype).log())[n_keys >= 8].mean())


@register("probe", "softmax_gradient", source="Vaswani et al. 2017, arXiv:1706.03762, footnote 4")
class SoftmaxGradient(Probe):
    """Sum of w (1 - w) over the first layer's attention weights: how strongly the weights react to the scores.

    It is the trace of the softmax's Jacobian; near 0 the softmax is saturated. Mean over sequences, heads and the
    queries that may attend to eight keys or more.
    """

    better = "higher"

    def __call__(self, probe_input: ProbeInput) -> float:
        weights, mask = attention_weights(probe_input)
        return float((weights * (1 - weights)).sum(-1)[mask.sum(-1) >= 8].mean())


@register(
    "probe", "order_sensitivity", source="Kazemnejad et al. 2023, arXiv:2305.19466; Haviv et al. 2022, arXiv:2203.16634"
)
class OrderSensitivity(Probe):
    """The largest change of the last token's logits when the tokens before it are shuffled; 0 for a bag of words."""

    @torch.no_grad()
    def __call__(self, probe_input: ProbeInput) -> float:
        if probe_input.task.kind == "seq2seq":
            raise ValueError("order_sensitivity: not defined for sequence-to-sequence tasks")
        tokens = probe_input.examples()["tokens"]
        order = torch.randperm(tokens.size(1) - 1, generator=generator(probe_input.config.seed, "shuffle"))
        shuffled = torch.cat([tokens[:, order], tokens[:, -1:]], 1)
        one, other = (probe_input.model(sequences) for sequences in (tokens, shuffled))
        if probe_input.task.n_classes is None:  # logits (B, L, V) of tokens; those of classes are (B, classes)
            one, other = one[:, -1], other[:, -1]
        return largest_difference(one, other)


@register("probe", "batch_sensitivity", source="Ba et al. 2016, arXiv:1607.06450")
class BatchSensitivity(Probe):
    """The largest change of a sequence's logits, in training mode, when seven others join its batch."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, probe_input: ProbeInput) -> float:
        tokens = probe_input.examples()["tokens"]
        model = deepcopy(probe_input.model)  # else running averages over batches would change the model
        for module in model.modules():
            # the noise of dropout, which mixers apply themselves, would hide the effect
            module.training = not isinstance(module, nn.Dropout | Mixer)
        return largest_difference(model(tokens)[:1], model(tokens[:1]))


@register("probe", "step_by_step_gap", source="Katharopoulos et al. 2020, arXiv:2006.16236")
class StepByStepGap(Probe):
    """The largest difference of any logit between one pass over a sequence and decoding it step by step."""

    better = "lower"

    @torch.no_grad()
    def __call__(self, probe_input: ProbeInput) -> float:
        if probe_input.task.kind != "causal_lm":
            raise ValueError("step_by_step_gap: only a causal language model decodes step by step")
        if not cacheable(probe_input.model):
            raise ValueError(f"step_by_step_gap: mixer {probe_input.config.model.mixer.name!r} cannot use a cache")
        tokens = probe_input.examples()["tokens"]
        cache = Cache()
        steps = [probe_input.model(column[:, None], cache=cache) for column in tokens.unbind(1)]
        return largest_difference(torch.cat(steps, 1), probe_input.model(tokens))


def gradient_norms(probe_input: ProbeInput) -> list[float]:
    """The gradient norm of the last map of each block's feedforward, from the first block to the last, on one batch.

    The theorem of Xiong et al. is about this map. Errors: ValueError for fewer than two blocks.
    """
    blocks = [module for module in probe_input.model.modules() if isinstance(module, Block)]
    if len(blocks) < 2:
        raise ValueError("gradient norms by depth: they need two layers or more")
    weights = [[module.weight for module in _last_maps(block)] for block in blocks]
    loss = probe_input.loss(probe_input.examples())
    flat = torch.autograd.grad(loss, [weight for layer in weights for weight in layer], materialize_grads=True)
    norms, gradients = [], iter(flat)
    for layer in weights:
        norms.append(math.sqrt(sum(float(next(gradients).square().sum()) for _ in layer)))
    if not all(norms):
        raise ValueError("gradient norms by depth: a layer has no gradient, so that its logarithm is undefined")
    return norms


def _last_maps(block: Block) -> list[nn.Linear]:
    feedforwards = [sublayer for sublayer in block.sublayers if isinstance(sublayer, Feedforward)]
    return [
        module
        for layer in feedforwards
        for module in layer.modules()
        if isinstance(module, Linear) and module.role == "out_projection"
    ]


@register("probe", "gradient_last_to_first", source="Xiong et al. 2020, arXiv:2002.04745")
class GradientLastToFirst(Probe):
    """The logarithm of the last layer's gradient norm over the first layer's; 0 where they are equal."""

    def __call__(self, probe_input: ProbeInput) -> float:
        norms = gradient_norms(probe_input)
        return math.log(norms[-1] / norms[0])


@register("probe", "gradient_unevenness", source="Wang et al. 2022, arXiv:2203.00555")
class GradientUnevenness(Probe):
    """The standard deviation of the logarithm of the gradient norm over the layers; 0 where all are equal."""

    better = "lower"

    def __call__(self, probe_input: ProbeInput) -> float:
        return stdev(math.log(norm) for norm in gradient_norms(probe_input))


@register("probe", "feedforward_fraction", source="Geva et al. 2020, arXiv:2012.14913")
class FeedforwardFraction(Probe):
    """The fraction of the blocks' parameters in the feedforward sublayers; embeddings and head are not counted."""

    def __call__(self, probe_input: ProbeInput) -> float:
        blocks = [module for module in probe_input.model.modules() if isinstance(module, Block)]
        total = sum(parameter.numel() for block in blocks for parameter in block.parameters())
        sublayers = [sublayer for block in blocks for sublayer in block.sublayers]
        feedforwards = [sublayer for sublayer in sublayers if isinstance(sublayer, Feedforward)]
        return sum(parameter.numel() for layer in feedforwards for parameter in layer.parameters()) / total
