"""Every registered component: where the configuration names it, and what it needs around it to be built and trained."""

from typing import Any

# Importing these fills slots of the registry.
import ablation.bench.probes
import ablation.checkpoints
import ablation.config.experiment
import ablation.grid.design
import ablation.grid.search
import ablation.launch.choice  # noqa: F401
from ablation.registry import REGISTRY

CONFIG_PATHS = {
    "architecture": "model.architecture",
    "embedding": "model.embedding",
    "lm_head": "model.lm_head",
    "pooling": "model.architecture.pooling",
    "position": "model.position",
    "block": "model.block",
    "norm": "model.norm",
    "mixer": "model.mixer",
    "attention_backend": "model.mixer.backend",
    "qk_norm": "model.mixer.qk_norm",
    "rope_scaling": "model.position.scaling",
    "feedforward": "model.feedforward",
    "residual": "model.residual",
    "initialization": "model.initialization",
    "task": "task",
    "optimizer": "optimizer",
    "schedule": "schedule",
    "monitor": "training.monitors",
    "callback": "training.callbacks",  # of plug-ins alone: training/test_callbacks.py
    "metric": "metrics",
    "design": None,  # of a grid, not of an experiment
    "checkpoint": None,
    "searcher": None,  # of a grid's tuning: study/test_tuning.py
    "launcher": None,  # of a command: launch/test_slurm.py
    "probe": None,  # of a model before its first step: compare/test_claim.py
}
LIST_SLOTS = {"monitor", "callback", "metric"}
"""Slots whose place takes several components."""
POSITION_FOR_HOOKS = {(): "none", ("embed",): "learned", ("embed", "rotate", "bias"): "rope"}
"""A position that affects a mixer, by the hooks that do."""
TESTED_ELSEWHERE = {
    ("architecture", "encoder"): "attends in both directions: test_architecture.py",
    ("architecture", "encoder_decoder"): "is given a source as well: test_architecture.py",
    ("architecture", "prefix_decoder"): "is given a source as well: test_architecture.py",
    ("attention_backend", "flex"): "cannot train on a CPU: test_attention_variants.py",
    ("initialization", "pretrained"): "starts from a file: checkpoints/test_import.py",
    ("norm", "batch_norm"): "is not causal in training: contracts/test_models.py",
    ("mixer", "none"): "sees no other token: components/test_left_out.py",
}


def settings_for(slot: str, name: str) -> dict[str, Any]:
    """The configuration's changes that put a component in its place, with what it needs around it."""
    changes: dict[str, Any] = {CONFIG_PATHS[slot]: [name] if slot in LIST_SLOTS else name}
    if slot == "mixer":
        changes["model.position"] = POSITION_FOR_HOOKS[REGISTRY["mixer"][name].component.position_hooks]
    return changes


COMPONENTS = [(slot, name) for slot, members in REGISTRY.items() for name in members]
MODEL_COMPONENTS = [
    (slot, name)
    for slot, name in COMPONENTS
    if (CONFIG_PATHS.get(slot) or "").startswith("model.")
    and slot != "pooling"
    and (slot, name) not in TESTED_ELSEWHERE
]
