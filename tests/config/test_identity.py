"""The identity of a run: which changes of a configuration give another id, and which do not."""

import json
import random
import re
import sys
from pathlib import Path
from typing import Annotated, Any

import pytest
from support.plans import BASE_YAML, GRID_YAML, factors, ids, plan

from ablation.components.position.base import Position
from ablation.config.experiment import ExperimentConfig, rebuild
from ablation.config.identity import canonical, run_id, run_identity
from ablation.config.layered import LayeredConfig
from ablation.registry import REGISTRY, ComponentConfig, Slot, added_later, component, excluded_from_id, register
from ablation.yaml import parse


def config(changes: dict[str, Any] | None = None) -> ExperimentConfig:
    layered = LayeredConfig(parse(BASE_YAML, "base.yaml"))
    for path, value in (changes or {}).items():
        layered.set(path, value, layered.base, ())
    return layered.build()


def id_of(changes: dict[str, Any] | None = None, fingerprint: str | None = None) -> str:
    return run_id(run_identity(config(changes), fingerprint))


# --- golden ----------------------------------------------------------------------------------------------------------

# An id that changes orphans every run anybody has trained. Where a field is new, added_later keeps the ids; where a
# default changed, that is another experiment and these change with a word on it in the changelog.
GOLDEN = "dd5a89b6b0388941fb05f610e8be61a3"
GOLDEN_OTHER = "1ed7decf370015efeac726bfacd53c17"
BEFORE, OTHER_BEFORE = "ffc0e25ed79b13254b0291a49671c4a2", "a653135680ef045a56b8c256b2d09407"
"""While weight decay applied to every matrix, by its shape."""
OTHER = {
    "model.position": {"name": "alibi"},
    "model.block": "post_norm",
    "model.n_kv_heads": 2,
    "model.feedforward": {"name": "glu", "expansion": 2},
    "training.gradient_clip": None,
    "seed": 7,
}


def test_ids_of_all_runs_are_what_they_were():
    assert id_of() == GOLDEN
    assert id_of(OTHER) == GOLDEN_OTHER
    matrices = {"optimizer.decay_on": "matrices"}
    assert id_of(matrices) == BEFORE
    assert id_of({**OTHER, **matrices}) == OTHER_BEFORE


def test_id_is_128_bits_of_the_canonical_json():
    assert re.fullmatch("[0-9a-f]{32}", id_of())
    assert canonical({"b": [1.0, True, None], "a": "ä"}) == '{"a":"ä","b":[1.0,true,null]}'
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


# --- what leaves an id alone ------------------------------------------------------------------------------------------


def test_order_of_keys_leaves_an_id_alone():
    def shuffled(value: Any, order: random.Random) -> Any:
        if not isinstance(value, dict):
            return value
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}

    for seed in range(5):
        text = json.dumps(shuffled(parse(BASE_YAML, "base.yaml").value, random.Random(seed)))
        assert run_id(run_identity(LayeredConfig(parse(text, "base.yaml")).build(), None)) == id_of()


@pytest.mark.parametrize(
    "changes",
    [
        {"training.device": "auto"},
        {"training.log_every": 3},
        {"tracking": {"mode": "online", "project": "elsewhere"}},
        {"model.position": {"name": "rope"}},
        {"model.position": {"theta": 10_000, "name": "rope"}},
        {"model.feedforward.expansion": 4.0},
        {"model.mixer": {"name": "attention", "backend": {"name": "sdpa"}}},
        {"optimizer.lr": 0.001},
        {"model.max_length": None},
        {"training.label_smoothing": 0},
        {"training.z_loss": 0.0},
        {"optimizer.lr_multipliers": {}},
        {"training.ema_decay": None},
        {"training.freeze": []},
        {"training.callbacks": []},
        {"training.lora": None},
        {"training.early_stopping": None},
        {"model.d_head": None},
        {"model.embedding": "plain"},
        {"model.lm_head": {"name": "linear", "scale": None}},
        {"model.architecture": {"name": "decoder", "pooling": "last"}},
    ],
)
def test_excluded_fields_and_other_spellings_leave_an_id_alone(changes):
    assert id_of(changes) == id_of()


def test_whole_number_and_its_decimal_have_the_same_id():
    assert id_of({"model.position.theta": 3}) == id_of({"model.position.theta": 3.0}) != id_of()
    assert id_of({"training.gradient_clip": 2}) == id_of({"training.gradient_clip": 2.0}) != id_of()
    assert id_of({"optimizer.betas": [0, 0.5]}) == id_of({"optimizer.betas": [0.0, 0.5]}) != id_of()


