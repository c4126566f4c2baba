"""What ``ablate profile`` prints."""

import io
from typing import Any

import pytest
from rich.console import Console

from ablation.report.profile import render

RECORD = {"device": "cpu", "torch": "2.13.0", "precision": "32-true", "threads": 1}


def step(*parts: tuple[str, float, float]) -> dict[str, Any]:
    """A profiled step of these parts: name, seconds, and seconds of the backward pass."""
    total = sum(seconds for _, seconds, _ in parts)
    rows = [
        {
            "part": name,
            "seconds": seconds,
            "backward_seconds": backward,
            "fraction": seconds / total,
            "flops": 0 if name == "optimizer" else 100,
            "flops_fraction": 0.5,
        }
        for name, seconds, backward in parts
    ]
    times = {"seconds": total / 1.25, "profiled_seconds": total, "overhead": 0.25, "busy": None}
    return {**times, "parts": rows, "tokens": 64}


def printed(**changes: Any) -> str:
    training = step(("attention", 0.006, 0.004), ("optimizer", 0.002, 0.0))
    decode = {"context": 128, **step(("attention", 0.001, 0.0))}
    result = {"label": "[red]all[/]", "record": RECORD, "training_step": training, "decode": decode, "compiled": None}
    console = Console(file=io.StringIO(), width=100)
    console.print(render({**result, **changes}))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(text: str, word: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line.startswith(word)]


def test_profile_has_a_row_for_each_part_of_both_steps() -> None:
    text = printed()
    assert "[red]all[/]: training step of 64 tokens" in text and "decoding of token 128" in text
    in_training, in_decoding = lines(text, "attention")
    assert in_training == ["attention", "2.000", "4.000", "6.000", "75.0%", "50.0%"]
    assert in_decoding == ["attention", "1.000", "100.0%", "50.0%"]
    assert lines(text, "optimizer") == [["optimizer", "2.000", "25.0%"]], "it has no passes and no FLOPs"
    assert "8 ms profiled, 6.4 ms unprofiled: profiling adds +25%" in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"decode": {"reason_missing": "an encoder"}}, "no decoding: an encoder"),
        ({"compiled": {"reason_missing": "no compiler"}}, "not compiled: no compiler"),
        (
            {"compiled": {"eager_seconds": 0.004, "seconds": 0.002, "speedup": 2.0}},
            "whole training step, interleaved: 4 ms eager, 2 ms compiled, 2.00 times as fast",
        ),
    ],
)
def test_profile_says_what_is_missing_or_compiled(changes: dict[str, Any], line: str) -> None:
    assert line in printed(**changes).splitlines()


def test_profile_of_a_busy_machine_is_not_to_be_trusted() -> None:
    busy = {**step(("attention", 0.006, 0.004)), "busy": "other programs took 40% of the time"}
    assert "Not to be trusted, the machine is too busy: other programs took 40% of the time" in printed(
        training_step=busy
    )
    assert "trusted" not in printed()
