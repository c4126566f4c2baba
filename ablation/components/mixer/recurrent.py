"""Recurrent networks: a state is rewritten token by token, through gates, by a map of itself.

Shapes: B batch, L tokens, M features of the model, W features of the state.
"""

from collections.abc import Callable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Generator, Tensor, nn

from ...registry import register
from ..base import BuildContext, Linear
from ..context import ForwardContext
from .base import RecurrentMixer, gather_tokens, tokens_first

State = tuple[Tensor, ...]


class LSTMCore(nn.LSTM):
    """torch's kernel: weights uniform within 1 / sqrt(W), shifts 0 but for that of the forget gate."""

    def __init__(self, d_model: int, width: int, forget_bias_init: float):
        super().__init__(d_model, width, batch_first=True)
        self.forget_bias_init = forget_bias_init

    @torch.no_grad()
    def initialize(self, generator: Generator) -> None:
        _draw(self, generator)
        self.get_parameter("bias_ih_l0")[self.hidden_size : 2 * self.hidden_size] = self.forget_bias_init


class GRUCore(nn.GRU):
    """torch's kernel: weights uniform within 1 / sqrt(W), shifts 0."""

    def __init__(self, d_model: int, width: int):
        super().__init__(d_model, width, batch_first=True)

    @torch.no_grad()
    def initialize(self, generator: Generator) -> None:
        _draw(self, generator)


def _draw(core: nn.RNNBase, generator: Generator) -> None:
    for name, parameter in core.named_parameters():
        if name.startswith("bias"):
            parameter.zero_()
        else:
            nn.init.uniform_(parameter, -(core.hidden_size**-0.5), core.hidden_size**-0.5, generator=generator)


class Recurrent(RecurrentMixer):
    """W_out h, h the states of the core; for an encoder those of two cores of half the width, one from either end."""

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
        if context.memory is not None:
            raise ValueError(f"{type(self).__name__} cannot look at a memory: it serves as no cross-attention")
        h = self.read(self.onward, x, context.padding) if context.cache is None else self.go_on(x, context)
        if self.backward_ is not None:
            padding = None if context.padding is None else context.padding.flip(1)
            h = torch.cat([h, self.read(self.backward_, x.flip(1), padding).flip(1)], -1)
        return self.out(h)

    def read(self, core: nn.RNNBase, x: Tensor, padding: Tensor | None) -> Tensor:
        """(B, L, M) -> the state after each token (B, L, W), from the start of the text; padding is passed over."""
        if padding is None:
            return self.step(core, x, None)[0]
        order = tokens_first(padding)
        return gather_tokens(self.step(core, gather_tokens(x, order), None)[0], order.argsort(-1))

    def go_on(self, x: Tensor, context: ForwardContext) -> Tensor:
        """The same, on from what was kept."""
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
        """Tokens (B, L, M) and what the core keeps, tensors (B, 1, W) -> states (B, L, W), and what it keeps now."""
        if state is None:
            h, last = core(x)
        else:
            first = tuple(tensor.transpose(0, 1).contiguous() for tensor in state)
            h, last = core(x, first if len(first) > 1 else first[0])
        return h, tuple(tensor.transpose(0, 1) for tensor in (last if isinstance(last, tuple) else (last,)))


@register("mixer", "lstm", source="Hochreiter and Schmidhuber 1997, Neural Computation 9(8)")
class LSTM(Recurrent):
    """W_out h with c = f * c + i * tanh(g), h = o * tanh(c); i, f, o, g of the token and the last h.

    The gates i, f, o are sigmoids. ``expansion`` is the features of the state over M: at 0.55 it has the parameters of
    attention. ``forget_bias_init`` is the shift of the gate f at the start: at 1 the past is kept at first (Jozefowicz et al.
    2015). Positions matter only where they are added to the embeddings. For an encoder one half of the state comes
    from either end of the text.
    """

    core = LSTMCore

    def __init__(
        self, build: BuildContext, *, expansion: Annotated[float, Field(gt=0)] = 0.55, forget_bias_init: float = 1.0
    ):
        super().__init__(build, expansion, forget_bias_init=forget_bias_init)


@register("mixer", "gru", source="Cho et al. 2014, arXiv:1406.1078")
class GRU(Recurrent):
    """W_out h with h = z * h + (1 - z) * tanh(W x + r * (U h + b)); r, z of the token and h.

    The gates r, z are sigmoids. ``expansion`` is the features of the state over M: at 2/3 it has the parameters of
    attention. Positions matter only where they are added to the embeddings. For an encoder one half of the state comes
    from either end of the text.
    """

    core = GRUCore

    def __init__(self, build: BuildContext, *, expansion: Annotated[float, Field(gt=0)] = 2 / 3):
        super().__init__(build, expansion)
