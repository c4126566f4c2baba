"""Statistics: numbers in, numbers out. Nothing here knows of grids, runs or files."""
