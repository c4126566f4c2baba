"""How numbers are written."""

import pytest

from ablation.report import numbers
from ablation.stats.contrast import Contrast


def test_unit_cannot_control_a_terminal() -> None:
    assert numbers.short_time(2.0, "x\x1b]0;P\x07\x1b[2J") == "2 x"


@pytest.mark.parametrize(
    ("delta", "interval", "written"),
    [
        (0.1512345, (0.1201, 0.1823), ("+0.151", "[+0.120, +0.182]")),  # half width 0.031
        (-5.1234, (-10.2, 0.05), ("-5.1", "[-10.2, +0.1]")),  # half width 5.1
        (1234.5, (1000.2, 1468.8), ("+1234", "[+1000, +1469]")),  # half width 234
        (0.0123456, (0.002381, 0.022310), ("+0.012", "[+0.002, +0.022]")),  # half width 0.00996, which rounds to 0.010
        (0.011, (0.0004, 0.0216), ("+0.0110", "[+0.0004, +0.0216]")),  # +0.000 would look as if it reached zero
        (-2e-12, (-3e-12, -1e-12), ("-2.00e-12", "[-3.00e-12, -1.00e-12]")),
        (3e12, (1e12, 5e12), ("+3.00e+12", "[+1.00e+12, +5.00e+12]")),
    ],
)
def test_difference_has_two_digits_of_the_half_width(
    delta: float, interval: tuple[float, float], written: tuple[str, str]
) -> None:
    assert numbers.difference(Contrast(delta, 3, interval, 0.5), 3) == written


@pytest.mark.parametrize(
    ("count", "written"),
    [(0, "0"), (999, "999"), (1000, "1.00k"), (41234, "41.2k"), (804224, "804k"), (999600, "1.00M"), (1.5e9, "1.50G")],
)
def test_short_counts_have_three_digits(count: float, written: str) -> None:
    assert numbers.short(count) == written


def test_aligned_numbers_have_their_points_in_a_line() -> None:
    assert numbers.aligned(["+0.1512", "-10.2", "0"]) == [" +0.1512", "-10.2   ", "  0     "]
