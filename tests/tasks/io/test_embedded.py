"""The default corpus: which text it is, and that numbers in the docs name theirs."""

import platform
from hashlib import sha256

import pytest
from support import ROOT

from ablation.tasks.classification import Classification
from ablation.tasks.io.embedded import DOCUMENTED_FINGERPRINT, DOCUMENTED_VERSION, StandardLibrary
from ablation.tasks.text.causal import Text


@pytest.mark.parametrize("task", [Text(length=8), Classification()])
def test_description_names_the_version_of_python(task: Text | Classification) -> None:
    assert f"standard library of Python {platform.python_version()}" in task.describe().source


def test_another_text_than_that_of_the_docs_is_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ablation.tasks.io.embedded.standard_library_text", lambda: "other = 1\n" * 500)
    note = f"numbers in the docs are of the text of Python {DOCUMENTED_VERSION}"
    assert StandardLibrary("task.path").note == note == Text(length=8).describe().note


@pytest.mark.skipif(platform.python_version() != DOCUMENTED_VERSION, reason="the text depends on the version of Python")
def test_documented_fingerprint_is_that_of_the_documented_version() -> None:
    file = StandardLibrary("task.path")
    assert file.note is None and sha256(file.content).hexdigest() == DOCUMENTED_FINGERPRINT


@pytest.mark.parametrize("page", ["README.md", "docs/questions.md"])
def test_pages_with_numbers_name_the_version(page: str) -> None:
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert "depends on the version of Python" in text and DOCUMENTED_VERSION in text
    if "fingerprint" in text:
        assert f"fingerprint {DOCUMENTED_FINGERPRINT[:12]}" in text
