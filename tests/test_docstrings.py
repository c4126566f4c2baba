"""Docstrings of everything public: what it does, shapes, errors, and the source of each component."""

from typing import Any

import pytest
from support import docstrings
from torch import Tensor


def test_nothing_is_missing() -> None:
    assert docstrings.missing() == []


class Example:
    """An example."""

    def scale(self, x: Tensor) -> Tensor:
        """Twice as much."""
        return 2 * x

    def forward(self, x: Tensor) -> Tensor:
        return x

    def check(self, x: int) -> None:
        """Refuses negative numbers."""
        if x < 0:
            raise ValueError("negative")

    @property
    def size(self) -> int:
        return 0


@pytest.mark.parametrize(
    ("name", "what"),
    [("scale", ["shape"]), ("forward", ["shape"]), ("check", ["when it raises ValueError"]), ("size", ["docstring"])],
)
def test_what_is_missing_is_found(name: str, what: list[str]) -> None:
    member: Any = vars(Example)[name]
    assert list(docstrings.lacking(member, docstrings.getdoc(member))) == what


def test_every_class_and_function_of_the_api_is_looked_at() -> None:
    places = {place for place, _, _ in docstrings.public()}
    assert {
        "ablation.components.mixer.base.Mixer.forward",
        "ablation.api.study.Study.run",
        "ablation.api.study.load",
    } <= places
    assert len(places) > 500
