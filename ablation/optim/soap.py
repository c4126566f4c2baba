"""SOAP: Adam in the eigenbases of Shampoo.

Shapes: a gradient has axes of n features; the basis of an axis is (n, n), its columns are eigenvectors.
"""

from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from ..registry import register
from .decay import decay_groups
from .optimizer import Beta, NotNegative, Optimizer, Positive


@register("optimizer", "soap", source="Vyas et al. 2024, arXiv:2409.11321")
class SOAP(Optimizer):
    """Adam in rotated coordinates, in which the gradients of a matrix are uncorrelated along rows and columns.

    The bases are eigenvectors of running covariances (decay ``basis_beta``, null: the second of ``betas``), updated
    every ``every`` steps by one step of power iteration. An axis of more than ``largest_side`` features, such as a
    large vocabulary, is not rotated; vectors are not either, so AdamW updates them. The first step only computes the
    bases and updates no weight.
    """

    state_per_parameter = 2

    def __init__(
        self,
        *,
        lr: Positive = 3e-3,
        weight_decay: NotNegative = 0.01,
        betas: tuple[Beta, Beta] = (0.95, 0.95),
        basis_beta: Beta | None = None,
        eps: Positive = 1e-8,
        every: Annotated[int, Field(ge=1)] = 10,
        largest_side: Annotated[int, Field(ge=1)] = 4096,
        **options: Any,
    ):
        super().__init__(**options)
        self.lr, self.weight_decay, self.betas, self.eps = lr, weight_decay, betas, eps
        self.basis_beta = betas[1] if basis_beta is None else basis_beta
        self.every, self.largest_side = every, largest_side

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        groups = decay_groups(model.parameters(), self.weight_decay, self.decaying(model))
        return SOAPOptimizer(groups, self.lr, self.betas, self.basis_beta, self.eps, self.every, self.largest_side)


class SOAPOptimizer(torch.optim.Optimizer):
    """SOAP as a torch optimizer; torch has none. In ``state`` an axis that is not rotated has None as its basis."""

    def __init__(
        self,
        groups: list[dict[str, object]],
        lr: float,
        betas: tuple[float, float],
        basis_beta: float,
        eps: float,
        every: int,
        largest_side: int,
    ):
        super().__init__(groups, {"lr": lr, "betas": betas, "eps": eps})
        self.basis_beta, self.every, self.largest_side = basis_beta, every, largest_side

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        with torch.enable_grad():
            loss = None if closure is None else closure()
        for group in self.param_groups:
            for w in group["params"]:
                if w.grad is not None:
                    if self.state[w]:
                        self.update(w, group)
                    else:
                        self.initialize(w)
        return loss

    def initialize(self, w: Tensor) -> None:
        """The state of a weight, with the bases of its first gradient."""
        state, g = self.state[w], w.grad
        assert g is not None
        state["step"], state["m"], state["v"] = 0, torch.zeros_like(w), torch.zeros_like(w)
        state["covariances"] = [self.first_covariance(g, axis) for axis in range(g.dim())]
        state["bases"] = [None if c is None else eigenvectors(c) for c in state["covariances"]]

    def first_covariance(self, g: Tensor, axis: int) -> Tensor | None:
        if g.dim() < 2 or g.size(axis) > self.largest_side:
            return None
        return (1 - self.basis_beta) * covariance(g, axis)

    def update(self, w: Tensor, group: dict[str, Any]) -> None:
        state, g, (beta1, beta2) = self.state[w], w.grad, group["betas"]
        assert g is not None
        state["step"] += 1
        t, m, v, bases = state["step"], state["m"], state["v"], state["bases"]
        m.lerp_(g, 1 - beta1)
        v.lerp_(rotate(g, bases).square(), 1 - beta2)
        step = rotate(m, bases) / (1 - beta1**t) / ((v / (1 - beta2**t)).sqrt() + group["eps"])
        w.mul_(1 - group["lr"] * group["weight_decay"])
        w.sub_(group["lr"] * rotate(step, [None if basis is None else basis.T for basis in bases]))
        for axis, c in enumerate(state["covariances"]):
            if c is not None:
                c.lerp_(covariance(g, axis), 1 - self.basis_beta)
                if t % self.every == 0:
                    order, bases[axis] = power_iteration(bases[axis], c)
                    v.copy_(v.index_select(axis, order))


def covariance(g: Tensor, axis: int) -> Tensor:
    """The (n, n) matrix of inner products of a gradient's features along one axis."""
    rows = g.movedim(axis, 0).flatten(1)
    return rows @ rows.T


def rotate(x: Tensor, bases: list[Tensor | None]) -> Tensor:
    """``x`` in the coordinates of the bases, one per axis; None leaves an axis unchanged."""
    for basis in bases:  # each takes the first axis and makes it the last
        x = x.movedim(0, -1) if basis is None else torch.tensordot(x, basis, ([0], [0]))
    return x


def eigenvectors(c: Tensor) -> Tensor:
    """The eigenvectors of a covariance as columns, in the order of decreasing eigenvalues."""
    return torch.linalg.eigh(c).eigenvectors.flip(-1)


def power_iteration(basis: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    """The order of the columns by decreasing eigenvalue, and the basis after one step of power iteration by QR."""
    order = (basis * (c @ basis)).sum(0).argsort(descending=True)
    return order, torch.linalg.qr(c @ basis[:, order]).Q
