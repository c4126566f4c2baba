"""The table in LaTeX."""

import re

from support.studies import STUDIES, as_latex


def test_latex_has_verdicts_as_words_without_marks() -> None:
    text = as_latex(STUDIES["complete"])
    assert re.search(r"^verdicts: paired t and equivalence test, Holm over 13 comparisons", text, re.MULTILINE)
    assert not re.search(r"[▲▼≈?]", text) and r"$\approx$ equivalent" not in text
