# ruff: noqa: T201
"""Numbers of small runs that together train every component, to the last bit: a change of the code must not move them.

    python tests/benchmarks/golden.py record golden.json
    python tests/benchmarks/golden.py compare golden.json
    python tests/benchmarks/golden.py compare golden.json --only position

``record`` trains every run of the table ``RUNS`` and writes down what metrics.jsonl and result.json say of it, without
times and machines, and the sha256 of its weights before the first step and after the last. ``compare`` trains them
again and prints each run that differs, with the first key that does; its exit status is then 1. Both fail where a
registered component is in no run and not in ``EXCLUDED``. JSON holds each float as the shortest text that stands for
it alone, so what is compared is compared to the last bit. Numbers of another machine or another torch may differ.

Where the vocabulary has changed since the file was recorded: the paths and names in ``COMMON``, ``RUNS`` and
``EXCLUDED`` and the keys in ``VOLATILE`` are those of today, ``RENAMED`` says what recorded keys are called now, and
all that is asked of the package stands below "The package".
"""

import argparse
import hashlib
import importlib
import json
import logging
import multiprocessing
import pkgutil
import platform
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file

CONF = Path(__file__).resolve().parents[2] / "conf"
CHECKPOINT = "checkpoint.safetensors"

COMMON: dict[str, Any] = {
    "model.d_model": 16,
    "model.n_layers": 2,
    "model.n_heads": 4,
    "model.dropout": 0.1,
    "model.initialization": {"name": "gpt2", "std": 0.2},
    "task": {
        "name": "copy",
        "symbols": 6,
        "length": 12,
        "batch_size": 8,
        "epoch_examples": 24,
        "validation_examples": 10,
    },
    "optimizer": {"name": "adamw", "lr": 0.01, "weight_decay": 0.1},
    "training.max_steps": 8,
    "training.evaluate_every": 4,
    "training.log_every": 3,
    "training.monitor_every": 4,
    "training.device": "cpu",
    "training.precision": "32-true",
    "tracking.mode": "disabled",
}
"""Laid over the baseline in every run; what a run says goes before it."""


def generated(name: str, **others: Any) -> dict[str, Any]:
    """A task that is generated, made small."""
    return {"name": name, "length": 12, "batch_size": 8, "epoch_examples": 24, "validation_examples": 10, **others}


def from_file(name: str, **others: Any) -> dict[str, Any]:
    """A task on texts, made small."""
    return {"name": name, "length": 16, "batch_size": 8, **others}


TEXT = from_file("text", path="text.txt", validation_windows=6)
GAPS = from_file("masked_text", path="text.txt", validation_windows=6)
PAIRS = from_file("sequence_to_sequence", path="pairs.tsv")
CLASSES = from_file("classification", path="classes.csv")
VERDICTS = generated("parity")


def encoder(**others: Any) -> dict[str, Any]:
    """Gaps filled in both directions."""
    return {"model.architecture": "encoder", "task": GAPS} | {f"model.{part}": value for part, value in others.items()}


def translator(**others: Any) -> dict[str, Any]:
    """One text made of another by two stacks."""
    return {"model.architecture": {"name": "encoder_decoder", **others}, "task": PAIRS}


def recurrent(name: str, **others: Any) -> dict[str, Any]:
    """A mixer that hands the past on in a state."""
    return {"model.mixer": {"name": name, **others}, "model.position": "none"}


def attention(**others: Any) -> dict[str, Any]:
    """The usual mixer with other settings."""
    return {"model.mixer": {"name": "attention", **others}}


def rope(scaling: Any, **others: Any) -> dict[str, Any]:
    """Scaled rotary positions, validated on longer texts too."""
    return {
        "model.position": {"name": "rope", "scaling": scaling, **others},
        "model.d_head": 8,
        "task": generated("copy", symbols=6, extrapolate=2),
    }


DECAY_ON = "matrices"
"""The convention of weight decay in every run that says nothing of it: the one under which they were first recorded."""
UNTIED = {"model.tie_embeddings": False}
SOURCES = {"model.architecture": "encoder_decoder"}
PREFIXED = {"model.architecture": "prefix_decoder"}

