"""Ranks: a run on several processes learns what it learns on one, and is whole or not there."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from support.small_grids import Ablate, ids_of, one_line, output, write_grid

from ablation.tasks.base import IGNORED
from ablation.tracking import offline as wandb_reader
from ablation.training.batches import share_of

EXACT = {
    "training.precision": "64-true",
    "training.device": "cpu",
    "training.log_every": 1,
    "task.batch_size": 8,
    "model.dropout": 0.0,  # each rank has a mask of its own
}


def trained(ablate: Ablate, folder: Path, settings: dict[str, Any]) -> dict[int, dict[str, Any]]:
    """By the number of ranks, the losses of all steps, and the result."""
    output(ablate("run", write_grid(folder, {"training.ranks": [1, 2, 4]}, {**EXACT, **settings}, seeds=1)))
    found = {}
    for ranks, (run,) in zip((1, 2, 4), ids_of(folder / "runs", "small").values(), strict=True):
        directory = folder / "runs" / "store" / run[:2] / run
        rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
        result = json.loads((directory / "result.json").read_text())
        found[ranks] = {"losses": [row["train/loss"] for row in rows if "train/loss" in row], "result": result}
    return found


@pytest.mark.parametrize("settings", [{}, {"training.accumulate": 2, "training.z_loss": 0.01}], ids=["plain", "parts"])
def test_losses_of_one_two_and_four_ranks_agree(ablate: Ablate, tmp_path: Path, settings: dict[str, Any]) -> None:
    found = trained(ablate, tmp_path, settings)
    for ranks in (2, 4):
        assert found[ranks]["losses"] == pytest.approx(found[1]["losses"], rel=1e-6)
        final, of_one = (found[n]["result"]["quality"]["final"] for n in (ranks, 1))
        assert final == pytest.approx(of_one, rel=1e-6)
        assert found[ranks]["result"]["efficiency"]["tokens"] == found[1]["result"]["efficiency"]["tokens"]
        assert found[ranks]["result"]["record"]["ranks"] == ranks
    assert "ranks" not in found[1]["result"]["record"]


def test_a_run_on_several_ranks_is_one_run_of_wandb(ablate: Ablate, tmp_path: Path) -> None:
    output(
        ablate("run", write_grid(tmp_path, {"training.ranks": [1, 2]}, {**EXACT, "tracking.mode": "offline"}, seeds=1))
    )
    mirrored = [wandb_reader.read(file) for file in (tmp_path / "runs").glob("wandb/offline-run-*/*.wandb")]
    by_id = {record.id: record for record in mirrored if record.job_type == "train"}
    assert len(mirrored) == 3, "two runs and the summary"
    (of_one,), (of_two,) = ids_of(tmp_path / "runs", "small").values()
    steps = [row["step"] for row in by_id[of_one].history]
    assert steps and [row["step"] for row in by_id[of_two].history] == steps


def test_a_batch_is_shared_without_rest() -> None:
    import torch

    batch = {"tokens": torch.arange(10).view(5, 2), "targets": torch.full((5, 2), IGNORED)}
    shares = [share_of(batch, rank, 3)["tokens"] for rank in range(3)]
    assert torch.equal(torch.cat(shares), batch["tokens"])
    with pytest.raises(ValueError, match=r"training\.ranks 6: a batch of 5"):
        share_of(batch, 0, 6)


def test_more_ranks_than_examples_in_a_batch_are_refused_before_training(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path, {"training.ranks": [1, 16]}, {**EXACT, "task.batch_size": 8}, seeds=1)
    assert "training.ranks" in one_line(ablate("plan", grid))


MORTAL = '''
"""{folder}"""
import os
import signal
from pathlib import Path

from ablation import Schedule, register


@register("schedule", "mortal")
class Mortal(Schedule):
    """The second rank is ended by a signal after some steps, as long as a file is there."""

    def __init__(self):
        super().__init__(warmup_ratio=0.0)
        if os.environ.get("LOCAL_RANK") == "1":
            with (Path({folder!r}) / "begun").open("a") as stream:
                stream.write("x")

    def factor(self, step: int, n_steps: int) -> float:
        file = Path({folder!r}) / "signal"
        if step == 3 and os.environ.get("LOCAL_RANK") == "1" and file.exists():
            number = int(file.read_text())
            file.unlink()
            os.kill(os.getpid(), number)
        return 1.0
'''


def mortal_grid(folder: Path, number: int) -> tuple[Path, Path]:
    """A grid of one run of two ranks, and its plugin; the second rank gets a signal once."""
    (folder / "signal").write_text(str(int(number)))
    (folder / "mortal.py").write_text(MORTAL.format(folder=str(folder)))
    return write_grid(folder, {"schedule": ["mortal"]}, {**EXACT, "training.ranks": 2}), folder / "mortal.py"


@pytest.mark.parametrize(
    ("number", "tries"), [(signal.SIGKILL, 2), (signal.SIGTERM, 1)], ids=["killed", "asked to stop, as a whole job is"]
)
def test_run_is_tried_again_where_another_rank_is_killed(
    ablate: Ablate, tmp_path: Path, scratch_registry: Any, number: int, tries: int
) -> None:
    grid, plugin = mortal_grid(tmp_path, number)
    summary = json.loads(output(ablate("run", grid, "--plugin", plugin, "--json")))
    assert (summary["executed"], summary["completed"], summary["failed"]) == (1, 1, 0)
    assert not (tmp_path / "signal").exists(), "it got the signal"
    assert (tmp_path / "begun").read_text() == "xx" * tries, "the process builds it twice"