def test_order_and_labels_leave_an_id_alone(tmp_path):
    one = plan(tmp_path, GRID_YAML)
    text = factors(
        "{model.position: [alibi, {value: {name: rope, theta: 5e5}, label: long}, rope], "
        "model.block: [post_norm, pre_norm]}",
        "seeds: [1, 0]\nbaseline: {model.block: pre_norm}\n",
    )
    other = plan(tmp_path, text.replace("name: study", "name: another"))
    assert ids(one) != ids(other)
    assert sorted(ids(one)) == sorted(ids(other))


def test_source_of_a_value_leaves_an_id_alone(tmp_path):
    """By the base, the grid's ``set``, the command line, or as a level."""
    one = "{model.block: [pre_norm]}"
    found = [
        plan(tmp_path, factors(one), base=BASE_YAML.replace("n_layers: 1", "n_layers: 2")),
        plan(tmp_path, factors(one, "set: {model.n_layers: 2}\n")),
        plan(tmp_path, factors(one), ["model.n_layers=2"]),
        plan(tmp_path, factors("{model.n_layers: [2]}")),
    ]
    assert len({tuple(ids(planned)) for planned in found}) == 1


def test_path_of_the_same_data_leaves_an_id_alone(tmp_path):
    def text_id(name: str, content: str, level: str = "char") -> str:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
        data = f"{{name: text, length: 8, level: {level}, path: {name}}}"
        return ids(plan(tmp_path, factors("{model.block: [pre_norm]}", f"set: {{task: {data}}}\nseeds: 1\n")))[0]

    one = text_id("a.txt", "abc" * 500)
    assert text_id("folder/b.txt", "abc" * 500) == one
    assert text_id("a.txt", "abd" * 500) != one
    assert text_id("a.txt", "abc" * 500, "byte") != one


def test_folder_of_runs_leaves_an_id_alone(tmp_path, monkeypatch, capsys):
    from ablation.cli import main

    plan(tmp_path, GRID_YAML)
    seen = set()
    for runs in ("one", "other"):
        arguments = ["ablate", "table", str(tmp_path / "grid.yaml"), "--runs", str(tmp_path / runs), "--json"]
        monkeypatch.setattr("sys.argv", arguments)
        assert main() == 0
        seen.add(json.dumps([cell["run_ids"] for cell in json.loads(capsys.readouterr().out)["cells"]]))
    assert len(seen) == 1


# --- what changes an id -----------------------------------------------------------------------------------------------


def test_every_value_that_affects_results_changes_an_id():
    changes: list[dict[str, Any]] = [
        {"seed": 1},
        {"task.batch_size": 8},
        {"task.length": 10},
        {"task.symbols": 5},
        {"model.d_model": 32},
        {"model.n_layers": 2},
        {"model.n_heads": 2},
        {"model.n_kv_heads": 2},
        {"model.d_head": 8},
        {"model.dropout": 0.1},
        {"model.tie_embeddings": False},
        {"model.max_length": 64},
        {"model.embedding": "scaled"},
        {"model.lm_head": "soft_capped"},
        {"model.lm_head.scale": 0.5},
        {"model.architecture.pooling": "mean"},
        {"model.position": "alibi"},
        {"model.position": "none"},
        {"model.position.theta": 3},
        {"model.block": "post_norm"},
        {"model.norm": "rms_norm"},
        {"model.norm.eps": 1e-4},
        {"model.mixer.scale": False},
        {"model.mixer.backend": "manual"},
        {"model.feedforward.activation": "relu"},
        {"model.initialization": "xavier"},
        {"optimizer.lr": 2e-3},
        {"optimizer.betas": [0.95, 0.9]},
        {"schedule": "constant"},
        {"training.max_steps": 11},
        {"training.precision": "auto"},
        {"training.gradient_clip": None},
        {"training.accumulate": 2},
        {"training.evaluate_every": 2},
        {"training.compile": True},
        {"training.threads": 2},
        {"training.label_smoothing": 0.1},
        {"training.z_loss": 1e-4},
        {"optimizer.lr_multipliers": {"embedding": 0.5}},
        {"optimizer.lr_multipliers": {"embedding": 0.5, "norm": 2.0}},
        {"training.ema_decay": 0.9},
        {"training.freeze": ["embedding"]},
        {"training.lora": {"rank": 2, "alpha": 4}},
        {"training.lora": {"rank": 4, "alpha": 4}},
        {"training.early_stopping": {"patience": 3}},
        {"training.early_stopping": {"patience": 3, "min_delta": 0.1}},
    ]
    seen = [id_of(), id_of(None, "the data"), id_of(None, "other data"), *map(id_of, changes)]
    assert len(set(seen)) == len(changes) + 3


def test_accumulating_run_is_not_one_that_weighted_batches_equally():
    """Before, each batch of a step counted the same however many targets it had."""
    assert id_of({"training.accumulate": 4}) != "f0bd09e080b6ca4b1dc878b15390ccd1"
    assert run_identity(config({"training.accumulate": 4}), None)["training"]["accumulate"] != 4
    assert run_identity(config(), None)["training"]["accumulate"] == 1