RUNS: dict[str, dict[str, Any]] = {
    "baseline": {},
    "another seed": {"seed": 3},
    "no dropout": {"model.dropout": 0.0},
    # Positions.
    "position: none": {"model.position": "none"},
    "position: learned": {"model.position": "learned"},
    "position: learned, longer than the text": {"model.position": "learned", "model.max_length": 20},
    "position: sines": {"model.position": "sinusoidal"},
    "position: sines, scaled embeddings": {
        "model.position": {"name": "sinusoidal", "base": 100.0, "embedding_scale": 2.0}
    },
    "position: linear penalty": {"model.position": "alibi"},
    "position: buckets": {"model.position": "t5"},
    "position: few buckets": {"model.position": {"name": "t5", "buckets": 8, "max_distance": 9}},
    "position: logarithmic kernel": {"model.position": "kerple_log"},
    "position: power kernel": {"model.position": "kerple_power"},
    "position: functional": {"model.position": "fire"},
    "position: functional, narrow": {"model.position": {"name": "fire", "width": 8, "threshold": 6.0, "c": 0.5}},
    "position: rotary, half of a head": {"model.position": {"name": "rope", "rotary_fraction": 0.5}},
    "position: rotary, neighbors": {"model.position": {"name": "rope", "layout": "interleaved"}},
    "position: rotary, small base": {"model.position": {"name": "rope", "theta": 100.0}},
    "position: rotary with decay": {"model.position": "xpos"},
    "position: rotary with decay, steep": {"model.position": {"name": "xpos", "scale_base": 16.0, "gamma": 0.8}},
    "both ways: linear penalty": encoder(position="alibi"),
    "both ways: buckets": encoder(position="t5"),
    "both ways: logarithmic kernel": encoder(position="kerple_log"),
    "both ways: learned": encoder(position="learned"),
    # Rotary frequencies for longer texts.
    "rotary scaling: none": rope("none"),
    "rotary scaling: linear": rope("linear"),
    "rotary scaling: by base": rope("ntk"),
    "rotary scaling: by ramp": rope("yarn"),
    "rotary scaling: by ramp, all set": rope(
        {"name": "yarn", "factor": 3.0, "original_length": 12, "beta_fast": 2.0, "beta_slow": 0.1, "truncate": False}
    ),
    "rotary scaling: by ramp, own factor": rope({"name": "yarn", "attention_factor": 1.5}),
    "rotary scaling: by turns": rope("llama3"),
    "rotary scaling: by turns, original length": rope(
        {"name": "llama3", "factor": 4.0, "original_length": 12, "low": 0.1, "high": 1.0}
    ),
    "rotary scaling: dynamic": rope({"name": "dynamic_ntk", "original_length": 6}),
    "rotary scaling: dynamic within the model": rope("dynamic_ntk", theta=100.0),
    "rotary scaling: searched": rope({"name": "longrope", "original_length": 12}),
    "rotary scaling: searched, divisors given": rope(
        {
            "name": "longrope",
            "short": [1.0, 1.1, 1.2, 1.3],
            "long": [1.0, 2.0, 3.0, 4.0],
            "original_length": 12,
            "attention_factor": 1.25,
        }
    ),
    # Attention.
    "attention: unscaled": attention(scale=False),
    "attention: scaled by a number": attention(scale=0.3),
    "attention: scaled by width": attention(scale="width"),
    "attention: biases": attention(bias=True),
    "attention: bias of the last map alone": attention(out_bias=True),
    "attention: dropout": attention(dropout=0.2),
    "attention: soft cap": attention(soft_cap=2.0, backend="manual"),
    "attention: sinks": attention(sinks=True, backend="manual"),
    "attention: gate by head": attention(gate="head"),
    "attention: gate by feature": attention(gate="feature"),
    "attention: window": attention(window=3),
    "attention: window, every second layer sees all": {
        **attention(window=3),
        "model.layers": [{"every": 2, "first": 1, "set": {"mixer.window": None}}],
    },
    "attention: window, first layer sees all": {
        **attention(window=3),
        "model.layers": [{"every": 2, "set": {"mixer.window": None}}],
    },
    "attention: window both ways": encoder(mixer={"name": "attention", "window": 3}),
    "attention: every second layer without position": {
        "model.layers": [{"every": 2, "first": 1, "set": {"position": "none"}}]
    },
    "attention: first values": attention(value_residual=True),
    "attention: keys as queries": attention(tied_projections="query_key"),
    "attention: values as keys": attention(tied_projections="key_value"),
    "attention: two heads of keys": {"model.n_kv_heads": 2},
    "attention: one head of keys": {"model.n_kv_heads": 1},
    "attention: wider heads": {"model.d_head": 6},
    "attention: one head": {"model.n_heads": 1},
    "attention: wider model": {"model.d_model": 32, "model.n_heads": 2},
    "attention: three layers": {"model.n_layers": 3},
    # Who computes it.
    "backend: formula": attention(backend="manual"),
    "backend: of torch": attention(backend="torch_mha"),
    "backend: formula, grouped heads and dropout": {"model.n_kv_heads": 2, **attention(backend="manual", dropout=0.2)},
    "backend: fused, grouped heads and a bias": {"model.n_kv_heads": 2, "model.position": "alibi"},
    "backend: of torch, grouped heads and dropout": {
        "model.n_kv_heads": 2,
        **attention(backend="torch_mha", dropout=0.2),
    },
    "backend: of torch, both ways": encoder(mixer={"name": "attention", "backend": "torch_mha"}),
    "backend: formula, a bias": {"model.position": "t5", **attention(backend="manual")},
    # Norms of queries and keys.
    "queries and keys: as they are": attention(qk_norm="none", backend="manual", soft_cap=1.0, sinks=True),
    "queries and keys: root mean square": attention(qk_norm="rms"),
    "queries and keys: root mean square of all heads": attention(qk_norm="rms_full"),
    "queries and keys: cosine": attention(qk_norm="l2"),
    "queries and keys: grouped heads": {"model.n_kv_heads": 2, **attention(qk_norm="rms_full")},
    # Other mixers.
    "mixer: convolution": recurrent("convolution"),
    "mixer: convolution, biased": recurrent("convolution", kernel_size=2, bias=True),
    "mixer: long convolution": recurrent("hyena"),
    "mixer: linear attention": recurrent("linear_attention"),
    "mixer: linear attention, bare": recurrent("linear_attention", feature="relu", normalize=False),
    "mixer: linear attention with decay": recurrent("linear_attention", decay=True),
    "mixer: gated linear attention": recurrent("gla"),
    "mixer: state space": recurrent("mamba"),
    "mixer: state space, small": recurrent("mamba", expansion=2.0, state=4, kernel_size=2, rank=0.25),
    "mixer: delta rule": recurrent("delta"),
    "mixer: delta rule, no convolution": recurrent("delta", kernel_size=None, beta_scale=2.0),
    "mixer: gated delta rule": recurrent("gated_delta"),
    "mixer: gated delta rule, wide keys": recurrent("gated_delta", kernel_size=None, key_expansion=1.0, beta_scale=2.0),
    "mixer: difference of two softmaxes": {"model.mixer": "differential"},
    "mixer: difference, formula": {"model.mixer": {"name": "differential", "backend": "manual", "bias": True}},
    "mixer: disentangled": recurrent("disentangled"),
    "mixer: disentangled, own maps": recurrent(
        "disentangled", buckets=8, max_distance=10, share_projections=False, table_norm=False, bias=True
    ),
    "mixer: disentangled, content alone asks": recurrent(
        "disentangled", buckets=None, max_distance=12, position_to_content=False
    ),
    "mixer: disentangled both ways": encoder(mixer="disentangled", position="none"),
    "mixer: latent": recurrent("latent"),
    "mixer: latent, all sizes": recurrent("latent", rank=8, query_rank=8, rope=4, bias=True, dropout=0.1),
    "mixer: long short-term memory": recurrent("lstm"),
    "mixer: gated recurrent unit": recurrent("gru"),
    "mixer: recurrent, with learned positions": {"model.mixer": "gru", "model.position": "learned"},
    "mixer: recurrent both ways": encoder(mixer="lstm", position="none"),
    "mixer: trained distances": recurrent("shaw"),
    "mixer: trained distances, keys alone": recurrent("shaw", clip=4, values=False),
    "mixer: trained distances both ways": encoder(mixer="shaw", position="none"),
    "mixer: relative sines": recurrent("transformer_xl"),
    "mixer: relative sines both ways": encoder(mixer="transformer_xl", position="none"),
    # Blocks.
    "block: norm before": {"model.block": {"name": "pre_norm", "dropout_on": "stream"}},
    "block: norm after": {"model.block": "post_norm"},
    "block: norm after, dropout of the stream": {"model.block": {"name": "post_norm", "dropout_on": "stream"}},
    "block: heavier stream": {"model.block": "deepnorm"},
    "block: heavier stream, both given": {"model.block": {"name": "deepnorm", "alpha": 1.5, "beta": 0.4}},
    "block: heavier stream of two stacks": {**translator(), "model.block": "deepnorm"},
    "block: norms around": {"model.block": "sandwich"},
    "block: norm of the branch": {"model.block": "branch_norm"},
    "block: norm scaled by depth": {"model.block": "layer_norm_scaling"},
    "block: parallel": {"model.block": "parallel"},
    "block: parallel, norms apart": {"model.block": {"name": "parallel", "shared_norm": False}},
    # Norms.
    "norm: mean and variance, no shift": {"model.norm": {"name": "layer_norm", "bias": False}},
    "norm: root mean square": {"model.norm": "rms_norm"},
    "norm: root mean square, gain from zero": {"model.norm": {"name": "rms_norm", "unit_offset": True}},
    "norm: one length": {"model.norm": "scale_norm"},
    "norm: tanh": {"model.norm": "dyt"},
    "norm: batch": {"model.norm": "batch_norm"},
    "norm: none": {"model.norm": "none"},
    "norm: batch, texts of many lengths": {
        "model.norm": "batch_norm",
        "model.architecture": "encoder",
        "task": CLASSES,
    },
    # Residual connections.
    "residual: none": {"model.residual": "none"},
    "left out: feedforward": {"model.feedforward": "none"},
    "left out: mixer": {"model.mixer": "none", "model.position": "learned"},
    "residual: scaled": {"model.residual": "scaled"},
    "residual: from zero": {"model.residual": "rezero"},
    "residual: by feature": {"model.residual": "layer_scale"},
    "residual: streams": {"model.residual": "hyper_connections"},
    "residual: fixed streams": {"model.residual": {"name": "hyper_connections", "streams": 2, "dynamic": False}},
    "residual: doubly stochastic streams": {"model.residual": "manifold_hyper_connections"},
    "residual: streams of two stacks": {**translator(), "model.residual": "hyper_connections"},
    # Feedforwards.
    "feedforward: biased": {"model.feedforward": {"name": "mlp", "bias": True, "expansion": 2}},
    "feedforward: gelu by tanh": {"model.feedforward": {"name": "mlp", "activation": "gelu_tanh"}},
    "feedforward: relu": {"model.feedforward": {"name": "mlp", "activation": "relu"}},
    "feedforward: silu": {"model.feedforward": {"name": "mlp", "activation": "silu"}},
    "feedforward: squared relu": {"model.feedforward": {"name": "mlp", "activation": "squared_relu"}},
    "feedforward: gated": {"model.feedforward": "glu"},
    "feedforward: gated by sigmoid, biased": {
        "model.feedforward": {"name": "glu", "activation": "sigmoid", "bias": True}
    },
    "feedforward: bilinear": {"model.feedforward": {"name": "glu", "activation": "identity", "expansion": 2}},
    "feedforward: experts": {"model.feedforward": "moe"},
    "feedforward: gated experts": {
        "model.feedforward": {
            "name": "moe",
            "n_experts": 4,
            "top_k": 1,
            "renormalize": False,
            "aux_loss_coef": 0.1,
            "router_z_loss_coef": 0.01,
            "expert": {"name": "glu", "expansion": 2},
        }
    },
    "feedforward: experts, texts of many lengths": {**translator(), "model.feedforward": "moe"},
    # Embeddings and readouts.
    "embedding: scaled": {"model.embedding": "scaled"},
    "embedding: normed": {"model.embedding": "normed"},
    "embedding: normed, untied": {"model.embedding": "normed", **UNTIED},
    "readout: untied": UNTIED,
    "readout: scaled": {"model.lm_head": {"name": "linear", "scale": 0.25}},
    "readout: transformed": {"model.lm_head": "transform"},
    "readout: transformed, untied": {"model.lm_head": "transform", **UNTIED},
    "readout: soft cap": {"model.lm_head": "soft_capped"},
    "readout: low soft cap, untied": {"model.lm_head": {"name": "soft_capped", "cap": 2.0}, **UNTIED},
    # First weights.
    "weights: normal, narrow": {"model.initialization": "gpt2"},
    "weights: out from zero": {"model.initialization": "zero_out"},
    "weights: uniform, both directions": {"model.initialization": "xavier", **UNTIED},
    "weights: small": {"model.initialization": "small"},
    "weights: by features in": {"model.initialization": "t5", **UNTIED},
    "weights: by width": {"model.initialization": {"name": "mup", "base": 8}, **UNTIED},
    "weights: as torch draws": {"model.initialization": "default_torch", **UNTIED},
    "weights: from a checkpoint": {"model.initialization": {"name": "pretrained", "path": CHECKPOINT}},
    "weights: from a checkpoint, deeper": {
        "model.initialization": {"name": "pretrained", "path": CHECKPOINT, "otherwise": "xavier"},
        "model.n_layers": 3,
    },
    "weights: of two stacks": {**translator(), "model.initialization": "t5"},
    "weights: of a classifier": {
        "model.architecture": "encoder",
        "task": VERDICTS,
        "model.initialization": {"name": "mup", "base": 8},
    },
    "widths: weights, scores and steps": {
        "model.initialization": {"name": "mup", "base": 8},
        "optimizer.base_width": 8,
        **attention(scale="width"),
        **UNTIED,
    },
    "widths: tied": {"model.initialization": {"name": "mup", "base": 8}, "optimizer.base_width": 8},
    # Optimizers.
    "steps: adaptive, all set": {
        "optimizer": {"name": "adamw", "lr": 0.02, "weight_decay": 0.3, "betas": [0.8, 0.99], "eps": 1e-6}
    },
    "steps: factored": {"optimizer": "adafactor"},
    "steps: factored, all set": {
        "optimizer": {"name": "adafactor", "lr": 0.05, "weight_decay": 0.1, "beta2_decay": -0.5, "clip": 2.0}
    },
    "steps: gradient": {"optimizer": "sgd"},
    "steps: gradient, ahead": {"optimizer": {"name": "sgd", "nesterov": True, "weight_decay": 0.1}},
    "steps: sign": {"optimizer": "lion"},
    "steps: orthogonal": {"optimizer": "muon"},
    "steps: orthogonal, other scale": {
        "optimizer": {"name": "muon", "scale": "jordan", "nesterov": False, "adamw_lr": 0.01, "iterations": 3}
    },
    "steps: orthogonal, experts": {"optimizer": "muon", "model.feedforward": "moe", **UNTIED},
    "steps: turned coordinates": {"optimizer": {"name": "soap", "every": 2}},
    "steps: turned coordinates, small sides": {"optimizer": {"name": "soap", "largest_side": 16, "basis_beta": 0.9}},
    # Schedules.
    "schedule: constant": {"schedule": "constant"},
    "schedule: cosine to zero": {"schedule": {"name": "cosine", "warmup_ratio": 0.25, "min_lr_ratio": 0.0}},
    "schedule: line": {"schedule": "linear"},
    "schedule: inverse root": {"schedule": "inverse_sqrt"},
    "schedule: stairs": {"schedule": "step"},
    "schedule: late line": {"schedule": {"name": "wsd", "decay_ratio": 0.5}},
    "schedule: late cosine": {"schedule": {"name": "wsd", "decay_ratio": 0.5, "decay_shape": "cosine"}},
    "schedule: late root": {"schedule": {"name": "wsd", "decay_ratio": 0.5, "decay_shape": "one_minus_sqrt"}},
    # Generated tasks.
    "task: reverse": {"task": generated("reverse")},
    "task: sort, longer": {"task": generated("sort", extrapolate=2)},
    "task: selective copying": {"task": generated("selective_copying", copied=3)},
    "task: addition": {"task": generated("addition")},
    "task: addition, least first": {"task": generated("addition", least_first=True, extrapolate=2)},
    "task: brackets": {"task": generated("dyck", kinds=2, depth=3)},
    "task: recall": {"task": generated("associative_recall", length=16, symbols=16)},
    "task: recall, blanks": {"task": generated("associative_recall", length=16, symbols=16, random_fill=False)},
    "task: induction": {"task": generated("induction", extrapolate=4)},
    "task: parity": {"task": generated("parity", extrapolate=2)},
    "task: modular addition": {"task": {"name": "modular_addition", "modulus": 7, "batch_size": 8}},
    "task: modular arithmetic": {"task": generated("modular_arithmetic", length=9)},
    "task: lists": {"task": generated("listops", length=16)},
    "task: lists by depth": {
        "task": generated("listops", length=24, validation_examples=90, by_depth=True, buckets=2, extrapolate=2)
    },
    "task: lists of files": {
        "task": from_file("listops", path="lists.tsv", validation_path="other_lists.tsv", epoch_examples=24)
    },
    # Texts.
    "text: characters": {"task": TEXT},
    "text: bytes, longer": {"task": {**TEXT, "level": "byte", "extrapolate": 4}},
    "text: words": {"task": {**TEXT, "level": "word", "max_vocabulary": 300}},
    "text: pieces": {"task": {**TEXT, "level": "bpe", "max_vocabulary": 300}},
    "text: of Python's library": {"task": {**TEXT, "path": None}},
    "gaps: characters": encoder(),
    "gaps: words, many": encoder() | {"task": {**GAPS, "level": "word", "max_vocabulary": 300, "masked": 0.4}},
    "gaps: transformed readout": encoder(lm_head="transform", embedding="normed", block="post_norm"),
    # Classes.
    "classes: mean": {"model.architecture": {"name": "encoder", "pooling": "mean"}, "task": CLASSES},
    "classes: first": {"model.architecture": {"name": "encoder", "pooling": "first"}, "task": CLASSES},
    "classes: last": {"model.architecture": {"name": "encoder", "pooling": "last"}, "task": CLASSES},
    "classes: max": {"model.architecture": {"name": "encoder", "pooling": "max"}, "task": CLASSES},
    "classes: by a decoder": {"task": {**CLASSES, "level": "char"}},
    "classes: by the mean of a decoder": {
        "model.architecture": {"name": "decoder", "pooling": "mean"},
        "task": CLASSES,
        "model.mixer": "mamba",
        "model.position": "none",
    },
    "classes: of two files": {
        "model.architecture": "encoder",
        "task": {**CLASSES, "path": "classes.jsonl", "validation_path": "other_classes.jsonl"},
    },
    "classes: lines of code": {"model.architecture": "encoder", "task": from_file("classification")},
    "classes: softer targets": {
        "model.architecture": "encoder",
        "task": VERDICTS,
        "training.label_smoothing": 0.1,
        "training.z_loss": 0.01,
    },
    # One text made of another.
    "pairs: two stacks": translator(),
    "pairs: two stacks, one layer reads": {**translator(encoder_layers=1), "model.position": "learned"},
    "pairs: two stacks, untied": {**translator(), **UNTIED},
    "pairs: two stacks, parallel blocks": {**translator(), "model.block": "parallel", "model.norm": "rms_norm"},
    "pairs: two stacks, first values across": translator(
        cross={"name": "attention", "value_residual": True, "qk_norm": "rms"}
    ),
    "pairs: two stacks, difference across": translator(cross="differential"),
    "pairs: two stacks, buckets": {**translator(), "model.position": "t5", "model.n_kv_heads": 2},
    "pairs: two stacks, recurrent": {**translator(), **recurrent("gru")},
    "pairs: one stack": {**PREFIXED, "task": PAIRS},
    "pairs: one causal stack": {
        "model.architecture": {"name": "prefix_decoder", "prefix": "causal"},
        "task": PAIRS,
        "model.mixer": "gated_delta",
        "model.position": "none",
    },
    "pairs: of lines": {
        **PREFIXED,
        "task": {**PAIRS, "path": "pairs.txt", "pattern": "IN: (?P<source>.*) OUT: (?P<target>.*)", "buckets": 2},
    },
    "pairs: words, in parts": {**SOURCES, "task": {**PAIRS, "level": "word", "max_vocabulary": 300, "buckets": 2}},
    "pairs: commands": {**SOURCES, "task": from_file("scan", length=30, validation_examples=12, buckets=2)},
    "pairs: longer commands": {
        **PREFIXED,
        "task": from_file("scan", length=26, validation_examples=12, split="length"),
    },
    "pairs: new commands": {**SOURCES, "task": from_file("scan", validation_examples=4, split="addprim_jump")},
    # Training.
    "training: accumulated": {"training.accumulate": 2},
    "training: accumulated, softer targets": {
        "training.accumulate": 3,
        "training.label_smoothing": 0.2,
        "training.z_loss": 0.001,
        "model.feedforward": "moe",
    },
    "training: softer targets": {"training.label_smoothing": 0.1},
    "training: small normalizer": {"training.z_loss": 0.01},
    "training: mixed precision": {"training.precision": "bf16-mixed"},
    "training: mixed precision of a state": {"training.precision": "bf16-mixed", **recurrent("mamba")},
    "training: mixed precision of two stacks": {"training.precision": "bf16-mixed", **translator()},
    "training: double precision": {"training.precision": "64-true"},
    "training: double precision, delta rule": {"training.precision": "64-true", **recurrent("gated_delta")},
    "training: no clipping": {"training.gradient_clip": None},
    "training: narrow clipping": {"training.gradient_clip": 0.05},
    "training: validated at odd steps": {"training.evaluate_every": 3, "training.max_steps": 7},
    "training: a loss that is not finite": {"optimizer": {"name": "sgd", "lr": 1e30}, "training.gradient_clip": None},
    "training: a loss that comes back up": {
        "optimizer": {"name": "lion", "lr": 0.3},
        "schedule": {"name": "constant", "warmup_ratio": 1.0},
        "model.norm": "none",
        "training.max_steps": 60,
        "training.evaluate_every": 20,
    },
    "training: twelve epochs": {"training.max_steps": 36, "training.evaluate_every": 12, "training.monitor_every": 6},
    # Systems.
    "system: GPT-2": {"base": "models/gpt2.yaml", "task": TEXT},
    "system: GPT-3": {"base": "models/gpt3.yaml", "task": TEXT, "model.mixer.window": 4},
    "system: LLaMA": {"base": "models/llama.yaml", "task": TEXT},
    "system: Gemma 2": {"base": "models/gemma2.yaml", "task": TEXT},
    "system: OLMo 2": {"base": "models/olmo2.yaml", "task": TEXT},
    "system: BLOOM": {"base": "models/bloom.yaml", "task": TEXT},
    "system: MPT": {"base": "models/mpt.yaml", "task": TEXT},
    "system: BERT": {"base": "models/bert.yaml", "task": GAPS},
    "system: DeBERTa": {"base": "models/deberta.yaml", "task": GAPS},
    "system: T5": {"base": "models/t5.yaml", "task": PAIRS},
    "system: Transformer of 2017": {"base": "models/transformer_2017.yaml", "task": PAIRS},
    # Observers.
    "observed: nothing": {"training.monitors": []},
    "observed: stream": {"training.monitors": ["activations"]},
    "observed: scores": {"training.monitors": ["attention"]},
    "observed: gradients by depth": {"training.monitors": ["gradient_by_depth"]},
    "observed: gradients": {"training.monitors": ["gradients"]},
    "observed: normalizer": {"training.monitors": ["log_z"]},
    "observed: spikes": {
        "training.monitors": ["loss_spikes"],
        "training.max_steps": 310,
        "training.evaluate_every": 310,
        "training.log_every": 50,
    },
    "observed: updates": {"training.monitors": ["update_ratio"]},
    "observed: two stacks of many heads": {**translator(), "training.monitor_every": 1},
}
"""By its name, which only the file of numbers knows, what a run says by paths; ``base`` is a baseline in conf/."""

