"""A base file and a grid file as text, and the plan that a folder with both gives."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from ablation.errors import InputError
from ablation.grid.file import read_grid
from ablation.grid.plan import Plan
from ablation.grid.planner import make_plan

BASE_YAML = """\
model:
  architecture: decoder
  d_model: 16
  n_layers: 1
  n_heads: 4
  n_kv_heads: null
  dropout: 0.0
  tie_embeddings: true
  position: rope
  block: pre_norm
  norm: layer_norm
  mixer: attention
  feedforward: {name: mlp, activation: gelu, expansion: 4}
  residual: plain
  initialization: gpt2
task: {name: copy, symbols: 4, length: 8, batch_size: 4, validation_examples: 8}
optimizer: {name: adamw, lr: 1e-3, weight_decay: 0.1, betas: [0.9, 0.95]}
schedule: {name: cosine, warmup_ratio: 0.1, min_lr_ratio: 0.1}
training:
  max_steps: 10
  precision: 32-true
  device: cpu
  gradient_clip: 1.0
  accumulate: 1
  evaluate_every: 5
  compile: false
tracking: {mode: disabled, project: ablation}
seed: 0
"""

GRID_YAML = """\
name: study
base: base.yaml
factors:
  model.block: [pre_norm, post_norm]
  model.position: [rope, alibi, {name: rope, theta: 5e5}]
seeds: 2
"""


def plan(
    folder: Path, grid: str, settings: Sequence[str] = (), n_seeds: int | None = None, base: str = BASE_YAML
) -> Plan:
    (folder / "base.yaml").write_text(base)
    (folder / "grid.yaml").write_text(grid)
    return make_plan(read_grid(folder / "grid.yaml"), settings, n_seeds)


def factors(text: str, more: str = "") -> str:
    return f"name: study\nbase: base.yaml\nfactors: {text}\n{more}"


def ids(planned: Plan) -> list[str]:
    return [run.id for run in planned.runs]


def planned(folder: Path, **grid: Any) -> Plan:
    """The plan of a grid with these keys, beside what every grid needs."""
    (folder / "base.yaml").write_text(BASE_YAML)
    written = {"name": "study", "base": "base.yaml", "seeds": 1, **grid}
    (folder / "grid.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    return make_plan(read_grid(folder / "grid.yaml"))


def refusal(folder: Path, **grid: Any) -> str:
    """What is said of a grid with these keys, in one line, from the place on."""
    with pytest.raises(InputError) as caught:
        planned(folder, **grid)
    assert "\n" not in str(caught.value)
    return str(caught.value).partition("grid.yaml:")[2]
