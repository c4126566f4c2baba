"""Controls and preregistration: what should come out does, and what was changed after runs had ended is said."""

import json
import shutil
from pathlib import Path
from typing import Any

import yaml
from support.archives import read, write
from support.small_grids import NORMS, SMALL, Ablate, one_line, output, write_grid
from support.stores import rewrite

import ablation
from ablation.store.attempts import begin, commit
from ablation.store.runs import Store
from ablation.study.controls import store_of
from ablation.study.preregistration import register

DEPTHS = [{"label": "one", "set": {}}, {"label": "four", "set": {"model.n_layers": 4}}]


def controlled(folder: Path, **keys: Any) -> Path:
    file = write_grid(folder, NORMS, {}, name="study", seeds=3)
    written = {**yaml.safe_load(file.read_text()), "metric": "loss", **keys}
    file.write_text(yaml.safe_dump(written, sort_keys=False))
    return file


def said(text: str) -> str:
    return " ".join(text.split())


def change_losses(folder: Path, label: str, by: float) -> None:
    """Add ``by`` to the losses of a control."""
    runs = folder / "runs"
    for run in json.loads((runs / "study" / "manifest.json").read_text())["controls"][label]:
        file = runs / "study" / "controls" / "store" / run[:2] / run / "result.json"
        result = json.loads(file.read_text())
        result["quality"]["final"]["loss"] += by
        rewrite(file, result)


def test_controls_come_first_and_are_no_part_of_the_tests(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={"known_bad": {"optimizer.lr": 1e-7}})
    text = said(output(ablate("run", grid)))
    assert "study Controls passed: A/A no difference (" in text
    assert "; the same run again gave the same numbers; known bad worse (+" in text
    table = json.loads(output(ablate("table", grid, "--format", "json")))
    assert [cell["label"] for cell in table["cells"]] == ["block=pre_norm", "block=post_norm"]


def test_what_makes_a_control_bad_goes_over_what_was_tuned(ablate: Ablate, tmp_path: Path) -> None:
    controls = {"a_a": False, "determinism": False, "known_bad": {"optimizer.lr": 1e-7}}
    tune = {"settings": {"optimizer.lr": [0.01, 0.02]}, "seeds": 1}
    text = said(output(ablate("run", controlled(tmp_path, tune=tune, controls=controls))))
    assert "Controls passed: known bad worse (+" in text
    folder = tmp_path / "runs" / "study" / "controls" / "store"
    records = [json.loads(file.read_text()) for file in folder.glob("*/*/run.json")]
    assert [record["config"]["optimizer"]["lr"] for record in records] == [1e-7] * 3


def test_control_that_cannot_be_is_named_in_the_grid_file(ablate: Ablate, tmp_path: Path) -> None:
    message = one_line(ablate("plan", controlled(tmp_path, controls={"known_bad": {"optimizer.lrr": 1}})))
    assert "study.yaml:" in message and "controls.known_bad.optimizer.lrr: unknown key" in message


def test_a_second_command_trains_no_control_again(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={})
    output(ablate("run", grid))
    again = ablate("run", grid)
    assert "to train" not in again.err
    assert "Controls passed: A/A" in said(output(again))


def test_controls_that_are_gone_are_trained_again(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={})
    output(ablate("run", grid))
    shutil.rmtree(tmp_path / "runs" / "study" / "controls")
    text = said(output(ablate("table", grid)))
    assert "study Controls: A/A has no outcome (no seed has a value in both); same run again has no outcome (" in text
    assert "Controls passed: A/A" in said(output(ablate("run", grid)))
    assert (tmp_path / "runs" / "study" / "controls").is_dir()


def test_controls_of_too_few_seeds_are_not_said_to_be_missing(ablate: Ablate, tmp_path: Path) -> None:
    text = said(output(ablate("run", controlled(tmp_path, controls={"determinism": False}, seeds=2))))
    assert "study Controls: A/A has no outcome (2 seeds: an interval needs 3)." in text