EXCLUDED = {
    "attention_backend/flex": "refuses to train on a CPU",
    "design": "says which cells a grid has; nothing of it is in a run",
    "metric": "is measured beside the task's own, which changes none of their numbers",
    "launcher": "says where runs are trained, which changes none of their numbers",
    "searcher": "says which settings are tried; nothing of it is in a run",
    "checkpoint": "translates the weights of other systems; nothing of it is in a run",
    "probe": "measures a model before its first step; nothing of it is in a run",
}
"""Components, as slot/name, and whole slots that no run trains, with the reason."""

VOLATILE = {
    # Times.
    *("seconds", "train/tokens_per_second", "training_seconds", "tokens_per_second"),
    # Who trained.
    *("host", "machine", "processor", "python", "torch", "lightning", "ablation", "commit"),
    # What is made of the names of settings, not of numbers.
    *("id", "schema", "measured_on"),
}
"""Keys of metrics.jsonl and result.json that are not compared."""

RENAMED: dict[str, str] = {"clipped_share": "clipped_fraction"}
"""What stands otherwise in keys and texts since the file was recorded, old and new, such as the name of a metric."""


# The package.

import ablation  # noqa: E402
from ablation.grid.file import read_grid  # noqa: E402
from ablation.grid.planner import make_plan  # noqa: E402
from ablation.model.build import build_model  # noqa: E402
from ablation.registry import REGISTRY  # noqa: E402
from ablation.store.digests import without_digests  # noqa: E402
from ablation.store.results import WEIGHTS  # noqa: E402
from ablation.store.runs import Store  # noqa: E402
from ablation.training.attempt import train_order  # noqa: E402


