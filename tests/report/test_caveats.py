"""Tables whose runs were trained by several versions of the code, by another than today's, or on several machines."""

from collections.abc import Callable
from typing import Any

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


MACHINE = {"host": "a", "device": "NVIDIA H100", "processor": "EPYC (AVX512)", "torch": "2.13.0", "threads": 1}


def on(machine: Callable[[int], dict[str, Any]], **changes: Any) -> Comparison:
    return remade(made(**changes), record=lambda number, _: machine(number))


def test_cells_of_other_hardware_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    other = {**MACHINE, "host": "b", "device": "NVIDIA A100"}
    comparison = on(lambda number: other if number == 3 else MACHINE)
    above = "3 of 24 runs were trained on other hardware or by other versions of libraries."
    below = f"hardware: 3 of 24 runs ({comparison.cells[3].label}) were trained on other hardware or by other versions"
    for text in (printed(comparison, 80), as_markdown(comparison), as_latex(comparison)):
        plain = flat(text.replace("\\", "").replace("{[}", "["))
        assert above in plain and below in plain
        assert "(device NVIDIA A100, NVIDIA H100)" in plain
    ids = [run.id for run in comparison.cells[3].results]
    assert as_json(comparison)["other_hardware"] == ids
    explain.show(explain.reasons(comparison, comparison.cells[1]))
    assert below in flat(capsys.readouterr().out)


def test_equal_machines_of_other_names_are_no_other_hardware() -> None:
    comparison = on(lambda number: {**MACHINE, "host": f"node{number}", "threads": number})
    assert "other hardware" not in as_markdown(comparison)
    assert as_json(comparison)["other_hardware"] == []


def test_another_version_of_a_library_is_named_and_a_missing_record_is_not() -> None:
    newer = {**MACHINE, "torch": "2.14.0"}
    without = {key: value for key, value in MACHINE.items() if key != "torch"}
    comparison = on(lambda number: {1: newer, 2: without}.get(number, MACHINE))
    assert f"3 of 24 runs ({comparison.cells[1].label}) were trained on other" in flat(as_markdown(comparison))


def test_what_the_grid_varies_itself_is_no_other_hardware() -> None:
    factors = {"training.precision": ["32-true", "bf16-mixed"]}
    comparison = on(lambda number: {**MACHINE, "precision": str(number)}, factors=factors)
    assert "other hardware" not in as_markdown(comparison)
