"""What is wrong is said in one line: where it stands, what is wrong with it, what is allowed, and the nearest match."""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.plans import BASE_YAML

from ablation.cli import INPUT, main
from ablation.plugins import PREFIX

GRID = """\
name: study
base: base.yaml
factors:
  model.block: [pre_norm, post_norm]
seeds: 1
"""
SECRET = "s3cr3t"
SECRET_KEY = "a secret (api_key) does not belong into a file; put it into an environment variable"
Ablate = Callable[..., str]


@pytest.fixture
def ablate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Ablate]:
    """``ablate(base, grid, *arguments)`` runs a command in a new folder that must refuse; returns what it said."""
    from ablation.launch.local import LocalLauncher

    monkeypatch.setattr(LocalLauncher, "warm_up", lambda: None)
    monkeypatch.chdir(tmp_path)

    def refused(
        base: str = BASE_YAML, grid: str = GRID, arguments: Any = ("plan", "grid.yaml"), **files: str | bytes
    ) -> str:
        for name, text in {"base_yaml": base, "grid_yaml": grid, **files}.items():
            file = tmp_path / name.replace("_", ".")
            file.write_bytes(text if isinstance(text, bytes) else text.encode())
        before = sorted(tmp_path.rglob("*"))
        monkeypatch.setattr(sys, "argv", ["ablate", *arguments])
        code = main()
        out, err = capsys.readouterr()
        assert code == INPUT == 2
        assert out == ""
        assert err.startswith("ablate: ")
        assert err.count("\n") == 1, "one line"
        assert err.endswith("\n")
        assert err.rstrip("\n").isprintable()
        assert "Traceback" not in err
        assert SECRET not in err
        assert sorted(tmp_path.rglob("*")) == before, "nothing is written"
        return err.removeprefix("ablate: ").removesuffix("\n").replace(f"{tmp_path}/", "")

    before = set(sys.modules)
    yield refused
    for name in set(sys.modules) - before:
        if name.startswith(PREFIX):
            del sys.modules[name]


def check(message: str, expected: str) -> None:
    """In ``expected``, ~ stands for any text, such as the names of components that are not the test's concern."""
    pattern = ".*".join(map(re.escape, expected.split("~")))
    assert re.fullmatch(pattern, message), f"\n    {message}\nis not\n    {expected}"


