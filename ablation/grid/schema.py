"""Claim: a statement of the literature, written as what a grid is expected to show."""

from typing import Annotated, Any, Literal

from pydantic import Field

from ..registry import Config

Expected = Literal["higher", "lower", "equivalent"]


class CellPair(Config):
    """Two cells, each by the levels in which it differs from the baseline; a factor by its path or the end of it."""

    cell: dict[str, Any] = {}  # noqa: RUF012  pydantic copies it
    than: dict[str, Any] = {}  # noqa: RUF012


class Expectation(CellPair):
    """A measure of one cell against another's, by default the baseline's."""

    measure: str
    """Of the runs, as `ablate table` names it, or a probe of the untrained model."""
    than_measure: str | None = None
    """The measure of the other cell, such as loss beside loss@4x; null: the same."""
    expected: Expected
    margin: Annotated[float, Field(ge=0)] | None = None
    """The difference must be larger, or to be equivalent smaller, for certain."""
    number: float | None = None
    """Compare with this number rather than with another cell."""
    beyond: CellPair | None = None
    """Compare the difference with that of two other cells: what is expected is an interaction."""
    ratio: bool = False
    """Whether logarithms are compared; the margin is one of them."""


class ClaimConfig(Config):
    """What is claimed, by whom, and how one would see it."""

    statement: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    expect: Annotated[list[Expectation], Field(min_length=1)]
