"""``ablate compare`` and ``compare_with``: two grids in folders of runs."""

import json
import shutil
from pathlib import Path

import pytest
from support.small_grids import NORMS, Ablate, one_line, output, plan_of, write_grid, write_results

import ablation
from ablation.errors import InputError
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study.manifest import save_plan


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """``small`` with results, and the same study in another folder, whose runs have other code and better scores."""
    write_grid(tmp_path, seeds=3)
    write_results(tmp_path)
    plan, store = plan_of(tmp_path / "small.yaml"), Store(tmp_path / "runs")
    for run in plan.runs:
        record = {"schema": 1, "id": run.id, "seed": run.seed, "config": {}, "identity": run.identity}
        write_json(store.directory(run.id) / "run.json", {**record, "code": {"source": "before"}})
    shutil.copytree(tmp_path / "runs", tmp_path / "after")
    for file in (tmp_path / "after" / "store").rglob("*.json"):
        content = json.loads(file.read_text())
        if file.name == "result.json":
            content["quality"]["final"]["exact_match"] += 0.25
        elif file.name == "run.json":
            content["code"]["source"] = "after"
        file.write_text(json.dumps(content))
    return tmp_path / "runs"


def test_compare_of_one_study_at_two_versions_of_the_code(runs: Path, ablate: Ablate) -> None:
    result = json.loads(output(ablate("compare", "runs/small", "after/small", "--json")))
    assert (result["a"], result["b"], result["metric"]) == ("runs/small", "after/small", "exact_match")
    assert [cell["metrics"]["exact_match"]["delta"] for cell in result["cells"]] == [0.25, 0.25]
    assert result["differences"] == [{"what": "code", "a": "before", "b": "after", "cells": []}]
    assert result["same_runs"] == 0


def test_compare_prints_what_differs(runs: Path, ablate: Ablate) -> None:
    text = output(ablate("compare", "runs/small", "after/small"))
    assert "+0.25" in text and "differs: code: before in runs/small, after in after/small" in " ".join(text.split())


def test_compare_of_two_grids_in_one_folder_names_the_runs_that_both_have(runs: Path, ablate: Ablate) -> None:
    wider = write_grid(runs.parent, {**NORMS, "model.norm": ["layer_norm", "rms_norm"]}, name="wider", seeds=3)
    save_plan(plan_of(wider), Store(runs))
    result = json.loads(output(ablate("compare", "small", "wider.yaml", "--json")))
    assert [cell["b"]["label"] for cell in result["cells"]] == ["block=pre_norm norm=layer_norm", "block=post_norm"]
    assert (result["same_runs"], len(result["only_b"])) == (6, 2)


def test_compare_finds_a_grid_by_the_name_of_its_file_in_conf(runs: Path, ablate: Ablate) -> None:
    write_grid(runs.parent, name="scan-length", seeds=3)
    save_plan(plan_of(runs.parent / "scan-length.yaml"), Store(runs))
    result = json.loads(output(ablate("compare", "small", "scan_length", "--json")))
    assert result["b"] == "scan-length"


def test_compare_refuses_what_is_no_grid(runs: Path, ablate: Ablate) -> None:
    answer = ablate("compare", "small", "smal")
    assert answer.code == 2 and "did you mean 'small'" in one_line(answer)
    answer = ablate("compare", "small", "runs/small")
    assert answer.code == 2 and "the same folder twice" in one_line(answer)
    answer = ablate("compare", "runs/small", "after/small", "--metric", "los")
    assert answer.code == 2 and "no run has measured 'los'" in one_line(answer)
    other = write_grid(runs.parent, name="other")
    answer = ablate("compare", "small", other)
    assert answer.code == 2 and "was not run yet" in one_line(answer)


def test_results_compare_with_others(runs: Path) -> None:
    result = ablation.load(runs / "small").compare_with(ablation.load(runs.parent / "after" / "small"))
    assert [pair.cells[1].metrics["exact_match"].contrast.delta for pair in result.pairs] == [0.25, 0.25]
    assert [line[:17] for line in result.table().splitlines() if "post" in line] == ["| block=post_norm"] * 2
    with pytest.raises(InputError, match="'markdwn' is not known"):
        result.table("markdwn")
