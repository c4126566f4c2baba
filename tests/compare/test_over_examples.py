"""The interval of a cell over seeds and examples, from the losses that its runs kept."""

from collections.abc import Callable
from dataclasses import replace

import numpy
import pytest
from support.comparisons import grid

from ablation.compare.comparison import compare
from ablation.compare.over_examples import over_examples
from ablation.compare.records import Comparison
from ablation.stats.contrast import paired
from ablation.stats.crossed import crossed
from ablation.store.example_losses import ExampleLosses
from ablation.store.results import RunResult

COUNTS = numpy.arange(1, 41, dtype=numpy.float32)
Change = Callable[[int, int, RunResult], RunResult]


def losses(cells: int, seeds: int) -> numpy.ndarray:
    """Sums of losses by cell, seed and example: a cell's effect differs from example to example."""
    random = numpy.random.default_rng(0)
    means = (
        2
        + random.normal(size=(1, seeds, 1)) * 0.05
        + random.normal(size=(cells, seeds, 1)) * 0.02
        + random.normal(size=(cells, 1, len(COUNTS))) * 0.2
        + random.normal(size=(cells, seeds, len(COUNTS))) * 0.1
    )
    return (means * COUNTS).astype(numpy.float32)


def made(cells: int = 2, seeds: int = 5, change: Change = lambda cell, seed, run: run, **settings) -> Comparison:
    sums = losses(cells, seeds)
    manifest, outcomes = grid((sums.sum(2) / COUNTS.sum()).tolist())
    for number, cell in enumerate(manifest["cells"]):
        for seed, run in enumerate(cell["runs"]):
            result = replace(outcomes[run["id"]], example_losses=ExampleLosses(sums[number, seed], COUNTS))
            outcomes[run["id"]] = change(number, seed, result)
    return compare({**manifest, **settings}, outcomes)


def test_interval_is_about_the_difference_of_the_table():
    comparison = made()
    found = over_examples(comparison, comparison.cells[1])
    contrast = comparison.cells[1].metrics["loss"].contrast
    assert found is not None and contrast is not None and contrast.interval is not None
    assert found.mean == pytest.approx(contrast.delta, abs=1e-5)
    assert found.interval[0] < contrast.interval[0] < contrast.interval[1] < found.interval[1]
    assert (found.n_seeds, found.n_examples, found.n_blocks) == (5, 40, 16)
    sums = losses(2, 5).astype(float)
    expected = crossed(sums[1] - sums[0], COUNTS)
    assert expected is not None and found.interval == pytest.approx(expected.interval)


def test_baseline_has_none():
    comparison = made()
    assert over_examples(comparison, comparison.baseline) is None


def other_counts(run: RunResult) -> RunResult:
    assert run.example_losses is not None
    return replace(run, example_losses=ExampleLosses(run.example_losses.sums, COUNTS + 1))


def fewer(run: RunResult) -> RunResult:
    assert run.example_losses is not None
    return replace(run, example_losses=ExampleLosses(run.example_losses.sums[:-1], COUNTS[:-1]))


@pytest.mark.parametrize("where", [0, 1], ids=["baseline", "cell"])
@pytest.mark.parametrize(
    "change",
    [
        lambda run: replace(run, example_losses=None),
        lambda run: replace(run, status="diverged", initial_loss=4.0),
        other_counts,
        fewer,
    ],
    ids=["not kept", "diverged", "other examples", "fewer examples"],
)
def test_one_run_that_cannot_be_paired_leaves_no_interval(where: int, change) -> None:
    comparison = made(change=lambda cell, seed, run: change(run) if (cell, seed) == (where, 3) else run)
    assert comparison.cells[1].metrics["loss"].contrast.interval is not None
    assert over_examples(comparison, comparison.cells[1]) is None


def test_another_measure_than_the_loss_has_none():
    comparison = made(change=lambda cell, seed, run: replace(run, metrics={**run.metrics, "perplexity": 2.0 + seed}))
    assert over_examples(comparison, comparison.cells[1]) is not None
    other = replace(comparison, metric="perplexity")
    assert over_examples(other, other.cells[1]) is None


def test_seeds_beyond_the_last_look_do_not_count():
    comparison = made(seeds=7, interim_looks=[5, 8, 12])
    found = over_examples(comparison, comparison.cells[1])
    sums = losses(2, 7).astype(float)[:, :5]
    expected = crossed(sums[1] - sums[0], COUNTS, confidence=0.99)
    assert found is not None and expected is not None and found.interval == pytest.approx(expected.interval)


def test_shared_variance_is_that_of_the_verdict():
    comparison = made(cells=8)
    shared = [cell for cell in comparison.cells[1:] if cell.metrics["loss"].verdict.variance]
    assert shared
    for cell in shared:
        found, verdict = over_examples(comparison, cell), cell.metrics["loss"].verdict
        assert found is not None
        assert found.standard_error**2 >= verdict.variance.standard_error**2
        by_seed = (losses(8, 5).astype(float) / COUNTS.sum()).sum(2)
        index = comparison.cells.index(cell)
        own = paired(by_seed[index].tolist(), by_seed[0].tolist())
        assert found.mean == pytest.approx(own.delta, abs=1e-6)
        alone = crossed(losses(8, 5).astype(float)[index] - losses(8, 5)[0], COUNTS)
        assert alone is not None and found.seeds > alone.seeds  # sharing raises small variances only
