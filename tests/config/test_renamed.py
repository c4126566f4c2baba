"""A file with a former key, path or component name gets one line with the present name."""

import json
import re
from pathlib import Path

import pytest
from support import BASE

from ablation.config.experiment import ExperimentConfig, TrainingConfig
from ablation.config.layered import read_base
from ablation.config.renamed import RENAMED, renamed
from ablation.errors import InputError
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.grid.schema import GridConfig
from ablation.registry import REGISTRY

FORMER = {present: former for former, present in RENAMED.items()}
OPTIMIZER, INITIALIZATION = FORMER["optimizer"], FORMER["initialization"]
HEAD = f"name: old\nbase: {json.dumps(str(BASE))}\nseeds: 1\n"


def error_of_grid(tmp_path: Path, rest: str) -> str:
    file = tmp_path / "grid.yaml"
    file.write_text(HEAD + rest)
    with pytest.raises(InputError) as caught:
        make_plan(read_grid(file))
    return str(caught.value).removeprefix(f"{tmp_path}/")


def error_of_base(tmp_path: Path, old: str, new: str) -> str:
    """The error about conf/base.yaml with the key `new` written as `old`."""
    file = tmp_path / "base.yaml"
    file.write_text(re.sub(rf"^( *){new}:", rf"\1{old}:", BASE.read_text(), flags=re.M))
    with pytest.raises(InputError) as caught:
        read_base(file).build()
    return str(caught.value).removeprefix(f"{tmp_path}/")


def test_former_section_of_a_baseline_names_the_present_one(tmp_path: Path) -> None:
    line = 1 + [line.split(":")[0] for line in BASE.read_text().splitlines()].index("optimizer")
    message = error_of_base(tmp_path, OPTIMIZER, "optimizer")
    assert message == f"base.yaml:{line}:1: {OPTIMIZER}: unknown key {OPTIMIZER!r}; it is called 'optimizer' now"


@pytest.mark.parametrize("old", ["data", INITIALIZATION, "readout", "observers", "observe_every", "keep_weights"])
def test_former_key_of_a_baseline_names_the_present_one(tmp_path: Path, old: str) -> None:
    message = error_of_base(tmp_path, old, RENAMED[old])
    assert message.endswith(f"unknown key {old!r}; it is called {RENAMED[old]!r} now")


@pytest.mark.parametrize(
    ("rest", "end"),
    [
        ("looks: [5, 8]\nfactors: {model.n_heads: [4, 2]}\n", "unknown key 'looks'; it is called 'interim_looks' now"),
        ("set: {data.length: 8}\nfactors: {model.n_heads: [4, 2]}\n", "unknown key 'data'; it is called 'task' now"),
        (f"factors: {{{OPTIMIZER}.lr: [1e-3, 1e-4]}}\n", f"unknown key {OPTIMIZER!r}; it is called 'optimizer' now"),
        (
            "factors: {schedule.warmup: [0.1, 0.2]}\n",
            "unknown key 'warmup' of the schedule 'cosine'; it is called 'warmup_ratio' now",
        ),
        (
            "factors: {model.position: [none, {name: rope, share: 0.5}]}\n",
            "unknown key 'share' of the position 'rope'; it is called 'rotary_fraction' now",
        ),
        (
            "set: {model.mixer: {name: attention, global_every: 2}}\nfactors: {model.n_heads: [4, 2]}\n",
            "unknown key 'global_every' of the mixer 'attention'; 'model.layers' is used for it now",
        ),
        ("factors: {model.feedforward: [mlp, mixture]}\n", "'mixture' is not a feedforward; it is called 'moe' now"),
    ],
)
def test_former_name_in_a_grid_names_the_present_one(tmp_path: Path, rest: str, end: str) -> None:
    message = error_of_grid(tmp_path, rest)
    assert message.startswith("grid.yaml:4:") and message.endswith(end)


def test_every_present_name_exists() -> None:
    names = {*ExperimentConfig.model_fields, *TrainingConfig.model_fields, *GridConfig.model_fields}
    names |= set(ExperimentConfig.model_fields["model"].annotation.model_fields)
    names |= {name for members in REGISTRY.values() for name in members}
    names |= {key for members in REGISTRY.values() for config in members.values() for key in config.hyperparameters()}
    assert {name for name in RENAMED.values() if "." not in name} <= names


def test_former_name_is_ignored_where_its_successor_is_no_key() -> None:
    assert renamed("start", ["init_value"]) == "; it is called 'init_value' now"
    assert renamed("start", ["theta"]) is None
    assert renamed("theta", ["theta"]) is None