def edited(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
    return text.replace(old, new)


# --- the base file ---------------------------------------------------------------------------------------------------

POSITIONS = "allowed: ~alibi, ~rope~"
KEYS_OF_MODEL = "allowed: architecture, d_model, ~initialization"
SECTIONS = "allowed: model, task, optimizer, schedule, training, tracking, metrics, start_from, seed"

IN_BASE = [
    # keys
    (
        "  n_layers: 1",
        "  n_layer: 1",
        f"4:3: model.n_layer: unknown key 'n_layer'; {KEYS_OF_MODEL}; did you mean 'n_layers'?",
    ),
    ("seed: 0", "sed: 0", f"28:1: sed: unknown key 'sed'; {SECTIONS}; did you mean 'seed'?"),
    ("seed: 0\n", "", "1:1: seed: is missing"),
    ("  n_heads: 4\n", "", "1:1: model.n_heads: is missing"),
    ("  position: rope\n", "", f"1:1: model.position: is missing; {POSITIONS}"),
    ("tracking: {mode: disabled, project: ablation}\n", "", "1:1: tracking: is missing"),
    (
        "schedule: {name: cosine, warmup_ratio: 0.1, min_lr_ratio: 0.1}\n",
        "",
        "1:1: schedule: is missing; allowed: ~cosine, ~",
    ),
    # types
    ("n_heads: 4", 'n_heads: "4"', "5:3: model.n_heads: must be a whole number, not '4'"),
    ("n_heads: 4", "n_heads: true", "5:3: model.n_heads: must be a whole number, not true"),
    ("n_heads: 4", "n_heads: 1.5", "5:3: model.n_heads: must be a whole number, not 1.5"),
    ("n_heads: 4", "n_heads: 4.0", "5:3: model.n_heads: must be a whole number, not 4.0"),
    ("n_heads: 4", "n_heads: [4]", "5:3: model.n_heads: must be a whole number, not a list"),
    ("n_heads: 4", "n_heads: {value: 4}", "5:3: model.n_heads: must be a whole number, not a mapping"),
    ("n_heads: 4", "n_heads:", "5:3: model.n_heads: must be a whole number, not null"),
    ("n_kv_heads: null", "n_kv_heads: none", "6:3: model.n_kv_heads: must be a whole number, not 'none'"),
    ("dropout: 0.0", "dropout: null", "7:3: model.dropout: must be a number, not null"),
    ("lr: 1e-3", 'lr: "1e-3"', "17:26: optimizer.lr: must be a number, not '1e-3'"),
    ("compile: false", "compile: no", "26:3: training.compile: must be true or false, not 'no'"),
    ("compile: false", "compile: 0", "26:3: training.compile: must be true or false, not 0"),
    ("seed: 0", "seed: 0.0", "28:1: seed: must be a whole number, not 0.0"),
    ("project: ablation", "project: 3", "27:28: tracking.project: must be a string, not 3"),
    ("[0.9, 0.95]", "0.9", "17:55: optimizer.betas: must be a list, not 0.9"),
    ("[0.9, 0.95]", "[0.9, no]", "17:68: optimizer.betas[1]: must be a number, not 'no'"),
    ("[0.9, 0.95]", "[0.9]", "17:55: optimizer.betas[1]: is missing"),
    ("[0.9, 0.95]", "[0.9, 0.95, 0.99]", "17:55: optimizer.betas: must have a length of at most 2, not 3"),
    ("tracking: {mode: disabled, project: ablation}", "tracking: off", "27:1: tracking: must be a mapping, not 'off'"),
    ("tracking: {mode: disabled, project: ablation}", "tracking:", "27:1: tracking: must be a mapping, not null"),
    ("tracking: {mode: disabled, project: ablation}", "tracking: [x]", "27:1: tracking: must be a mapping, not a list"),
    # bounds
    ("n_heads: 4", "n_heads: 0", "5:3: model.n_heads: must be greater than 0, not 0"),
    ("dropout: 0.0", "dropout: 1", "7:3: model.dropout: must be less than 1, not 1"),
    ("dropout: 0.0", "dropout: -0.1", "7:3: model.dropout: must be at least 0, not -0.1"),
    ("warmup_ratio: 0.1", "warmup_ratio: 1.5", "18:26: schedule.warmup_ratio: must be at most 1, not 1.5"),
    ("lr: 1e-3", "lr: 0", "17:26: optimizer.lr: must be greater than 0, not 0"),
    ("[0.9, 0.95]", "[0.9, 1.0]", "17:68: optimizer.betas[1]: must be less than 1, not 1.0"),
    ("length: 8", "length: 7", "16:32: task.length: must be a multiple of 2, not 7"),
    ("max_steps: 10", "max_steps: -1", "20:3: training.max_steps: must be greater than 0, not -1"),
    ("gradient_clip: 1.0", "gradient_clip: 0", "23:3: training.gradient_clip: must be greater than 0, not 0"),
    ("seed: 0", "seed: -1", "28:1: seed: must be at least 0, not -1"),
    ("project: ablation", "project: ''", "27:28: tracking.project: must be at least 1 characters long, not ''"),
    ("project: ablation", "project: a/b", "27:28: tracking.project: must match ~, not 'a/b'"),
    (
        "device: cpu",
        "device: cude",
        "22:3: training.device: 'cude' is not allowed; allowed: auto, cpu, cuda, mps; did you mean 'cuda'?",
    ),
    ("device: cpu", "device: 0", "22:3: training.device: 0 is not allowed; allowed: auto, cpu, cuda, mps"),
    # components
    (
        "position: rope",
        "position: ropee",
        f"9:3: model.position: 'ropee' is not a position; {POSITIONS}; did you mean 'rope'?",
    ),
    (
        "position: rope",
        "position: {name: ropee}",
        f"9:3: model.position: 'ropee' is not a position; {POSITIONS}; did you mean 'rope'?",
    ),
    ("position: rope", "position: null", f"9:3: model.position: null is not a position; {POSITIONS}"),
    ("position: rope", "position: true", f"9:3: model.position: true is not a position; {POSITIONS}"),
    ("position: rope", "position: 3", f"9:3: model.position: 3 is not a position; {POSITIONS}"),
    ("position: rope", "position: [rope]", f"9:3: model.position: a list is not a position; {POSITIONS}"),
    ("position: rope", "position: {}", f"9:3: model.position: a mapping needs a `name`; {POSITIONS}"),
    ("position: rope", "position: {theta: 3}", f"9:3: model.position: a mapping needs a `name`; {POSITIONS}"),
    ("position: rope", "position: {name: 3}", f"9:3: model.position: 3 is not a position; {POSITIONS}"),
    ("position: rope", "position: {name: [rope]}", f"9:3: model.position: a list is not a position; {POSITIONS}"),
    (
        "position: rope",
        "position: {name: rope, thetta: 1}",
        "9:26: model.position.thetta: unknown key 'thetta' of the position 'rope'; "
        "allowed: theta~; did you mean 'theta'?",
    ),
    (
        "position: rope",
        "position: {name: rope, theta: 0.5}",
        "9:26: model.position.theta: must be greater than 1, not 0.5",
    ),
    ("position: rope", 'position: {name: rope, theta: "3"}', "9:26: model.position.theta: must be a number, not '3'"),
    (
        "position: rope",
        "position: {name: alibi, theta: 1}",
        "9:27: model.position.theta: unknown key 'theta'; the position 'alibi' has no hyper-parameters",
    ),
    (
        "mixer: attention",
        "mixer: {name: attention, backend: sdp}",
        "12:28: model.mixer.backend: 'sdp' is not an attention_backend; allowed: ~; did you mean 'sdpa'?",
    ),
    (
        "mixer: attention",
        "mixer: {name: attention, backend: {name: manual, x: 1}}",
        "12:52: model.mixer.backend.x: unknown key 'x'; the attention_backend 'manual' has no hyper-parameters",
    ),
    (
        "{name: adamw, lr: 1e-3, weight_decay: 0.1, betas: [0.9, 0.95]}",
        "adamv",
        "17:1: optimizer: 'adamv' is not an optimizer; allowed: ~; did you mean 'adamw'?",
    ),
    ("architecture: decoder", "architecture: gpt", "2:3: model.architecture: 'gpt' is not an architecture; allowed: ~"),
    ("architecture: decoder", "architecture: {}", "2:3: model.architecture: ~; allowed: decoder~"),
    # what does not go together
    ("n_heads: 4", "n_heads: 3", "1:1: model: n_heads 3 does not divide d_model 16"),
    ("n_kv_heads: null", "n_kv_heads: 3", "1:1: model: n_kv_heads 3 does not divide n_heads 4"),
    # YAML
    ("d_model: 16", "d_model: [16", "4:11: not YAML: ~"),
    ("d_model: 16", "\td_model: 16", "3:~: not YAML: ~"),
    ("  d_model: 16", "  d_model: 16\n  d_model: 16", "4:3: the key 'd_model' appears twice, first in line 3"),
    ("seed: 0", "seed: !!python/name:os.system x", "28:7: the tag '!!python/name:os.system' is not allowed; ~"),
    # secrets
    (
        "project: ablation",
        f"project: ablation, api_key: {SECRET}",
        f"27:47: tracking.api_key: {SECRET_KEY}",
    ),
    ("seed: 0", f"seed: 0\nwandb: {{api_key: {SECRET}}}", f"29:9: wandb.api_key: {SECRET_KEY}"),
    (
        "project: ablation",
        f"project: {{api_key: {SECRET}}}",
        f"27:38: tracking.project.api_key: {SECRET_KEY}",
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), IN_BASE)
def test_error_in_the_base_names_its_line(ablate: Ablate, old: str, new: str, expected: str) -> None:
    check(ablate(edited(BASE_YAML, old, new)), f"base.yaml:{expected}")


@pytest.mark.parametrize(
    ("base", "expected"),
    [
        ("", "base.yaml:1:1: the file is empty or has only comments"),
        ("# nothing\n", "base.yaml:1:1: the file is empty or has only comments"),
        ("- model\n", "base.yaml:1:1: the top level must be a mapping: lines of `key: value`"),
        ("model: x\n", "base.yaml:1:1: model: must be a mapping, not 'x'"),
        (f"model: x{BASE_YAML.removeprefix('model:')}", "base.yaml:2:~: not YAML: ~"),
        (b"\xff" + BASE_YAML.encode(), "base.yaml:1:1: byte 0xff is not UTF-8"),
    ],
)
def test_unreadable_base_is_refused(ablate: Ablate, base: Any, expected: str) -> None:
    check(ablate(base), expected)


# --- the grid --------------------------------------------------------------------------------------------------------

LABELLED = (
    "a level with a label is {name: ..., label: ...}, {value: ..., label: ...} or {label: ..., set: {path: value}}"
)
SEEDS = "must be a number of replicates, at least 1, or a list of different whole numbers, at least 0"
NAME = "must be 1 to 80 letters, digits, '.', '_' or '-', and start with a letter or digit"
NO_THETA = "model.position.theta: unknown key 'theta'; the position 'alibi' has no hyper-parameters"

IN_FACTORS = [
    # a level, at its own place
    (
        "model.block: [pre_norm, post_nrm]",
        "27: model.block: 'post_nrm' is not a block; allowed: ~; did you mean 'post_norm'?",
    ),
    (
        "model.position: [rope, {name: rope, thetta: 1}]",
        "39: model.position.thetta: unknown key 'thetta' of the position 'rope'; ~; did you mean 'theta'?",
    ),
    ("model.position: [rope, {name: rope, theta: 1}]", "39: model.position.theta: must be greater than 1, not 1"),
    (
        "model.position: [rope, {value: {name: rope, theta: 1}, label: x}]",
        "47: model.position.theta: must be greater than 1, not 1",
    ),
    ("model.position: [rope, {theta: 3}]", f"26: model.position: a mapping needs a `name`; {POSITIONS}"),
    ("model.position: [rope, null]", f"26: model.position: null is not a position; {POSITIONS}"),
    ('model.n_layers: [1, "2"]', "23: model.n_layers: must be a whole number, not '2'"),
    ("model.n_layers: [1, {value: 2}]", "23: model.n_layers: must be a whole number, not a mapping"),
    ("model.n_layers: [1, {value: x, label: two}]", "24: model.n_layers: must be a whole number, not 'x'"),
    ("training.compile: [true, 1]", "28: training.compile: must be true or false, not 1"),
    ("model: [1]", "11: model: must be a mapping, not 1"),
    # what several levels make wrong, or one with what the base says
    ("model.n_heads: [4, 3]", "22: model: n_heads 3 does not divide d_model 16 (cell n_heads=3)"),
    (
        "model.block: [pre_norm, post_norm]\n  model.n_heads: [4, 3]\n  model.norm: [layer_norm]",
        "5:22: model: n_heads 3 does not divide d_model 16 (cell n_heads=3)",
    ),
    (
        "model.d_model: [12, 16]\n  model.n_heads: [2, 3]",
        "5:22: model: n_heads 3 does not divide d_model 16 (cell d_model=16 n_heads=3)",
    ),
    (
        "model.block: [pre_norm]\n  model.d_model: [16, 6]",
        "5:23: model: n_heads 4 does not divide d_model 6 (cell d_model=6)",
    ),
    ("model.n_heads: [4, 16]", "3:1: model: ~ is odd (cell n_heads=16)"),
    (
        "model.position: [alibi, rope]\n  model.n_heads: [4, 16]",
        "3:1: model: ~ is odd (cell position=rope n_heads=16)",
    ),
    (
        "model.position: [rope, alibi]\n  model.position.theta: [3, 4]",
        f"5:3: {NO_THETA} (cell position=alibi)",
    ),
    (
        "model.position.theta: [3, 4]\n  model.position: [{value: rope, label: turned}, alibi]",
        f"4:3: {NO_THETA} (cell position=alibi)",
    ),
    (
        "model.position.theta: [3, 4]\n  model.position: [rope, alibii]",
        "5:26: model.position: 'alibii' is not a position; ~; did you mean 'alibi'?",
    ),
    (
        "model.position: [rope, {name: rope, theta: 3}]\n  model.position.name: [rope, alibi]",
        f"4:39: {NO_THETA} (cell position=rope(theta=3) name=alibi)",
    ),
    # paths
    (
        "model.positon: [rope]",
        f"3: model.positon: unknown key 'positon'; {KEYS_OF_MODEL}; did you mean 'position'?",
    ),
    ("modle.block: [rope]", f"3: modle.block: unknown key 'modle'; {SECTIONS}; did you mean 'model'?"),
    ("block: [pre_norm]", f"3: block: unknown key 'block'; {SECTIONS}"),
    ("model.position.theta.x: [1]", "3: model.position.theta.x: model.position.theta has no keys"),
    ("model.d_model.x: [1]", "3: model.d_model.x: model.d_model has no keys"),
    ("optimizer.betas.0: [0.8]", "3: optimizer.betas.0: optimizer.betas has no keys"),
    ("seed.x: [1]", "3: seed.x: seed has no keys"),
    (
        "model.position.thetta: [1]",
        "3: model.position.thetta: unknown key 'thetta' of the position 'rope'; allowed: theta~; did you mean 'theta'?",
    ),
    (
        "model.mixer.backend.x: [1]",
        "3: model.mixer.backend.x: unknown key 'x'; the attention_backend 'sdpa' has no hyper-parameters",
    ),
    ("'': [1]", f"3: '': unknown key ''; {SECTIONS}"),
    ("model..block: [1]", f"3: model..block: unknown key ''; {KEYS_OF_MODEL}"),
    ("model.: [1]", f"3: model.: unknown key ''; {KEYS_OF_MODEL}"),
    ("seed: [1, 2]", "3: factors.seed: seeds are replicates, not levels; write them under `seeds`"),
    # lists of levels
    ("model.block: []", "3: factors.model.block: has no levels; write a list such as [a, b]"),
    ("model.block: pre_norm", "3: factors.model.block: must be a list, not 'pre_norm'"),
    ("model.block:", "3: factors.model.block: must be a list, not null"),
    ("design: 3", "3: factors.design: must be a list, not 3"),
    ("model.block: [pre_norm, post_norm, pre_norm]", "38: factors.model.block[2]: the level pre_norm appears twice"),
    ("model.n_layers: [1, 2, 1.0]", "26: factors.model.n_layers[2]: the level 1 appears twice"),
    (
        "model.feedforward: [{name: mlp, expansion: 1}, {expansion: 1.0, name: mlp}]",
        "50: factors.model.feedforward[1]: the level mlp(expansion=1) appears twice",
    ),
    (
        "model.n_layers: [1, {value: 1, label: one}]",
        "24: factors.model.n_layers[1].value: the level one appears twice",
    ),
    (
        'model.n_layers: [1, "1"]',
        "23: factors.model.n_layers[1]: two levels have the label '1'; give one another label",
    ),
    (
        "model.position: [rope, {name: rope, theta: 3, label: rope}]",
        "26: factors.model.position[1]: two levels have the label 'rope'; give one another label",
    ),
    # labels
    *[
        (
            f"model.n_layers: [1, {{value: 2, label: {label}}}]",
            f"34: factors.model.n_layers[1].label: must be a string of 1 to 80 printable characters, not {shown}",
        )
        for label, shown in {
            **{"": "null", "' '": "' '", "[a]": "a list", "true": "true"},
            **{'"a\\nb"': "'a\\nb'", "x" * 81: "'" + "x" * 56 + "..."},
        }.items()
    ],
    ("model.n_layers: [1, {label: two}]", f"23: factors.model.n_layers[1]: {LABELLED}"),
    ("model.n_layers: [1, {valeu: 2, label: two}]", f"23: factors.model.n_layers[1]: {LABELLED}"),
    ("model.n_layers: [1, {value: 2, label: two, x: 1}]", f"23: factors.model.n_layers[1]: {LABELLED}"),
]


@pytest.mark.parametrize(("factors", "expected"), IN_FACTORS)
def test_error_in_a_factor_is_located_in_the_grid(ablate: Ablate, factors: str, expected: str) -> None:
    place, what = expected.split(" ", 1)
    line = "" if place.count(":") == 2 else "4:"
    check(ablate(grid=edited(GRID, "model.block: [pre_norm, post_norm]", factors)), f"grid.yaml:{line}{place} {what}")


IN_GRID = [
    ("seeds: 1", "seed: 1", "5:1: seed: unknown key 'seed'; allowed: name, base, ~seeds~; did you mean 'seeds'?"),
    ("seeds: 1", f"api_key: {SECRET}", f"5:1: api_key: {SECRET_KEY}"),
    ("name: study\n", "", "1:1: name: is missing"),
    ("factors:\n  model.block: [pre_norm, post_norm]\n", "", "1:1: factors: is missing"),
    (
        "factors:\n  model.block: [pre_norm, post_norm]\n",
        "factors: {}\n",
        "3:1: factors: must have a length of at least 1, not 0",
    ),
    ("  model.block: [pre_norm, post_norm]\n", "", "3:1: factors: must be a mapping, not null"),
    ("  model.block: [pre_norm, post_norm]\n", "  - model.block\n", "3:1: factors: must be a mapping, not a list"),
    # names
    *[
        (
            "name: study",
            f"name: {name}",
            f"1:1: name: {NAME}{shown and f', not {shown}'}",
        )
        for name, shown in {
            **{"a/b": "'a/b'", "..": "'..'", "-a": "'-a'", ".a": "'.a'", "''": "''", "null": "null", "3": "3"},
            **{"[a]": "", "{a: 1}": "a mapping", "'a b'": "'a b'", "ä": "'ä'", "x" * 81: "'" + "x" * 56 + "..."},
            **{'"a\\nb"': r"'a\nb'", r'"a\u202eb"': r"'a\u202eb'", '"a\\e[31m"': r"'a\x1b[31m'", '"a\\0"': r"'a\x00'"},
        }.items()
    ],
    ("name: study", "name: Store", "1:1: name: 'Store' is reserved; choose another name"),
    # seeds
    *[
        ("seeds: 1", f"seeds: {seeds}", f"5:1: seeds: {SEEDS}{shown and f', not {shown}'}")
        for seeds, shown in {
            **{"0": "0", "-1": "-1", "2.5": "2.5", '"3"': "'3'", "null": "null", "true": "true", "{a: 1}": "a mapping"},
            **{"[]": "", "[-1]": "", "[1.5]": "", "[true]": "", '[1, "2"]': ""},
        }.items()
    ],
    ("seeds: 1", "seeds: [1, 2, 1]", "5:1: seeds: a seed appears twice"),
    # base
    ("base: base.yaml", "base: bsae.yaml", "2:1: base: bsae.yaml: there is no such file; did you mean 'base.yaml'?"),
    ("base: base.yaml", "base: .", "2:1: base: .: is a directory, not a file"),
    ("base: base.yaml", "base: 3", "2:1: base: must be a string, not 3"),
    ("base: base.yaml", 'base: "a\\0b"', "2:1: base: a\\x00b: cannot be read: embedded null ~"),
    (
        "base: base.yaml\n",
        "",
        "1:1: base: is missing, and there is no ../base.yaml; name a file, or a model such as gpt2",
    ),
    # set
    ("seeds: 1", "set: [a]", "5:1: set: must be a mapping, not a list"),
    ("seeds: 1", "set:", "5:1: set: must be a mapping, not null"),
    ("seeds: 1", "set: {model.d_model: -3}", "5:7: model.d_model: must be greater than 0, not -3"),
    ("seeds: 1", "set: {model.n_heads: 3}", "5:7: model: n_heads 3 does not divide d_model 16"),
    (
        "seeds: 1",
        "set: {model.position: {name: rope, theta: x}}",
        "5:36: model.position.theta: must be a number, not 'x'",
    ),
    (
        "seeds: 1",
        "set: {training: {max_stepps: 3}}",
        "5:18: training.max_stepps: unknown key 'max_stepps'; allowed: ~; did you mean 'max_steps'?",
    ),
    (
        "seeds: 1",
        "set: {training.max_stepps: 3}",
        "5:7: training.max_stepps: unknown key 'max_stepps'; allowed: ~; did you mean 'max_steps'?",
    ),
    ("seeds: 1", f"set: {{tracking.api_key: {SECRET}}}", f"5:7: set.tracking.api_key: {SECRET_KEY}"),
    (
        "seeds: 1",
        f"set: {{model.d_model: {{api_key: {SECRET}}}}}",
        f"5:23: set.model.d_model.api_key: {SECRET_KEY}",
    ),
    ("seeds: 1", "set: {model.position.theta: 3, model.position: alibi}", f"5:7: {NO_THETA}"),
    (
        "seeds: 1",
        "set: {model.block: pre_norm}",
        "5:7: set.model.block: is also a factor; remove one of the two",
    ),
    (
        "seeds: 1",
        "set: {model.block.x: 1}",
        "5:7: set.model.block.x: is inside the factor model.block, whose levels replace it; set it in the levels",
    ),
    # baseline
    (
        "seeds: 1",
        "baseline: {model.block: post_nrm}",
        "5:12: baseline.model.block: 'post_nrm' is not a level; levels: pre_norm, post_norm; did you mean 'post_norm'?",
    ),
    (
        "seeds: 1",
        "baseline: {model.block: 1}",
        "5:12: baseline.model.block: 1 is not a level; levels: pre_norm, post_norm",
    ),
    (
        "seeds: 1",
        "baseline: {block: pre_norm}",
        "5:12: baseline.block: is not a factor; factors: model.block; did you mean 'model.block'?",
    ),
    ("seeds: 1", "baseline: pre_norm", "5:1: baseline: must be a mapping, not 'pre_norm'"),
    # design
    ("seeds: 1", "design: factoral", "5:1: design: 'factoral' is not a design; allowed: ~; did you mean 'factorial'?"),
    ("seeds: 1", "design: 3", "5:1: design: 3 is not a design; allowed: ~"),
    (
        "seeds: 1",
        "design: {name: factorial, x: 1}",
        "5:27: design.x: unknown key 'x'; the design 'factorial' has no hyper-parameters",
    ),
    # YAML
    ("seeds: 1", "seeds: 1\nname: again", "6:1: the key 'name' appears twice, first in line 1"),
    ("seeds: 1", "seeds: [1", "6:1: not YAML: ~"),
]


@pytest.mark.parametrize(("old", "new", "expected"), IN_GRID)
def test_error_in_the_grid_names_its_line(ablate: Ablate, old: str, new: str, expected: str) -> None:
    check(ablate(grid=edited(GRID, old, new)), f"grid.yaml:{expected}")


@pytest.mark.parametrize("command", ["run", "plan", "table"])
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("name: study", "name: ../study", f"grid.yaml:1:1: name: {NAME}, not '../study'"),
        ("name: study", "name: " + "x" * 300, f"grid.yaml:1:1: name: {NAME}, not '{'x' * 56}..."),
        ("name: study", 'name: "a\\0"', rf"grid.yaml:1:1: name: {NAME}, not 'a\x00'"),
        ("post_norm]", "post_nrm]", "grid.yaml:4:27: model.block: 'post_nrm' is not a block; ~"),
        ("base.yaml", "nowhere.yaml", "grid.yaml:2:1: base: nowhere.yaml: there is no such file"),
    ],
)
def test_all_commands_that_read_a_grid_refuse_alike(
    ablate: Ablate, command: str, old: str, new: str, expected: str
) -> None:
    check(ablate(grid=edited(GRID, old, new), arguments=[command, "grid.yaml", "--runs", "results"]), expected)


