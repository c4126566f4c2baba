"""The guard: nothing differs that no level names, and what follows from a change is said before anything is trained."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from support.plans import BASE_YAML
from support.small_grids import Ablate

from ablation.errors import InputError
from ablation.grid.consequences import compare
from ablation.grid.file import read_grid
from ablation.grid.guard import Changes
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan
from ablation.registry import REGISTRY
from ablation.store.runs import Store
from ablation.study.planned import describe

SCHEDULES = ["cosine", "linear"]


def plan(folder: Path, **grid: Any) -> Plan:
    (folder / "base.yaml").write_text(BASE_YAML)
    written = {"name": "small", "base": "base.yaml", "seeds": 1, **grid}
    (folder / "grid.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return make_plan(read_grid(folder / "grid.yaml"))


def levels(folder: Path, **grid: Any) -> list[dict[str, Any]]:
    """What ``ablate plan`` says of each level."""
    found: list[dict[str, Any]] = describe(plan(folder, **grid), Store(folder / "runs"))["levels"]
    return found


def follows(folder: Path, **grid: Any) -> dict[str, tuple[Any, Any]]:
    """What follows from the last level."""
    return {each["what"]: (each["before"], each["after"]) for each in levels(folder, **grid)[-1]["follows"]}


def test_default_of_another_component_is_no_declared_change(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan(tmp_path, factors={"schedule": SCHEDULES})
    said = str(caught.value)
    changed = "schedule=linear also changes schedule.min_lr_ratio from 0.1 to 0.0, which no level names"
    assert f"grid.yaml:7:5: {changed}" in said and "allow: [schedule.min_lr_ratio]" in said and "\n" not in said


@pytest.mark.parametrize(
    "named",
    [["cosine", {"name": "linear", "min_lr_ratio": 0.0}], [{"name": "cosine", "min_lr_ratio": 0.1}, "linear"]],
)
def test_what_a_level_of_either_side_names_is_declared(tmp_path: Path, named: list[Any]) -> None:
    (cell,) = plan(tmp_path, factors={"schedule": named}).cells[1:]
    assert cell.beside == ()


def test_allowed_change_is_marked_in_plan_and_table(tmp_path: Path, ablate: Ablate) -> None:
    planned = plan(tmp_path, factors={"schedule": SCHEDULES}, allow=["schedule.min_lr_ratio"], seeds=3)
    change = "schedule.min_lr_ratio 0.1 -> 0"
    assert [cell["beside"] for cell in planned.manifest()["cells"]] == [[], [change]]
    assert f"linear: undeclared {change}" in " ".join(ablate("plan", "grid.yaml").out.split())
    assert ablate("run", "grid.yaml", "--set", "training.max_steps=2", "--workers", "1").code == 0
    table = ablate("table", "small").out
    assert "schedule=linear‡" in table
    assert f"‡ differs beside its levels, as the grid says: {change} (schedule=linear)" in " ".join(table.split())


def test_allowing_what_does_not_differ_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        plan(tmp_path, factors={"schedule": SCHEDULES}, allow=["schedule.min_lr_ratio", "schedule.min_lr"])
    assert "'schedule.min_lr' is nothing that can be allowed here" in str(caught.value)
    assert "did you mean 'schedule.min_lr_ratio'?" in str(caught.value)


def test_level_with_a_whole_model_inside_shows_all_that_it_changes(tmp_path: Path) -> None:
    whole = {"model.block": "post_norm", "model.dropout": 0.3, "model.position": {"name": "rope", "theta": 5e5}}
    factors = {"recipe": [{"label": "plain", "set": {}}, {"label": "other", "set": whole}]}
    (level,) = levels(tmp_path, factors=factors)
    assert {change["path"]: change["declared"] for change in level["changes"]} == {
        "model.dropout": True, "model.position.theta": True, "model.block.name": True,
    }  # fmt: skip


def test_changes_of_a_factorial_are_those_of_its_levels(tmp_path: Path) -> None:
    factors = {"model.block": ["pre_norm", "post_norm"], "optimizer.lr": [1e-3, 1e-2], "model.n_heads": [2, 4]}
    planned = plan(tmp_path, factors=factors)
    changes = Changes(planned.cells[0])
    for cell in planned.cells:
        varied = {path for path, level in cell.levels.items() if level is not planned.cells[0].levels[path]}
        assert {change.path.removesuffix(".name") for change in changes.of(cell)} == varied
        assert all(change.declared for change in changes.of(cell))


CONFOUNDS: list[tuple[dict[str, list[Any]], dict[str, tuple[Any, Any]]]] = [
    ({"model.position": ["rope", "sinusoidal"]}, {"initial scale of positions": (None, 0.71)}),
    ({"training.max_steps": [20, 40]}, {"steps of warm-up": (2, 4), "steps": (20, 40)}),
    ({"task.batch_size": [4, 8]}, {"sequences per step": (4, 8)}),
    ({"model.n_heads": [2, 4]}, {"features per head": (8, 4)}),
    ({"training.accumulate": [1, 2]}, {"sequences per step": (4, 8)}),
    ({"model.tie_embeddings": [True, False]}, {"parameters": (None, None)}),
    ({"model.norm": ["layer_norm", "batch_norm"]}, {"training sees later tokens": ("no", "yes")}),
    ({"model.n_layers": [2, 8]}, {"weights of maps to the residual stream at the start": (0.01, 0.0051)}),
    ({"model.initialization": ["gpt2", "default_torch"]}, {"initial scale of token embeddings": (0.02, 1.0)}),
    ({"optimizer.weight_decay": [0.1, 0.0]}, {"parameters that decay": (None, "0 %")}),
]  # fmt: skip


@pytest.mark.parametrize(("factors", "expected"), CONFOUNDS, ids=[next(iter(factors)) for factors, _ in CONFOUNDS])
def test_what_follows_from_a_change_is_said(
    tmp_path: Path, factors: dict[str, list[Any]], expected: dict[str, tuple[Any, Any]]
) -> None:
    settings = {"task": {"name": "copy", "length": 8, "symbols": 4, "batch_size": 4}, "training.max_steps": 20}
    kept = {path: value for path, value in settings.items() if not any(factor.startswith(path) for factor in factors)}
    if "task.batch_size" in factors:
        kept["task"] = settings["task"]
        kept["task"] = {key: value for key, value in settings["task"].items() if key != "batch_size"}
    found = follows(tmp_path, factors=factors, set=kept)
    for what, (before, after) in expected.items():
        assert what in found, f"{what} is not among {found}"
        assert before in (None, found[what][0]) and after in (None, found[what][1]), found[what]


def test_change_without_consequences_says_nothing(tmp_path: Path) -> None:
    assert follows(tmp_path, factors={"model.position": ["rope", "alibi"]}) == {}
    assert compare({"parameters": 3}, {"parameters": 3}) == []


def test_only_norms_over_the_batch_let_later_tokens_through() -> None:
    over_batch = {name for name, norm in REGISTRY["norm"].items() if getattr(norm.component, "over_batch", False)}
    assert over_batch == {"batch_norm"}, "a new norm over the batch says so by `over_batch`"