def plan(settings: Mapping[str, Any], folder: Path) -> Any:
    """The one run of a grid that lies in ``folder``."""
    values = {**COMMON, **settings}
    optimizer = values["optimizer"]
    values["optimizer"] = {"decay_on": DECAY_ON, **({"name": optimizer} if isinstance(optimizer, str) else optimizer)}
    grid: dict[str, Any] = {"name": "golden", "base": str(CONF / values.pop("base", "base.yaml")), "set": values}
    grid |= {"factors": {"training.threads": [1]}, "seeds": 1}
    file = folder / "grid.yaml"
    file.write_text(yaml.safe_dump(grid, sort_keys=False))
    [run] = make_plan(read_grid(file)).runs
    return run


def train(run: Any, folder: Path) -> Path:
    """Train it; returns the directory with what it left."""
    store = Store(folder / "runs")
    train_order(store.order(run))
    return store.directory(run.id)


def untrained(run: Any) -> dict[str, torch.Tensor]:
    """The weights before the first step."""
    config = run.config
    task = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed, task.n_classes)
    return dict(model.state_dict())


def components(part: Any) -> Iterator[str]:
    """Those of a configuration, as slot/name, within other components too."""
    if isinstance(part, tuple | list):
        for item in part:
            yield from components(item)
    elif hasattr(type(part), "model_fields"):
        if hasattr(part, "slot"):
            yield f"{part.slot}/{part.name}"
        for field in type(part).model_fields:
            yield from components(getattr(part, field))


