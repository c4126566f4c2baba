"""Runs that start from other runs: which ones, what they copy, what is part of their identity, what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file
from support.small_grids import Ablate, ids_of, one_line, output, trouble, write_grid, write_trouble

BYTES = {"task": {"name": "text", "level": "byte", "length": 8, "batch_size": 4, "validation_windows": 8}}
NO_STEP = {"training.max_steps": 1, "optimizer.lr": 1e-30, "optimizer.weight_decay": 0.0}


def parent(folder: Path, settings: dict[str, Any] | None = None) -> Path:
    """A grid of two positions and two seeds."""
    positions = {"model.position": ["sinusoidal", "alibi"]}
    return write_grid(folder, positions, {**BYTES, **(settings or {})}, name="parent", seeds=[3, 4])


def child(folder: Path, start: str | list[str | None], settings: dict[str, Any] | None = None, seeds: int = 2) -> Path:
    levels = start if isinstance(start, list) else [None, start]
    settings = {**BYTES, **NO_STEP, "model.position": "alibi", **(settings or {})}
    return write_grid(folder, {"start_from": levels}, settings, name="child", seeds=seeds)


def weights(runs: Path, run_id: str) -> dict[str, torch.Tensor]:
    return load_file(runs / "store" / run_id[:2] / run_id / "weights.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """But for one step of 1e-30."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_each_seed_starts_from_the_run_in_its_place(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", parent(tmp_path), "--workers", "1"))
    output(ablate("run", child(tmp_path, "parent:position=alibi"), "--workers", "1"))
    runs = tmp_path / "runs"
    parents = ids_of(runs, "parent")["position=alibi"]
    (label,) = [label for label in ids_of(runs, "child") if "alibi" in label]
    started, fresh = ids_of(runs, "child")[label], ids_of(runs, "child")["start_from=null"]
    for run, before, other in zip(started, parents, fresh, strict=True):
        assert same(weights(runs, run), weights(runs, before))
        assert not same(weights(runs, other), weights(runs, before))
    record = json.loads((runs / "store" / started[0][:2] / started[0] / "run.json").read_text())
    assert record["identity"]["start_from"] == parents[0]


