"""Minimal pairs: a pair is right when the good sentence is the likelier one."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.small_grids import Ablate, output, small_config, write_grid

from ablation.errors import InputError
from ablation.model.build import build_model
from ablation.model.weights import load_weights
from ablation.tasks.base import IGNORED
from ablation.tasks.minimal_pairs import log_probabilities, pair_accuracies
from ablation.tasks.text.causal import Text
from ablation.tasks.unchanged import file_states
from ablation.training.run import train

PAIRS = [
    ("the cats sit", "the cats sits", "agreement"),
    ("the cat sits", "the cat sit", "agreement"),
    ("no cat ever sat", "the cat ever sat", "polarity items"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "text.txt").write_text("the cat sits\nno cats ever sit\nthe mat sat\n" * 40)
    lines = [json.dumps({"sentence_good": good, "sentence_bad": bad, "UID": what}) for good, bad, what in PAIRS]
    (tmp_path / "blimp.jsonl").write_text("\n".join(lines))
    return tmp_path


def settings(folder: Path, **more: Any) -> dict[str, Any]:
    task = {"name": "text", "path": str(folder / "text.txt"), "length": 24, "batch_size": 4}
    pairs = {"minimal_pairs": {"blimp": str(folder / "blimp.jsonl")}, "phenomenon_column": "UID"}
    return {"task": {**task, **pairs, **more}}


def task_of(folder: Path, **more: Any) -> Text:
    task: Text = small_config(settings(folder, **more)).task.build()
    return task


def written_out(model: torch.nn.Module, task: Text, sentence: str) -> float:
    """log p of a sentence after a line end, token by token from the softmax."""
    ids, total = task.encode("\n" + sentence), 0.0
    for place in range(1, len(ids)):
        with torch.no_grad():
            scores = model(torch.tensor([ids[:place]]))[0, -1].double()
        total += math.log(float(scores.softmax(0)[ids[place]]))
    return total


@pytest.mark.parametrize("level", ["char", "byte", "word"])
def test_accuracy_is_that_of_probabilities_written_out(folder: Path, level: str) -> None:
    config = small_config(settings(folder, level=level) | {"model.initialization": {"name": "gpt2", "std": 0.5}})
    quality = train(config, folder)["quality"]
    task: Text = config.task.build()
    model = build_model(config.model, task.vocabulary, task.longest, config.seed).eval()
    load_weights(model, folder / "weights.safetensors")
    right = [written_out(model, task, good) > written_out(model, task, bad) for good, bad, _ in PAIRS]
    found = {name: value for name, value in quality["final"].items() if name.startswith("pair_accuracy")}
    assert found == {
        "pair_accuracy@blimp": pytest.approx(sum(right) / 3),
        "pair_accuracy@blimp:agreement": pytest.approx(sum(right[:2]) / 2),
        "pair_accuracy@blimp:polarity_items": float(right[2]),
    }
    assert {quality["directions"][name] for name in found} == {"higher"}


def test_log_probabilities_are_those_of_gpt2(folder: Path) -> None:
    parity = pytest.importorskip("support.parity", reason="transformers, a test dependency, is not installed")
    model, said = parity.theirs("gpt2")
    ours = parity.ours("gpt2", model, said)
    tokens = torch.randint(parity.VOCABULARY, (6, 12), generator=torch.Generator().manual_seed(0))
    lengths = [12, 3, 7, 12, 5, 9]
    inputs, targets = tokens[:, :-1], tokens[:, 1:].clone()
    for row, length in enumerate(lengths):
        targets[row, length - 1 :] = IGNORED
    with torch.no_grad():
        found = log_probabilities(ours(inputs), targets)
        for row, length in enumerate(lengths):
            ids = tokens[row : row + 1, :length]
            loss = model(input_ids=ids, labels=ids).loss  # of Hugging Face: the mean over all but the first token
            assert float(found[row]) == pytest.approx(-float(loss) * (length - 1), rel=1e-5)


@given(st.lists(st.tuples(st.sampled_from([-3.0, -2.0, -1.0]), st.sampled_from([-3.0, -2.0, -1.0])), min_size=1))
def test_equal_probabilities_are_no_success(pairs: list[tuple[float, float]]) -> None:
    good, bad = (torch.tensor(side) for side in zip(*pairs, strict=True))
    there, back = (pair_accuracies(a, b, [""] * len(pairs))[""] for a, b in ((good, bad), (bad, good)))
    ties = sum(a == b for a, b in pairs) / len(pairs)
    assert there + back + ties == pytest.approx(1.0)


def test_all_pairs_are_the_mean_over_phenomena_by_their_pairs() -> None:
    good, bad = torch.tensor([-1.0, -2.0, -3.0, -4.0]), torch.tensor([-2.0, -1.0, -4.0, -5.0])
    assert pair_accuracies(good, bad, ["a", "a", "b", "b"]) == {"": 0.75, ":a": 0.5, ":b": 1.0}
    assert pair_accuracies(good, bad, [""] * 4) == {"": 0.75}


def test_sentences_follow_the_prefix_and_it_is_not_scored(folder: Path) -> None:
    task = task_of(folder, pair_prefix="the ")
    good = task.sentence_pairs()["blimp"].good
    row, targets = good["tokens"][2].tolist(), good["targets"][2].tolist()
    assert task.decode(row[: len("the no cat ever sa")]) == "the no cat ever sa"
    assert targets[:3] == [IGNORED] * 3
    assert task.decode([id for id in targets if id != IGNORED]) == "no cat ever sat"


def test_pairs_are_part_of_the_data(folder: Path) -> None:
    task, plain = task_of(folder), task_of(folder, minimal_pairs={})
    assert plain.fingerprint() == Text(path=folder / "text.txt", length=24).fingerprint() != task.fingerprint()
    assert file_states(task).keys() == {"task.path", "task.minimal_pairs.blimp"}
    assert task.measured_on()["further"].keys() == {"blimp", "blimp:agreement", "blimp:polarity_items"}
    assert "blimp 3 pairs of blimp.jsonl" in task.describe().sets


@pytest.mark.parametrize(
    ("line", "more", "message"),
    [
        ("the cat\tthe cat", {}, "pairs.tsv:2: both sentences are the same"),
        ("the zat\tthe cat", {}, "pairs.tsv:2: character 'z' is not among the 14"),
        ("the cat\t", {}, "pairs.tsv:2: a sentence without a token"),
        (f"{'the cat ' * 4}\tthe", {}, "pairs.tsv:2: a sentence of 32 tokens, the model takes 24; raise task.length"),
        ("the cat\tthe mat", {"pair_prefix": "#"}, "task.pair_prefix: character '#' is not among the 14"),
        ("the cat\tthe mat", {"bad_column": 3}, "task.bad_column|pairs.tsv:1: 2 columns, expected at least 3"),
    ],
)
def test_what_is_wrong_with_pairs_is_one_line(folder: Path, line: str, more: dict[str, Any], message: str) -> None:
    (folder / "pairs.tsv").write_text(f"the cat sits\tthe cat sit\n{line}\n")
    columns = {"good_column": 1, "bad_column": 2, "phenomenon_column": None, **more}
    with pytest.raises(InputError, match=message):
        task_of(folder, minimal_pairs={"own": str(folder / "pairs.tsv")}, **columns).fingerprint()


def test_pairs_are_a_measure_of_the_table(folder: Path, ablate: Ablate) -> None:
    file = write_grid(folder, settings=settings(folder), seeds=3)
    grid = file.read_text().replace("name: small\n", "name: small\nmetric: pair_accuracy@blimp\n")
    file.write_text(grid)
    output(ablate("run", file, "--workers", "1"))
    table = json.loads(output(ablate("table", "small", "--json")))
    assert (table["metric"], table["better"]) == ("pair_accuracy@blimp", "higher")
    assert table["measures"]["pair_accuracy@blimp"]["margin"] == 0.005
    assert table["cells"][1]["metrics"]["pair_accuracy@blimp"]["verdict"] is not None
    text = output(ablate("table", "small", "--by-set"))
    assert "blimp:agreement" in text and "blimp:polarity_items" in text


def test_a_line_of_blimp_is_read_as_it_is_published(tmp_path: Path) -> None:
    (tmp_path / "island.jsonl").write_text(
        '{"sentence_good": "Who should Derek hug after shocking Richard?", "sentence_bad": "Who should Derek hug '
        'Richard after shocking?", "field": "syntax", "linguistics_term": "island_effects", "UID": "adjunct_island", '
        '"simple_LM_method": true, "one_prefix_method": false, "two_prefix_method": false, "lexically_identical": true,'
        ' "pairID": "0"}\n'
    )
    pairs = {"blimp": tmp_path / "island.jsonl"}
    task = Text(level="byte", length=64, minimal_pairs=pairs, phenomenon_column="linguistics_term")
    found = task.sentence_pairs()["blimp"]
    assert found.phenomena == ("island_effects",)
    wanted = [id for id in found.bad["targets"][0].tolist() if id != IGNORED]
    assert task.decode(wanted) == "Who should Derek hug Richard after shocking?"
