"""Comparable: a cell without a measure of quality in common with the baseline is refused before any training."""

from ..errors import nearest
from .file import Grid
from .measured_on import NOT_COMPARED, differences, rank, same_text
from .plan import Cell


def refuse_incomparable(grid: Grid, cells: tuple[Cell, ...]) -> None:
    """Errors: InputError where a cell has no measure of quality in common with the baseline that is not allowed."""
    baseline, known = cells[0], set[str]()
    for cell in cells[1:]:
        sides = cell.runs[0].measured_on, baseline.runs[0].measured_on
        different = differences(*sides)
        known |= {key for side in sides for key in side if key not in NOT_COMPARED}
        refused = [key for key in different if key not in grid.config.allow]
        if not refused or same_text(*sides):
            continue
        changed = [factor for factor in grid.factors if cell.levels[factor.path] is not baseline.levels[factor.path]]
        factor = next((factor for factor in changed if factor.path.startswith("task")), changed[0])
        why = "; ".join(different[key] for key in refused)
        missing = next((side["text_missing"] for side in sides if side.get("text_missing")), None)
        what = f"{cell.label} has no measure of quality in common with the baseline: {why}"
        if missing is not None:
            what += f", and bits per character are no common measure: {missing}"
        raise grid.document.at(cell.levels[factor.path].path, f"{what}; `allow: [{', '.join(refused)}]` runs it")
    for number, key in enumerate(grid.config.allow):
        if known and key not in known:
            what = f"{key!r} is nothing that measures depend on; allowed: {', '.join(sorted(known, key=rank))}"
            raise grid.document.error(("allow", number), what + nearest(key, known))
