"""Duplicates: two cells that are the same experiment, because they differ only in settings without effect."""

from collections.abc import Sequence
from typing import Any

from ..config.identity import SharedIdentities, canonical, identity_fields
from ..config.shared import OncePerObject
from ..model.config import ModelConfig, mixers_without_heads
from .file import Grid
from .plan import Cell


def refuse_duplicates(grid: Grid, cells: Sequence[Cell], identities: SharedIdentities) -> None:
    """Errors: InputError naming the levels of two cells that are the same experiment."""
    effective = OncePerObject[ModelConfig, dict[str, Any]](lambda model: identity_fields(_effective(model)))
    written = OncePerObject[ModelConfig, str](lambda model: canonical(effective(model)))
    alike: dict[str, set[str]] = {}
    for model in {id(cell.runs[0].config.model): cell.runs[0].config.model for cell in cells}.values():
        alike.setdefault(written(model), set()).add(canonical(identity_fields(model)))
    by_identity: dict[str | tuple[str, ...], Cell] = {}
    for cell in cells:
        run = cell.runs[0]
        identity: str | tuple[str, ...] = run.id
        if len(alike[written(run.config.model)]) > 1:  # another model is the same in effect, but not by its id
            fields = identities.identity(run.config, run.fingerprint)
            identity = identities.texts({**fields, "model": effective(run.config.model)})
        first = by_identity.setdefault(identity, cell)
        if first is cell:
            continue
        differing = [factor for factor in grid.factors if cell.levels[factor.path] is not first.levels[factor.path]]
        one, other = (
            " ".join(f"{factor.name}={duplicate.levels[factor.path].label}" for factor in differing)
            for duplicate in (first, cell)
        )
        path = max(duplicate.levels[differing[0].path].path for duplicate in (first, cell))
        raise grid.document.at(path, f"{one} and {other} are the same experiment{_why_equivalent(first, cell)}")


def _effective(model: ModelConfig) -> ModelConfig:
    """A model with every setting that has no effect at one fixed value."""
    if mixers_without_heads(model):
        heads = {"n_heads": 1, "n_kv_heads": None}
    else:
        heads = {
            "n_kv_heads": model.n_kv_heads or model.n_heads,
            "d_head": model.d_head or model.d_model // model.n_heads,
        }
    return model.model_copy(update=heads)


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
