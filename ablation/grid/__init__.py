"""Grid: from grid.yaml to cells and runs."""

from .file import Grid, read_grid
from .plan import Cell, Plan, Run, make_plan

__all__ = ["Cell", "Grid", "Plan", "Run", "make_plan", "read_grid"]