# --- the command line ------------------------------------------------------------------------------------------------

WRITE = "write path=value in one line, such as training.max_steps=200"


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.d_model=x", "model.d_model: must be a whole number, not 'x'"),
        ("model.d_model=", "model.d_model: must be a whole number, not null"),
        ("model.dmodel=3", f"model.dmodel: unknown key 'dmodel'; {KEYS_OF_MODEL}; did you mean 'd_model'?"),
        ("model.position={name: rope, theta: 1}", "model.position.theta: must be greater than 1, not 1"),
        ("model.position=ropee", f"model.position: 'ropee' is not a position; {POSITIONS}; did you mean 'rope'?"),
        ("model.position.theta.x=1", "model.position.theta.x: model.position.theta has no keys"),
        ("model.n_heads=3", "model: n_heads 3 does not divide d_model 16"),
        ("name=other", f"name: unknown key 'name'; {SECTIONS}"),
        ("model.block=pre_norm", "model.block: is also a factor; remove one of the two (grid.yaml)"),
        (
            "model.block.x=1",
            "model.block.x: is inside the factor model.block, whose levels replace it; ~ (grid.yaml)",
        ),
        ("model.d_model", f"model.d_model: {WRITE}"),
        ("=3", f"=: {WRITE}"),
        ("", f"=: {WRITE}"),
        ("model.d_model: 3=4", f"model.d_model: 3: {WRITE}"),
        ("#model=4", f"#model: {WRITE}"),
        ("model.d_model=8\nmodel.n_heads: 2", f"model.d_model: {WRITE}"),
        ("model.d_model=8\rmodel.n_heads: 2", f"model.d_model: {WRITE}"),
        ("model.d_model=[3", "model.d_model:2:1: not YAML: ~"),
        ("model.d_model=!!int 3", "model.d_model: must be a whole number, not '!!int 3'"),
        ("task.path=x", "task.path: unknown key 'path' of the task 'copy'; allowed: ~"),
        ("task={name: text, path: x/y.txt}", "task.path: there is no file x/y.txt"),
        (f"tracking.api_key={SECRET}", f"tracking.api_key:1:1: tracking.api_key: {SECRET_KEY}"),
    ],
)
def test_error_in_a_setting_names_its_path(ablate: Ablate, setting: str, expected: str) -> None:
    check(ablate(arguments=["plan", "grid.yaml", "--set", setting]), f"--set {expected}")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("plan gird.yaml", "gird.yaml: there is no such file; did you mean 'grid.yaml'?"),
        ("run gird.yaml", "gird.yaml: there is no such file; did you mean 'grid.yaml'?"),
        ("table study", "study: there is no such file or name; grids: ~; claims: ~"),
        ("plan .", ".: is a directory, not a file"),
        ("plan nowhere/grid.yaml", "nowhere/grid.yaml: there is no such file"),
        ("plan", "Missing argument 'GRID'."),
        ("tabel grid.yaml", "No such command 'tabel'. Did you mean 'table'?"),
        ("plan grid.yaml --sed 3", "No such option: --sed ~--seeds~"),
        ("plan grid.yaml --seeds 0", "Invalid value for '--seeds': ~ 1"),
        ("plan grid.yaml --seeds x", "Invalid value for '--seeds': ~"),
        (
            "plan grid.yaml --seeds 50001",
            "--seeds 50001: 2 cells with 50,001 seeds each; at most 100,000 runs are allowed",
        ),
        ("run grid.yaml --retry faild", "--retry faild: not known; allowed: ~; did you mean 'failed'?"),
        ("plan grid.yaml --plugin p.py", "--plugin p.py: there is no such file"),
        ("components positon", "'positon' is neither a slot nor a component; ~; did you mean 'position'?"),
    ],
)
def test_error_in_the_arguments_is_one_line(ablate: Ablate, arguments: str, expected: str) -> None:
    check(ablate(arguments=arguments.split()), expected)