def test_one_run_is_the_start_of_every_seed(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", parent(tmp_path), "--workers", "1"))
    runs = tmp_path / "runs"
    before = ids_of(runs, "parent")["position=alibi"][1]
    output(ablate("run", child(tmp_path, before[:12]), "--workers", "1"))
    *_, started = ids_of(runs, "child").values()
    assert all(same(weights(runs, run), weights(runs, before)) for run in started)


def test_grid_file_is_trained_first_with_the_same_seeds(ablate: Ablate, tmp_path: Path) -> None:
    parent(tmp_path)
    file = child(tmp_path, "parent.yaml:position=alibi")
    assert not (tmp_path / "runs").exists()
    output(ablate("plan", file))
    output(ablate("run", file, "--workers", "1"))
    runs = tmp_path / "runs"
    manifest = json.loads((runs / "child.parent" / "manifest.json").read_text())
    assert manifest["seeds"] == [0, 1]
    *_, started = ids_of(runs, "child").values()
    for run, before in zip(started, ids_of(runs, "child.parent")["position=alibi"], strict=True):
        assert same(weights(runs, run), weights(runs, before))
    again = ablate("run", file, "--json").json
    assert (again["cached"], again["executed"]) == (4, 0)


def test_only_the_cells_that_something_starts_from_are_trained(ablate: Ablate, tmp_path: Path) -> None:
    parent(tmp_path)
    output(ablate("run", child(tmp_path, ["parent.yaml:position=sinusoidal"]), "--workers", "1"))
    assert list(ids_of(tmp_path / "runs", "child.parent")) == ["position=sinusoidal"]


def test_runs_without_a_start_keep_their_ids(ablate: Ablate, tmp_path: Path) -> None:
    ids = []
    for folder, start in (("one", {}), ("other", {"start_from": None})):
        file = write_grid(tmp_path / folder, settings=start)
        (tmp_path / folder / "base.yaml").write_text(
            (tmp_path / folder / "base.yaml").read_text().replace("start_from: null", "")
        )
        output(ablate("run", file, "--workers", "1", "--runs", tmp_path / folder))
        ids.append(ids_of(tmp_path / folder))
    assert ids[0] == ids[1]


def test_what_the_weights_lack_is_initialized_and_logged(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", parent(tmp_path), "--workers", "1"))
    gated = {"model.feedforward": "glu"}
    output(ablate("run", child(tmp_path, ["parent:position=alibi"], gated), "--workers", "1"))
    runs = tmp_path / "runs"
    ((run, _),) = ids_of(runs, "child").values()
    before = weights(runs, ids_of(runs, "parent")["position=alibi"][0])
    after = weights(runs, run)
    log = (runs / "store" / run[:2] / run / "log.txt").read_text()
    kept = {name for name, tensor in after.items() if name in before and torch.equal(before[name], tensor)}
    assert "blocks.0.sublayers.0.query.weight" in " ".join(kept)
    lacking = [name for name in after if name not in before or before[name].shape != after[name].shape]
    assert lacking and all(name in log for name in lacking)
    assert not any(name in log for name in kept)


@pytest.mark.parametrize(
    ("start", "settings", "message"),
    [
        ("parent:position=rope", {}, "no such cell; allowed: "),
        ("nothing:x", {}, "no grid 'nothing' was run"),
        ("feedfeed", {}, "no run in runs has an id that begins with this"),
        ("child.yaml:x", {}, "child.yaml starts from itself"),
        ("parent:position=alibi", {"task.level": "char"}, "it has 256 tokens, this task"),
        ("parent:position=alibi", {"task": {"name": "copy", "symbols": 254, "length": 8}}, "tokens"),
        ("parent:position=alibi", {"model.d_model": 16, "model.norm": "none"}, "none of its weights fits"),
    ],
)
def test_start_that_does_not_exist_or_fit_is_refused_in_one_line(
    ablate: Ablate, tmp_path: Path, start: str, settings: dict[str, Any], message: str
) -> None:
    output(ablate("run", parent(tmp_path), "--workers", "1"))
    found = ablate("run", child(tmp_path, start, settings))
    assert found.code == 2
    assert message in one_line(found) and "start_from" in found.err


def test_start_needs_as_many_seeds_as_the_grid(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", parent(tmp_path), "--workers", "1"))
    found = ablate("run", child(tmp_path, "parent:position=alibi", seeds=3))
    assert "has 2 seeds, fewer than the 3" in one_line(found)


def test_start_without_weights_is_refused_before_training(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", parent(tmp_path, {"training.save_weights": False}), "--workers", "1"))
    found = ablate("run", child(tmp_path, "parent:position=alibi"))
    assert "its weights were not saved" in one_line(found)
    found = ablate("run", child(tmp_path, "parent.yaml:position=alibi"))
    assert "training.save_weights: false, so that nothing can start from it" in one_line(found)


def test_weights_that_were_changed_start_nothing(ablate: Ablate, tmp_path: Path) -> None:
    output(ablate("run", parent(tmp_path), "--workers", "1"))
    runs = tmp_path / "runs"
    before = ids_of(runs, "parent")["position=alibi"][1]
    file = runs / "store" / before[:2] / before / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    expected = "its content is not what the sha256 recorded with the run says"
    for command in (("run", child(tmp_path, before)), ("generate", before, "--prompt", "a", "--tokens", "1")):
        refused = ablate(*command)
        assert refused.code == 5 and expected in one_line(refused)


def test_replication_starts_from_fresh_runs(ablate: Ablate, tmp_path: Path) -> None:
    parent(tmp_path)
    start = "parent.yaml:position=alibi"
    file = child(tmp_path, start)
    search = [{"arms": [{}, {"start_from": start}], "tried": {"optimizer.lr": [1e-31, 1e-30, 1e-29]}}]
    expect = [{"measure": "loss", "cell": {"start_from": start}, "expected": "lower"}]
    claim = {"statement": "So.", "source": "They", "expect": expect, "pilot_seeds": [], "search": search}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "claim": claim}))
    output(ablate("claim", file, "--workers", "1", "--fresh", "5"))
    runs = tmp_path / "runs"
    manifests = [
        json.loads((runs / name / "manifest.json").read_text()) for name in ("child-fresh-5", "child-fresh-5.parent")
    ]
    assert manifests[0]["seeds"] == manifests[1]["seeds"] and not {*manifests[0]["seeds"]} & {0, 1, 3, 4}


def test_run_whose_start_has_failed_is_missing_and_the_others_are_trained(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any
) -> None:
    plugin = write_trouble(tmp_path)
    write_grid(tmp_path, trouble("fail_while"), BYTES, name="parent")
    (tmp_path / "fail").touch()
    starts = ["parent.yaml:schedule=none", "parent.yaml:schedule=fail_while"]
    ran = ablate("run", child(tmp_path, starts, seeds=1), "--plugin", plugin, "--json", "--workers", "1")
    assert (ran.code, ran.json["completed"], ran.json["missing"]) == (1, 1, 1)
    assert "1 run cannot be trained: the run that each starts from has no weights" in ran.err
    (tmp_path / "fail").unlink()
    again = ablate("run", tmp_path / "child.yaml", "--plugin", plugin, "--json", "--retry", "failed")
    assert (again.code, again.json["completed"]) == (0, 2), "--retry is for what they start from, too"
