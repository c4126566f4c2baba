"""The table in LaTeX."""

import re

import pytest
from support.studies import STUDIES, as_latex, made

from ablation.report.render import latex_text


def test_latex_has_verdicts_as_words_without_marks() -> None:
    text = as_latex(STUDIES["complete"])
    assert re.search(r"^verdicts: paired t and equivalence test, Holm over 13 comparisons", text, re.MULTILINE)
    assert not re.search(r"[▲▼≈?]", text) and r"$\approx$ equivalent" not in text


RUSSIAN = "\u043d\u043e\u0440\u043c\u0430"
PDFLATEX = {
    "ä": r"\"{a}", "é": r"\'{e}", "ñ": r"\~{n}", "ç": r"\c{c}", "ő": r"\H{o}", "š": r"\v{s}", "å": r"\r{a}",
    "İ": r"\.{I}", "ß": r"\ss{}", "ø": r"\o{}", "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "λ": r"$\lambda$", "ε": r"$\varepsilon$", "Δ": r"$\Delta$", "µ": r"$\mu$",
    "μ": r"$\mu$", "Ω": r"$\Omega$", "²": r"$^{2}$", "₁": r"$_{1}$", "≤": r"$\leq$", "→": r"$\rightarrow$",
    "a--b---c": "a-{}-b-{}-{}-c", "a\\b": r"a\textbackslash{}b", "50%_#&$": r"50\%\_\#\&\$",
    "?`x": r"?\textasciigrave{}x",
}  # fmt: skip


@pytest.mark.parametrize("text", PDFLATEX)
def test_letters_and_signs_have_the_names_of_latex(text: str) -> None:
    assert latex_text.escaped(text) == PDFLATEX[text]


def test_letters_without_a_name_stay_and_name_their_engine() -> None:
    plain = made(factors={"model.block": ["pre_norm", "größer ≤ λ²"]}, grid="é")
    text = as_latex(plain)
    assert text.isascii() and "LuaLaTeX" not in text and r"gr\"{o}\ss{}er $\leq$ $\lambda$$^{2}$" in text
    text = as_latex(made(factors={"model.block": ["pre_norm", "長い 名前", RUSSIAN]}))
    first, second, *_ = text.splitlines()
    assert first == f"% needs LuaLaTeX or XeLaTeX, and a font that has 長 い 名 前 {' '.join(RUSSIAN)}"
    assert second.startswith(r"% needs \usepackage{booktabs}")
    assert "block=長い 名前" in text and f"block={RUSSIAN}" in text


def test_no_letter_of_latin_becomes_a_question_mark() -> None:
    for code in range(0xA0, 0x250):
        letter = chr(code)
        if letter.isalpha():
            written = latex_text.escaped(letter)
            assert "?" not in written and written != ""
            back = written.replace("{", "").replace("}", "")
            assert written == letter or back.startswith(("\\", "$")), letter
