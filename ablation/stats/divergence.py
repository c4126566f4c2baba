"""Whether runs of a cell diverge more or less often than those of another: Boschloo's exact test of two counts."""

from functools import lru_cache


@lru_cache(maxsize=256)
def boschloo(diverged: int, runs: int, baseline_diverged: int, baseline_runs: int) -> float:
    """The two-sided p (Boschloo 1970), more powerful than Fisher's for few runs; 1 where all runs of both end alike."""
    from scipy.stats import boschloo_exact  # a second to import, so only where something is tested

    table = [[diverged, baseline_diverged], [runs - diverged, baseline_runs - baseline_diverged]]
    if not any(table[0]) or not any(table[1]):
        return 1.0
    return float(boschloo_exact(table).pvalue)
