"""Statistics: numbers in, numbers out. Nothing here knows grids, runs or files."""
