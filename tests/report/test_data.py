"""The sentences about the data, below a table and in a plan."""

from pathlib import Path

from support.small_grids import Ablate, write_grid, write_results
from support.studies import made

from ablation.report.data import data_lines
from ablation.report.footnotes import notes

PAIRS = {
    "cells": ["a=1"],
    "source": "train.txt",
    "validation_source": "val.txt",
    "fingerprint": "4d2d94b0bfd6" + 52 * "0",
    "items": "pairs",
    "training": 1288,
    "of_training": 3000,
    "left_out": "length 10",
    "validation": 300,
    "vocabulary": 23,
    "duplicates": 50,
    "first": "turn left -> I_TURN_LEFT",
    "last": "run -> I_RUN",
}


def test_sentences_name_what_trains_validates_and_was_left_out() -> None:
    assert data_lines([PAIRS]) == [
        "data: train.txt (fingerprint 4d2d94b0bfd6); 1,288 of 3,000 pairs train (length 10), 300 of val.txt validate; "
        "vocabulary 23; 50 of the pairs that validate are in training too",
        "data: first 'turn left -> I_TURN_LEFT', last 'run -> I_RUN'",
    ]


def test_sentences_name_classes_cuts_windows_and_unknown_tokens() -> None:
    table = {"source": "a.csv", "items": "rows", "training": 9, "validation": 1, "duplicates": 1, "length": 8}
    table |= {"cut_training": 3, "cut_validation": 1, "n_classes": 77, "classes": ["a", "b"]}
    assert data_lines([table]) == [
        "data: a.csv; 9 rows train, 1 validate; cut after 8 tokens: 3 of training, 1 of validation; "
        "77 classes: 'a', 'b', ...; 1 of the rows that validate is in training too"
    ]
    text = {"source": "a.txt", "items": "words", "training": 5000, "validation": 64, "of_validation": 1000}
    text |= {"windows": 8, "length": 8, "unknown": 0.171}
    assert data_lines([text]) == [
        "data: a.txt; 5,000 words train, 64 of 1,000 validate (windows: 8 of 8); "
        "17.1 % of the validation tokens are unknown"
    ]


def test_several_tasks_name_their_cells() -> None:
    lines = data_lines([PAIRS, {**PAIRS, "cells": ["a=2", "a=3"], "source": "other.txt"}])
    assert lines[0].startswith("data (a=1): train.txt") and lines[2].startswith("data (a=2; a=3): other.txt")


def test_hostile_names_cannot_reach_the_terminal() -> None:
    (line,) = data_lines([{"source": "a\x1b[31m\nb", "items": "rows", "training": 1}])
    assert "\x1b" not in line and "\n" not in line


def test_footer_has_the_sentences_of_the_manifest() -> None:
    study = made(data=[PAIRS])
    for brief in (True, False):
        assert set(data_lines([PAIRS])) <= set(notes(study, "", brief=brief))
    assert not [line for line in notes(made(), "") if line.startswith("data")], "an older manifest has none"


def test_plan_and_table_say_what_is_learned_from(ablate: Ablate, tmp_path: Path) -> None:
    grid = write_grid(tmp_path)
    sentence = "data: new random examples of copy in each epoch; 24 examples train, 10 validate; vocabulary 5"
    assert sentence in ablate("plan", grid).out.replace("\n", " ").replace("  ", " ")
    write_results(tmp_path)
    grid.unlink()
    table = ablate("table", "small")
    assert sentence in " ".join(table.out.split()), "without the data and without the grid's file"
    assert sentence in ablate("table", "small", "--format", "markdown").out
