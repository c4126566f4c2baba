"""The table as JSON: strict, with stable keys, not rounded."""

import json
import math
from typing import Any

import pytest
from support.studies import (
    FACTORS,
    STUDIES,
    as_json,
    made,
)

from ablation.report import labels
from ablation.report.render import render
from ablation.report.table import TableData

CELL_KEYS = ["label", "settings", "run_ids", "n", "completed", "diverged", "failed", "missing", "note", "stability"]
CELL_KEYS += ["unmatched", "over_examples", "metrics"]
METRIC_KEYS = ["mean", "sd", "values", "delta", "ci", "p", "verdict", "judgment"]


@pytest.mark.parametrize("study", STUDIES)
def test_json_is_strict_with_stable_keys(study: str) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    found = json.loads(render(TableData.of(STUDIES[study]), "json"), parse_constant=refuse)
    assert list(found) == [
        "schema", "grid", "baseline", "seeds", "metric", "better", "declared_metric", "seen", "other_code",
        "other_hardware", "stale_code", "cells", "summary", "primary", "interim_looks",
        "measures", "bench", "interactions", "main_effects", "main_effects_note", "design", "steps",
        "smallest_detectable", "observed_rho", "tuning", "record",
    ]  # fmt: skip
    assert found["baseline"] == found["cells"][0]["label"]
    for cell in found["cells"]:
        assert list(cell) == CELL_KEYS
        assert cell["n"] == found["seeds"] == len(cell["run_ids"])
        assert cell["completed"] + cell["diverged"] + cell["failed"] + cell["missing"] == cell["n"]
        assert list(cell["metrics"]) == list(STUDIES[study].names)
        for name, metric in cell["metrics"].items():
            assert list(metric) == METRIC_KEYS
            assert len(metric["values"]) == cell["n"]
            judged = name == "loss" and cell is not found["cells"][0]
            assert metric["verdict"] in (labels.MARKS if judged else [None])
    assert {(m["delta"], m["ci"], m["p"]) for m in found["cells"][0]["metrics"].values()} == {(None, None, None)}


def test_json_numbers_are_not_rounded() -> None:
    study = STUDIES["complete"]
    found = as_json(study)
    contrast = study.cells[4].metrics["loss"].contrast
    assert contrast is not None and contrast.interval is not None
    loss = found["cells"][4]["metrics"]["loss"]
    assert (loss["delta"], tuple(loss["ci"]), loss["p"]) == (contrast.delta, contrast.interval, contrast.p)
    assert found["cells"][4]["settings"] == {
        "model.block": "post_norm",
        "model.position": "sinusoidal",
        "model.n_heads": "4",
    }
    assert [effect["factor"] for effect in found["main_effects"]] == list(FACTORS)
    assert found["main_effects"][0]["metrics"]["loss"]["ci"] is not None


def test_json_note_explains_missing_intervals_and_failures() -> None:
    cells = as_json(STUDIES["incomplete"])["cells"]
    assert cells[1]["note"] == "1 of 3 runs diverged; seed 2 diverged: not finite at step 120"
    assert cells[2]["note"] is None
    assert cells[1]["metrics"]["loss"]["ci"] is None


def test_json_settings_hold_infinity_and_nan_as_strings() -> None:
    levels: dict[str, Any] = {"model.block": "pre_norm"}
    cell = {
        "label": "b",
        "settings": {"a": math.inf, "b": [math.nan, {"c": 1.5}]},
        "levels": levels,
        "runs": [{"seed": 0, "id": "x"}],
    }
    study = made(seeds=1, factors={"model.block": ["pre_norm"]}, cells=[cell])
    assert as_json(study)["cells"][0]["settings"] == {"a": "inf", "b": ["nan", {"c": 1.5}]}
