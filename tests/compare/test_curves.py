"""Curves over training: the mean over seeds at equal tokens or at equal time."""

from typing import Any

import pytest

from ablation.compare.curves import curve, pieces


def rows(*points: tuple[float, float | None]) -> list[dict[str, Any]]:
    return [{"tokens": x, "seconds": x, "loss": value} for x, value in points]


def test_curve_is_mean_over_seeds_with_lowest_and_highest():
    found = curve("cell", {0: rows((10, 1.0), (20, 3.0)), 1: rows((10, 2.0), (20, 5.0))}, "loss", "tokens")
    assert [(p.x, p.mean, p.low, p.high, p.runs) for p in found.points] == [(10, 1.5, 1, 2, 2), (20, 4, 3, 5, 2)]
    assert found.stopped == ()


def test_run_that_stopped_early_leaves_a_stretch_that_is_marked():
    whole = rows((10, 1.0), (20, 2.0), (30, 3.0))
    found = curve("cell", {0: whole, 1: rows((10, 3.0), (20, None)), 2: []}, "loss", "tokens")
    assert [point.runs for point in found.points] == [2, 1, 1] and found.stopped == (1, 2)
    found = curve("cell", {0: whole, 1: whole[:2]}, "loss", "tokens")
    stretches = pieces(found)
    assert [(complete, [point.x for point in points]) for complete, points in stretches] == [(True, [10, 20]),
                                                                                         (False, [20, 30])]  # fmt: skip


def test_curves_over_time_end_with_the_fastest_run():
    found = curve("cell", {0: rows((10, 1.0), (20, 2.0)), 1: rows((12, 2.0), (24, 8.0))}, "loss", "seconds")
    assert [(point.x, point.runs) for point in found.points] == [(12, 2), (20, 2)]
    assert [point.mean for point in found.points] == pytest.approx([(1.2 + 2) / 2, (2 + 6) / 2])
    assert found.stopped == ()


def test_long_curve_is_thinned_without_losing_its_ends():
    long = rows(*((n, float(n)) for n in range(1, 1001)))
    for axis in ("tokens", "seconds"):
        found = curve("cell", {0: long}, "loss", axis, max_points=50)  # type: ignore[arg-type]
        assert len(found.points) == 50 and (found.points[0].x, found.points[-1].x) == (1, 1000)
