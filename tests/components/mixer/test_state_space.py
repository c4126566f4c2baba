"""The scan of a state space, at decays from almost none to all, in one chunk of tokens and over several."""

import pytest
import torch
from support.attention import normal
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from ablation.components.mixer.state_space import chunks, derivatives, recurrence, scan


def scan_by_token(u: Tensor, dt: Tensor, a: Tensor, b: Tensor, c: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    y = []
    for t in range(u.size(1)):
        h = torch.exp(torch.einsum("bf,fn->bfn", dt[:, t], a)) * h + torch.einsum(
            "bf,bn->bfn", dt[:, t] * u[:, t], b[:, t]
        )
        y.append(torch.einsum("bfn,bn->bf", h, c[:, t]))
    return torch.stack(y, 1), h


def given(texts: int, length: int, features: int, size: int, decay: float = 1.0) -> list[Tensor]:
    """u, dt, a, b, c and the state before; what fades in a token is about ``decay``, and differs by feature."""
    dt = 0.5 + torch.rand(texts, length, features, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    a = -decay * normal(2, features, size).sigmoid()
    b, c = normal(3, texts, length, size), normal(4, texts, length, size)
    return [normal(0, texts, length, features), dt, a, b, c, normal(5, texts, features, size)]


def results(scanned: tuple[Tensor, Tensor], tensors: list[Tensor]) -> list[Tensor]:
    """y, the last state, and the gradients of a function of both."""
    y, h = scanned
    return [y, h, *torch.autograd.grad((y * normal(6, *y.shape)).sum() + (h * normal(7, *h.shape)).sum(), tensors)]


def test_few_states_go_in_long_chunks_and_many_in_short_ones() -> None:
    x = torch.zeros(2, 100, 3)
    sizes = {n: [part.size(1) for (part,) in chunks(torch.zeros(n), x)] for n in (12, 2**14, 2**22)}
    assert sizes == {12: [64, 36], 2**14: [16] * 6 + [4], 2**22: [8] * 12 + [4]}


@pytest.mark.parametrize("decay", [1e-4, 1e-2, 1.0, 50.0])
@pytest.mark.parametrize(("texts", "length", "features", "size"), [(2, 150, 3, 4), (2, 30, 1100, 16), (3, 1, 5, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_scan_equals_the_recurrence_with_gradients_at_any_decay(
    dtype: torch.dtype, tolerance: float, texts: int, length: int, features: int, size: int, decay: float
) -> None:
    exact = [tensor.requires_grad_() for tensor in given(texts, length, features, size, decay)]
    rounded = [tensor.detach().to(dtype).requires_grad_() for tensor in exact]
    got, expected = results(scan(*rounded[:5], (rounded[5],)), rounded), results(scan_by_token(*exact), exact)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one.double(), other, rtol=0, atol=tolerance * max(1.0, other.abs().max().item()))


@pytest.mark.parametrize("decay", [1e-4, 1.0, 50.0])
def test_constant_input_gives_a_geometric_series(decay: float) -> None:
    """h_t = dt (1 - r^t) / (1 - r) with r = exp(-dt decay), for u = b = 1; over 1000 tokens, in float32."""
    length, dt = 1000, 0.5
    ones = torch.ones(1, length, 1)
    y, h = scan(ones, dt * ones, torch.tensor([[-decay]]), ones, ones)
    t = torch.arange(1, length + 1, dtype=torch.float64)
    expected = dt * torch.expm1(-dt * decay * t) / torch.expm1(torch.tensor(-dt * decay).double())
    torch.testing.assert_close(y[0, :, 0].double(), expected, rtol=1e-5, atol=0)
    assert h.shape == (1, 1, 1) and h.item() == y[0, -1, 0].item()


def test_full_decay_keeps_no_state_and_stays_finite() -> None:
    u, dt, a, b, c, before = (tensor.float().requires_grad_() for tensor in given(2, 70, 3, 4, 1e6))
    y, h = scan(u, dt, a, b, c, (before,))
    torch.testing.assert_close(y, dt * u * (b * c).sum(-1, keepdim=True))
    for gradient in torch.autograd.grad(y.sum() + h.sum(), (u, dt, a, b, c, before)):
        assert gradient.isfinite().all()


@pytest.mark.parametrize("decay", [1e-4, 1.0, 50.0])
def test_scan_gradients_equal_finite_differences(decay: float) -> None:
    tensors = [tensor.requires_grad_() for tensor in given(2, 67, 2, 2, decay)]
    assert torch.autograd.gradcheck(lambda *x: scan(*x[:5], (x[5],)), tensors, fast_mode=True)


def test_state_handed_on_is_that_after_the_last_token() -> None:
    u, dt, a, b, c, before = given(2, 90, 3, 4)
    whole, last = scan(u, dt, a, b, c, (before,))
    pieces, state = [], before
    for part in zip(*(x.split([70, 1, 19], 1) for x in (u, dt, b, c)), strict=True):
        y, state = scan(part[0], part[1], a, part[2], part[3], (state,))
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)
    assert last.shape == (2, 3, 4)


def test_tokens_with_zero_step_leave_the_state_bit_identical() -> None:
    """So is padding passed over."""
    u, dt, a, b, c, before = (tensor.float() for tensor in given(2, 90, 3, 4))
    _, last = scan(u, torch.zeros_like(dt), a, b, c, (before,))
    assert torch.equal(last, before)


def test_low_precision_inputs_are_computed_in_float32() -> None:
    u, dt, a, b, c, before = given(2, 70, 3, 4, 0.1)
    low = [*(tensor.bfloat16() for tensor in (u, dt, a, b, c)), before.float()]
    low, high = ([tensor.clone().requires_grad_() for tensor in tensors] for tensors in (low, [x.float() for x in low]))
    y, h = scan(*high[:5], (high[5],))
    expected = results((y.bfloat16(), h), high)
    with torch.autocast("cpu", torch.bfloat16):
        y, h = scan(*low[:5], (low[5],))
        assert (y.dtype, h.dtype) == (torch.bfloat16, torch.float32)
        got = results((y, h), low)
        assert scan(*low[:5])[1].dtype == torch.float32
    for one, other in zip(got, expected, strict=True):
        assert torch.equal(one, other.to(one.dtype))


@pytest.mark.slow
@pytest.mark.parametrize("length", [1, 64, 70])
def test_operators_pass_torchs_checks_of_their_registration(length: int) -> None:
    """Shapes and strides of results, that nothing is changed in place, and that derivatives are the same if traced."""
    u, dt, a, b, c, before = given(2, length, 3, 4)
    inputs = [u, dt, a.mT.contiguous(), b, c, before.mT.contiguous()]
    torch.library.opcheck(recurrence, [tensor.requires_grad_() for tensor in inputs])
    y, h, befores = (tensor.detach() for tensor in recurrence(*inputs))
    fixed = [tensor.detach() for tensor in inputs]
    torch.library.opcheck(derivatives, (normal(6, *y.shape), normal(7, *h.shape), *fixed[:5], befores))


@pytest.mark.slow
def test_compiled_it_is_one_call_and_gives_the_same() -> None:
    operators: list[str] = []

    def look(graph: torch.fx.GraphModule, example: list[Tensor]) -> torch.fx.GraphModule:
        operators.extend(str(node.target) for node in graph.graph.nodes if node.op == "call_function")
        return graph

    torch.compiler.reset()
    compiled = torch.compile(scan, backend=look, fullgraph=True)
    for texts, length in ((2, 200), (3, 90)):  # other sizes make torch leave them open in what it compiles
        u, dt, a, b, c, before = (tensor.requires_grad_() for tensor in given(texts, length, 3, 4))
        got = results(compiled(u, dt, a, b, c, (before,)), [u, dt, a, b, c, before])
        expected = results(scan(u, dt, a, b, c, (before,)), [u, dt, a, b, c, before])
        assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))
        assert sum("recurrence" in name for name in operators) == 1 and len(operators) < 20
        operators.clear()


def test_flops_are_counted_on_the_meta_device() -> None:
    inputs = [tensor.to("meta") for tensor in given(2, 70, 3, 4)[:5]]
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        y, h = scan(*inputs)
    assert y.shape == (2, 70, 3) and h.shape == (2, 3, 4)
    assert counter.get_total_flops() == 2 * 2 * 70 * 3 * 4