@pytest.mark.parametrize(
    "arguments",
    [["pl\nan"], ["plan", "g\x1b[31m\n.yaml"], ["plan", "grid.yaml", "--se\u202eds"], ["plan", "a", "b\nc"]],
)
def test_arguments_cannot_write_escape_codes_to_the_terminal(ablate: Ablate, arguments: list[str]) -> None:
    assert ablate(arguments=arguments)


# --- data ------------------------------------------------------------------------------------------------------------

TEXT = edited(
    BASE_YAML,
    "{name: copy, symbols: 4, length: 8, batch_size: 4, validation_examples: 8}",
    "{name: text, path: a.txt, length: 8}",
)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "16:20: task.path: there is no file a.txt"),
        (b"", "16:1: task: a.txt leaves 0 tokens for training; length 8 needs at least 17"),
        (b"ab" * 20, "16:1: task: a.txt leaves 4 tokens for validation; length 8 needs at least 17"),
        (b"ab\xff" * 100, "16:20: task.path: a.txt is not UTF-8 at byte 2; use level: byte"),
    ],
)
def test_data_that_do_not_suffice_are_refused(ablate: Ablate, content: bytes | None, expected: str) -> None:
    files = {} if content is None else {"a_txt": content}
    check(ablate(TEXT, **files), f"base.yaml:{expected}")


