"""Attention maps: who attends to whom, in every head, on given examples.

Shapes: B examples, L queries, S keys, H heads.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..components.context import ForwardContext
from ..rng import generator
from ..tasks.base import Examples, Task, count_examples
from .evaluation import Validation, forward
from .scores import HeadScores, add_repeated_scores, add_scores
from .sites import SiteName, Sublayer, hooked

N_REPEATED = 16
"""Sequences of repeated random tokens."""


@torch.no_grad()
def attention_maps(model: nn.Module, sublayers: Sequence[Sublayer], examples: Examples) -> dict[Sublayer, Tensor]:
    """The weights (B, H, L, S) of every sublayer that has some."""
    maps: dict[Sublayer, Tensor] = {}

    def keep(sublayer: Sublayer, name: SiteName, weights: Tensor, context: ForwardContext) -> None:
        maps[sublayer] = weights.cpu()

    with hooked(sublayers, ["weights"], keep):
        forward(model, examples)
    return maps


@torch.no_grad()
def head_scores(model: nn.Module, sublayers: Sequence[Sublayer], validation: Validation) -> dict[Sublayer, HeadScores]:
    """What the heads of every sublayer with weights do, on the usual validation set and on repeated random tokens."""
    scores = {sublayer: HeadScores() for sublayer in sublayers if sublayer.reason_no_weights is None}
    relations: dict[str, Tensor] = {}
    has_source = "source" in validation.sets[""]

    def add(sublayer: Sublayer, name: SiteName, weights: Tensor, context: ForwardContext) -> None:
        cross = sublayer.kind == "cross"
        queries = context.padding
        if queries is None:
            queries = torch.ones(len(weights), weights.size(2), dtype=torch.bool, device=weights.device)
        known = relations if cross == has_source else {}  # to keys of the source, where there is one
        add_scores(scores[sublayer], weights, context.mask, queries, known, not cross)

    def add_repeated(sublayer: Sublayer, name: SiteName, weights: Tensor, context: ForwardContext) -> None:
        add_repeated_scores(scores[sublayer], weights, context.mask)

    with hooked(scores, ["weights"], add):
        for batch in validation.batches():
            relations.clear()
            relations.update(validation.task.relations(batch))
            forward(model, batch)
    repeated = repeated_tokens(validation.task, validation.sets[""])
    if repeated is not None:
        with hooked(scores, ["weights"], add_repeated):
            forward(model, {"tokens": repeated.to(validation.device)})
    return scores


def repeated_tokens(task: Task, examples: Examples) -> Tensor | None:
    """Random tokens (N, L) whose second half repeats the first; None where the model reads more than one sequence.

    The tokens are those of the validation set, in proportion to how often they occur there, as far as there are enough
    without the same one twice in a half.
    """
    if set(examples) - {"tokens", "padding", "targets"} or examples["tokens"].size(1) < 4:
        return None
    tokens = examples["tokens"]
    counts = tokens[examples["padding"]] if "padding" in examples else tokens.flatten()
    frequencies = counts.bincount(minlength=task.vocabulary).double()
    half = tokens.size(1) // 2
    half = min(half, int((frequencies > 0).sum()))
    if half < 2:
        return None
    random = generator(0, "repeated tokens")
    first = torch.multinomial(frequencies.expand(N_REPEATED, -1), half, generator=random)
    return torch.cat([first, first], 1)


def maps_as_data(
    task: Task, sublayers: Sequence[Sublayer], maps: dict[Sublayer, Tensor], examples: Examples
) -> list[dict[str, Any]]:
    """Each example with its tokens and the maps of all heads, ``weights`` (H, L, S) in 255ths, without padding."""
    found = []
    for index in range(count_examples(examples)):
        texts = {
            name: _texts(task, examples[key][index], _row(examples.get(padding), index))
            for name, key, padding in (("target", "tokens", "padding"), ("source", "source", "source_padding"))
            if key in examples
        }
        layers = []
        for sublayer in sublayers:
            if sublayer not in maps:
                continue
            weights = maps[sublayer][index]
            rows, columns = _texts_of(sublayer, texts)
            weights = weights[:, [at for at, text in enumerate(rows) if text is not None]]
            weights = weights[:, :, [at for at, text in enumerate(columns) if text is not None]]
            layers.append(
                {
                    "stack": sublayer.stack,
                    "layer": sublayer.layer,
                    "sublayer": sublayer.kind,
                    "queries": [text for text in rows if text is not None],
                    "keys": [text for text in columns if text is not None],
                    "weights": (weights.clamp(-1, 1) * 255).round().int().tolist(),
                }
            )
        found.append({"maps": layers})
    return found


def _row(padding: Tensor | None, index: int) -> Tensor | None:
    return None if padding is None else padding[index]


def _texts(task: Task, ids: Tensor, padding: Tensor | None) -> list[str | None]:
    """Each token of a sequence (L,) as text, as its number where the task has no text; None at padding."""
    texts: list[str | None] = []
    for at, id in enumerate(ids.tolist()):
        if padding is not None and not padding[at]:
            texts.append(None)
            continue
        try:
            texts.append(task.decode([id]))
        except (ValueError, IndexError, KeyError):
            texts.append(str(id))
    return texts


def _texts_of(sublayer: Sublayer, texts: Mapping[str, list[str | None]]) -> tuple[list[str | None], list[str | None]]:
    """The texts of the queries and of the keys of a sublayer."""
    target, source = texts["target"], texts.get("source", [])
    if sublayer.stack == "encoder":
        return source, source
    if sublayer.kind == "cross":
        return target, source
    if not sublayer.stack:  # also a prefix decoder, which reads both as one sequence
        target = [*source, *target]
    return target, target
