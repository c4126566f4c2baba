"""What files hold where none is named: small real data that every Python carries."""

import datetime

from .corpus import standard_library_text
from .rows import Row

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def lines_of_code() -> list[Row]:
    """Lines of Python's standard library, and whether each defines, imports, decides, repeats, ends or says."""
    kinds = {"def": "define", "class": "define", "import": "import", "from": "import", "if": "decide", "elif": "decide"}
    kinds |= {"for": "repeat", "while": "repeat", "return": "end", "raise": "end", "#": "say"}
    rows = []
    for number, line in enumerate(standard_library_text().splitlines(), 1):
        first, _, rest = line.strip().partition(" ")
        if first in kinds and len(rest) >= 8:
            rows.append(Row(rest, kinds[first], number))
    return rows


def dates() -> list[Row]:
    """The days of thirty years as people write them, in three ways by turns, and as ISO 8601 does."""
    rows = []
    for number in range(30 * 365):
        day = datetime.date(1990, 1, 1) + datetime.timedelta(number)
        month = MONTHS[day.month - 1]
        ways = (f"{day.day} {month} {day.year}", f"{month} {day.day}, {day.year}", f"{day.day}.{day.month}.{day.year}")
        rows.append(Row(ways[number % 3], day.isoformat(), number + 1))
    return rows