def registered() -> dict[str, list[str]]:
    """The names in each slot, whichever module they stand in."""
    for module in pkgutil.walk_packages(ablation.__path__, f"{ablation.__name__}."):
        importlib.import_module(module.name)
    return {slot: list(members) for slot, members in REGISTRY.items()}


# What is recorded.


def write_inputs(folder: Path) -> None:
    """The files that runs read: every one the same, always."""
    people, verbs = ("Ada", "Alan", "Grace", "Kurt", "Emmy"), ("sees", "counts", "proves", "reads", "draws", "finds")
    things = ("a line", "two circles", "the tree", "no number", "every word", "some of it", "itself")
    pairs = [(people[i * i % 5], verbs[i * 5 % 6], things[i * 3 % 7]) for i in range(120)]
    sentences = [f"{person} {verb} {thing}" for person, verb, thing in pairs]
    (folder / "text.txt").write_text("".join(f"{sentence}.\n" for sentence in sentences))
    translations = [f"{verb} {person}\t{person} {verb}\n" for person, verb, _ in pairs]
    (folder / "pairs.tsv").write_text("".join(translations))
    lines = [f"IN: {person} {verb} OUT: {verb}\n" for person, verb, _ in pairs]
    (folder / "pairs.txt").write_text("".join(lines))
    classes = [f"{sentence},{verbs.index(verb) % 3}\n" for sentence, (_, verb, _) in zip(sentences, pairs, strict=True)]
    (folder / "classes.csv").write_text("text,class\n" + "".join(classes))
    objects = [json.dumps({"text": f"{person} {thing}", "class": person[0]}) + "\n" for person, _, thing in pairs]
    (folder / "classes.jsonl").write_text("".join(objects[:90]))
    (folder / "other_classes.jsonl").write_text("".join(objects[90:]))
    lists = [f"{i % 10}\t[MAX {i % 10} {i % 7 % (i % 10 + 1)} [MIN {i % 10} {9 - i % 3} ] ]\n" for i in range(60)]
    (folder / "lists.tsv").write_text("".join(lists[:40]))
    (folder / "other_lists.tsv").write_text("".join(lists[40:]))


