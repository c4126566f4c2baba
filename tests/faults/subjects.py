"""The files that a user writes or that commands read, each with the commands' code that reads it."""

import contextlib
import io
import json
import math
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from rich.console import Console
from safetensors.torch import save_file
from support import ROOT
from support.plans import BASE_YAML

from ablation.api.study import Study, load
from ablation.checkpoints.folder import read_folder
from ablation.cli.status import render as render_status
from ablation.config.layered import read_base
from ablation.grid.file import read_grid
from ablation.grid.planner import make_plan
from ablation.launch.choice import engine_of
from ablation.report import description as description_report
from ablation.report import explain
from ablation.report import plan as plan_report
from ablation.report.html.data import ReportData
from ablation.report.html.page import render as render_page
from ablation.report.html.page import sections
from ablation.report.render import terminal
from ablation.report.table import TableData
from ablation.store.attempts import begin, commit
from ablation.store.example_losses import save_example_losses
from ablation.store.files import write_json
from ablation.store.runs import Store
from ablation.study.description import describe_run
from ablation.study.manifest import save_plan
from ablation.study.planned import describe
from ablation.study.status import take_snapshot
from ablation.tracking.follow import read_ledger, read_mirrored_end

GRID = """\
name: study
base: base.yaml
factors:
  model.block: [pre_norm, post_norm]
  optimizer.lr: [1e-3, {value: 2e-3, label: fast}]
seeds: 3
margins: {loss: 0.01}
exclude: [{model.block: post_norm, optimizer.lr: fast}]
"""
TEXT = "".join(f"the {number} cats and {number * 7} dogs sat on a mat.\n" for number in range(60))
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": {"type": "Whitespace"},
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "WordLevel",
        "vocab": {word: id for id, word in enumerate(["[UNK]", "the", "cats", "and", "dogs", "sat", "on", "a", "mat"])},
        "unk_token": "[UNK]",
    },
}
LLAMA = {
    "model_type": "llama",
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 24,
    "tie_word_embeddings": True,
    "rope_scaling": None,
    "vocab_size": 20,
}


PAGES = 0.01
"""Of the cases of a store, in which the page is made as well, which takes long."""


@dataclass(frozen=True)
class Subject:
    """One file, its content before it is damaged, and what reads it; returns what is printed."""

    file: Path
    content: bytes
    read: Callable[[Path], str]
    weight: int = 1


def make_subjects(folder: Path) -> list[Subject]:
    """All of them, below ``folder``, which is filled."""
    return [*_configurations(folder / "conf"), *_store(folder / "study"), *_data(folder / "data"), *_checkpoint(folder)]


def _configurations(folder: Path) -> Iterator[Subject]:
    shutil.copytree(ROOT / "conf", folder)
    for file in sorted(folder.rglob("*.yaml")):
        kind = file.parent.name
        read = {"conf": _read_base, "models": _read_base, "launchers": _read_launcher}.get(kind, _read_grid)
        yield Subject(file, file.read_bytes(), read, 2)
    (folder / "small").mkdir()
    base, grid = folder / "small" / "base.yaml", folder / "small" / "grid.yaml"
    base.write_text(BASE_YAML)
    grid.write_text(GRID)
    yield Subject(base, BASE_YAML.encode(), lambda _: _plan(grid), 6)
    yield Subject(grid, GRID.encode(), _plan, 12)


def _read_base(file: Path) -> str:
    read_base(file).build()
    return ""


def _read_launcher(file: Path) -> str:
    engine_of(str(file))
    return ""


def _read_grid(file: Path) -> str:
    read_grid(file)
    return ""


def _plan(grid: Path) -> str:
    plan = make_plan(read_grid(grid))
    if len(plan.runs) > 200:
        return ""
    return _printed(lambda console: console.print(plan_report.render(describe(plan, Store(grid.parent)))))


def _printed(show: Callable[[Console], object]) -> str:
    stream = io.StringIO()
    show(Console(file=stream, width=100, color_system=None))
    return stream.getvalue()


# --- a store ---------------------------------------------------------------------------------------------------------


