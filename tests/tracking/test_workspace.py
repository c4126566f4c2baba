"""The workspace of a grid in W&B: its runs alone, the result as text, curves, final values, stability and cost."""

import json
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import NORMS, Ablate, one_line, output, write_grid
from support.wandb_stub import Server

from ablation.tracking.mode import Mode
from ablation.tracking.workspace import (
    NAME,
    Dashboard,
    save_report,
    save_workspace,
    saved_address,
    specification,
    workspace,
)

SHOWN = Dashboard(
    "my study",
    "Which block is best?",
    "The change improves loss.",
    "| cell | loss |\n| --- | --- |\n| a | 2.5 |",
    ["block", "position"],
    "loss",
    "lower",
    ["log_spike_score"],
)


def panels(spec: Any) -> dict[str, list[dict[str, Any]]]:
    sections = spec["section"]["panelBankConfig"]["sections"]
    return {section["name"]: section["panels"] for section in sections}


def test_view_has_the_runs_of_its_grid_grouped_by_cell() -> None:
    (runs,) = specification(workspace(SHOWN, "me", "ablation"))["section"]["runSets"]
    tags, job = runs["filters"]["filters"]
    assert (tags["key"]["name"], tags["value"]) == ("tags", ["my study"])
    assert (job["key"]["name"], job["op"], job["value"]) == ("jobType", "!=", "summary")
    assert [group["name"] for group in runs["grouping"]] == ["cell_my_study.value"]


def test_view_says_what_came_out_and_shows_each_lens() -> None:
    found = panels(specification(workspace(SHOWN, "me", "ablation")))
    assert list(found) == ["Result", "Curves", "Final values", "Stability", "Cost"]
    said = json.dumps(found["Result"])
    assert "Which block is best?" in said and "The change improves loss." in said
    assert len(found["Curves"]) == 3, "of each cell, and of the levels of two factors"
    assert "final_loss" in json.dumps(found["Final values"])
    assert "log_spike_score" in json.dumps(found["Stability"])


def test_a_grid_of_one_factor_has_no_panels_of_several() -> None:
    found = panels(specification(workspace(Dashboard(*{**vars(SHOWN), "factors": ["block"]}.values()), "me", "p")))
    assert (len(found["Curves"]), len(found["Final values"])) == (1, 1)


def test_online_it_is_saved_and_the_next_one_replaces_it(tmp_path: Path, server: Server) -> None:
    said: list[str] = []
    for _ in range(2):
        address = save_workspace(SHOWN, tmp_path, "ablation", "me", said.append)
    assert said == []
    (view,) = server.views.values()
    assert view["displayName"] == "ablate: my study"
    saved = json.loads((tmp_path / NAME).read_text())
    assert saved["url"] == address
    assert address is not None and "me/ablation" in address
    assert saved_address(tmp_path) == address


def test_what_goes_wrong_is_one_line(tmp_path: Path, server: Server) -> None:
    server.dead = True
    said: list[str] = []
    assert save_workspace(SHOWN, tmp_path, "ablation", "me", said.append) is None
    (line,) = said
    assert line.startswith("W&B: the workspace of my study was not saved: ") and "\n" not in line


def test_report_is_saved_with_the_table_and_the_next_one_replaces_it(tmp_path: Path, server: Server) -> None:
    addresses = [save_report(SHOWN, tmp_path, "ablation", "me", Mode("online")) for _ in range(2)]
    (view,) = server.views.values()
    assert (view["displayName"], view["type"]) == ("ablate: my study", "runs")
    assert "2.5" in view["spec"] and "The change improves loss." in view["spec"]
    assert addresses[0] == addresses[1]


def test_report_needs_a_server(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, NORMS, {"tracking.mode": "disabled"}, seeds=1)
    output(ablate("run", grid))
    assert "--wandb: W&B is disabled" in one_line(ablate("report", grid, "--wandb"))


@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_without_a_server_view_shows_the_runs_in_the_terminal(ablate: Ablate, tmp_path: Path, mode: str) -> None:
    grid = write_grid(tmp_path, NORMS, {"tracking.mode": mode}, seeds=1)
    output(ablate("run", grid))
    if mode == "offline":
        assert output(ablate("view", grid)).startswith("wandb leet ")
    else:
        (tmp_path / "runs" / "wandb" / "offline-run-1-of-another-grid").mkdir(parents=True)
        assert "`ablate sync" in one_line(ablate("view", grid))
        assert "tracking.mode: disabled" in one_line(ablate("sync", grid))
        elsewhere = write_grid(tmp_path / "b", NORMS, {"tracking.mode": mode}, name="b")
        output(ablate("run", elsewhere, "--runs", "more runs"))
        said = one_line(ablate("view", elsewhere, "--runs", "more runs"))
        assert f"`ablate sync {elsewhere} --runs 'more runs'` does that" in said
        assert ablate("sync", grid, "--set", "tracking.mode=offline").code == 0
        assert output(ablate("view", grid)).startswith("wandb leet ")
