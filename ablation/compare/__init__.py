"""The comparison of a grid's runs: cells against the baseline, main effects, verdicts; plain data in and out."""
