"""``ablate inspect`` on trained runs: a cell over its seeds, a single run, and what it says of a wrong name."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from support.plans import BASE_YAML

import ablation
from ablation.errors import InputError, StorageError
from ablation.inspect.record import How
from ablation.store.files import read_json

GRID = """\
name: small
base: base.yaml
set: {model.n_layers: 2}
factors:
  model.mixer: [attention, {label: lstm, set: {model.mixer: lstm, model.position: none}}]
seeds: 3
"""


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> ablation.Study:
    """A grid of two cells and three seeds, trained for a few steps."""
    folder = tmp_path_factory.mktemp("inside")
    (folder / "base.yaml").write_text(BASE_YAML)
    (folder / "grid.yaml").write_text(GRID)
    trained = ablation.Study(folder / "grid.yaml", runs=folder / "runs")
    assert not trained.run(workers=1).failed
    return trained


def test_cells_are_looked_into_over_all_seeds(study: ablation.Study) -> None:
    steps: list[str] = []
    found = study.inspect(n_shown=2, on_message=steps.append)
    attention, lstm = found.comparison.cells
    assert attention.seeds == lstm.seeds == (0, 1, 2)
    assert len(attention.heads) == 8 and not lstm.heads
    parts = {each.part: each for each in attention.knockouts}
    assert {"layer 1 head 3", "layer 0 mixer", "layer 1 feedforward", "layer 0", "positions"} <= set(parts)
    assert all(each.contrasts["loss"].pairs == 3 for each in parts.values())
    assert "positions" not in {each.part for each in lstm.knockouts}
    assert all("has no attention weights" in reason for reason in lstm.without_weights.values())
    assert [len(examples) for examples in found.maps.values()] == [2] * 6
    assert {step.rpartition(": ")[2] for step in steps} == {
        *("attention maps", "what heads do", "knockouts", "pruning", "streams")
    }
    frame = found.frame()
    assert set(frame.family) == {"", "heads", "sublayers", "layers", "positions"}
    assert len(frame[(frame.cell == attention.label) & (frame.part == "layer 0") & (frame.measure == "loss")]) == 3


def test_loss_of_the_whole_model_is_that_of_its_run(study: ablation.Study) -> None:
    found = study.inspect("mixer=attention" if "mixer=attention" in labels(study) else labels(study)[0])
    (cell,) = found.comparison.cells
    for run, loss in zip(cell.runs, cell.intact["loss"], strict=True):
        assert loss == pytest.approx(study.store.result(run).metrics["loss"], rel=1e-6)


def labels(study: ablation.Study) -> list[str]:
    return [cell["label"] for cell in study.manifest["cells"]]


def test_what_was_found_is_kept_beside_the_manifest_cell_by_cell(study: ablation.Study) -> None:
    first, second = labels(study)
    study.inspect(first, How(prunes=False))
    study.inspect(second, How(prunes=False))
    kept = read_json(study.store.grid_directory("small") / "inspection.json")
    assert isinstance(kept, dict) and {cell["label"] for cell in kept["cells"]} == {first, second}
    study.inspect(first, How(ablation="zero", prunes=False))  # not to be mixed with others
    kept = read_json(study.store.grid_directory("small") / "inspection.json")
    assert isinstance(kept, dict) and [cell["label"] for cell in kept["cells"]] == [first]


def test_damaged_file_of_earlier_results_is_refused_before_any_work(study: ablation.Study, tmp_path: Path) -> None:
    from ablation.api.inspected import inspect_models

    runs = tmp_path / "runs"
    shutil.copytree(study.store.root, runs, symlinks=True)
    (runs / "small" / "inspection.json").write_text("{}")
    steps: list[str] = []
    with pytest.raises(StorageError, match=r"inspection\.json"):
        inspect_models(f"small:{labels(study)[0]}", runs=runs, on_message=steps.append)
    assert steps == []


def test_page_and_report_show_it_and_load_nothing(study: ablation.Study, tmp_path: Path) -> None:
    from ablation.report.html.page import write_page

    found = study.inspect(n_shown=1)
    page, pictures = found.save_page(tmp_path / "inside.html", tmp_path / "figures")
    assert page is not None and {file.suffix for file in pictures} == {".svg", ".png", ".pdf"}
    text = page.read_text()
    visible, _ = text.split('<script type="application/json"', 1)
    assert 'id="overview"' in visible and "layer 1 head 3" in visible
    assert not re.findall(r'(?:src|href)="(?!#)', visible) and "default-src &#39;none&#39;" in visible
    write_page(study.manifest, study.compare(), study.store.root, tmp_path / "report.html")
    report = (tmp_path / "report.html").read_text()
    assert "What was found inside" in report and "Without one part" in report


def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    from ablation import cli

    monkeypatch.setattr("sys.argv", ["ablate", "inspect", *words])
    code = cli.main()
    out, err = capsys.readouterr()
    return code, out, err


def test_command_prints_json_and_shades(
    study: ablation.Study, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ["--runs", str(study.store.root), "--no-pruning", "--parts", "heads"]
    code, out, _ = command(capsys, monkeypatch, f"small:{labels(study)[0]}", "--json", "--maps", *runs)
    found: dict[str, Any] = json.loads(out)
    assert code == 0 and found["family"] == 8 and len(found["maps"]) == 3
    assert {each["family"] for each in found["cells"][0]["knockouts"]} == {"heads"}
    code, out, _ = command(capsys, monkeypatch, found["cells"][0]["runs"][0], "--maps", *runs)
    assert code == 0 and "█" in out and "layer 1 mixer" in out


def test_text_of_a_user_is_shown(study: ablation.Study) -> None:
    word = study.plan().cells[0].runs[0].config.task.build().token_names[0]  # type: ignore[attr-defined]
    found = study.inspect(labels(study)[0], How(prunes=False), text=f"{word} {word}")
    example = next(iter(found.maps.values()))[0]
    assert example["maps"][0]["queries"] == [word, word]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("small:mixr", "'mixr' is not a cell; cells: "),
        ("other:mixer", "no grid 'other' was run"),
        ("nothing", "it is no run; name one as GRID:CELL"),
    ],
)
def test_wrong_name_is_refused_in_one_line(study: ablation.Study, name: str, message: str) -> None:
    from ablation.api.inspected import inspect_models

    with pytest.raises(InputError, match=message):
        inspect_models(name, runs=study.store.root)


def test_claim_may_be_about_the_inside_of_trained_models(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(BASE_YAML)
    (tmp_path / "grid.yaml").write_text(
        """\
name: claimed
base: base.yaml
claim:
  statement: A layer matters.
  source: a test
  expect:
    - {measure: loss_without_last_layer, cell: {}, number: -1.0, expected: higher}
    - {measure: attention_to_first, cell: {}, number: 2.0, expected: lower}
  pilot_seeds: []
  search:
    - {arms: [{}], tried: {optimizer.lr: [1e-4, 1e-3, 1e-2]}}
set: {training.max_steps: 2, training.evaluate_every: 2}
factors: {model.position: [rope]}
seeds: 3
"""
    )
    result, _ = ablation.Study(tmp_path / "grid.yaml", runs=tmp_path / "runs").claim(workers=1)
    assert result is not None and result.answer == "supported"
    assert all(value is not None for finding in result.findings for value in finding.values)
