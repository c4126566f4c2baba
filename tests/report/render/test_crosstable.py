"""Tables of one metric by length."""

from support.comparisons import grid

from ablation.compare.comparison import compare
from ablation.report.render import crosstable


def test_lengths_include_the_one_that_the_grid_compares_by() -> None:
    manifest, outcomes = grid([[1.0, 1.1, 1.2], [1.3, 1.2, 1.4]], **{"loss@2x": 2.0, "loss@4x": 3.0})
    table = crosstable.lengths(compare({**manifest, "metric": "loss@4x"}, outcomes))
    assert table.columns == ["1x", "2x", "4x"]
    assert "4x" not in table.title
