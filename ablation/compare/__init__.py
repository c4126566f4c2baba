"""What the runs of a grid say: cells against the baseline, main effects, verdicts; plain data in, plain data out."""