def with_checkpoint(settings: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The settings, and where they start from a checkpoint, that of another seed with its fingerprint."""
    filled = dict(settings)
    for path, value in settings.items():
        if isinstance(value, dict) and value.get("path") == CHECKPOINT:
            tensors = untrained(plan({"seed": 1}, folder))
            save_file({name: tensor.clone() for name, tensor in tensors.items()}, str(folder / CHECKPOINT))
            fingerprint = hashlib.sha256((folder / CHECKPOINT).read_bytes()).hexdigest()
            filled[path] = {**value, "fingerprint": fingerprint}
    return filled


def digests(tensors: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """The sha256 over all tensors in the order of their names, and by its name the beginning of each one's own."""
    whole, each = hashlib.sha256(), {}
    for name in sorted(tensors):
        tensor = tensors[name].detach().contiguous()
        content = f"{tensor.dtype} {tuple(tensor.shape)}\n".encode()
        content += tensor.reshape(-1).view(torch.uint8).numpy().tobytes()
        whole.update(f"{name} ".encode() + content)
        each[name] = hashlib.sha256(content).hexdigest()[:16]
    return {"tensors": each, "sha256": whole.hexdigest()}


def saved(file: Path) -> dict[str, torch.Tensor]:
    """The tensors of a file, and under their other names those that a model has twice."""
    with safe_open(str(file), "pt") as stream:
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        others = stream.metadata() or {}
    return tensors | {other: tensors[name] for other, name in others.items() if name in tensors}


def lasting(part: Any) -> Any:
    """Plain data without the keys that are volatile, at any depth."""
    if isinstance(part, dict):
        return {key: lasting(value) for key, value in part.items() if key not in VOLATILE}
    return [lasting(item) for item in part] if isinstance(part, list) else part


def measure(name: str) -> tuple[str, dict[str, Any], list[str]]:
    """A run by its name: its numbers, or the ``failure``, and the components that it trains."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        try:
            write_inputs(folder)
            run = plan(with_checkpoint(RUNS[name], folder), folder)
            numbers: dict[str, Any] = {"initial_weights": digests(untrained(run))}
            directory = train(run, folder)
            if not (directory / "result.json").exists():
                failure = json.loads((directory / "failure.json").read_text())
                return name, {"failure": failure["reason"]}, []
            rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
            result = without_digests(json.loads((directory / "result.json").read_text()))
        except Exception as error:
            return name, {"failure": f"{type(error).__name__}: {error}"}, []
        numbers |= {"rows": lasting(rows), "result": lasting(result)}
        weights = directory / WEIGHTS
        numbers["weights"] = digests(saved(weights)) if weights.exists() else None
        return name, numbers, sorted(set(components(run.config)))


def prepare_process() -> None:
    """One compute thread, and no warnings on what is small or missing on purpose."""
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)


def measure_all(names: list[str], workers: int) -> tuple[dict[str, Any], set[str]]:
    """The numbers of every run, and the components that they train."""
    context = multiprocessing.get_context("spawn")
    runs, covered = {}, set[str]()
    with ProcessPoolExecutor(workers, context, prepare_process) as pool:
        for name, numbers, trained in pool.map(measure, names):
            runs[name] = numbers
            covered.update(trained)
    return runs, covered


# What is said.


def gaps(covered: set[str]) -> list[str]:
    """What is wrong with the table: components in no run, and exclusions that exclude nothing."""
    slots = registered()
    every = {f"{slot}/{name}" for slot, names in slots.items() for name in names}
    excluded = {one for one in every if one in EXCLUDED or one.partition("/")[0] in EXCLUDED}
    missing = [f"in no run: {one}" for one in sorted(every - covered - excluded)]
    needless = [f"excluded, and trained all the same: {one}" for one in sorted(excluded & covered)]
    unknown = [f"excluded, and not registered: {one}" for one in EXCLUDED if one not in every and one not in slots]
    return missing + needless + unknown


def renamed(part: Any) -> Any:
    """Recorded data under today's names."""
    if isinstance(part, dict):
        return {renamed(key): renamed(value) for key, value in part.items()}
    if isinstance(part, list):
        return [renamed(item) for item in part]
    if isinstance(part, str):
        for old, new in RENAMED.items():
            part = part.replace(old, new)
    return part


def differences(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """Every place where two are not the same to the last bit."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in [*before, *(key for key in now if key not in before)]:
            inside = f"{place}.{key}" if place else key
            if key not in now or key not in before:
                yield f"{inside}: {'is new' if key in now else 'is gone'}"
            else:
                yield from differences(before[key], now[key], inside)
    elif isinstance(before, list) and isinstance(now, list):
        for index, (old, new) in enumerate(zip(before, now, strict=False)):
            yield from differences(old, new, f"{place}[{index}]")
        if len(before) != len(now):
            yield f"{place}: {len(before)} entries, now {len(now)}"
    elif json.dumps(before) != json.dumps(now):
        yield f"{place}: {json.dumps(before)}, now {json.dumps(now)}"


def versions() -> dict[str, str]:
    """What else moves the last bits."""
    return {"python": platform.python_version(), "torch": torch.__version__, "machine": platform.machine()}


def compare(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """A line for each run that differs."""
    found = []
    for name in [*before, *(name for name in now if name not in before)]:
        if name not in now or name not in before:
            found.append(f"{name}: {'was not recorded' if name in now else 'is not in the table'}")
            continue
        if "failure" in now[name]:
            found.append(f"{name}: failed: {now[name]['failure']}")
            continue
        differing = list(differences(renamed(before[name]), now[name]))
        if differing:
            others = len(differing) - 1
            found.append(f"{name}: {differing[0]}" + (f" (and {others} more)" if others else ""))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("command", choices=["record", "compare"])
    parser.add_argument("file", type=Path)
    parser.add_argument("--only", default="", metavar="SUBSTRING", help="runs with this in their name")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    start = time.perf_counter()
    golden = json.loads(options.file.read_text()) if options.command == "compare" else {}
    names = [name for name in RUNS if options.only in name]
    if not names:
        sys.exit(f"no run has {options.only!r} in its name")
    runs, covered = measure_all(names, options.workers)
    wrong = [] if options.only else gaps(covered)
    if options.command == "compare":
        for what, version in versions().items():
            if golden["versions"][what] != version:
                print(f"recorded with {what} {golden['versions'][what]}, now {version}")
        wrong += compare({name: run for name, run in golden["runs"].items() if options.only in name}, runs)
    else:
        wrong += [f"{name}: failed: {run['failure']}" for name, run in runs.items() if "failure" in run]
    print("\n".join(wrong) if wrong else f"{options.command}: all is well")
    print(f"{len(runs)} runs, {len(covered)} components in {time.perf_counter() - start:.0f} s")
    if wrong:
        sys.exit(1)
    if options.command == "record":
        text = json.dumps({"versions": versions(), "runs": runs}, indent=1)
        options.file.write_text(f"{text}\n")


if __name__ == "__main__":
    main()
