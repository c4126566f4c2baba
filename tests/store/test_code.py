"""Runs that were trained by other code."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support import ROOT
from support.runs import RESULT, commit_run
from support.small_grids import plan_of, trouble, write_grid, write_trouble

from ablation.grid.plan import Plan
from ablation.store import code
from ablation.store.code import code_version
from ablation.store.runs import Store

MEASURED = {**RESULT, "quality": {"final": {"loss": 1.0}}, "efficiency": {}}


def test_stale_code_is_found_and_retried_on_request(store: Store, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    run, other = plan.runs[:2]
    for each in (run, other):
        commit_run(store, each, RESULT)
    assert not store.has_stale_code(run)
    assert store.to_train(plan.runs[:2], ("stale_code",)) == []
    monkeypatch.setattr(code, "package_source", lambda: "other")
    assert store.has_stale_code(run)
    assert store.to_train(plan.runs[:2]) == []
    assert store.to_train(plan.runs[:2], ("stale_code",)) == [run, other]
    store.order(run)
    assert not store.has_stale_code(run)


def test_a_missing_run_has_no_stale_code(store: Store, plan: Plan) -> None:
    assert not store.has_stale_code(plan.runs[0])


def test_fingerprint_covers_modules_that_decide_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    files_read: list[Path] = []
    monkeypatch.setattr(code, "_fingerprint", lambda *files: files_read.extend(files) or "")
    code.package_source.cache_clear()
    code.package_source()
    code.package_source.cache_clear()
    names = {str(file.relative_to(code.PACKAGE)) for file in files_read}
    assert {
        "rng.py",
        "components/block.py",
        "tasks/generated/copying.py",
        "model/build.py",
        "training/learner.py",
    } <= names
    assert not any(file.startswith(("cli", "store", "report", "tracking")) for file in names)


def test_code_version_has_the_plugins_a_cell_uses(tmp_path: Path, scratch_registry: Any) -> None:
    factor = {"schedule": ["constant", *trouble()["schedule"]]}
    plugin = write_trouble(tmp_path)
    without, using = plan_of(write_grid(tmp_path, factor), [plugin]).runs
    before = code_version(without.config), code_version(using.config)
    assert before[0]["plugins"] == {}
    assert list(before[1]["plugins"]) == ["schedule.trouble"]
    plugin.write_text(plugin.read_text() + "# changed\n")
    assert [code_version(run.config) for run in (without, using)] == [*before], "it is what this process has loaded"
    del scratch_registry["schedule"]["trouble"]  # as in a new process
    without, using = plan_of(write_grid(tmp_path, factor), [plugin]).runs
    assert code_version(without.config) == before[0]
    assert code_version(using.config) != before[1]


def test_result_of_a_run_knows_its_code_without_loading_it(
    store: Store, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plan.runs[0]
    commit_run(store, run, MEASURED)
    result = store.result(run.id)
    assert (dict(result.code), result.stale_code) == ({"source": code.package_source()}, False)
    monkeypatch.setattr(code, "package_source", lambda: "other")
    assert store.result(run.id).stale_code


def test_result_of_a_run_with_an_edited_plugin_is_stale(store: Store, tmp_path: Path, scratch_registry: Any) -> None:
    plugin = write_trouble(tmp_path)
    plan = plan_of(write_grid(tmp_path, trouble("fail")), [plugin])
    run = plan.runs[0]
    commit_run(store, run, MEASURED, plugins=store.keep_plugins(plan.plugins, plan.name))
    assert {*store.result(run.id).code} == {"source", "schedule.trouble"}
    assert not store.result(run.id).stale_code
    plugin.write_text(plugin.read_text() + "# of no importance\n")
    assert store.result(run.id).stale_code


def test_server_of_runs_knows_the_code_that_it_has_imported() -> None:
    code = "import ablation.launch.preload; from ablation.store.code import package_source as source; "
    words = [sys.executable, "-c", code + "print(source.cache_info().currsize)"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout == "1\n"
