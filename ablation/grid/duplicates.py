"""Duplicates: two cells that are the same experiment, because they differ only in settings without effect."""

from collections.abc import Sequence

from ..config.experiment import ExperimentConfig
from ..config.identity import canonical, run_identity
from ..model.config import mixers_without_heads
from .file import Grid
from .plan import Cell


def refuse_duplicates(grid: Grid, cells: Sequence[Cell]) -> None:
    """Errors: InputError naming the levels of two cells that are the same experiment."""
    by_identity: dict[str, Cell] = {}
    for cell in cells:
        run = cell.runs[0]
        first = by_identity.setdefault(effective_identity(run.config, run.identity["fingerprint"]), cell)
        if first is cell:
            continue
        differing = [factor for factor in grid.factors if cell.levels[factor.path] is not first.levels[factor.path]]
        one, other = (
            " ".join(f"{factor.name}={duplicate.levels[factor.path].label}" for factor in differing)
            for duplicate in (first, cell)
        )
        path = max(duplicate.levels[differing[0].path].path for duplicate in (first, cell))
        raise grid.document.at(path, f"{one} and {other} are the same experiment{_why_equivalent(first, cell)}")


def effective_identity(config: ExperimentConfig, fingerprint: str | None) -> str:
    """The identity of a run, with every setting that has no effect at one fixed value."""
    model = config.model
    if mixers_without_heads(model):
        heads = {"n_heads": 1, "n_kv_heads": None}
    else:
        heads = {
            "n_kv_heads": model.n_kv_heads or model.n_heads,
            "d_head": model.d_head or model.d_model // model.n_heads,
        }
    model = model.model_copy(update=heads)
    return canonical(run_identity(config.model_copy(update={"model": model}), fingerprint))


def _why_equivalent(first: Cell, second: Cell) -> str:
    """The end of the error: why two configurations with different ids are the same experiment."""
    if first.runs[0].id == second.runs[0].id:
        return ""
    one, other = first.runs[0].config.model, second.runs[0].config.model
    names = mixers_without_heads(one)
    if names:
        return f" in effect: {names} has no heads"
    if one.d_head != other.d_head:
        return " in effect: d_head null means d_model / n_heads"
    return " in effect: n_kv_heads null means n_heads"
