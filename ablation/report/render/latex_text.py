"""Text in LaTeX: characters that mean something there, and letters and signs that pdfLaTeX has under another name.

What has such a name comes out the same with every engine and font encoding. All else stays as it is, and needs an
engine that reads Unicode and a font that has the character.
"""

import re
import unicodedata

from .. import labels, numbers

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "%": r"\%",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a line break it would begin an argument
    "]": "{]}",
    '"': "''",
    "`": r"\textasciigrave{}",  # else a quotation mark, and after ? or ! those of Spanish
}
_SIGNS = {
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "·": r"$\cdot$",
    "÷": r"$\div$",
    "\N{MINUS SIGN}": "$-$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "∞": r"$\infty$",
    "∈": r"$\in$",
    "√": r"$\surd$",
    "∂": r"$\partial$",
    "∇": r"$\nabla$",
    "∑": r"$\sum$",
    "∏": r"$\prod$",
    "✗": r"$\times$",
    "✓": r"$\surd$",
    "▲": r"$\triangle$",
    "▼": r"$\bigtriangledown$",
    "°": r"$^\circ$",
    labels.UNMATCHED: r"$\P$",
    labels.BESIDE: r"$\ddagger$",
    numbers.TIMES: r"$\times$",
    "§": r"\S{}",
    "©": r"\copyright{}",
    "£": r"\pounds{}",
    "—": "---",
    "\N{EN DASH}": "--",
    "…": r"\ldots{}",
    "\N{LEFT SINGLE QUOTATION MARK}": "`{}",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'{}",
    "“": "``{}",
    "”": "''{}",
    "¡": "!`{}",
    "¿": "?`{}",
}
_LETTERS = {
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
    "\N{LATIN SMALL LETTER DOTLESS I}": r"\i{}",
    "ȷ": r"\j{}",
}
_ACCENTS = {
    "GRAVE ACCENT": "`",
    "ACUTE ACCENT": "'",
    "CIRCUMFLEX ACCENT": "^",
    "TILDE": "~",
    "DIAERESIS": '"',
    "MACRON": "=",
    "DOT ABOVE": ".",
    "BREVE": "u",
    "RING ABOVE": "r",
    "DOUBLE ACUTE ACCENT": "H",
    "CARON": "v",
    "CEDILLA": "c",
    "DOT BELOW": "d",
    "MACRON BELOW": "b",
}
_VARIANTS = {"epsilon": "varepsilon", "phi": "varphi"}
"""Of which LaTeX's plain names are of other forms."""
_GREEK = ("alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu",
          "xi", "pi", "rho", "sigma", "tau", "upsilon", "phi", "chi", "psi", "omega")  # fmt: skip
_GREEK_CAPITALS = ("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Upsilon", "Phi", "Psi", "Omega")


_MINUS = re.compile(r"(?<![\w.)\-])-(?=\.?\d)|(?<=\d[eE])-(?=\d)")
"""A hyphen that is the sign of a number: ``-0.1``, ``1e-3``, but neither ``GPT-2`` nor ``2020-01``."""

_INSIDE = re.compile(r"(?<=[_=/,.(:])(?=[^\s\d])")
"""Where a word may be broken."""


def escaped(text: object) -> str:
    """``text`` in one line, with no character that LaTeX takes for a command; see ``without_name`` for the others."""
    written: list[str] = []
    for character in unicodedata.normalize("NFC", _MINUS.sub("\N{MINUS SIGN}", labels.plain(text))):
        if character == "-" and written and written[-1] == "-":
            written.append("{}")  # else a dash
        written.append(_written(character))
    return "".join(written)


def breakable(text: object, longer_than: int = 0) -> str:
    """The same, where a line may also be broken inside of long words: names, paths, settings, intervals."""
    words = labels.plain(text).split()
    parts = (_INSIDE.split(word) if len(word) > longer_than else [word] for word in words)
    return " ".join(r"\hspace{0pt}".join(map(escaped, of_word)) for of_word in parts)


def pieces(text: str) -> list[str]:
    """What stays in one line of a ``breakable`` text."""
    return [piece for word in text.split() for piece in _INSIDE.split(word)]


def without_name(text: str) -> str:
    """The characters of a text in LaTeX that pdfLaTeX does not know, each once."""
    return "".join(dict.fromkeys(character for character in text if not character.isascii()))


def _written(character: str) -> str:
    if character.isascii():
        return SPECIAL.get(character, character)
    known = _SIGNS.get(character) or _LETTERS.get(character)
    return known or _greek(character) or _raised(character) or _accented(character) or character


def _greek(character: str) -> str | None:
    name = unicodedata.name(character, "")
    if character in ("µ", "Ω"):  # the signs of micro and ohm
        return r"$\mu$" if character == "µ" else r"$\Omega$"
    letter = name.rpartition(" ")[2].replace("LAMDA", "LAMBDA")
    if name.startswith("GREEK SMALL LETTER ") and letter.lower() in _GREEK and len(name.split()) == 4:
        return rf"$\{_VARIANTS.get(letter.lower(), letter.lower())}$"
    if name.startswith("GREEK CAPITAL LETTER ") and letter.capitalize() in _GREEK_CAPITALS and len(name.split()) == 4:
        return rf"$\{letter.capitalize()}$"
    return None


def _raised(character: str) -> str | None:
    """Digits and signs above or below the line: ``²`` is ``$^{2}$``."""
    kind, _, code = unicodedata.decomposition(character).partition(" ")
    mark = {"<super>": "^", "<sub>": "_"}.get(kind)
    plain = chr(int(code, 16)) if mark and " " not in code else ""
    return f"${mark}{{{plain}}}$" if plain.isascii() and plain.isalnum() else None


def _accented(character: str) -> str | None:
    """``é`` as ``\\'{e}``, which any font can put together; None where there are two accents or another alphabet."""
    letter, *marks = list(unicodedata.normalize("NFD", character))
    if len(marks) != 1 or not letter.isascii():
        return None
    accent = _ACCENTS.get(unicodedata.name(marks[0], "").removeprefix("COMBINING "))
    return rf"\{accent}{{{letter}}}" if accent else None
