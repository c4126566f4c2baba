"""The losses of the last evaluation, example by example: a small file beside the result of a run."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StorageError
from .files import replacing, unreadable

if TYPE_CHECKING:
    from numpy import float32
    from numpy.typing import NDArray

    Array = NDArray[float32]

EXAMPLE_LOSSES = "example_losses.npy"
"""Absent where a task has another loss than the cross-entropy or many examples, and in runs of earlier versions."""


@dataclass(frozen=True, eq=False)
class ExampleLosses:
    """Of every validation example, in the order of the set, both (N,)."""

    sums: "Array"
    """Of the cross-entropy over its targets, in nats."""
    counts: "Array"
    """Its number of targets."""


class StoredExampleLosses(ExampleLosses):
    """Those in the directory of a run, which are read when they are needed. Errors: StorageError, then."""

    def __init__(self, directory: Path):
        self.__dict__["directory"] = directory

    @cached_property
    def _read(self) -> ExampleLosses:
        found = read_example_losses(self.__dict__["directory"])
        if found is None:
            raise _damaged(self.__dict__["directory"] / EXAMPLE_LOSSES, "it is gone")
        return found

    @property
    def sums(self) -> "Array":
        return self._read.sums

    @property
    def counts(self) -> "Array":
        return self._read.counts


def save_example_losses(directory: Path, sums_and_counts: "Array") -> None:
    """Write both, (2, N), into the directory of a run. Errors: StorageError."""
    import numpy

    with replacing(directory / EXAMPLE_LOSSES) as staged, staged.open("wb") as stream:
        numpy.save(stream, sums_and_counts, allow_pickle=False)


def read_example_losses(directory: Path) -> ExampleLosses | None:
    """None where there is no file. Errors: StorageError when it cannot be read or is damaged."""
    file = directory / EXAMPLE_LOSSES
    if not file.exists():
        return None
    import numpy

    try:
        with file.open("rb") as stream:
            found = numpy.load(stream, allow_pickle=False)
    except OSError as error:
        raise unreadable(file, error) from None
    except Exception as error:  # of many kinds, as the header is read as a piece of Python's syntax
        raise _damaged(file, str(error) or type(error).__name__) from None
    if not isinstance(found, numpy.ndarray) or found.ndim != 2 or len(found) != 2 or found.dtype != numpy.float32:
        raise _damaged(file, "no sums and counts")
    if not numpy.isfinite(found).all() or (found[1] < 0).any():
        raise _damaged(file, "with numbers that no run has written")
    return ExampleLosses(*found)


def _damaged(file: Path, what: str) -> StorageError:
    return StorageError(f"{file}: damaged ({what}); move it away: all but the interval over examples is known without")
