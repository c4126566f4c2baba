"""What a task is learned from, as facts for the reader of a plan or a table."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy
from torch import Tensor

LISTED = 5
"""How many names of classes are listed."""
LONGEST = 60
"""Characters of a row or of an end of a text that are shown."""
MOST_SEARCHED = 20_000_000
"""Tokens of a training text up to which the windows that validate are looked for in it: a second of work."""


@dataclass(frozen=True, kw_only=True)
class DataDescription:
    """What trains and what validates. Counts are of ``items``, such as pairs or characters; None: not known."""

    source: str
    """The file that trains, or what else the examples come from."""
    note: str | None = None
    """What else to know of the source."""
    validation_source: str | None = None
    """Another file that validates."""
    fingerprint: str | None = None
    items: str = "examples"
    training: int | None = None
    of_training: int | None = None
    """How many there are, where not all of them train; ``left_out`` says why."""
    left_out: str | None = None
    validation: int | None = None
    of_validation: int | None = None
    """How many there are, where not all of them validate."""
    windows: int | None = None
    """How many windows validate, of ``length`` tokens each."""
    length: int | None = None
    cut_training: int | None = None
    """How many were cut after ``length`` tokens."""
    cut_validation: int | None = None
    vocabulary: int = 0
    unknown: float | None = None
    """The fraction of the tokens that validate which is not in the vocabulary."""
    n_classes: int | None = None
    classes: tuple[str, ...] = ()
    """The names of the first classes."""
    sets: tuple[str, ...] = ()
    """The named sets, each with how many it has, and its file."""
    duplicates: int | None = None
    """How many of those that validate, or of their windows, are in training too."""
    first: str | None = None
    """The first that trains, shortened."""
    last: str | None = None
    """The last that validates, shortened."""

    def as_dict(self) -> dict[str, Any]:
        """As plain data, without what is not known."""
        facts = {name: value for name, value in asdict(self).items() if value not in (None, ())}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in facts.items()}


def shortened(text: str) -> str:
    """A text on one line of at most ``LONGEST`` characters, with what is not printable escaped."""
    written = repr(text[: LONGEST + 1])[1:-1]
    return written if len(written) <= LONGEST else f"{written[:LONGEST]}..."


def shortened_end(text: str) -> str:
    """The same, of the end of a text."""
    written = repr(text[-LONGEST - 1 :])[1:-1]
    return written if len(written) <= LONGEST else f"...{written[-LONGEST:]}"


def count_in_both(training: Sequence[Any], validation: Sequence[Any]) -> int:
    """How many items of ``validation`` are in ``training``."""
    known = set(training)
    return sum(item in known for item in validation)


def count_repeated_windows(windows: Tensor, tokens: Tensor) -> int | None:
    """How many windows (N, L) stand somewhere in ``tokens`` (T,); None where that would take long.

    By a polynomial hash modulo 2^64 of each of the T - L + 1 windows of ``tokens``, from differences of sums (Karp and
    Rabin 1987).
    """
    length = windows.size(1)
    if len(tokens) > MOST_SEARCHED:
        return None
    if len(tokens) < length:
        return 0
    base = numpy.uint64(0x9E3779B97F4A7C15)
    powers = numpy.cumprod(numpy.full(len(tokens), base), dtype=numpy.uint64)
    inverses = numpy.cumprod(
        numpy.full(len(tokens) - length + 1, numpy.uint64(pow(int(base), -1, 2**64))), dtype=numpy.uint64
    )
    sums = numpy.concatenate([[numpy.uint64(0)], numpy.cumsum((tokens.numpy().astype(numpy.uint64) + 1) * powers)])
    hashes = (sums[length:] - sums[:-length]) * inverses
    wanted = ((windows.numpy().astype(numpy.uint64) + 1) * powers[:length]).sum(1, dtype=numpy.uint64) * inverses[0]
    ordered = numpy.unique(wanted)  # few, so that looking each hash up in them is faster than sorting all hashes
    places = numpy.minimum(numpy.searchsorted(ordered, hashes), len(ordered) - 1)
    found = numpy.unique(hashes[ordered[places] == hashes])
    return int(numpy.isin(wanted, found).sum())
