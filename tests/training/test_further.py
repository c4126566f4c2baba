"""A run of more steps goes on from a shorter one where the schedule allows, and gives the same bits as from scratch."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.resume import RUN, STEPS, interrupted, left_by, stop_after
from support.small_grids import small_config

from ablation.training.checkpoint import Stopped
from ablation.training.further import continuation, continuing_step
from ablation.training.run import train

CONSTANT = {"name": "constant", "warmup_steps": 3}
WSD = {"name": "wsd", "warmup_steps": 2, "decay_ratio": 0.4}
OPEN_ENDED = [
    (CONSTANT, STEPS - 1),
    ({"name": "constant", "warmup_ratio": 0.0}, STEPS - 1),
    (WSD, 7),
    ({"name": "inverse_sqrt", "warmup_steps": 3}, STEPS - 1),
    ({"name": "step", "warmup_steps": 0, "every": 0.5}, 5),
]


def settings(schedule: dict[str, Any], max_steps: int = STEPS, **others: Any) -> dict[str, Any]:
    return {**RUN, "schedule": schedule, "training.max_steps": max_steps, **others}


@pytest.fixture
def finished(tmp_path: Path) -> Callable[..., Path]:
    """``finished(settings)``: the directory of a run to its end."""

    def finished(changes: dict[str, Any]) -> Path:
        directory = tmp_path / "earlier"
        directory.mkdir()
        train(small_config(changes), directory)
        shutil.rmtree(directory / "checkpoint", ignore_errors=True)  # as where a run gets its end
        return directory

    return finished


@pytest.mark.parametrize(("schedule", "step"), OPEN_ENDED)
def test_longer_run_equals_one_from_scratch(finished: Any, tmp_path: Path, schedule: Any, step: int) -> None:
    earlier, config = finished(settings(schedule)), small_config(settings(schedule, 17))
    before = {file.name: file.read_bytes() for file in earlier.iterdir()}
    assert {"continue.pt", "continue.json"} <= before.keys()
    assert continuation(config, small_config(settings(schedule))) == step
    (tmp_path / "further").mkdir()
    result = train(config, tmp_path / "further", further=earlier)
    assert result["record"]["continued_at"] == step and "resumed_at" not in result["record"]
    assert left_by(tmp_path / "further", result) == interrupted(tmp_path / "scratch", settings(schedule, 17))
    assert {file.name: file.read_bytes() for file in earlier.iterdir()} == before


def test_measures_of_the_shorter_runs_end_are_not_taken_over(finished: Any, tmp_path: Path) -> None:
    earlier = finished(settings(CONSTANT, 10))  # its last step is no multiple of any interval but 2 and 5
    rows = [json.loads(line) for line in (earlier / "metrics.jsonl").read_text().splitlines()]
    assert any(row["step"] == 10 and "validation/loss" in row for row in rows)
    (tmp_path / "further").mkdir()
    result = train(small_config(settings(CONSTANT, 17)), tmp_path / "further", further=earlier)
    left = left_by(tmp_path / "further", result)
    assert not any(row["step"] == 10 and "validation/loss" in row for row in left["rows"])
    assert left == interrupted(tmp_path / "scratch", settings(CONSTANT, 17))


def test_run_goes_on_further_twice_and_after_interruptions(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for index, (folder, max_steps) in enumerate(zip(folders, (12, 17, 23), strict=True)):
        folder.mkdir()
        config, further = small_config(settings(WSD, max_steps)), folders[index - 1] if index else None
        begun = continuing_step(small_config(settings(WSD, (12, 17)[index - 1]))) if index else 0
        for step in (begun + 2, begun + 5):  # before and after the state for a longer run is saved
            with pytest.raises(Stopped):
                train(config, folder, further=further, stop=stop_after(step, begun))
            begun = step
        result = train(config, folder, further=further)
        assert len(result["record"]["resumed_at"]) == 2
        assert result["record"].get("continued_at") == (None, 7, 10)[index]
        assert (folder / "continue.pt").exists()
    assert left_by(folders[2], result) == interrupted(tmp_path / "scratch", settings(WSD, 23))


@pytest.mark.parametrize(
    "changes",
    [
        settings({"name": "cosine"}),
        settings({"name": "linear", "warmup_steps": 3}),
        settings({"name": "constant", "warmup_ratio": 0.1}),
        settings(CONSTANT, **{"training.keep_state": False}),
        settings(CONSTANT, **{"training.save_weights": False}),
        settings(CONSTANT, 1),
    ],
    ids=str,
)
def test_no_state_is_kept_where_none_can_be_used(finished: Any, changes: dict[str, Any]) -> None:
    assert not any("continue" in file.name or file.is_dir() for file in finished(changes).iterdir())


def test_diverged_run_keeps_no_state(finished: Any) -> None:
    fast = {"optimizer": {"name": "sgd", "lr": 1e30}, "training.evaluate_every": 100, "training.log_every": 100}
    assert sorted(file.name for file in finished(settings(CONSTANT, 20, **fast)).iterdir()) == ["metrics.jsonl"]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        (
            {"name": "cosine", "warmup_steps": 3},
            "schedule cosine depends on training.max_steps from step 5 on; constant, and wsd before its decay, do not",
        ),
        (
            {"name": "constant", "warmup_ratio": 0.25},
            "schedule constant depends on training.max_steps from step 1 on, through the length of its warm-up; "
            "warmup_steps sets it in steps",
        ),
        ({**WSD, "decay_ratio": 1.0}, "schedule wsd depends on training.max_steps from step 4 on; constant, and wsd "),
    ],
)
def test_dependence_of_a_schedule_is_said_in_a_sentence(schedule: Any, expected: str) -> None:
    answer = continuation(small_config(settings(schedule, 17)), small_config(settings(schedule)))
    assert isinstance(answer, str) and answer.startswith(expected)


def test_other_differences_are_named() -> None:
    config = small_config(settings(CONSTANT, 17))
    assert continuation(config, small_config(settings(CONSTANT, 17))) == (
        "the earlier run has 17 steps, this one no more than 17"
    )
    for path, value in {"seed": 1, "training.log_every": 3, "optimizer": {"name": "adamw", "lr": 0.5}}.items():
        other = small_config(settings(CONSTANT, 12, **{path: value}))
        assert (
            continuation(config, other)
            == f"the earlier run has another {path + ('.lr' if path == 'optimizer' else '')}"
        )
    same = {"training.keep_state": False, "training.checkpoint_steps": 3, "tracking.mode": "auto"}
    assert continuation(config, small_config(settings(CONSTANT, 12, **same))) == 11
    short = small_config(settings({"name": "constant", "warmup_ratio": 0.0}, 1))
    assert continuation(small_config(settings({"name": "constant", "warmup_ratio": 0.0}, 9)), short) == (
        "a run of 1 step of schedule constant keeps no state to go on from"
    )


@pytest.mark.parametrize("damage", ["flip", "absent", "other seed"])
def test_state_that_does_not_fit_is_not_gone_on_from(
    finished: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    earlier = finished(settings(CONSTANT, **({"seed": 1} if damage == "other seed" else {})))
    file = earlier / "continue.pt"
    if damage == "flip":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif damage == "absent":
        file.unlink()
    (tmp_path / "further").mkdir()
    with caplog.at_level(logging.WARNING, "ablation"):
        result = train(small_config(settings(CONSTANT, 17)), tmp_path / "further", further=earlier)
    assert caplog.messages[0].startswith("not continued from the shorter run in ")
    assert "continued_at" not in result["record"]
    assert left_by(tmp_path / "further", result) == interrupted(tmp_path / "scratch", settings(CONSTANT, 17))


def test_own_checkpoint_comes_before_the_shorter_run(finished: Any, tmp_path: Path) -> None:
    earlier, config = finished(settings(CONSTANT)), small_config(settings(CONSTANT, 17))
    further = tmp_path / "further"
    further.mkdir()
    with pytest.raises(Stopped):
        train(config, further, further=earlier, stop=stop_after(14, STEPS - 1))
    shutil.rmtree(earlier)
    result = train(config, further, further=earlier)
    assert result["record"]["resumed_at"] == [14] and result["record"]["continued_at"] == STEPS - 1
