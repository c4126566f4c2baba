"""Every system of conf/models learns: from the data it comes with, and from a real file of the same kind."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import ROOT

from ablation.config.layered import read_base
from ablation.training.run import train

pytestmark = pytest.mark.slow

FILES = sorted((ROOT / "conf" / "models").glob("*.yaml"))
SMALL = {
    "model.d_model": 32,
    "model.n_layers": 2,
    "task.batch_size": 4,
    "optimizer.lr": 3e-3,
    "training.max_steps": 30,
    "training.evaluate_every": 30,
    "training.log_every": 5,
    "training.device": "cpu",
    "training.precision": "32-true",
}
TEXT = {"task.length": 80, "task.validation_windows": 16}  # longer than any window
SCAN = {
    "task.pattern": "IN: (?P<source>.*) OUT: (?P<target>.*)",
    "task.level": "word",
    "task.length": 24,  # the longest are 22 actions
    "task.validation": 0.005,
}
BUILT_IN = {"text": TEXT, "masked_text": TEXT, "sequence_to_sequence": {"task.validation": 0.005}}
SHAKESPEARE = (Path("tinyshakespeare", "input.txt"), TEXT)
REAL = {
    "text": SHAKESPEARE,
    "masked_text": SHAKESPEARE,
    "sequence_to_sequence": (Path("scan", "tasks_train_length.txt"), SCAN),
}
"""By the kind of data: a file, and how it is read."""
FALL = 0.1
"""In nats per token; with a learning rate of zero it is less than half of that."""


def losses(file: Path, settings: Mapping[str, Any], directory: Path) -> list[float]:
    """Of the training steps, five together, of a system at a reduced size."""
    draft = read_base(file)
    for path, value in {**SMALL, **settings}.items():
        draft.set(path, value, draft.base, ())
    result = train(draft.build(), directory)
    assert result["status"] == "completed"
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    return [row["train/loss"] for row in rows if "train/loss" in row]


def data_of(file: Path) -> str:
    """The kind of data that a system comes with."""
    return read_base(file).build().task.name


def data_folder() -> Path:
    """Where the files of shared data lie, of which a copy of the repository need not have any."""
    named = os.environ.get("ABLATION_DATA")
    places = [Path(named)] if named else [folder.parent / "shared" / "data" for folder in (ROOT, ROOT.parent)]
    for place in places:
        if place.is_dir():
            return place
    pytest.skip(f"no folder {' or '.join(map(str, places))}; ABLATION_DATA names one")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_system_learns_from_what_is_always_there(file: Path, tmp_path: Path) -> None:
    first, *_, last = losses(file, BUILT_IN[data_of(file)], tmp_path)
    assert last < first - FALL


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_system_learns_from_a_real_file(file: Path, tmp_path: Path) -> None:
    path, settings = REAL[data_of(file)]
    real = data_folder() / path
    assert real.is_file()
    first, *_, last = losses(file, {**settings, "task.path": str(real)}, tmp_path)
    assert last < first - FALL


def test_models_exist() -> None:
    assert FILES
