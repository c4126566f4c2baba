"""Lines: colors that any color vision distinguishes, never the same look twice, and few names."""

from itertools import combinations, product

import numpy
import pytest
from numpy.typing import NDArray
from support.comparisons import grid

from ablation.compare.comparison import compare
from ablation.report.html.data import ReportData
from ablation.report.html.series import COLORS, MOST_NAMED, Styles, styles_of_cells, styles_of_names

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB.
VISIONS = {
    "usual": numpy.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}
TO_XYZ = numpy.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
WHITE = numpy.array([0.95047, 1.0, 1.08883])
PANELS = ("#f6f7f9", "#1c222b")
"""Behind the figures, as style.css has it."""


def linear(color: str) -> NDArray[numpy.float64]:
    encoded = numpy.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return numpy.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[numpy.float64]) -> NDArray[numpy.float64]:
    """CIELAB of linear RGB."""
    xyz = TO_XYZ @ rgb.clip(0, 1) / WHITE
    f = numpy.where(xyz > 216 / 24389, numpy.cbrt(xyz), (24389 / 27 * xyz + 16) / 116)
    return numpy.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def contrast(one: str, other: str) -> float:
    low, high = sorted(float(TO_XYZ[1] @ linear(color)) for color in (one, other))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("vision", VISIONS)
def test_colors_are_far_from_each_other_with_any_color_vision(vision: str):
    seen = [lab(numpy.array(VISIONS[vision]) @ linear(color)) for color in COLORS]
    assert min(float(numpy.linalg.norm(one - other)) for one, other in combinations(seen, 2)) > 15


@pytest.mark.parametrize("panel", PANELS)
def test_colors_have_contrast_on_light_and_on_dark(panel: str):
    assert min(contrast(color, panel) for color in COLORS) >= 3


def styles(factors: dict[str, list[str]], cells: list[tuple[str, ...]] | None = None) -> Styles:
    """Of a study with rising losses; ``cells`` are combinations of levels, by default all."""
    chosen = cells or list(product(*factors.values()))
    manifest, outcomes = grid([[2 + 0.1 * n, 2.01 + 0.1 * n] for n in range(len(chosen))], factors)
    for cell, levels in zip(manifest["cells"], chosen, strict=True):
        cell["levels"] = dict(zip(factors, levels, strict=True))
        cell["label"] = " ".join(levels)
    return styles_of_cells(ReportData(manifest, compare(manifest, outcomes), root=None))  # type: ignore[arg-type]


def test_no_two_named_lines_look_the_same():
    for factors in ({"a": [f"a{n}" for n in range(9)]}, {"a": ["1", "2"], "b": ["1", "2"], "c": ["1", "2"]},
                    {"a": [f"a{n}" for n in range(30)]}):  # fmt: skip
        named = [style for style in styles(factors).of.values() if style.named]
        assert len({(style.color, style.dash) for style in named}) == len(named) <= MOST_NAMED


def test_color_is_the_factor_and_dashes_are_the_level_where_one_is_changed_at_a_time():
    found = styles(
        {"norm": ["a", "b", "c"], "position": ["x", "y", "z"]},
        [("a", "x"), ("b", "x"), ("c", "x"), ("a", "y"), ("a", "z")],
    ).of
    norm, position = [found["b x"], found["c x"]], [found["a y"], found["a z"]]
    assert norm[0].color == norm[1].color != position[0].color == position[1].color
    assert norm[0].dash != norm[1].dash and position[0].dash == norm[0].dash
    assert found["a x"].color == "currentColor"


def test_color_is_a_level_and_dashes_are_another_where_levels_are_combined():
    found = styles({"norm": ["a", "b"], "position": ["x", "y", "z"]})
    # The losses rise by 0.3 from one norm to the other, and by 0.2 at most over positions.
    assert found.meaning == "Color is the level of norm, dashes are that of position."
    colors = {norm: {found.of[f"{norm} {position}"].color for position in "xyz"} for norm in "ab"}
    dashes = {position: {found.of[f"{norm} {position}"].dash for norm in "ab"} for position in "xyz"}
    for looks in (colors, dashes):
        assert all(len(of_level) == 1 for of_level in looks.values())
        assert len(set().union(*looks.values())) == len(looks)


def test_of_many_lines_the_baseline_and_both_ends_are_named():
    found = styles({"a": [f"a{n}" for n in range(30)]})
    named = [name for name, style in found.of.items() if style.named]
    assert named == ["a0", "a1", "a2", "a3", "a4", "a26", "a27", "a28", "a29"]
    assert "Of 30 lines, named are the baseline and the 8 cells" in found.meaning


def test_lines_that_are_no_cells_differ_from_their_neighbors_in_color_and_dashes():
    found = list(styles_of_names([f"line {n}" for n in range(20)]).of.values())
    assert len({(style.color, style.dash) for style in found if style.named}) == MOST_NAMED
    assert len(found) == 20 and not found[-1].named
