"""Sequences of several lengths, padded in front, continue together as each does alone."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.components import MODEL_COMPONENTS, settings_for
from torch import Tensor, nn

from ablation.model.generate import SamplingParams, generate

LONGEST, N_NEW = 8, 9
TOKENS = torch.randint(11, (3, LONGEST), generator=torch.Generator().manual_seed(1))
GREEDY = SamplingParams(temperature=0)
OTHERS: dict[str, dict[str, Any]] = {
    "window": {"model.mixer": {"name": "attention", "window": 3}, "model.position": "rope"},
    "relative to the middle": {"model.position": "xpos", "model.n_layers": 3},
    "experts": {"model.feedforward": "moe", "model.position": "alibi"},
}
CASES = {**{f"{slot} {name}": settings_for(slot, name) for slot, name in MODEL_COMPONENTS}, **OTHERS}
LENGTHS = st.lists(st.integers(1, LONGEST), min_size=3, max_size=3)


def padded(lengths: list[int]) -> Tensor:
    """Where there is a token, (3, 8)."""
    return torch.arange(LONGEST) >= LONGEST - torch.tensor(lengths)[:, None]


def check(model: nn.Module, lengths: list[int], end: int | None, **inputs: Tensor) -> None:
    padding = padded(lengths)
    together = generate(model, TOKENS.where(padding, 7), N_NEW, GREEDY, end=end, padding=padding, **inputs)
    for row, length in enumerate(lengths):
        own = {name: tensor[row : row + 1] for name, tensor in inputs.items()}
        alone = generate(model, TOKENS[row : row + 1, LONGEST - length :], N_NEW, GREEDY, end=end, **own)[0, length:]
        given, rest = together[row, LONGEST:].split([len(alone), together.size(1) - LONGEST - len(alone)])
        assert torch.equal(given, alone) and set(rest.tolist()) <= {end}, (row, length)


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest, make_model: Any) -> nn.Module:
    """Built once for all the lengths that are tried."""
    return make_model(CASES[request.param])  # type: ignore[no-any-return]


@pytest.mark.parametrize("model", CASES, indirect=True)
@settings(max_examples=4)
@given(lengths=LENGTHS, end=st.sampled_from([None, 3]))
def test_left_padded_batch_continues_as_each_row_alone(model: nn.Module, lengths: list[int], end: int | None) -> None:
    """Over a cache where the components have one, and beyond the positions that end."""
    check(model, lengths, end)


@pytest.mark.parametrize("position", ["rope", "learned", "t5"])
@pytest.mark.parametrize("mixer", ["attention", "lstm"])
@pytest.mark.parametrize("architecture", ["encoder_decoder", "prefix_decoder"])
def test_left_padded_targets_continue_after_their_source(
    architecture: str, mixer: str, position: str, make_model: Any
) -> None:
    choice = {"name": architecture, "prefix": "causal"} if architecture == "prefix_decoder" else architecture
    changes = {"model.architecture": choice, "model.mixer": mixer, "model.position": position}
    if mixer == "lstm" and position != "learned":
        changes["model.layers"] = [{"last": 1, "set": {"mixer": "attention"}}]  # which has a use for the position
    model = make_model(changes)
    source = TOKENS.flip(0)
    check(model, [8, 3, 1], None, memory=model.encode(source), source_padding=padded([8, 5, 2]).flip(1))


class WithoutPadding(nn.Module):
    def forward(self, tokens: Tensor) -> Tensor:
        return torch.eye(11)[tokens]


def test_what_cannot_be_padded_is_refused_in_one_line(make_model: Any) -> None:
    model, padding = make_model(), padded([8, 3, 1])
    with pytest.raises(ValueError, match="a sequence ends with padding: pad in front"):
        generate(model, TOKENS, 3, GREEDY, padding=padding.flip(1))
    with pytest.raises(ValueError, match=r"padding has the shape \(3, 7\), the tokens \(3, 8\)"):
        generate(model, TOKENS, 3, GREEDY, padding=padding[:, 1:])
    with pytest.raises(ValueError, match=r"WithoutPadding.forward does not take 'padding'.*it takes tokens"):
        generate(WithoutPadding(), TOKENS, 3, GREEDY, padding=padding)
