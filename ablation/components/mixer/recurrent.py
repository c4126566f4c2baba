"""Recurrent networks: a state is updated token by token, through gates, by a map of the token and of itself.

Shapes: B batch, L tokens, M features of the model, W features of the state.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from ...registry import register
from ..base import BuildContext, Linear, full_precision
from ..context import ForwardContext
from .base import RecurrentMixer, gather_tokens, tokens_first

State = tuple[Tensor, ...]


class LSTMCore(nn.LSTM):
    """torch's LSTM; initial weights are uniform within 1 / sqrt(W), biases 0 except that of the forget gate."""

    def __init__(self, d_model: int, width: int, forget_bias_init: float):
        super().__init__(d_model, width, batch_first=True)
        self.forget_bias_init = forget_bias_init

    @torch.no_grad()
    def initialize(self, generator: Generator) -> None:
        init_weights(self, generator)
        self.get_parameter("bias_ih_l0")[self.hidden_size : 2 * self.hidden_size] = self.forget_bias_init


class GRUCore(nn.GRU):
    """torch's GRU; initial weights are uniform within 1 / sqrt(W), biases 0."""

    def __init__(self, d_model: int, width: int):
        super().__init__(d_model, width, batch_first=True)

    @torch.no_grad()
    def initialize(self, generator: Generator) -> None:
        init_weights(self, generator)


def init_weights(core: nn.RNNBase, generator: Generator) -> None:
    """Weights uniform within 1 / sqrt(W), biases 0."""
    for name, parameter in core.named_parameters():
        if name.startswith("bias"):
            parameter.zero_()
        else:
            nn.init.uniform_(parameter, -(core.hidden_size**-0.5), core.hidden_size**-0.5, generator=generator)


class Recurrent(RecurrentMixer):
    """W_out h, h the states of the core; in an encoder those of two cores of half the width, one per direction."""

    bidirectional = True
    uses_heads = False
    core: ClassVar[Callable[..., nn.RNNBase]]

    def __init__(self, build: BuildContext, expansion: float, **hyper: float):
        super().__init__(build)
        width = max(1, round(expansion * build.d_model / (1 if build.causal else 2)))
        self.onward = self.core(build.d_model, width, **hyper)
        self.backward_ = None if build.causal else self.core(build.d_model, width, **hyper)
        self.out = Linear(width if build.causal else 2 * width, build.d_model, bias=False, role="out_projection")

    def forward(self, x: Tensor, context: ForwardContext) -> Tensor:
        h = self.read(self.onward, x, context.padding) if context.cache is None else self.continue_from(x, context)
        if self.backward_ is not None:
            padding = None if context.padding is None else context.padding.flip(1)
            h = torch.cat([h, self.read(self.backward_, x.flip(1), padding).flip(1)], -1)
        return self.out(h)

    def read(self, core: nn.RNNBase, x: Tensor, padding: Tensor | None) -> Tensor:
        """(B, L, M) -> the state after each token (B, L, W), from the start of the sequence; padding is skipped."""
        if padding is None:
            return self.step(core, x, None)[0]
        order = tokens_first(padding)
        return gather_tokens(self.step(core, gather_tokens(x, order), None)[0], order.argsort(-1))

    def continue_from(self, x: Tensor, context: ForwardContext) -> Tensor:
        """The same, (B, L, M) -> (B, L, W), from the state in the cache."""
        state = self.state(context)
        if context.padding is None:
            h, state = self.step(self.onward, x, state)
            self.update_state(context, *state)
            return h
        states = []
        for token, is_token in zip(x.unbind(1), context.padding.unbind(1), strict=True):
            h, new = self.step(self.onward, token[:, None], state)
            before = tuple(map(torch.zeros_like, new)) if state is None else state
            state = tuple(torch.where(is_token[:, None, None], a, b) for a, b in zip(new, before, strict=True))
            states.append(h)
        assert state is not None
        self.update_state(context, *state)
        return torch.cat(states, 1)

    @staticmethod
    def step(core: nn.RNNBase, x: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Tokens (B, L, M) and the core's state, tensors (B, 1, W) -> h of each token (B, L, W), and the new state.

        In the precision of the weights: autocast on a CPU asks oneDNN for an LSTM in 16 bits, also where the CPU has
        no instructions for one, which is an error.
        """
        with full_precision(x):
            x = x.to(core.get_parameter("weight_hh_l0").dtype)
            initial = None if state is None else tuple(each.transpose(0, 1).contiguous() for each in state)
            h, last = core(x, initial if initial is None or len(initial) > 1 else initial[0])
        return h, tuple(tensor.transpose(0, 1) for tensor in (last if isinstance(last, tuple) else (last,)))


@register("mixer", "lstm", source="Hochreiter and Schmidhuber 1997, Neural Computation 9(8)")
class LSTM(Recurrent):
    """W_out h with c = f * c + i * tanh(g), h = o * tanh(c); i, f, o, g of the token and the last h.

    The gates i, f, o are sigmoids. The state has ``expansion`` x M features; 0.55 gives as many parameters as
    attention. ``forget_bias_init`` is the initial bias of the gate f: at 1 it forgets little at first (Jozefowicz et
    al. 2015). Positions have an effect only where they are added to the embeddings. In an encoder each half of the
    state reads the sequence in one direction.
    """

    core = LSTMCore

    def __init__(
        self, build: BuildContext, *, expansion: Annotated[float, Field(gt=0)] = 0.55, forget_bias_init: float = 1.0
    ):
        super().__init__(build, expansion, forget_bias_init=forget_bias_init)


@register("mixer", "gru", source="Cho et al. 2014, arXiv:1406.1078")
class GRU(Recurrent):
    """W_out h with h = z * h + (1 - z) * tanh(W x + r * (U h + b)); r, z of the token and h.

    The gates r, z are sigmoids. The state has ``expansion`` x M features; 2/3 gives as many parameters as attention.
    Positions have an effect only where they are added to the embeddings. In an encoder each half of the state reads the
    sequence in one direction.
    """

    core = GRUCore

    def __init__(self, build: BuildContext, *, expansion: Annotated[float, Field(gt=0)] = 2 / 3):
        super().__init__(build, expansion)
