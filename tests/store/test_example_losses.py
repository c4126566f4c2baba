"""The file with the losses of single examples: written whole, read with one line on what is damaged."""

from pathlib import Path

import numpy
import pytest
from support.runs import RESULT, leave

from ablation.errors import StorageError
from ablation.grid.plan import Plan
from ablation.store.attempts import begin
from ablation.store.example_losses import EXAMPLE_LOSSES, read_example_losses, save_example_losses
from ablation.store.runs import Store

LOSSES = numpy.array([[1.5, 2.5, 0.0], [3, 4, 0]], dtype=numpy.float32)
CURVES = {"": {"position": [1.0, 2.0], "loss": [3.0, 2.0]}}
QUALITY = {"final": {"loss": 2.0}, "by_position": CURVES}


def test_losses_are_read_as_they_were_written(tmp_path: Path) -> None:
    save_example_losses(tmp_path, LOSSES)
    losses = read_example_losses(tmp_path)
    assert losses is not None
    assert losses.sums.tolist() == [1.5, 2.5, 0.0] and losses.counts.tolist() == [3, 4, 0]
    assert [file.name for file in tmp_path.iterdir()] == [EXAMPLE_LOSSES]


def test_result_of_a_run_has_its_losses_and_curves(store: Store, plan: Plan) -> None:
    run = plan.runs[0]
    leave(store, run, {**RESULT, "quality": QUALITY, "efficiency": {}})
    earlier = store.result(run.id)
    assert earlier.example_losses is None and earlier.by_position == CURVES
    save_example_losses(store.directory(run.id), LOSSES)
    losses = store.result(run.id).example_losses
    assert losses is not None and losses.sums.tolist() == LOSSES[0].tolist()


def as_bytes(array: numpy.ndarray, folder: Path) -> bytes:
    numpy.save(folder / "other.npy", array)
    return (folder / "other.npy").read_bytes()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"x" * 200,
        LOSSES[0],
        LOSSES.astype(float),
        numpy.concatenate([LOSSES, LOSSES]),
        LOSSES + numpy.float32("inf"),
        -LOSSES,
        numpy.array([[{}], [{}]]),
    ],
    ids=["empty", "text", "one row", "double", "four rows", "infinite", "negative", "objects"],
)
def test_damaged_losses_are_named_in_one_line(tmp_path: Path, content) -> None:
    file = tmp_path / EXAMPLE_LOSSES
    file.write_bytes(content if isinstance(content, bytes) else as_bytes(content, tmp_path))
    with pytest.raises(StorageError, match="move it away") as caught:
        read_example_losses(tmp_path)
    assert str(caught.value).startswith(f"{file}: damaged") and "\n" not in str(caught.value)


def test_truncated_losses_are_named_in_one_line(tmp_path: Path) -> None:
    save_example_losses(tmp_path, LOSSES)
    file = tmp_path / EXAMPLE_LOSSES
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(StorageError, match="damaged"):
        read_example_losses(tmp_path)


def test_attempt_that_did_not_end_leaves_no_losses(store: Store, plan: Plan) -> None:
    died = begin(store.order(plan.runs[0]))
    save_example_losses(died, LOSSES)
    assert not (begin(store.order(plan.runs[0])) / EXAMPLE_LOSSES).exists()
