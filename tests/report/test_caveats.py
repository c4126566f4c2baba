"""Tables whose runs were trained by several versions of the code, or by another than today's."""

import pytest
from support.studies import as_json, as_latex, as_markdown, flat, made, printed, remade

from ablation.compare.records import Comparison
from ablation.report import explain

NOW = {"source": "a" * 16}
BEFORE = {"source": "b" * 16}


def coded(code, stale=lambda number: False) -> Comparison:
    return remade(made(), code=lambda number, _: code(number), stale_code=lambda number, _: stale(number))


def test_runs_of_two_versions_of_the_code_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    comparison = coded(lambda number: BEFORE if number == 3 else NOW, lambda number: number == 3)
    label = comparison.cells[3].label
    above = "3 of 24 runs were trained by another version of the code."
    below = f"code: 3 of 24 runs ({label}) were trained by another version than the others"
    for text in (printed(comparison, 80), printed(comparison, 160), as_markdown(comparison), as_latex(comparison)):
        plain = flat(text.replace("\\", "").replace("{[}", "["))
        assert above in plain and below in plain
    document = as_json(comparison)
    ids = [run.id for run in comparison.cells[3].results]
    assert above in document["summary"] and document["other_code"] == document["stale_code"] == ids
    explain.show(explain.reasons(comparison, comparison.cells[1]))
    assert below in flat(capsys.readouterr().out)


def test_component_from_elsewhere_counts_where_it_is_used() -> None:
    plugin = {"mixer.mine": "c" * 16}
    assert "code" not in printed(coded(lambda number: {**NOW, **plugin} if number > 3 else NOW), 160)
    changed = {"mixer.mine": "d" * 16}
    text = flat(printed(coded(lambda number: {**NOW, **(changed if number == 7 else plugin)}), 160))
    assert "code: 3 of 24 runs (" in text


def test_runs_of_one_older_version_are_one_note() -> None:
    comparison = coded(lambda number: BEFORE, lambda number: True)
    text = flat(printed(comparison, 80))
    assert "code: 24 of 24 runs were trained by other code than today's" in text
    assert "another version" not in text and "code" not in flat(printed(coded(lambda number: NOW), 80))


def test_runs_without_a_record_of_code_say_nothing() -> None:
    assert "code" not in printed(made(), 160)
