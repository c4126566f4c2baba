# ruff: noqa: T201
"""How often tests claim a difference between two equal arms, with few seeds, and how often they find a real one.

    python tests/benchmarks/small_samples.py

Arms have normal noise of one standard deviation; ``rho`` is the correlation of the two arms over seeds. The numbers are
in docs/decisions/paired-t-and-no-bootstrap.md. It takes about ten seconds.
"""

import numpy
from scipy import stats

N_SAMPLES, N_BOOTSTRAPPED, N_RESAMPLES = 20_000, 4_000, 2_000
EFFECT = 2.0
"""The difference to be found, in standard deviations of a run."""


def main() -> None:
    random = numpy.random.default_rng(0)
    print("seeds  rho   false claims in %: paired t  Welch's t  bootstrap   power: paired t  Welch's t")
    for n_seeds in (3, 5, 8):
        for rho in (0.0, 0.5, 0.9):
            common = random.standard_normal((N_SAMPLES, n_seeds)) * rho**0.5
            a, b = (common + random.standard_normal((N_SAMPLES, n_seeds)) * (1 - rho) ** 0.5 for _ in range(2))
            paired, welch = claims_of_t(a, b)
            bootstrap = claims_of_bootstrap((a - b)[:N_BOOTSTRAPPED], random)
            paired_power, welch_power = claims_of_t(a + EFFECT, b)
            print(
                f"{n_seeds:5} {rho:4} {100 * paired:28.1f} {100 * welch:10.1f} {100 * bootstrap:10.1f}"
                f" {paired_power:17.2f} {welch_power:10.2f}"
            )


def claims_of_t(a: numpy.ndarray, b: numpy.ndarray) -> tuple[float, float]:
    """The fraction of samples (N, seeds) in which the paired t and Welch's t find a difference at 5 %."""
    paired = stats.ttest_rel(a, b, axis=1).pvalue
    welch = stats.ttest_ind(a, b, axis=1, equal_var=False).pvalue
    return float((paired < 0.05).mean()), float((welch < 0.05).mean())


def claims_of_bootstrap(differences: numpy.ndarray, random: numpy.random.Generator) -> float:
    """The fraction of samples (N, seeds) whose percentile interval of the mean leaves out zero."""
    n_seeds = differences.shape[1]
    means = [differences[:, random.integers(n_seeds, size=n_seeds)].mean(1) for _ in range(N_RESAMPLES)]
    low, high = numpy.percentile(means, [2.5, 97.5], axis=0)
    return float(((low > 0) | (high < 0)).mean())


if __name__ == "__main__":
    main()