def test_controls_travel_with_their_grid(ablate: Ablate, tmp_path: Path) -> None:
    grid, other = controlled(tmp_path, controls={"known_bad": {"optimizer.lr": 1e-7}}), tmp_path / "other"
    output(ablate("run", grid))
    assert ablate("export", grid, "--output", tmp_path / "study.tar", "--json").json["runs"] == 6 + 3 + 1 + 3
    output(ablate("import-runs", tmp_path / "study.tar", "--runs", other))
    assert "Controls passed: A/A no difference (" in said(output(ablate("table", "study", "--runs", other)))
    before, after = (ablate("table", "study", "--runs", runs, "--format", "json").out for runs in ("runs", other))
    assert after == before
    assert ablate("import-runs", tmp_path / "study.tar", "--runs", other, "--json").json["present"] == 13
    assert ablate("check", "--runs", other).code == 0


def test_import_takes_no_control_that_the_grid_does_not_name(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", controlled(tmp_path, controls={"a_a": False})))
    manifest = tmp_path / "runs" / "study" / "manifest.json"
    output(ablate("export", "study", "--output", tmp_path / "study.tar"))
    named = json.loads(manifest.read_text())
    content = json.dumps({**named, "controls": {}}).encode()
    archive = tmp_path / "study.tar"
    files = read(archive)
    write(archive, {**files, "study/manifest.json": content})
    assert "is none of grid study" in one_line(ablate("import-runs", archive, "--runs", tmp_path / "other"))


def test_controls_start_from_the_runs_that_the_baseline_starts_from(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", write_grid(tmp_path, NORMS, name="parent", seeds=3)))
    asked = {"a_a": False, "known_bad": {"optimizer.lr": 1e-7}}
    grid = controlled(tmp_path, controls=asked, set={**SMALL, "start_from": "parent:block=pre_norm"})
    assert "the same run again gave the same numbers" in said(output(ablate("run", grid)))


def test_damaged_control_is_found_by_check(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={"a_a": False})
    output(ablate("run", grid))
    assert "No problems." in output(ablate("check"))
    (file,) = (tmp_path / "runs" / "study" / "controls" / "store").glob("*/*/result.json")
    file.write_text("{")
    found = ablate("check")
    assert found.code == 1 and f"study/controls/store/{file.parent.parent.name}" in found.out
    assert ablate("check", "--repair").code == 0
    assert "Controls passed" in said(output(ablate("run", grid)))


def test_a_control_that_fails_is_said_before_anything_else(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={})
    output(ablate("run", grid))
    change_losses(tmp_path, "A/A", 1.0)
    assert "study CONTROLS FAILED: A/A a difference (+" in said(output(ablate("table", grid)))


def test_the_same_run_with_other_numbers_is_said(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={"a_a": False})
    output(ablate("run", grid))
    change_losses(tmp_path, "same run again", 1e-7)
    assert "CONTROLS FAILED: the same run again gave other numbers (loss)." in said(output(ablate("table", grid)))


def test_what_changes_after_runs_have_ended_is_marked(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", controlled(tmp_path)))
    text = said(output(ablate("run", controlled(tmp_path, metric="exact_match", margins={"loss": 0.5}))))
    assert "Changed after 6 runs had ended: metric (loss -> exact_match), margins (none -> loss 0.5)." in text
    again = said(output(ablate("table", "study")))
    assert "Changed after 6 runs had ended" in again


def test_looks_that_are_planned_later_were_none_before() -> None:
    before = {"metric": "loss", "cells": [{"label": "a", "runs": [{"id": "1"}]}], "seeds": [0]}
    earlier = {**before, "preregistration": register(before, None, 0)}
    (change,) = register({**before, "interim_looks": [5, 8]}, earlier, 3)["changes"]
    assert change == {"after": 3, "what": ["interim looks (none -> 5, 8)"]}


def test_table_of_a_file_that_was_changed_says_so(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", controlled(tmp_path)))
    output(ablate("run", controlled(tmp_path, margins={"loss": 0.5})))
    text = said(output(ablate("table", controlled(tmp_path, margins={"loss": 0.5}, metric="exact_match"))))
    assert "Changed after 6 runs had ended: margins (none -> loss 0.5)." in text
    assert "Changed after 6 runs had ended: metric (loss -> exact_match)." in text


def test_what_changes_before_any_run_has_ended_is_no_change(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path)
    ablate("plan", grid)
    assert "Changed after" not in output(ablate("run", controlled(tmp_path, margins={"loss": 0.5})))


def test_another_study_under_the_same_name_begins_anew(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", controlled(tmp_path)))
    grid = controlled(tmp_path, margins={"loss": 0.5})
    assert "Changed after" not in output(ablate("run", grid, "--set", "optimizer.lr=0.02"))


def test_a_saved_plan_trains_its_runs_and_no_others(ablate: Ablate, tmp_path: Path) -> None:
    grid, file = controlled(tmp_path), tmp_path / "part.jsonl"
    output(ablate("plan", grid, "--save", file))
    head, *runs = file.read_text().splitlines(keepends=True)
    assert len(runs) == 6
    file.write_text("".join([head, *runs[:2]]))
    done = ablate("run", file, "--json")
    assert (done.code, done.json["executed"], done.json["missing"], done.json["cached"]) == (0, 2, 0, 0)
    stored = {path.parent.name for path in (tmp_path / "runs" / "store").glob("*/*/result.json")}
    assert stored == {json.loads(line)["id"] for line in runs[:2]}
    assert ablate("run", grid, "--json").json["executed"] == 4


def test_a_saved_plan_of_what_has_changed_is_refused(ablate: Ablate, tmp_path: Path) -> None:
    grid, file = controlled(tmp_path), tmp_path / "part.jsonl"
    output(ablate("plan", grid, "--save", file))
    lines = file.read_text().splitlines()
    file.write_text("\n".join([lines[0], lines[1].replace('"id": "', '"id": "0', 1).replace("0", "0", 1)]))
    assert "part.jsonl:2:1: " in one_line(ablate("run", file))
    file.write_text("\n".join(lines))
    assert "is a saved plan, which fixes this" in one_line(ablate("run", file, "--seeds", "2"))
    controlled(tmp_path, margins={"loss": 1.0})
    assert "has changed since; `ablate plan --save` writes it again" in one_line(ablate("run", file))
    file.write_text("[1]\n")
    assert "part.jsonl:1:1: must be a mapping" in one_line(ablate("run", file))


def test_where_time_is_matched_steps_are_timed_once(ablate: Ablate, tmp_path: Path) -> None:
    match = {"quantity": "time", "by": "training.max_steps"}
    grid = controlled(tmp_path, factors={"depth": DEPTHS}, match=match)
    assert "not matched in time yet" in said(output(ablate("plan", grid)))
    assert "not matched in time yet" in one_line(ablate("table", grid))
    first = ablate("run", grid, "--json")
    assert "timing a training step of 2 cells" in first.err
    again = ablate("run", grid, "--seeds", "4", "--json")
    assert "timing" not in again.err
    assert again.json["executed"] == 2
    assert "matched by training.max_steps to the baseline's time" in said(output(ablate("table", grid)))


def test_a_control_that_failed_by_other_code_is_trained_again(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={"a_a": False, "known_bad": {"optimizer.lr": 1e-7}})
    output(ablate("run", grid))
    store = store_of(Store(tmp_path / "runs"), "study")
    controls = ablation.Study(grid, runs=tmp_path / "runs").plan().controls
    assert controls is not None
    run = controls.runs[-1]
    shutil.rmtree(store.directory(run.id))
    attempt = begin(store.order(run))
    record = json.loads((attempt / "run.json").read_text())
    (attempt / "run.json").write_text(json.dumps({**record, "code": {"ablation": "of before"}}))
    commit(attempt, "failure.json", {"kind": "exception", "reason": "TypeError"})
    assert store.status(run.id) == "failed"
    assert "Controls passed: " in said(output(ablate("run", grid)))
    assert store.status(run.id) == "completed"


def test_a_control_that_failed_is_tried_again_by_retry(ablate: Ablate, tmp_path: Path) -> None:
    grid = controlled(tmp_path, controls={"a_a": False, "known_bad": {"optimizer.lr": 1e-7}})
    output(ablate("run", grid))
    store = store_of(Store(tmp_path / "runs"), "study")
    controls = ablation.Study(grid, runs=tmp_path / "runs").plan().controls
    assert controls is not None
    run = controls.runs[-1]
    shutil.rmtree(store.directory(run.id))
    commit(begin(store.order(run)), "failure.json", {"kind": "exception", "reason": "OSError"})
    output(ablate("run", grid, "--retry", "failed"))
    assert store.status(run.id) == "completed"
