"""Two studies compared: which cells are matched, the difference paired by seed, and what else differs."""

import random
from dataclasses import replace
from typing import Any

import pytest
from scipy.stats import ttest_rel
from statsmodels.stats.multitest import multipletests
from support.comparisons import grid

from ablation.compare.two_studies import StudyRuns, TwoStudies, compare_studies, match_cells
from ablation.errors import InputError
from ablation.report.render import FORMATS, render_two_studies
from ablation.report.table import DIFFERENCE, SHORT_DIFFERENCE
from ablation.report.two_studies import sections

CHANCE = random.Random(0)
LOSSES = [[CHANCE.gauss(2, 0.1) for _ in range(5)] for _ in range(3)]
SHIFTED = [
    [loss + shift + CHANCE.gauss(0, 0.01) for loss in row] for row, shift in zip(LOSSES, (0, 0.1, -0.3), strict=True)
]


def study(name: str, losses: Any, factors: Any = None, identity: Any = None, **run: Any) -> StudyRuns:
    """A study with these losses; every run is identified by ``identity`` and its cell's settings."""
    manifest, results = grid(losses, factors)
    identities = {}
    for cell in manifest["cells"]:
        for each in cell["runs"]:
            model = {path.partition(".")[2]: value for path, value in cell["settings"].items()}
            identities[each["id"]] = {"fingerprint": "data", **(identity or {}), "model": {"norm": "plain", **model}}
    results = {run_id: replace(result, **run) for run_id, result in results.items()}
    return StudyRuns(name, manifest, results, identities, store=name)


def difference_of(result: TwoStudies, what: str) -> tuple[str, str]:
    (found,) = [each for each in result.differences if each.what == what]
    return found.a, found.b


def test_difference_is_the_paired_t_of_b_minus_a() -> None:
    result = compare_studies(study("a", LOSSES), study("b", SHIFTED))
    for number, pair in enumerate(result.pairs):
        contrast = pair.cells[1].metrics["loss"].contrast
        expected = ttest_rel(SHIFTED[number], LOSSES[number])
        assert contrast is not None and contrast.interval is not None
        assert contrast.p == pytest.approx(expected.pvalue)
        assert contrast.interval == pytest.approx(tuple(expected.confidence_interval()))


def test_verdicts_are_corrected_over_all_cells() -> None:
    result = compare_studies(study("a", LOSSES), study("b", SHIFTED))
    verdicts = [pair.cells[1].metrics["loss"].verdict for pair in result.pairs]
    ps = [ttest_rel(b, a).pvalue for a, b in zip(LOSSES, SHIFTED, strict=True)]
    assert [verdict.p_holm for verdict in verdicts if verdict] == pytest.approx(multipletests(ps, method="holm")[1])
    assert [verdict.label for verdict in verdicts if verdict][1:] == ["worse", "better"]
    assert all(pair.family == 3 for pair in result.pairs)


def test_seeds_are_paired_by_their_number_not_by_their_place() -> None:
    later = study("b", [row[1:] for row in SHIFTED])
    manifest = {**later.manifest, "seeds": [11, 12, 13, 14]}
    manifest["cells"] = [
        {**cell, "runs": [{**run, "seed": run["seed"] + 1} for run in cell["runs"]]} for cell in manifest["cells"]
    ]
    result = compare_studies(study("a", LOSSES), replace(later, manifest=manifest))
    assert (result.seeds, result.seeds_only_a, result.seeds_only_b) == ((11, 12, 13, 14), (10,), ())
    contrast = result.pairs[0].cells[1].metrics["loss"].contrast
    assert contrast is not None and contrast.p == pytest.approx(ttest_rel(SHIFTED[0][1:], LOSSES[0][1:]).pvalue)


def test_cells_are_matched_by_what_a_study_does_not_vary_too() -> None:
    one = study("a", LOSSES[:2], {"model.block": ["pre", "post"]})
    two = study("b", SHIFTED + SHIFTED[:1], {"model.block": ["pre", "post"], "model.norm": ["rms", "plain"]})
    matched, only_a, only_b = match_cells(one, two)
    assert [(a["label"], b["label"]) for a, b in matched] == [("pre", "pre plain"), ("post", "post plain")]
    assert (only_a, only_b) == ((), ("pre rms", "post rms"))


def test_differences_name_settings_data_code_and_machine() -> None:
    one = study("a", LOSSES, identity={"training": {"max_steps": 10}}, code={"source": "1"}, record={"torch": "2.1"})
    two = study("b", SHIFTED, identity={"training": {"max_steps": 20}}, code={"source": "2"}, record={"torch": "2.2"})
    two = replace(two, identities={key: {**value, "fingerprint": "new"} for key, value in two.identities.items()})
    result = compare_studies(one, two)
    assert difference_of(result, "training.max_steps") == ("10", "20")
    assert difference_of(result, "data (fingerprint)") == ("data", "new")
    assert difference_of(result, "code") == ("1", "2")
    assert difference_of(result, "torch") == ("2.1", "2.2")
    assert len(result.differences) == 4


def test_the_same_study_again_differs_in_nothing() -> None:
    result = compare_studies(study("a", LOSSES), study("b", LOSSES))
    assert result.differences == ()
    verdicts = [pair.cells[1].metrics["loss"].verdict for pair in result.pairs]
    assert [verdict and verdict.label for verdict in verdicts] == ["identical"] * 3


def test_measures_of_other_examples_are_not_compared() -> None:
    one, two = study("a", LOSSES), study("b", SHIFTED)
    for side, name in ((one, "x"), (two, "y")):
        for cell in side.manifest["cells"]:
            cell["measured_on"] = {"validation": name}
    pair = compare_studies(one, two).pairs[0]
    contrast = pair.cells[1].metrics["loss"].contrast
    assert contrast is not None and contrast.delta is None and "other validation examples" in contrast.reason_missing
    assert pair.cells[1].metrics["loss"].verdict is None


def test_studies_without_a_common_cell_or_seed_are_refused() -> None:
    one = study("a", LOSSES[:1], {"model.block": ["pre"]})
    with pytest.raises(InputError, match="a and b have no cell with the same settings in common: a has pre; b has x"):
        compare_studies(one, study("b", LOSSES[:1], {"model.block": ["x"]}))
    other = study("b", LOSSES[:1], {"model.block": ["pre"]})
    manifest = {**other.manifest, "seeds": [90]}
    with pytest.raises(InputError, match="no seed in common: a has 10, 11, 12 and 2 more; b has 90"):
        compare_studies(one, replace(other, manifest=manifest))


def test_identical_verdict_of_a_single_cell_has_its_column() -> None:
    one = {"model.block": ["pre"]}
    (table, *_) = sections(compare_studies(study("a", LOSSES[:1], one), study("b", LOSSES[:1], one))).tables
    (verdict,) = [column for column in table.columns if column.kind == "verdict"]
    assert [entry.text for entry in verdict.entries] == ["= identical"]


def test_heading_of_the_differences_is_that_of_every_table_with_a_short_form() -> None:
    (table, *_) = sections(compare_studies(study("a", LOSSES), study("b", SHIFTED))).tables
    (difference,) = [column for column in table.columns if column.kind == "difference"]
    assert (difference.title, difference.short_title) == (DIFFERENCE, SHORT_DIFFERENCE)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_every_cell(format: str) -> None:
    text = render_two_studies(compare_studies(study("first", LOSSES), study("second", SHIFTED)), format)
    assert all(f"block_{number}" in text.replace("\\_", "_") for number in range(3))
    assert "second" in text and text.endswith("\n")
