"""The picture of a claim: differences with their intervals, on the values that are expected."""

import math
from typing import Any

import pytest

from ablation.compare.claim import ClaimResult, ExpectationResult
from ablation.report.html.claim import claim_figure
from ablation.report.html.figure import write
from ablation.stats.contrast import paired
from ablation.stats.verdict import Verdict

VALUES = (2.0, 2.1, 1.9, 2.2, 1.8)


def finding(expected: str = "higher", margin: float | None = 0.5, **changes: Any) -> ExpectationResult:
    fields = {
        "measure": "loss", "of": "block=a against the baseline", "expected": expected, "margin": margin,
        "ratio": False, "values": VALUES, "references": (1.0,) * 5, "contrast": paired(VALUES, (1.0,) * 5),
        "verdict": Verdict(label="better"), "answer": "supported",
    } | changes  # fmt: skip
    return ExpectationResult(**fields)


def view_of(*findings: ExpectationResult) -> Any:
    figure = claim_figure(ClaimResult("It is higher.", "somebody 2020", "supported", findings))
    assert figure is not None
    return figure.views[""]


def band(of: ExpectationResult) -> tuple[float, float, tuple[float, float]]:
    """From where to where the band goes, and the ends of the axis."""
    view = view_of(of)
    layer, *_ = view["vconcat"][0]["layer"]
    (row,) = view["datasets"][layer["data"]["name"]]
    return row["value"], row["to"], tuple(layer["encoding"]["x"]["scale"]["domain"])


@pytest.mark.parametrize(
    ("expected", "low", "high"),
    [
        ("higher", 0.5, None),
        ("lower", None, -0.5),
        ("equivalent", -0.5, 0.5),
        ("not higher", None, 0.5),
        ("not lower", -0.5, None),
    ],
)
def test_band_is_where_a_difference_is_as_expected(expected: str, low: float | None, high: float | None) -> None:
    start, end, (least, most) = band(finding(expected))
    assert (start, end) == (least if low is None else low, most if high is None else high)
    assert least < -0.5 and most > 1.2, "all of the differences, zero and the margin are on the axis"


def test_ratio_is_shown_as_a_factor() -> None:
    logs = tuple(map(math.log, VALUES))
    start, end, (_, most) = band(
        finding("higher", math.log(1.5), ratio=True, contrast=paired(logs, (0.0,) * 5), values=logs)
    )
    assert start == pytest.approx(1.5) and end == most > 2.2


def test_every_expectation_with_a_difference_is_a_row_and_others_are_none(tmp_path: Any) -> None:
    unknown = finding(contrast=paired((None,) * 5, (1.0,) * 5))
    assert len(view_of(finding(), unknown, finding("lower"))["vconcat"]) == 2
    result = ClaimResult("It is higher.", "somebody 2020", "not resolved", (unknown,))
    assert claim_figure(result) is None
    figure = claim_figure(ClaimResult("It is higher.", "somebody 2020", "supported", (finding(),)))
    assert figure is not None
    files = write([figure], tmp_path)
    assert [file.name for file in files] == ["claim.svg", "claim.png", "claim.pdf"]
    assert "expected higher by more than 0.5" in files[0].read_text()
