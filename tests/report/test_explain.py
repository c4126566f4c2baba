"""``ablate explain``: what each test rests on, also where the grid is incomplete."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy
import pytest
from scipy.stats import ttest_1samp
from support.studies import FACTORS, Ends, as_json, flat, made, remade

from ablation.compare.over_examples import over_examples
from ablation.report import explain
from ablation.report.labels import effect as label_of_effect
from ablation.store.example_losses import ExampleLosses
from ablation.store.results import RunResult

TWO = {path: FACTORS[path] for path in ("model.block", "model.position")}


def shown(comparison, capsys: pytest.CaptureFixture[str]) -> str:
    explain.show(explain.reasons(comparison, comparison.cells[3]))
    return flat(capsys.readouterr().out)


def ended(status) -> Callable[[], RunResult | None]:
    return lambda: None if status is None else RunResult("", status, reason="no luck")


@pytest.mark.parametrize(
    ("status", "words"), [(None, "not finished"), ("running", "not finished"), ("killed", "failed"), ("oom", "failed"),
                          ("failed", "failed"), ("diverged", "diverged")],
)  # fmt: skip
@pytest.mark.parametrize("seeds", [[0, 1, 2], [1]])
@pytest.mark.parametrize("cell", range(4))
def test_effects_of_factors_need_every_run_on_the_way(
    capsys: pytest.CaptureFixture[str], cell: int, seeds: list[int], status, words: str
) -> None:
    ends: Ends = {(cell, seed): ended(status)() for seed in seeds}
    comparison = made(ends=ends, factors=TWO)
    printed = shown(comparison, capsys)
    label = comparison.cells[cell].label
    runs = f"{label}: {len(seeds)} of 3 runs {words}"
    assert (
        f"no effects of single factors: they need every run of the 4 cells from the baseline to it; {runs}" in printed
    )
    assert "Shapley" not in printed and explain.reasons(comparison, comparison.cells[3])["attribution"] == []


def test_diverged_run_with_a_loss_leaves_the_effects(capsys: pytest.CaptureFixture[str]) -> None:
    diverged = RunResult("", "diverged", {"loss": 9.0}, reason="no luck", initial_loss=2.5)
    assert "Shapley" in shown(made(ends={(1, 0): diverged}, factors=TWO), capsys)


def test_cell_with_one_change_has_no_note_on_its_effects() -> None:
    comparison = made(ends={(1, 0): None}, factors=TWO)
    assert explain.reasons(comparison, comparison.cells[1])["attribution_note"] is None


def test_cells_with_other_seeds_leave_the_effects_out(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(factors=TWO, seeds=4)
    early = comparison.cells[1]
    cells = list(comparison.cells)
    cells[1] = replace(early, seeds=early.seeds[:3], results=early.results[:3])
    printed = shown(replace(comparison, cells=tuple(cells)), capsys)
    assert "the 4 cells from the baseline to it have different numbers of seeds" in printed


def printed(comparison, cell: int, capsys: pytest.CaptureFixture[str]) -> str:
    explain.show(explain.reasons(comparison, comparison.cells[cell]))
    return flat(capsys.readouterr().out)


def quality(comparison, cell: int):
    return json.loads(json.dumps(explain.reasons(comparison, comparison.cells[cell])))["lenses"][0]


def test_shared_variance_is_shown_beside_the_own_one(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(seeds=5)
    verdicts = [cell.metrics["loss"].verdict for cell in comparison.cells]
    number = next(n for n, verdict in enumerate(verdicts) if verdict and verdict.variance)
    lens, variance = quality(comparison, number), verdicts[number].variance
    own = ttest_1samp(lens["differences"], 0)
    assert lens["variance"]["own_p"] == pytest.approx(own.pvalue)
    assert lens["variance"]["own_standard_error"] == pytest.approx(numpy.std(lens["differences"], ddof=1) / 5**0.5)
    assert lens["variance"]["standard_error"] == variance.standard_error
    assert lens["p"] != pytest.approx(own.pvalue) and lens["variance"]["shared"]
    assert (
        f"variance shared with the other cells: standard error {variance.standard_error:.4g} on {variance.degrees:.3g} "
        f"degrees of freedom (own: {variance.own_standard_error:.4g} on 4, p = {own.pvalue:.3g})"
    ) in printed(comparison, number, capsys)


def test_own_variance_has_no_line_on_sharing(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(seeds=5, variance="own")
    assert quality(comparison, 1)["variance"] is None
    assert "shared" not in printed(comparison, 1, capsys)


def test_test_against_the_margin_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(seeds=5)
    verdict, lens = comparison.cells[4].metrics["loss"].verdict, quality(comparison, 4)
    assert (lens["p_exceeds"], lens["p_exceeds_holm"]) == (verdict.p_exceeds, verdict.p_exceeds_holm)
    said = f"beyond ±0.01: p = {verdict.p_exceeds:.3g}, after Holm {verdict.p_exceeds_holm:.3g}"
    assert said in printed(comparison, 4, capsys) and verdict.exceeds_margin


def test_divergence_has_its_test(capsys: pytest.CaptureFixture[str]) -> None:
    ends: Ends = {(1, seed): RunResult("", "diverged", {"loss": 9.0}, initial_loss=4.0) for seed in range(5)}
    comparison = made(seeds=5, ends=ends, factors=TWO)
    test, found = comparison.cells[1].divergence, explain.reasons(comparison, comparison.cells[1])["divergence"]
    assert (found["p"], found["p_holm"], found["differs"]) == (test.p, test.p_holm, test.differs)
    text = printed(comparison, 1, capsys)
    assert f"diverged: 5 of 5 runs, 0 of 5 of the baseline; Boschloo's test: p = {test.p:.3g}, after Holm over" in text
    assert f"{comparison.family} comparisons {test.p_holm:.3g}; significant below 0.05" in text
    assert explain.reasons(comparison, comparison.cells[2])["divergence"] is None
    assert "Boschloo" not in printed(comparison, 2, capsys)


def test_interval_over_examples_is_shown_and_is_no_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    plain = made(seeds=5)
    random = numpy.random.default_rng(0)
    of_cells = random.normal(size=(8, 40)) * 0.3

    def losses(number: int, run: RunResult) -> ExampleLosses:
        by_example = run.metrics["loss"] + of_cells[number] - of_cells[number].mean()
        return ExampleLosses(by_example.astype(numpy.float32), numpy.ones(40, dtype=numpy.float32))

    comparison = remade(plain, example_losses=losses)
    found = over_examples(comparison, comparison.cells[4])
    assert found is not None
    low, high = found.interval
    lens = quality(comparison, 4)
    assert lens["over_examples"]["interval"] == [low, high] and lens["over_examples"]["added"] == found.added
    text = printed(comparison, 4, capsys)
    assert f"over seeds and validation examples: [{low:+.5g}, {high:+.5g}]; 40 examples add" in text
    assert f"{100 * found.added:.0f} % to the standard error" in text
    before = quality(plain, 4)
    assert before["over_examples"] is None and "validation examples" not in printed(plain, 4, capsys)
    assert {**lens, "over_examples": None} == before
    cells, of_plain = as_json(comparison)["cells"], as_json(plain)["cells"]
    assert cells[4]["over_examples"]["interval"] == [low, high] and cells[0]["over_examples"] is None
    assert [{**cell, "over_examples": None} for cell in cells] == of_plain


def test_main_effect_and_interaction_are_explained_by_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = made(factors=TWO)
    for effect in (*comparison.effects, *comparison.interactions):
        explain.show_effect(explain.reasons_of_effect(comparison, effect))
        printed = flat(capsys.readouterr().out)
        contrast = effect.contrasts[comparison.metric]
        assert contrast.delta is not None and contrast.interval is not None
        assert printed.startswith(label_of_effect(effect))
        assert f"mean {contrast.delta:+.5g}, interval [{contrast.interval[0]:+.5g}" in printed
        assert effect.verdict is not None and effect.verdict.sentence in printed


def test_lines_that_are_too_long_stay_indented(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    explain.show(explain.reasons(made(factors=TWO), made(factors=TWO).cells[3]))
    lines = capsys.readouterr().out.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("quality:"))
    end = next(number for number in range(start, len(lines)) if not lines[number].strip())
    indented = lines[start + 2 : end]
    assert len(indented) > 3 and all(line.startswith("  ") for line in indented)
