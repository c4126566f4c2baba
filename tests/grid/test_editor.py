"""The schema that editors check grids with: it knows every path and level, and refuses what planning refuses."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from support import ROOT

from ablation.grid.editor import grid_schema
from ablation.registry import REGISTRY
from ablation.yaml import read

SCHEMA = grid_schema()
GRIDS = sorted([*(ROOT / "conf/grids").glob("*.yaml"), *(ROOT / "conf/claims").glob("*.yaml")])
RIVAL = [{"label": "attention", "set": {}}, {"label": "lstm", "set": {"model.mixer": "lstm"}}]


def complaints(grid: dict[str, Any]) -> list[str]:
    return [error.message for error in Draft202012Validator(SCHEMA).iter_errors({"name": "x", **grid})]


@pytest.mark.parametrize("file", GRIDS, ids=lambda file: file.stem)
def test_every_grid_of_this_repository_is_valid(file: Path) -> None:
    found = Draft202012Validator(SCHEMA).iter_errors(read(file).value)
    assert [f"{error.json_path}: {error.message[:200]}" for error in found] == []


@pytest.mark.parametrize(
    "grid",
    [
        {"factors": {"model.position": ["rope", "alibi", {"name": "rope", "theta": 5e5, "label": "far"}]}},
        {"factors": {"model.position.theta": [1e4, {"value": 5e5, "label": "far"}]}},
        {"factors": {"rival": RIVAL, "model.position": ["rope", "alibi"]}, "when": {"model.position": {"rival": "x"}}},
        {"factors": {"model.block": ["pre_norm"]}, "exclude": [{"model.block": "pre_norm", "reason": "no need"}]},
        {"factors": {"model.block": ["pre_norm"]}, "set": {"training.max_steps": 20, "task": {"name": "copy"}}},
        {"factors": {"model.block": ["pre_norm"]}, "design": {"name": "cumulative", "order": "reverse"}},
    ],
)
def test_what_can_be_planned_is_valid(grid: dict[str, Any]) -> None:
    assert complaints(grid) == []


@pytest.mark.parametrize(
    "grid",
    [
        {"factors": {"model.position": ["rope", "ropee"]}},
        {"factors": {"model.positon": ["rope", "alibi"]}},
        {"factors": {"model.position": [{"name": "rope", "thta": 5e5}]}},
        {"factors": {"model.n_layers": ["two"]}},
        {"factors": {"rival": ["attention", "lstm"]}},
        {"factors": {"rival": [{"label": "lstm", "set": {"model.mixr": "lstm"}}]}},
        {"factors": {"model.block": ["pre_norm"]}, "set": {"training.max_step": 20}},
        {"factors": {"model.block": ["pre_norm"]}, "overrides": [{"cells": {}, "set": {"optimizer.lrr": 1}}]},
        {"factors": {"model.block": ["pre_norm"]}, "desgin": "factorial"},
    ],
)
def test_slips_are_underlined(grid: dict[str, Any]) -> None:
    assert complaints(grid)


def test_every_component_of_a_slot_is_offered() -> None:
    offered = SCHEMA["$defs"]["Settings"]["properties"]["model.position"]["anyOf"]
    assert sorted(REGISTRY["position"]) == [name for form in offered for name in form.get("enum", ())]
