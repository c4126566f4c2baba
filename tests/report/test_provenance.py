"""The footnotes on how a table was made."""

import re
from dataclasses import replace

import pytest
from support.studies import STUDIES, as_json, as_latex, as_markdown, flat, larger, made, printed, remade

from ablation.compare.fairness import at_edge, tuning
from ablation.compare.power import minimum_detectable_difference, observed_rho
from ablation.report.provenance import detected

MACHINE = {
    "host": "a", "machine": "x86_64", "device": "cpu", "precision": "32-true", "threads": 1, "python": "3.11.7",
    "torch": "2.13.0", "lightning": "2.6.6", "ablation": "0.1.0",
}  # fmt: skip


def test_unmatched_cell_is_marked_and_the_amount_is_given() -> None:
    study = larger(STUDIES["complete"], {1: 1.34, 2: 0.96, 3: 1.019})
    line = "¶ not matched, more than 2 % from the baseline's: parameters -4 % to +34 %"
    for text in (printed(study, 80), printed(study, 240), as_markdown(study)):
        assert line in flat(text)
        assert re.search(r"n_heads=8¶ ", text) and re.search(r"position=alibi¶ ", text)
        assert not re.search(r"position=alibi n_heads=8¶", text)
    assert "& 8$\\P$ &" in as_latex(study) and r"$\P$ not matched" in as_latex(study)
    found = [cell["unmatched"] for cell in as_json(study)["cells"]]
    assert found == [{}, {"parameters": pytest.approx(0.34)}, {"parameters": pytest.approx(-0.04)}, {}, {}, {}, {}, {}]
    assert "¶" not in printed(STUDIES["complete"], 80) + as_markdown(STUDIES["complete"])


def test_unmatched_quantity_of_some_cells_names_them() -> None:
    study = larger(STUDIES["complete"], {1: 1.5})
    study = remade(study, tokens=lambda number, run: 500.0 if number == 2 else 1000.0)
    said = "parameters +50 % (n_heads=8), tokens seen -50 % (position=alibi)"
    assert said in flat(printed(study, 80))


def test_footnote_gives_hardware_and_versions() -> None:
    study = remade(STUDIES["complete"], record=lambda number, run: MACHINE)
    versions = "1 thread; ablation 0.1.0, torch 2.13.0, lightning 2.6.6, python 3.11.7"
    for text in (as_markdown(study), as_latex(study)):
        assert "run on: host a, cpu, x86" in text
        assert versions in flat(text)
        assert "not the same" not in text
    assert as_json(study)["record"]["torch"] == ["2.13.0"]
    assert "run on" not in as_markdown(STUDIES["complete"])
    assert "run on" not in printed(study, 240), "the terminal names them where they are not the same for all runs"


def test_different_hardware_or_versions_are_listed() -> None:
    other = {**MACHINE, "host": "[red]b[/]\x1b[31m", "torch": "2.12.1"}
    study = remade(STUDIES["complete"], record=lambda number, run: other if number == 3 else MACHINE)
    text = flat(printed(study, 80))
    assert "run on: cpu, x86_64, 32-true, 1 thread; ablation 0.1.0, lightning 2.6.6, python 3.11.7; " in text
    assert "not the same for all runs: host [red]b[/], a; torch 2.12.1, 2.13.0" in text


def test_difference_that_cannot_be_is_not_said_to_be_detected() -> None:
    assert detected(0.04, "accuracy@2x") == "differences in accuracy@2x of 0.04 or more with 80 % power"
    assert detected(1.2, "accuracy@2x") == "no difference in accuracy@2x, however large, with 80 % power"
    assert detected(1.2, "loss") == "differences of 1.2 nats or more with 80 % power"


def test_footnote_gives_the_detectable_difference() -> None:
    study = STUDIES["complete"]
    smallest, rho = minimum_detectable_difference(study), observed_rho(study)
    assert smallest is not None and rho is not None
    seen = f"this grid detects differences of {smallest:.2g} nats or more with 80 % power"
    line = f"at the median noise of its cells {seen}; correlation with the baseline over seeds {rho:.2f}"
    for text in (printed(study, 80), as_markdown(study), as_latex(study)):
        assert line in flat(text).replace(r"\%", "%")
    assert "this grid detects" not in printed(STUDIES["one seed"], 80)


@pytest.mark.parametrize(
    ("factors", "line"),
    [
        ({"model.block": ["a", "b"]}, "tuning: none in this grid, one recipe for all"),
        (
            {"model.block": ["a", "b"], "optimizer.lr": ["0.1", "0.2", "0.3"]},
            "tuning: the same 3 learning rates for all",
        ),
        ({"schedule.warmup_ratio": ["0", "0.1"]}, "tuning: none in this grid; schedule.warmup_ratio differs"),
        (
            {"optimizer": ["a", "b"], "task.batch_size": ["1", "2"], "schedule": ["c", "d"]},
            "tuning: none in this grid; optimizer, task.batch_size and schedule differ",
        ),
        ({"optimizer": ["a", "b"], "lr": ["1", "2"]}, "tuning: the same 2 learning rates for all; optimizer varied as"),
    ],
)
def test_footnote_says_how_the_cells_were_tuned(factors: dict[str, list[str]], line: str) -> None:
    assert line in flat(printed(made(factors=factors), 80))


def test_baseline_alone_has_no_footnote_on_tuning() -> None:
    for text in (printed(STUDIES["baseline alone"], 80), as_markdown(STUDIES["baseline alone"])):
        assert "tuning" not in text


def test_best_learning_rate_at_the_edge_is_reported() -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": ["0.01", "0.1", "1"]}
    study = made(factors=factors)
    cells = [
        replace(cell, metrics={**cell.metrics, "loss": replace(cell.metrics["loss"], mean=mean)})
        for cell, mean in zip(study.cells, [2.0, 1.9, 2.2, 2.0, 1.9, 1.8], strict=True)
    ]
    study = replace(study, cells=tuple(cells))
    assert at_edge(study) == ["block=post_norm lr=1"]
    assert "best at the edge of these for block=post_norm lr=1" in flat(printed(study, 80))


def test_unequal_learning_rates_are_reported() -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": ["0.01", "0.1"]}
    study = made(factors=factors)
    assert tuning(study).equal
    partly = replace(study, cells=study.cells[:3])
    assert not tuning(partly).equal
    assert "tuning: unequal, not every cell was run at the same learning rates" in flat(printed(partly, 80))
