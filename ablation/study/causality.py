"""Causality: whether a causal model predicts a token from later ones, so that its loss would say nothing.

Bundled components are tested for it; a component of one's own may mix along the sequence without knowing.
"""

from typing import TYPE_CHECKING, Any

from ..config.shared import OncePerObject
from ..errors import FAILURES

if TYPE_CHECKING:
    from ..config.experiment import ExperimentConfig
    from ..grid.plan import Plan
    from ..tasks.base import Task

TOLERANCE = 1e-5
"""Of the largest output: sums over the whole sequence may be rounded otherwise, though nothing of it is used."""
TOKENS, PARAMETERS = 64, 50_000_000
"""At most so many tokens are tried, and models of so many parameters: it is to take no time."""


def cells_that_see_later_tokens(plan: "Plan") -> list[str]:
    """The labels of cells in which the last token of a sequence changes the outputs before it.

    Large models are left out, and what does not run on a CPU: of both nothing is known.
    """
    built: OncePerObject[Any, Task] = OncePerObject(lambda task: task.build())
    known: dict[tuple[int, int], bool] = {}
    found = []
    for cell in plan.cells:
        config = cell.runs[0].config
        model = id(config.model), id(config.task)  # cells that have one in common share the object
        if model not in known:
            known[model] = cell.counts.parameters <= PARAMETERS and _sees_later_tokens(config, built(config.task))
        if known[model]:
            found.append(cell.label)
    return found


def _sees_later_tokens(config: "ExperimentConfig", task: "Task") -> bool:
    import torch

    from ..components.architecture.base import call_model
    from ..model.build import build_model
    from ..tasks.base import model_inputs

    inputs = model_inputs(task.validation())
    if set(inputs) != {"tokens"} or task.n_classes is not None or task.vocabulary < 2:
        return False
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes).eval()
    if not getattr(model, "causal", False):
        return False
    tokens = inputs["tokens"][:1, :TOKENS]
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % task.vocabulary
    try:
        with torch.no_grad():
            outputs, others = (call_model(model, {"tokens": each})[:, :-1] for each in (tokens, changed))
    except FAILURES:  # of whatever a component needs; what is wrong in it, training says with its place
        return False
    return bool((outputs - others).abs().max() > TOLERANCE * outputs.abs().max())
