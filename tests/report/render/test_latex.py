"""The table in LaTeX."""

import re
import unicodedata
from dataclasses import replace

import pytest
from support.studies import STUDIES, as_latex, larger, made

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
    "?`x": r"?\textasciigrave{}x", "-0.5": "$-$0.5", "[-1, -.5]": "{[}$-$1, $-$.5{]}", "1e-3": "1e$-$3",
    "GPT-2": "GPT-2", "2020-01-02": "2020-01-02", "f(x)-1": "f(x)-1", "a-b": "a-b",
}  # fmt: skip


@pytest.mark.parametrize("text", PDFLATEX)
def test_letters_and_signs_have_the_names_of_latex(text: str) -> None:
    assert latex_text.escaped(text) == PDFLATEX[text]


def test_letters_without_a_name_stay_and_name_their_engine() -> None:
    plain = made(factors={"model.block": ["pre_norm", "größer ≤ λ²"]}, grid="é")
    text = as_latex(plain)
    assert text.isascii() and "LuaLaTeX" not in text and r"gr\"{o}\ss{}er $\leq$ $\lambda$$^{2}$" in text
    assert r"\label{tab:grid}" in text
    text = as_latex(made(factors={"model.block": ["pre_norm", "長い 名前", RUSSIAN]}))
    first, second, *_ = text.splitlines()
    assert first == f"% needs LuaLaTeX or XeLaTeX, and a font that has 長 い 名 前 {' '.join(RUSSIAN)}"
    assert second.startswith(r"% needs \usepackage{booktabs}")
    assert "\n長い 名前 & " in text and f"\n{RUSSIAN} & " in text


def test_no_letter_of_latin_becomes_a_question_mark() -> None:
    for code in range(0xA0, 0x250):
        letter = chr(code)
        if letter.isalpha():
            written = latex_text.escaped(letter)
            assert "?" not in written and written != ""
            back = written.replace("{", "").replace("}", "")
            assert written == letter or back.startswith(("\\", "$")), letter


def test_letters_of_every_script_survive() -> None:
    """Each is there itself, or under a name of LaTeX; none is left out or replaced."""
    for code in range(0xA0, 0x110000):
        letter = chr(code)
        if unicodedata.category(letter) in ("Lu", "Ll", "Lt", "Lm", "Lo"):
            written = latex_text.escaped(letter)
            assert written == unicodedata.normalize("NFC", letter) or written.startswith(("\\", "$")), hex(code)


def test_factors_are_columns_and_the_mark_of_a_cell_is_in_the_last() -> None:
    text = as_latex(larger(STUDIES["complete"], {1: 1.5}))
    assert r"block & position & n\_heads & {loss} &" in text
    rows = re.findall(r"^(\S+) & (\w+) & (\d\S*) & (?:\{?2\.|\d)", text, re.MULTILINE)
    assert rows[:2] == [
        (r"pre\_norm", "sinusoidal", "4"),
        (r"pre\_norm", "sinusoidal", r"8$\P$"),
    ]
    assert "block=" not in text.split(r"\label")[1].split("main effect")[0]


def test_main_effects_are_a_table_below_the_cells() -> None:
    text = as_latex(STUDIES["complete"])
    cells, effects = text.split(r"\begin{tabular")[1:3]
    assert "& {loss} &" in cells and "main effect &" not in cells
    assert re.search(r"^main effect & .*interval & verdict", effects, re.MULTILINE)
    assert effects.count("inconclusive") + effects.count("worse") + effects.count("equivalent") >= 3
    assert "the first row of the cells is the baseline." in text
    alone = as_latex(made(factors={"model.block": ["pre_norm", "post_norm"]}))
    assert "main effect" not in alone and "the first row is the baseline." in alone


def test_cells_that_factors_do_not_distinguish_have_their_labels() -> None:
    study = STUDIES["complete"]
    cells = [replace(cell, levels=study.cells[0].levels) for cell in study.cells]
    text = as_latex(replace(study, cells=tuple(cells)))
    assert "cell & {loss} &" in text and r"block=post\_norm" in text.replace(r"\hspace{0pt}", "")


def test_column_that_says_the_same_of_every_cell_is_a_line_below() -> None:
    text = as_latex(STUDIES["complete"])
    assert "parameters: 804,224 in every cell." in text and "& {parameters}" not in text and "& parameters" not in text
    assert "& parameters" in as_latex(larger(STUDIES["complete"], {1: 1.5}))


def test_label_is_made_of_the_name_of_the_grid() -> None:
    assert r"\label{tab:norm-position-heads}" in as_latex(STUDIES["complete"])
    assert r"\label{tab:a-b-1.5}" in as_latex(made(grid="a_b {1.5}"))


def test_table_higher_than_a_page_goes_on_with_the_baseline() -> None:
    text = as_latex(made(factors={"model.position": [f"level {number}" for number in range(60)]}))
    assert text.count(r"\begin{table}") == text.count("\nlevel 0 & ") == 2
    assert all(text.count(f"\nlevel {number} & ") == 1 for number in range(1, 60))
    assert text.count(r"\label{") == 1 and text.count(", continued.") == 1