def test_schema_version_changes_an_id(monkeypatch):
    before = id_of()
    monkeypatch.setattr(sys.modules["ablation.config.identity"], "SCHEMA", 3)
    assert id_of() != before


# --- hyper-parameters that come and go -------------------------------------------------------------------------------


def offer(version: type) -> None:
    """Register in place of what was there under this name: the package, one version later."""
    REGISTRY["position"].pop("versioned", None)
    register("position", "versioned")(version)
    rebuild()


class First(Position):
    def __init__(self, shape: Any, *, a: float = 1.0): ...


def versioned(**hyper: Any) -> str:
    return id_of({"model.position": {"name": "versioned", **hyper}})


def test_field_added_later_leaves_ids_alone_at_its_default_before(scratch_registry):
    class Second(Position):
        def __init__(self, shape: Any, *, a: float = 1.0, b: Annotated[float, added_later(0)] = 0.0): ...

    offer(First)
    before, other = versioned(), versioned(a=2)
    offer(Second)
    assert (versioned(), versioned(b=0), versioned(a=2, b=0.0)) == (before, before, other)
    assert versioned(b=0.5) not in (before, other)


def test_changed_default_of_a_field_added_later_changes_ids(scratch_registry):
    class Third(Position):
        def __init__(self, shape: Any, *, a: float = 1.0, b: Annotated[float, added_later(0)] = 0.5): ...

    offer(First)
    before = versioned()
    offer(Third)
    assert versioned() == versioned(b=0.5) != before
    assert versioned(b=0) == before


def test_field_that_is_not_marked_added_later_changes_ids(scratch_registry):
    class Careless(Position):
        def __init__(self, shape: Any, *, a: float = 1.0, b: float = 0.0): ...

    offer(First)
    before = versioned()
    offer(Careless)
    assert versioned() != before


def test_changed_default_changes_ids(scratch_registry):
    class Changed(Position):
        def __init__(self, shape: Any, *, a: float = 2.0): ...

    offer(First)
    before, two = versioned(), versioned(a=2)
    offer(Changed)
    assert versioned() == two
    assert versioned(a=1) == before


def test_default_before_may_be_of_any_type(scratch_registry):
    sdpa = component("attention_backend", "sdpa")

    class Many(Position):
        def __init__(
            self,
            shape: Any,
            *,
            a: float = 1.0,
            pair: Annotated[tuple[float, float], added_later((0.5, 1))] = (0.5, 1.0),
            flag: Annotated[bool, added_later(False)] = False,
            part: Annotated[ComponentConfig, Slot("attention_backend"), added_later({"name": "sdpa"})] = sdpa,
            maybe: Annotated[int | None, added_later(None)] = None,
        ): ...

    offer(First)
    before = versioned()
    offer(Many)
    assert versioned() == before
    changed: list[dict[str, Any]] = [{"pair": [1, 0.5]}, {"flag": True}, {"part": "manual"}, {"maybe": 0}]
    assert before not in {versioned(**hyper) for hyper in changed}


def test_excluded_hyperparameter_leaves_ids_alone(scratch_registry):
    class Logged(Position):
        def __init__(self, shape: Any, *, a: float = 1.0, log: Annotated[bool, excluded_from_id] = False): ...

    offer(First)
    before = versioned()
    offer(Logged)
    assert versioned() == versioned(log=True) == before != versioned(a=2)


def test_section_may_gain_a_field_that_was_added_later(scratch_registry):
    class Later(ExperimentConfig):
        more: Annotated[int, added_later(1)] = 1

    def later(**more: int) -> str:
        return run_id(run_identity(Later.model_validate(dict(config()) | more), None))

    assert later() == later(more=1) == id_of() != later(more=2)


def test_hyperparameters_of_any_type_have_an_identity(scratch_registry):
    class Odd(Position):
        def __init__(
            self,
            shape: Any,
            *,
            file: Path = Path("a"),
            table: dict[str, tuple[int, ...]] = {},  # noqa: B006
            names: frozenset[str] = frozenset(),
        ): ...

    offer(Odd)
    names = [f"name{number}" for number in range(20)]
    assert versioned(names=names) == versioned(names=names[::-1]) != versioned()
    assert versioned(table={"a": [1], "b": [2]}) == versioned(table={"b": [2], "a": [1]}) != versioned(table={"a": [1]})
    assert versioned(file="b") != versioned()
    written = run_identity(config({"model.position": {"name": "versioned", "names": names}}), None)
    assert written["model"]["position"]["names"] == sorted(names)
    assert json.loads(canonical(written)) == written
