"""Measures of cells that were not measured on the same."""

from dataclasses import replace
from typing import Any

from support.comparisons import grid

from ablation.compare.comparison import compare
from ablation.report.footnotes import notes
from ablation.report.labels import interactions

BASELINE = [2.31, 2.35, 2.28, 2.40, 2.33]
BETTER = [value - 0.2 + 0.001 * seed for seed, value in enumerate(BASELINE)]
WORSE = [value + 0.2 + 0.001 * seed for seed, value in enumerate(BASELINE)]
CHAR = {"task": "text", "unit": "character of 60", "validation": "a", "further": {"2x": "c"}, "text": "t"}
WORD = {"task": "text", "unit": "word of 500", "validation": "b", "further": {"2x": "d"}, "text": "t"}


def measured(about: list[dict[str, Any]], rows: Any = (BASELINE, BETTER), **extra: float) -> tuple[Any, Any]:
    manifest, outcomes = grid(rows, **extra)
    for cell, on in zip(manifest["cells"], about, strict=True):
        cell["measured_on"] = on
    return manifest, outcomes


def test_losses_per_other_unit_have_no_verdict_but_a_reason() -> None:
    manifest, outcomes = measured([CHAR, {**WORD, "text": "other"}])
    metric = compare(manifest, outcomes).cells[1].metrics["loss"]
    assert metric.verdict is None and metric.contrast.interval is None
    reason = "not measured on the same: another unit (word of 500, baseline character of 60); other validation examples"
    assert metric.contrast.reason_missing == reason


def test_measure_of_the_text_takes_the_place_of_the_loss() -> None:
    manifest, outcomes = measured([CHAR, WORD])
    for number, (key, row) in enumerate(outcomes.items()):
        bits = {"bits_per_character": (3.0 if number < 5 else 2.0) + 0.01 * (number % 5) ** (1 + number // 5)}
        outcomes[key] = replace(row, metrics={**row.metrics, **bits}, directions={"bits_per_character": "lower"})
    found = compare(manifest, outcomes)
    assert (found.metric, found.instead_of) == ("bits_per_character", "loss")
    assert found.cells[1].metrics["bits_per_character"].verdict.label == "better"
    assert found.cells[1].metrics["loss"].contrast.reason_missing.startswith("not measured on the same")
    assert "loss cannot be compared in every cell; bits/character, of the same text, can" in notes(found, "")
    chosen = compare(manifest, outcomes, metric="loss")
    assert (chosen.metric, chosen.instead_of, chosen.cells[1].metrics["loss"].verdict) == ("loss", None, None)


def test_further_validation_sets_are_compared_by_their_own_examples() -> None:
    same_further = {**CHAR, "validation": "b"}
    manifest, outcomes = measured([CHAR, same_further], **{"loss@2x": 2.5})
    metrics = compare(manifest, outcomes, metric="loss@2x").cells[1].metrics
    assert metrics["loss@2x"].contrast.interval is not None and metrics["loss"].contrast.interval is None


def test_cells_measured_on_the_same_and_former_grids_are_compared() -> None:
    for about in ([CHAR, {**CHAR, "text_missing": None}], [{}, {}], [CHAR, {}]):
        assert compare(*measured(about)).cells[1].metrics["loss"].verdict.label == "better"


def test_effects_over_cells_measured_on_other_things_are_absent() -> None:
    factors = {"model.a": ["0", "1"], "task.level": ["char", "word"]}
    manifest, outcomes = grid([BASELINE, BETTER, WORSE, BETTER], factors)
    for cell in manifest["cells"]:
        cell["measured_on"] = {**(CHAR if cell["levels"]["task.level"] == "char" else WORD), "text": None}
    found = compare(manifest, outcomes)
    assert not any(effect.contrasts["loss"].delta for effect in found.effects) and not interactions(found)
    assert all(effect.verdict is None or effect.verdict.label == "inconclusive" for effect in found.effects)