def test_data_that_are_not_there_are_refused_with_nearest_file(ablate: Ablate) -> None:
    check(ablate(TEXT, ab_txt="ab" * 500), "base.yaml:16:20: task.path: there is no file a.txt; did you mean 'ab.txt'?")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        (".", "~ is not a file; expected a text file"),
        ("/dev/zero", "/dev/zero is not a file; expected a text file"),
        ("grid.yaml/a.txt", "there is no file grid.yaml/a.txt"),
        ('"a\\0b"', "there is no file a\\x00b"),
        ('"a\\0b/c"', "there is no file a\\x00b/c"),
        ("x" * 300, "~ cannot be read: File name too long"),
    ],
)
def test_data_that_are_no_file_are_refused(ablate: Ablate, path: str, what: str) -> None:
    check(ablate(edited(TEXT, "a.txt", path)), f"base.yaml:16:20: task.path: {what}")


def test_data_that_one_cell_lacks_are_refused_at_its_level(ablate: Ablate) -> None:
    text = b"ab" * 100
    factors = edited(GRID, "model.block: [pre_norm, post_norm]", "task.path: [a.txt, b.txt]")
    check(ablate(TEXT, factors, a_txt=text), "grid.yaml:4:22: task.path: there is no file b.txt")
    factors = edited(GRID, "model.block: [pre_norm, post_norm]", "task.length: [8, 10]")
    what = "a.txt leaves 20 tokens for validation; length 10 needs at least 21"
    check(ablate(TEXT, factors, a_txt=text), f"grid.yaml:4:20: task: {what} (cell length=10)")
    check(
        ablate(TEXT, edited(GRID, "seeds: 1", "set: {task.path: c.txt}"), a_txt=text),
        "grid.yaml:5:7: task.path: there is no file c.txt",
    )


