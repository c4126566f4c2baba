"""A run far off the others: the sign that means of few seeds are decided by one of them.

A paired t on 5 seeds holds 5 % where the noise of both sides is alike; where that of one side alone is skewed, or a
rare run fails, it claims a difference of equal means in up to a third of comparisons. No test repairs that with so few
runs, so that the tables say when it may be so.
"""

from collections.abc import Sequence

# Two-sided critical values at 99 % of Dixon's r10 (1950), from 3 values on; Rorabacher 1991, DOI 10.1021/ac00002a010.
_CRITICAL = (.994, .926, .821, .740, .680, .634, .598, .568, .542, .522, .503, .488, .475)  # fmt: skip


def far_off(values: Sequence[float]) -> int | None:
    """The index of the value that is far off all others by Dixon's test at 1 %, None where none is.

    The test divides the distance of the smallest or largest value to its neighbor by the whole range. Beyond 15 values
    the bound of 15 is used, which finds fewer.
    """
    if len(values) < 3:
        return None
    order = sorted(range(len(values)), key=values.__getitem__)
    low, second, second_last, high = (values[order[index]] for index in (0, 1, -2, -1))
    if high == low:
        return None
    critical = _CRITICAL[min(len(values) - 3, len(_CRITICAL) - 1)]
    if max(second - low, high - second_last) <= critical * (high - low):
        return None
    return order[0] if second - low > high - second_last else order[-1]
