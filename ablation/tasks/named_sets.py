"""Named sets: further files on which a model is scored, each with scores of its own, such as ``exact_match@jump``.

Validation sets are scored in every evaluation, test sets once, after the last step. With ``score_by``, a column of the
files, the rows of each of its values have scores of their own as well, once, after the last step.
"""

import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Annotated, NamedTuple

import torch
from pydantic import Field

from ..errors import InputError
from .base import Examples
from .examples import select
from .io.files import DataFile
from .io.tables import Row

SetName = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=40)]
"""The name of a set, which follows the ``@`` in the names of its scores."""
NamedFiles = dict[SetName, Path]
"""Files by the names of their sets."""
NO_SETS: NamedFiles = {}
USUAL = "validation"
"""How the usual validation set is called in the names of its parts."""
MOST_VALUES = 100
"""The most values of a column whose rows are scored separately: each is a column of the table."""


class ScoredRows(NamedTuple):
    """A set with the rows that its examples (N, ...) are of."""

    rows: Sequence[Row]
    examples: Examples


def check_names(validation_sets: NamedFiles, test_sets: NamedFiles, minimal_pairs: NamedFiles = NO_SETS) -> None:
    """Errors: InputError for a name that two sets have, the usual validation set among them."""
    known: dict[str, str] = {}
    fields = {"validation_sets": validation_sets, "test_sets": test_sets, "minimal_pairs": minimal_pairs}
    for field, names in fields.items():
        for name in names:
            if name in known:
                raise InputError(f"task.{field}: {name!r} is the name of one of task.{known[name]} too")
            known[name] = field
        if USUAL in names:
            raise InputError(f"task.{field}: {USUAL!r} is what the usual validation set is called; choose another name")


def fingerprint_with_sets(fingerprint: str, files: Sequence[tuple[DataFile, str]]) -> str:
    """The fingerprint of data with those of named sets; without any it is as it was."""
    if not files:
        return fingerprint
    named = "".join(f"\0{file.field}={of_file}" for file, of_file in files)
    return sha256(f"{fingerprint}{named}".encode()).hexdigest()


def value_name(value: str) -> str:
    """A value of a column in the name of a score: without blanks and ``@``, which have a meaning there."""
    return re.sub(r"[\s@]+", "_", value.strip())


def by_value(sets: Mapping[str, ScoredRows]) -> dict[str, Examples]:
    """The examples of each value of the column ``score_by`` in each set, by the name ``SET:VALUE``.

    Blanks in a value become underscores. Errors: InputError for an empty value, for too many, and where two have the
    same name.
    """
    found: dict[str, Examples] = {}
    for name, (rows, examples) in sets.items():
        values = sorted({row.group for row in rows})
        if len(values) > MOST_VALUES:
            what = f"the column has {len(values)} values, each of which would be scored; at most {MOST_VALUES}"
            raise InputError(f"task.score_by: {what}")
        for value in values:
            written = value_name(value)
            if not written:
                line = next(row.line for row in rows if row.group == value)
                raise InputError(f"task.score_by: row {line} of {name} has no value")
            set_name = f"{name}:{written}"
            if set_name in found:
                raise InputError(f"task.score_by: two values of {name} are written {written!r}; rename one of them")
            found[set_name] = select(examples, torch.tensor([row.group == value for row in rows]))
    return found