# --- plugins ---------------------------------------------------------------------------------------------------------

HEAD = "from ablation import Position, register\n"
MINE = HEAD + "@register('position', 'mine')\nclass Mine(Position):\n    def __init__(self, shape{}):\n        {}\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\nif x\n", "p.py:2:5: SyntaxError: expected ':'"),
        ("\nimport nowhere_to_be_found\n", "p.py:2: ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("def f():\n    1 / 0\nf()\n", "p.py:2: ZeroDivisionError: division by zero"),
        ("raise ValueError('one\\ntwo')\n", "p.py:1: one"),
        ("raise SystemExit(3)\n", "p.py:1: SystemExit: 3"),
        (b"a\x00b", "p.py~: ~null byte~"),
        (b"x = '\xff'", "p.py:~: SyntaxError: ~"),
        (
            HEAD + "@register('position', 'rope')\nclass R(Position): ...\n",
            "p.py:2: position 'rope' is taken by ~.Rope",
        ),
        (
            HEAD + "@register('positon', 'r')\nclass R(Position): ...\n",
            "p.py: there is no slot 'positon'; did you mean 'position'?",
        ),
        (MINE.format(", *, x", "..."), "p.py:2: TypeError: Mine: hyper-parameter 'x' needs a type"),
        (
            MINE.format(", *, name: str", "..."),
            "p.py:2: TypeError: Mine: 'name' is reserved; rename the hyper-parameter",
        ),
        (MINE.format(", *, x: object() = 1", "..."), "p.py:2: PydanticSchemaGenerationError: ~"),
    ],
)
def test_plugin_that_fails_is_refused_at_its_line(
    ablate: Ablate, scratch_registry: Any, text: str | bytes, expected: str
) -> None:
    message = ablate(p_py=text, arguments=["plan", "grid.yaml", "--plugin", "p.py"])
    check(message, expected)
    assert len(message) < 300


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("raise ValueError('one head only')", "model: one head only"),
        ("1 / 0", "model: ZeroDivisionError: division by zero (p.py:5)"),
        ("self.x = self.y", "model: AttributeError: ~ has no attribute 'y' (p.py:5)"),
    ],
)
def test_component_that_cannot_be_built_is_refused_with_its_cell(
    ablate: Ablate, scratch_registry: Any, body: str, expected: str
) -> None:
    grid = edited(GRID, "model.block: [pre_norm, post_norm]", "model.position: [rope, mine]")
    message = ablate(grid=grid, p_py=MINE.format("", body), arguments=["plan", "grid.yaml", "--plugin", "p.py"])
    check(message, f"grid.yaml:3:1: {expected} (cell position=mine)")


def test_component_that_fails_at_work_is_refused_by_the_plan(ablate: Ablate, scratch_registry: Any) -> None:
    text = (
        MINE.format("", "super().__init__(shape)")
        + "    def embed(self, x, positions):\n        return x + self.nothing\n"
    )
    grid = edited(GRID, "model.block: [pre_norm, post_norm]", "model.position: [rope, mine]")
    message = ablate(grid=grid, p_py=text, arguments=["plan", "grid.yaml", "--plugin", "p.py"])
    check(message, "model: AttributeError: ~ has no attribute 'nothing' (p.py:7) (cell position=mine)")


# --- not the user's fault --------------------------------------------------------------------------------------------


def test_help_is_printed_without_arguments(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["ablate"])
    assert main() == 0
    assert "plan" in capsys.readouterr().out
