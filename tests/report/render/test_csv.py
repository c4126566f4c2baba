"""The table as CSV."""

import csv
import io

from support.studies import (
    STUDIES,
    as_csv,
)

from ablation.compare.records import Comparison
from ablation.report import labels


def rows(comparison: Comparison) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(as_csv(comparison)), strict=True))


def test_csv_has_a_row_for_each_cell_and_metric() -> None:
    study = STUDIES["incomplete"]
    found = rows(study)
    assert len(found) == len(study.cells) * len(study.names)
    loss = next(row for row in found if row["cell"] == "n_heads=8" and row["metric"] == "loss")
    metric = study.cells[1].metrics["loss"]
    assert [loss[f"value_{seed}"] for seed in range(3)] == [str(metric.values[0]), str(metric.values[1]), ""]
    assert (loss["n"], loss["completed"], loss["diverged"], loss["failed"], loss["low"]) == ("3", "2", "1", "0", "")
    assert (float(loss["mean"]), loss["model.n_heads"], loss["model.block"]) == (metric.mean, "8", "pre_norm")


def test_csv_has_no_formulas_and_numbers_stay_numbers() -> None:
    text = as_csv(STUDIES["hostile"])
    found = rows(STUDIES["hostile"])
    word_columns = ["grid", "cell", "metric", next(name for name in found[0] if name.startswith("model."))]
    for row in found:
        for name, value in row.items():
            if name in word_columns:
                assert not value.startswith(("=", "+", "-", "@", "\t", "\r"))
            elif name == "verdict":
                assert value in ("", *labels.MARKS)
            elif name == "stability":
                assert value == ""
            elif value:
                float(value)
    levels = {row[word_columns[-1]] for row in found}
    assert {"'=cmd()", "'+1", "'-1", "'@sum", "'x", "fine"} <= levels
    assert any(row["delta"].startswith("-") for row in found)
    assert all(character == "\n" or character.isprintable() for character in text)
    text.encode()
