"""Grid: from grid.yaml to cells and runs, without side effects."""
