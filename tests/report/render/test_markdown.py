"""The table in Markdown."""

import re

from support.studies import STUDIES, as_markdown

from ablation.report.render import markdown


def test_markup_in_names_does_nothing_in_markdown() -> None:
    text = as_markdown(STUDIES["hostile"])
    assert all(character == "\n" or character.isprintable() for character in text)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 2 + 11
    assert {len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) for row in rows} == {len(re.findall(r"\|", rows[1]))}
    assert not re.search(r"(?<!\\)<|(?<!\\)`|(?<!\\)\[|[^\\*]\*\*d", text)
    text.encode()


def test_underscore_is_escaped_only_where_it_is_emphasis() -> None:
    assert markdown.escaped("pre_norm _x_ a|b") == r"pre_norm \_x\_ a\|b"


def test_markdown_has_a_row_for_each_cell_and_effect() -> None:
    lines = as_markdown(STUDIES["complete"]).splitlines()
    assert sum(line.startswith("|") for line in lines) == (2 + 8) + (2 + 6)
    assert any(line.startswith("| baseline: block=pre_norm position=sinusoidal n_heads=4 | 2.") for line in lines)
    assert any(
        line.endswith(
            "; 95 % interval: paired t with variances shared between cells where there is a verdict, over seeds, "
            "on one fixed validation set, uncorrected"
        )
        for line in lines
    )
