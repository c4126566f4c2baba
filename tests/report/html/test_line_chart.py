"""Names beside lines: none over another, all within the figure, none moved without need."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablation.report.html.line_chart import _ends, _spread_out

HEIGHT, DISTANCE = 300.0, 13.0
PLACES = st.lists(st.floats(0, HEIGHT), min_size=1, max_size=15).map(sorted)


@given(PLACES)
def test_names_are_apart_and_within_the_figure(places: list[float]):
    found = _spread_out(places, DISTANCE, HEIGHT)
    assert all(below - above >= DISTANCE - 1e-6 for above, below in pairwise(found))
    assert min(found) >= -1e-6 and max(found) <= HEIGHT + 1e-6


@given(PLACES)
def test_names_with_room_stay_where_their_lines_end(places: list[float]):
    far = [40.0 * place for place in range(len(places))][:8]
    assert _spread_out(far, DISTANCE, HEIGHT) == pytest.approx(far)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_name_is_at_the_last_point_of_its_line(logarithmic: bool):
    points = [{"cell": cell, "x": x, "mean": mean} for cell, x, mean in (("a", 1, 9.0), ("a", 2, 3.0), ("b", 1, 8.0))]
    ends = {end["cell"]: end for end in _ends(points, {"a": "A", "b": "B"}, (1.0, 10.0), logarithmic, 300)}
    assert (ends["a"]["x"], ends["b"]["x"]) == (2, 1)
    assert ends["a"]["at"] == pytest.approx(3.0) and ends["b"]["at"] == pytest.approx(8.0)
    assert ends["a"]["label"] == "A"
