"""From grid.yaml to cells and runs, without side effects."""
