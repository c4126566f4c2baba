"""The table in LaTeX, compiled: it fits the text width and height of the class ``article``."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from support.studies import STUDIES, as_latex, larger, made, remade

from ablation.compare.records import Comparison
from ablation.report.render import render
from ablation.report.table import TableData

PDFLATEX, LUALATEX, PDFTOTEXT = map(shutil.which, ("pdflatex", "lualatex", "pdftotext"))
PACKAGES = ("booktabs", "siunitx", "tabularx")
FACTORS = {
    "model.block": ["pre_norm", "post_norm"],
    "model.position": ["sinusoidal", "alibi"],
    "model.n_heads": ["4", "8"],
    "model.norm": ["layer_norm", "rms_norm"],
    "model.feedforward": ["mlp(activation=gelu)", "swiglu"],
}
ALLOWED = 3.0
"""Points by which a line may be too wide; nobody sees less than a millimeter."""


def are_there(*packages: str) -> bool:
    found = shutil.which("kpsewhich")
    return found is not None and all(
        subprocess.run([found, f"{name}.sty"], capture_output=True).returncode == 0 for name in packages
    )


compiles = pytest.mark.skipif(
    PDFLATEX is None or not are_there(*PACKAGES), reason=f"no pdflatex with {', '.join(PACKAGES)} on this machine"
)


def document(text: str, head: str = "") -> str:
    uses = "".join(rf"\usepackage{{{name}}}" for name in PACKAGES)
    return f"\\documentclass{{article}}\n{uses}\n{head}\n\\begin{{document}}\n{text}\n\\end{{document}}\n"


def compiled(folder: Path, text: str, program: str = PDFLATEX or "", head: str = "") -> str:
    """What LaTeX says about a table; the file is ``table.pdf``."""
    (folder / "table.tex").write_text(document(text, head), encoding="utf-8")
    command = [program, "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120)
    said = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, said[-3000:]
    return said


def too_large(said: str) -> list[str]:
    wide = [f"{points} pt too wide" for points in re.findall(r"Overfull \\hbox \(([\d.]+)pt", said)
            if float(points) > ALLOWED]  # fmt: skip
    return [*wide, *re.findall(r"Float too large.*|Overfull \\vbox.*", said)]


def of_factors(number: int) -> Comparison:
    return made(factors=dict(list(FACTORS.items())[:number]))


def divided(study: Comparison) -> Comparison:
    """The same with speeds that differ and runs that did not end, so that every column has something to say."""
    return larger(
        remade(study, stability=lambda number, run: {"initial_loss": 5.0, "spike_score": number / 10}), {1: 3}
    )


WIDE = {f"model.{letter * 4}": ["a_rather_long_level", f"another(of={letter})"] for letter in "abcde"}
TABLES = {
    "two factors": of_factors(2),
    "three factors": of_factors(3),
    "five factors": of_factors(5),
    "three factors, all lenses": divided(of_factors(3)),
    "five factors, all lenses": divided(of_factors(5)),
    "five factors, long levels": made(factors=WIDE),
    "many levels of one factor": made(factors={"model.position": [f"level {number}" for number in range(60)]}),
    **{name: study for name, study in STUDIES.items() if name != "hostile"},
}


@compiles
@pytest.mark.parametrize("name", TABLES)
def test_table_fits_a_page(name: str, tmp_path: Path) -> None:
    assert too_large(compiled(tmp_path, as_latex(TABLES[name]))) == []


@compiles
def test_table_of_chosen_columns_fits_a_page(tmp_path: Path) -> None:
    names = ["loss", "perplexity", "accuracy", "parameters", "tokens_per_second", "runs"]
    text = render(TableData.of(of_factors(3), names), "latex")
    assert "perplexity" in text and "accuracy" in text
    assert too_large(compiled(tmp_path, text)) == []


@compiles
def test_reference_to_the_label_is_found(tmp_path: Path) -> None:
    text = as_latex(of_factors(2)) + "\nSee Table~\\ref{tab:norm-position-heads}.\n"
    compiled(tmp_path, text)
    assert "undefined" not in compiled(tmp_path, text)


@compiles
@pytest.mark.skipif(PDFTOTEXT is None, reason="no pdftotext on this machine")
def test_negative_numbers_have_minus_signs_and_means_their_deviation(tmp_path: Path) -> None:
    compiled(tmp_path, as_latex(of_factors(3)))
    text = subprocess.run(
        [str(PDFTOTEXT), "-layout", "table.pdf", "-"], cwd=tmp_path, capture_output=True
    ).stdout.decode()
    minus_as_hyphen = text.replace("\N{MINUS SIGN}", "-")
    assert re.search(
        r"pre norm +alibi +4 +2\.288 ± 0\.018 +-0\.0561 +\[-0\.0635, -0\.0488\] +better", minus_as_hyphen
    ), text
    assert not re.search(r"(?<!\w)-\d", text)


@compiles
@pytest.mark.skipif(PDFTOTEXT is None, reason="no pdftotext on this machine")
@pytest.mark.skipif(not are_there("lmodern"), reason="no lmodern on this machine, which has all these letters")
def test_letters_of_latin_and_greek_names_are_in_the_page(tmp_path: Path) -> None:
    levels = ["größe", "fœtus", "Łódź", "naïve \N{GREEK SMALL LETTER LAMDA}"]
    compiled(
        tmp_path, as_latex(made(factors={"model.size": levels})), head=r"\usepackage[T1]{fontenc}\usepackage{lmodern}"
    )
    text = subprocess.run([str(PDFTOTEXT), "table.pdf", "-"], cwd=tmp_path, capture_output=True).stdout.decode()
    assert all(level in text for level in levels), text


def has_luaotfload() -> bool:
    found = shutil.which("kpsewhich")
    return found is not None and all(
        subprocess.run([found, name], capture_output=True).returncode == 0
        for name in ("luaotfload.sty", "fontspec.sty")
    )


@compiles
@pytest.mark.slow
@pytest.mark.skipif(
    LUALATEX is None or PDFTOTEXT is None or not has_luaotfload(), reason="no LuaLaTeX with fontspec here"
)
def test_letters_of_other_scripts_are_in_the_page_with_a_font_that_has_them(tmp_path: Path) -> None:
    font = "DejaVuSerif.ttf"
    places = [folder / font for folder in Path("/usr/share/fonts").rglob("dejavu") if (folder / font).is_file()]
    if not places:
        pytest.skip(f"no {font} on this machine")
    levels = ["норма", "Ελληνικά", "հայերեն", "ქართული"]
    text = as_latex(made(factors={"model.block": levels}))
    head = rf"\usepackage{{fontspec}}\setmainfont{{{font}}}[Path={places[0].parent}/]"
    said = compiled(tmp_path, text, str(LUALATEX), head)
    page = subprocess.run([str(PDFTOTEXT), "table.pdf", "-"], cwd=tmp_path, capture_output=True).stdout.decode()
    assert "Missing character" not in said and all(level in page for level in levels), page
