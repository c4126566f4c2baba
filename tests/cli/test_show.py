"""``ablate show``."""

import json
from pathlib import Path

import pytest
from support.small_grids import Ablate, one_line, output, write_grid

from ablation.store.digests import without_digests

SETTINGS = {"model.position": "t5", "optimizer": {"name": "adamw", "weight_decay": 0.1}, "training.freeze": ["norm"]}


@pytest.fixture
def run_id(ablate: Ablate, tmp_path: Path) -> str:
    """A trained run whose position has a table of biases."""
    ablate("run", write_grid(tmp_path, {"model.block": ["pre_norm"]}, SETTINGS), "--json")
    manifest = json.loads((tmp_path / "runs" / "small" / "manifest.json").read_text())
    return str(manifest["cells"][0]["runs"][0]["id"])


def test_show_lists_every_parameter_with_its_role(ablate: Ablate, run_id: str, tmp_path: Path) -> None:
    found = ablate("show", run_id[:6], "--json").json
    assert (found["run"], found["status"], found["seed"]) == (run_id, "completed", 0)
    assert found["config"]["optimizer"]["decay_on"] == "weights"
    parameters = {each["path"]: each for each in found["parameters"]}
    assert parameters["stack.position.table"] == {
        "path": "stack.position.table",
        "shape": [32, 2],
        "count": 64,
        "role": "own",
        "decays": False,
    }
    assert parameters["embedding.table.weight"]["role"] == "embedding"
    assert parameters["stack.blocks.0.norms.0.weight"]["decays"] is False
    assert [path for path, each in parameters.items() if each["role"] == "out_projection"]
    frozen = sum(each["count"] for each in parameters.values() if each["role"] == "norm")
    assert found["trained_parameters"] == sum(each["count"] for each in parameters.values()) - frozen
    assert f"{found['trained_parameters']} parameters are trained, beside" in ablate("show", run_id[:6]).out
    result = json.loads(next(tmp_path.glob(f"runs/store/*/{run_id}/result.json")).read_text())
    assert sum(each["count"] for each in found["parameters"]) == result["efficiency"]["parameters"]


def test_show_prints_roles_and_the_convention(ablate: Ablate, run_id: str) -> None:
    text = output(ablate("show", "small:block=pre_norm"))
    assert f"run {run_id}: completed, seed 0" in text
    loss = ablate("show", run_id, "--json").json["metrics"]["loss"]
    assert f"loss {loss:.5g}" in " ".join(text.split())
    assert "weight_decay: 0.1" in text
    assert "stack.blocks.*.sublayers.0.query.weight" in text
    assert "parameters decay (optimizer.decay_on: weights), with weight_decay 0.1" in " ".join(text.split())


def test_show_of_an_earlier_run_knows_its_convention(ablate: Ablate, run_id: str, tmp_path: Path) -> None:
    """Runs that were trained before there was a choice decayed every matrix."""
    (file,) = tmp_path.glob(f"runs/store/*/{run_id}/run.json")
    record = json.loads(file.read_text())
    del record["config"]["optimizer"]["decay_on"], record["config"]["optimizer"]["decay_embeddings"]
    file.write_text(json.dumps(record))
    result = without_digests(json.loads(file.with_name("result.json").read_text()))
    file.with_name("result.json").write_text(json.dumps(result))
    found = ablate("show", run_id, "--json").json
    assert found["decay"] == {"weight_decay": 0.1, "decay_on": "matrices", "decay_embeddings": True}
    assert [each["decays"] for each in found["parameters"] if each["path"] == "stack.position.table"] == [True]


def test_show_refuses_what_was_never_started(ablate: Ablate, run_id: str, tmp_path: Path) -> None:
    for file in tmp_path.glob(f"runs/store/*/{run_id}/*.json"):
        file.unlink()
    refused = ablate("show", run_id)
    assert refused.code == 2
    assert "it has no configuration before it is started" in one_line(refused)


def test_show_without_the_data_says_what_is_not_known(ablate: Ablate, tmp_path: Path) -> None:
    """The size of the vocabulary is in the data alone."""
    text = tmp_path / "text.txt"
    text.write_text("one two three four five\n" * 40)
    task = {"name": "text", "path": str(text), "length": 12, "batch_size": 4, "validation_windows": 4}
    ablate("run", write_grid(tmp_path, {"model.block": ["pre_norm"]}, {"task": task}), "--json")
    assert ablate("show", "small:block=pre_norm", "--json").json["parameters"]
    text.write_text("six seven eight\n" * 40)
    found = ablate("show", "small:block=pre_norm", "--json").json
    assert (found["status"], found["parameters"]) == ("completed", [])
    assert "text.txt has changed since this was planned" in found["parameters_missing"]
    assert "its parameters are not known: task.path" in output(ablate("show", "small:block=pre_norm")).replace(
        "\n", " "
    )