def _store(folder: Path) -> Iterator[Subject]:
    """A grid with made-up results, and each of its files."""
    folder.mkdir()
    (folder / "base.yaml").write_text(BASE_YAML)
    (folder / "grid.yaml").write_text(GRID)
    plan, store = make_plan(read_grid(folder / "grid.yaml")), Store(folder / "runs")
    save_plan(plan, store)
    for number, run in enumerate(plan.runs):
        attempt = begin(store.order(run))
        rows = [_row(step, number) for step in (2, 4, 6)]
        (attempt / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        save_example_losses(attempt, numpy.ones((2, 4), dtype=numpy.float32))
        if number == len(plan.runs) - 1:
            commit(attempt, "failure.json", {"kind": "exception", "reason": "RuntimeError: no", "attempt": 1})
        else:
            commit(attempt, "result.json", _result(run.id, number))
    grid = store.grid_directory("study")
    write_json(grid / "bench.json", _bench([(cell.label, cell.runs[0].id) for cell in plan.cells]))
    ids = [run.id for run in plan.cells[0].runs]
    look = {"at": "2026-01-01T00:00:00+00:00", "seeds": 2, "metric": "exact_match", "planned": [], "runs": ids}
    (grid / "looks.jsonl").write_text(json.dumps(look) + "\n")
    ended = store.directory(plan.runs[0].id)
    mirrored = {"project": "x", "mode": "offline", "status": "completed", "rows": 3, "bytes": 9, "complete": True}
    write_json(ended / "mirror.json", mirrored)
    failed = store.directory(plan.runs[-1].id)
    files = [(grid / "manifest.json", 12), (grid / "bench.json", 6), (grid / "looks.jsonl", 3)]
    files += [(ended / name, 12) for name in ("result.json", "run.json", "metrics.jsonl")]
    files += [(ended / "example_losses.npy", 2), (ended / "mirror.json", 2), (failed / "failure.json", 3)]
    readers: dict[str, Callable[[Path], str]] = {
        "run.json": lambda _: _show_run(store, plan.runs[0].id),
        "mirror.json": lambda file: repr(read_ledger(file.parent))[:0],
    }
    for file, weight in files:
        yield Subject(file, file.read_bytes(), readers.get(file.name, lambda _: _show_grid(store)), weight)


def _row(step: int, number: int) -> dict[str, Any]:
    row = {
        "step": step,
        "tokens": step * 32,
        "seconds": step / 10,
        "train/loss": 2 / step,
        "train/tokens_per_second": 9.0,
    }
    return {**row, "validation/loss": 1 / step + number / 100, "stability/log_z": 1.5}


def _result(run_id: str, number: int) -> dict[str, Any]:
    final = {"loss": 1.0 + math.sin(number) / 10, "accuracy": 0.5, "exact_match": number / 20}
    curves = {"": {"position": [0, 1], "loss": [1.0, 1.1]}}
    return {
        "schema": 1,
        "id": run_id,
        "status": "completed",
        "reason": None,
        "quality": {
            "primary": "exact_match",
            "better": "higher",
            "directions": {"loss": "lower", "accuracy": "higher", "exact_match": "higher"},
            "final": final,
            "best": dict(final),
            "mean_last": dict(final),
            "by_position": curves,
        },
        "stability": {
            "diverged": False,
            "diverged_at_step": None,
            "initial_loss": 1.6,
            "activation_by_depth": [0.01],
            "attention_logit_max": 0.006,
            "gradient_by_depth": [0.18],
            "gradient_norm_tail": 1.3,
            "log_z": 1.6,
            "spikes": 0,
            "spike_score": 0.0,
            "update_ratio_median": 0.005,
        },
        "efficiency": {
            "parameters": 856,
            "steps": 6,
            "tokens": 192,
            "training_seconds": 0.1,
            "tokens_per_second": 2000.0 + number,
        },
        "record": {"host": "vm", "device": "cpu", "threads": 1, "torch": "2.13", "python": "3.11"},
        "measured_on": {"task": "copy", "unit": "token of 5", "validation": "4dbb", "further": {}, "classes": None},
    }


def _bench(cells: list[tuple[str, str]]) -> dict[str, Any]:
    record = {"host": "vm", "device": "cpu", "torch": "2", "threads": 1, "precision": "32-true", "compile": False}
    timed = {"training_step": {"unit": "s", "better": "lower"}}
    timed |= {"prefill": {"unit": "s", "better": "lower", "length": 8, "batch": 1, "instead_of": [512]}}
    timed |= {"decode": {"unit": "tokens/s", "better": "higher", "context": 8}}
    return {
        "schema": 1,
        "grid": "study",
        "record": record,
        "processes": 3,
        "rounds": 2,
        "seed": 0,
        "dropped_rounds": 0,
        "timed_rounds": 6,
        "measures": timed,
        "cells": [
            {
                "label": label,
                "measures": {name: {"value": 0.01, "log_ratios": [0.0, 0.1 * n, 0.2 * n]} for name in timed},
                "cache_bytes": {"2": 128, "8": 512},
                "peak_memory_bytes": None,
                "notes": {},
                "run": run_id,
            }
            for n, (label, run_id) in enumerate(cells)
        ],
    }


def _show_run(store: Store, run_id: str) -> str:
    """What ``show`` and the mirror make of a run, and what tables know of its code."""
    store.result(run_id)
    read_mirrored_end(store.directory(run_id))
    return _printed(lambda console: console.print(description_report.render(describe_run(store, run_id))))


def _show_grid(store: Store) -> str:
    """What ``table``, ``explain``, ``status``, ``report`` and data frames make of a grid."""
    results, manifest = load(store.root / "study"), Study("study", runs=store.root).manifest
    texts = [results.table(format) for format in ("markdown", "latex", "csv", "json")]
    texts.append(_printed(lambda console: console.file.write("".join(terminal.texts(TableData.of(results), console)))))
    results.frame()
    for cell in results.cells:
        for run in cell.results:
            read_mirrored_end(store.directory(run.id))
    with contextlib.redirect_stdout(io.StringIO()) as explained:
        for cell in results.cells[1:2]:
            explain.show(explain.reasons(results, cell))
    texts.append(explained.getvalue())
    texts.append(_printed(lambda console: console.print(render_status(take_snapshot(manifest, store)))))
    if random.random() < PAGES:
        data = ReportData(manifest, results, store.root)
        render_page(data, sections(data))
    return "\n".join(texts)


# --- data ------------------------------------------------------------------------------------------------------------


def _data(folder: Path) -> Iterator[Subject]:
    folder.mkdir()
    (folder / "base.yaml").write_text(BASE_YAML)
    table = [(f"the {n} cats sat", ("short", "long")[n % 2]) for n in range(40)]
    contents = {
        "rows.csv": "text,label\n" + "".join(f'"{text}",{label}\n' for text, label in table),
        "rows.tsv": "text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in table),
        "rows.jsonl": "".join(json.dumps({"text": text, "label": label}) + "\n" for text, label in table),
        "rows.json": json.dumps([{"text": text, "label": label} for text, label in table]),
        "prose.txt": TEXT,
        "tokenizer.json": json.dumps(TOKENIZER),
    }
    for name, content in contents.items():
        (folder / name).write_text(content)
    for name, content in contents.items():
        task: dict[str, Any] = {"name": "classification", "path": name, "length": 8, "batch_size": 4}
        task |= {"text_column": "text", "class_column": "label"}
        if name == "prose.txt":
            task = {"name": "text", "path": name, "length": 8, "batch_size": 4}
        elif name == "tokenizer.json":
            task = {"name": "text", "path": "prose.txt", "level": "bpe", "tokenizer": name, "max_vocabulary": 300}
            task |= {"length": 8, "batch_size": 4}
        yield Subject(folder / name, content.encode(), lambda file, task=task: _build_task(file.parent, task), 3)


def _build_task(folder: Path, task: dict[str, Any]) -> str:
    draft = read_base(folder / "base.yaml")
    draft.set("task", task, draft.base, ())
    built = draft.build().task.build()
    built.fingerprint()
    built.validation()
    return ""


# --- a checkpoint ----------------------------------------------------------------------------------------------------


def _checkpoint(folder: Path) -> Iterator[Subject]:
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    names = {"embed_tokens.weight": (20, 8), "norm.weight": (8,), "layers.0.input_layernorm.weight": (8,)}
    names |= {"layers.0.post_attention_layernorm.weight": (8,), "layers.0.mlp.gate_proj.weight": (16, 8)}
    names |= {"layers.0.mlp.up_proj.weight": (16, 8), "layers.0.mlp.down_proj.weight": (8, 16)}
    names |= {f"layers.0.self_attn.{part}_proj.weight": (8, 8) for part in "qo"}
    names |= {f"layers.0.self_attn.{part}_proj.weight": (4, 8) for part in "kv"}
    save_file(
        {f"model.{name}": torch.zeros(shape) for name, shape in names.items()}, str(checkpoint / "part.safetensors")
    )
    index = {"metadata": {}, "weight_map": {f"model.{name}": "part.safetensors" for name in names}}
    (checkpoint / "config.json").write_text(json.dumps(LLAMA))
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    for file in sorted(checkpoint.iterdir()):
        yield Subject(file, file.read_bytes(), lambda file: str(read_folder(file.parent).system), 4)
