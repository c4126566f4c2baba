"""Tasks from files: levels of text, masks, tables; every complaint is one line and comes before training."""

import json
import math
import random
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from support import DATA, ROOT, needs_data
from torch.nn.functional import cross_entropy

from ablation.errors import InputError
from ablation.tasks.base import IGNORED
from ablation.tasks.classification import Classification
from ablation.tasks.examples import PAD, hold_out
from ablation.tasks.io.rows import read_rows
from ablation.tasks.io.tokens import WORD, Level, TextTokenizer
from ablation.tasks.pairs import by_target_length, make_pairs
from ablation.tasks.sequence_to_sequence import SequenceToSequence
from ablation.tasks.text.causal import Text
from ablation.tasks.text.masked import MaskedText

WORDS = ["the", "cat", "sat", "on", "mats", "möwe", "and", "saw", "😀", "it"]
PROSE = "".join(
    random.Random(n).choice(WORDS) + random.Random(-n).choice([" ", " ", " ", "\n"]) for n in range(1, 1500)
)


@pytest.fixture
def prose(tmp_path: Path) -> Path:
    file = tmp_path / "prose.txt"
    file.write_bytes(PROSE.encode())
    return file


def write(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_bytes(text.encode())
    return file


# Levels


def test_words_are_numbered_by_frequency_and_rare_ones_unknown() -> None:
    tokens = TextTokenizer("word", ["b b  a\n", "a c b"], 300)
    assert tokens.ids == {"b": 1, "a": 2, "\n": 3, "c": 4} and tokens.size == 5 and tokens.unknown == 0
    assert tokens.encode(["c d\na"]) == [[4, 0, 3, 2]]
    capped = TextTokenizer(
        "word", [" ".join(f"w{n:03} " * (2 if n == 600 else 1) for n in range(700))], 300, n_reserved=3
    )
    assert capped.size == 300 and min(capped.ids.values()) == capped.ids["w600"] == 4 and capped.unknown == 3
    assert max(capped.ids.values()) == 299 and "w298" not in capped.ids


def test_characters_and_bytes_leave_the_reserved_ids_alone() -> None:
    tokens = TextTokenizer("char", ["ba", "é"], 300, n_reserved=2)
    assert tokens.encode(["abxé"]) == [[3, 4, 2, 5]] and tokens.size == 6
    assert TextTokenizer("byte", [], 300, n_reserved=3).encode(["aé"]) == [[3 + byte for byte in "aé".encode()]]
    assert TextTokenizer("byte", [], 300, n_reserved=3).size == 259


def test_byte_pairs_encode_everything_and_merge_frequent_pairs() -> None:
    from tokenizers import decoders

    tokens = TextTokenizer("bpe", PROSE.splitlines(keepends=True), 300)
    assert tokens.size <= 300 and tokens.byte_pairs is not None
    tokens.byte_pairs.decoder = decoders.ByteLevel()
    for text in ("the cat sat on mats\n", "never seen: Ωß\x00 ", "möwe😀"):
        assert tokens.byte_pairs.decode(tokens.encode([text])[0]) == text
    assert len(tokens.encode(["the cat and"])[0]) <= 5
    assert len(TextTokenizer("bpe", [], 300, n_reserved=3).encode(["abc"])[0]) == 3


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_vocabulary_that_is_learned_has_room_for_every_byte(level: Level) -> None:
    with pytest.raises(InputError, match=r"task\.max_vocabulary: must be at least 300 without a tokenizer, not 299"):
        TextTokenizer(level, ["a b"], 299)


def test_byte_pairs_are_the_same_in_every_process(prose: Path) -> None:
    code = "import sys; from pathlib import Path; from ablation.tasks.text.causal import Text; import hashlib;"
    code += "t = Text(path=Path(sys.argv[1]), level='bpe', length=8, max_vocabulary=320);"
    code += "print(hashlib.sha256(t.encoded[0].numpy().tobytes()).hexdigest(), t.vocabulary)"
    command = [sys.executable, "-c", code, str(prose)]
    elsewhere = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout.split()
    task = Text(path=prose, level="bpe", length=8, max_vocabulary=320)
    assert elsewhere == [sha256(task.encoded[0].numpy().tobytes()).hexdigest(), str(task.vocabulary)]


@pytest.mark.parametrize("level", ["word", "bpe"])
def test_vocabulary_is_learned_from_the_part_that_trains(level: Any, tmp_path: Path) -> None:
    file = write(tmp_path, "text", "alpha beta gamma\n" * 200 + "delta epsilon zeta\n" * 60)
    task = Text(path=file, level=level, length=4, validation=0.3)
    training, validation = task.parts
    if level == "word":
        assert task.text_tokenizer.ids.keys() >= {"alpha", "beta", "gamma"} and "delta" not in task.text_tokenizer.ids
        assert not (training == 0).any() and (validation == 0).any()
    else:
        assert training.max() < task.vocabulary and validation.max() < task.vocabulary
    characters = len(file.read_text())
    assert len(task.texts[0]) == round(0.7 * characters)
    bits: Any = task.metrics()["bits_per_character"]
    assert bits.tokens_per_character == len(validation) / (characters - round(0.7 * characters))


def test_word_level_splits_into_words(prose: Path) -> None:
    task = Text(path=prose, level="word", length=8)
    names = {id: word for word, id in task.text_tokenizer.ids.items()}
    assert [names[id] for id in task.parts[0].tolist()] == WORD.findall(task.texts[0])


def test_bits_per_character_are_those_of_whole_validation_part(prose: Path) -> None:
    """Summed bits over the characters that stand behind them, computed here from scratch."""
    task = Text(path=prose, level="word", length=2, validation_windows=100_000)
    examples = task.validation()
    logits = torch.randn(*examples["targets"].shape, task.vocabulary, generator=torch.Generator().manual_seed(0))
    metric = task.metrics()["bits_per_character"]
    metric.update(logits, examples["targets"])
    n_asked = examples["targets"].numel()
    bits = cross_entropy(logits.flatten(0, 1), examples["targets"].flatten(), reduction="sum").item() / math.log(2)
    characters = len(task.texts[1]) * n_asked / len(task.parts[1])
    assert metric.compute().item() == pytest.approx(bits / characters, rel=1e-5)


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_longer_windows_come_from_the_same_text(level: Any, prose: Path) -> None:
    task = Text(path=prose, level=level, length=4, extrapolate=4, validation_windows=10_000)
    assert task.longest == 16 and list(task.further_validation()) == ["2x", "4x"]
    part = task.parts[1]
    for name, examples in task.further_validation().items():
        n_tokens = 4 * int(name[0])
        assert examples["tokens"].size(1) == n_tokens
        joined = examples["tokens"].flatten()
        assert torch.equal(joined, part[: len(joined)])
        assert torch.equal(examples["targets"].flatten(), part[1 : len(joined) + 1])
    with pytest.raises(InputError, match="length 16 needs at least 129"):
        write(prose.parent, "short.txt", "x" * 700)
        Text(path=prose.parent / "short.txt", length=16, extrapolate=8).parts  # noqa: B018


@pytest.mark.parametrize("n_windows", [1, 7, 8, 10_000])
def test_every_length_scores_the_same_tokens(n_windows: int, prose: Path) -> None:
    task = Text(path=prose, length=4, extrapolate=4, validation_windows=n_windows)
    asked = [examples["targets"].flatten() for examples in (task.validation(), *task.further_validation().values())]
    assert len(asked) == 3 and len(asked[0]) and all(torch.equal(targets, asked[0]) for targets in asked)


def test_bpe_without_its_library_names_what_to_install(prose: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(InputError, match="bpe needs the package tokenizers"):
        Text(path=prose, level="bpe").vocabulary  # noqa: B018


# Masks


def test_masked_fraction_of_each_window_is_that_of_bert(prose: Path) -> None:
    task = MaskedText(path=prose, length=40, validation=0.3)
    plain = Text(path=prose, length=40, validation=0.3)
    mask = task.vocabulary - 1
    assert mask == plain.vocabulary
    shown, hidden, kept, other = 0, 0, 0, 0
    for epoch in range(40):
        examples, text = task.training(3, epoch), plain.training(3, epoch)["tokens"]
        tokens, targets = examples["tokens"], examples["targets"]
        asked = targets != IGNORED
        assert (asked.sum(1) == 6).all(), "15 % of 40"
        assert torch.equal(targets[asked], text[asked]) and torch.equal(tokens[~asked], text[~asked])
        shown += int(asked.sum())
        hidden += int((tokens[asked] == mask).sum())
        kept += int((tokens[asked] == text[asked]).sum())
        other += int(((tokens[asked] != mask) & (tokens[asked] != text[asked])).sum())
    by_chance = 0.1 / plain.vocabulary
    assert hidden / shown == pytest.approx(0.8, abs=0.015)
    assert kept / shown == pytest.approx(0.1 + by_chance, abs=0.012)
    assert other / shown == pytest.approx(0.1 - by_chance, abs=0.012)


def test_every_token_is_masked_sometime_and_one_per_window_always(prose: Path) -> None:
    task = MaskedText(path=prose, length=4, masked=0.05)
    targets = task.training(0, 0)["targets"]
    assert ((targets != IGNORED).sum(1) == 1).all() and (targets != IGNORED).any(0).all()


def test_masks_change_with_epoch_and_those_for_validation_never(prose: Path) -> None:
    task = MaskedText(path=prose, length=8, extrapolate=2)
    assert not torch.equal(*(task.training(0, epoch)["targets"][:50] for epoch in (0, 1)))
    assert torch.equal(task.validation()["tokens"], MaskedText(path=prose, length=8).validation()["tokens"])
    assert task.further_validation()["2x"]["tokens"].size(1) == 16


# Tables

FIELDS = ("task.path", "task.text_column", "task.class_column")
AWKWARD = [('two\nlines, and "quotes"', "x"), ("plain", "y"), ("", "z"), ("tab\tinside", "ü")]


def test_csv_with_quoted_line_breaks_is_read_back(tmp_path: Path) -> None:
    import csv

    with (tmp_path / "awkward.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "class"), *((text.replace("\n", "\r\n"), name) for text, name in AWKWARD)])
    rows = read_rows(tmp_path / "awkward.csv", ("text", "class"), None, FIELDS)
    assert [(row.first, row.second) for row in rows] == AWKWARD
    assert [row.line for row in rows] == [2, 4, 5, 6]


def test_tsv_and_json_lines_are_read_too(tmp_path: Path) -> None:
    file = write(tmp_path, "a.tsv", 'x\t"quoted\t1\r\ny\tb"\t2\r\n')
    assert [(r.first, r.second, r.line) for r in read_rows(file, (3, 2), None, FIELDS)] == [
        ("1", '"quoted', 1), ("2", 'b"', 2)
    ]  # fmt: skip
    written = [(text.replace("\n", "\r\n"), name) for text, name in AWKWARD]
    lines = [json.dumps({"text": text, "class": name, "more": 1}) for text, name in written]
    file = write(tmp_path, "a.jsonl", "\n".join([lines[0], "", *lines[1:]]))
    rows = read_rows(file, ("text", "class"), None, FIELDS)
    assert [(r.first, r.second) for r in rows] == AWKWARD and [r.line for r in rows] == [1, 3, 4, 5]


COMPLAINTS: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "no such column": ("a.csv", "txt,class\na,b\n", {}, r"task.text_column: .*a.csv has no column 'text'.*'txt'"),
    "no such key": ("a.jsonl", '{"text": "a"}\n', {}, r"task.class_column: .*a.jsonl:1: no key 'class'"),
    "not JSON": ("a.jsonl", '{"text": "a", "class": "b"}\n{oops\n', {}, r"a.jsonl:2: not JSON"),
    "no object": ("a.jsonl", "[1]\n", {}, r"a.jsonl:1: expected an object"),
    "a list for text": ("a.jsonl", '{"text": [1], "class": 1}\n', {}, r":1: 'text' must be a string or a whole number"),
    "empty": ("a.csv", "", {}, r"task.path: .*a.csv has no rows"),
    "only a header": ("a.csv", "text,class\n", {}, r"has no rows"),
    "one row": ("a.csv", "text,class\na,b\n", {}, r"has one row"),
    "a short row": ("a.csv", 'text,class\n"a\nb",c\nd\n', {}, r"a.csv:4: 1 column where the header has 2$"),
    "a quote left open": ("a.csv", 'text,class\na,b\n"c,d\n', {}, r"a.csv:3: unexpected end"),
    "one class": ("a.csv", "text,class\na,b\nc,b\nd,b\n", {}, r"all rows have the class 'b'"),
    "no text": (
        "a.csv",
        "text,class\na,b\n,c\nd,b\ne,c\n" * 1,
        {"validation": 0.3},
        r"a.csv:3: the text \(class 'c'\) has no tokens",
    ),
    "another ending": ("a.xls", "x", {}, r"'a.xls' must end in .csv, .tsv, .jsonl, .json or .parquet"),
    "no list": ("a.json", '{"text": "a", "class": "b"}', {}, r"a.json: expected a list of objects"),
    "no JSON at all": ("a.json", "[1,\n oops]", {}, r"a.json:2: not JSON"),
    "no such key in a list": ("a.json", '[{"text": "a"}]', {}, r"task.class_column: .*a.json:1: no key 'class'"),
    "no parquet": ("a.parquet", "x", {}, r"task.path: .*a.parquet cannot be read: "),
    "a name and a number": ("a.csv", "a,b\n", {"text_column": 1}, r"two names or two numbers"),
}


@pytest.mark.parametrize("case", COMPLAINTS)
def test_invalid_file_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    name, text, hyper, why = COMPLAINTS[case]
    with pytest.raises(InputError, match=why) as raised:
        Classification(path=write(tmp_path, name, text), **hyper).fingerprint()
    assert "\n" not in str(raised.value)


def test_class_that_never_trains_is_refused_with_its_line(tmp_path: Path) -> None:
    write(tmp_path, "more.csv", 'text,class\n"a\nb",x\nc,q\n')
    file = write(tmp_path, "a.csv", "text,class\na,x\nb,y\n")
    with pytest.raises(InputError, match=r"more.csv:4: class 'q' has no training row"):
        Classification(path=file, validation_path=tmp_path / "more.csv").fingerprint()
    with pytest.raises(InputError, match=r"task.validation_path: there is no file .*nowhere.csv"):
        Classification(path=file, validation_path=tmp_path / "nowhere.csv").fingerprint()
    with pytest.raises(InputError, match=r"needs task.path as well"):
        Classification(validation_path=tmp_path / "more.csv")
    with pytest.raises(InputError, match="must be at least 1, the number of the first column"):
        Classification(path=file, text_column=0, class_column=1)


@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_texts_and_classes_equal_those_in_the_file(level: Any, tmp_path: Path) -> None:
    rows = [(f"word{n % 7} and number {n}", f"class {n % 3}") for n in range(40)]
    file = write(tmp_path, "a.tsv", "text\tclass\n" + "".join(f"{text}\t{name}\n" for text, name in rows))
    task = Classification(path=file, level=level, length=6, validation=0.25, max_vocabulary=400)
    training, validation = task.training(0, 0), task.validation()
    assert len(training["tokens"]) == 30 and len(validation["tokens"]) == 10 and task.n_classes == 3
    chosen = hold_out(40, 0.25, "rows")
    for examples, places in zip((training, validation), chosen, strict=True):
        assert examples["targets"].tolist() == [place % 3 for place in places]
        for ids, place in zip(task.text_tokenizer.encode([rows[place][0] for place in places]), places, strict=True):
            row = list(places).index(place)
            shown = examples["tokens"][row][examples["padding"][row]].tolist()
            assert shown == ids[:6] and (examples["tokens"][row][len(shown) :] == PAD).all()
    if level == "word":
        assert set(task.text_tokenizer.ids) == {word for place in chosen[0] for word in rows[place][0].split()}


def test_held_out_rows_are_independent_of_the_seed() -> None:
    training, validation = hold_out(1000, 0.1, "rows")
    assert len(validation) == 100 and sorted([*training, *validation]) == list(range(1000))
    torch.manual_seed(3)
    assert hold_out(1000, 0.1, "rows") == (training, validation)
    assert hold_out(2, 0.9, "rows")[0] and hold_out(2, 0.01, "rows")[1]


def test_fingerprint_is_of_both_files(tmp_path: Path) -> None:
    file = write(tmp_path, "a.csv", "text,class\n" + 9 * "a,x\nb,y\n")
    write(tmp_path, "b.csv", "text,class\na,x\n")
    assert Classification(path=file).fingerprint() == sha256(file.read_bytes()).hexdigest(), "as it ever was"
    prints = [
        Classification(path=file).fingerprint(),
        Classification(path=file, validation_path=tmp_path / "b.csv").fingerprint(),
    ]
    write(tmp_path, "b.csv", "text,class\na,y\n")
    prints.append(Classification(path=file, validation_path=tmp_path / "b.csv").fingerprint())
    assert len(set(prints)) == 3


def test_pairs_are_framed_by_begin_and_end(tmp_path: Path) -> None:
    file = write(tmp_path, "p.txt", "IN: a b OUT: X Y\r\nIN: b OUT: Y\r\n")
    task = SequenceToSequence(
        path=file,
        validation_path=tmp_path / "p.txt",
        pattern="IN: (?P<source>.*) OUT: (?P<target>.*)",
        level="word",
        length=4,
    )
    ids = task.text_tokenizer.ids
    assert set(ids) == {"a", "b", "X", "Y"} and min(ids.values()) == 4 and task.vocabulary == 8
    examples = task.validation()
    assert examples["source"].tolist() == [[ids["a"], ids["b"], 0, 0], [ids["b"], 0, 0, 0]]
    assert examples["tokens"].tolist() == [[1, ids["X"], ids["Y"], 0], [1, ids["Y"], 0, 0]]
    assert examples["targets"].tolist() == [[ids["X"], ids["Y"], 2, IGNORED], [ids["Y"], 2, IGNORED, IGNORED]]
    assert examples["padding"].tolist() == [[True, True, True, False], [True, True, False, False]]
    assert examples["source_padding"].tolist() == [[True, True, False, False], [True, False, False, False]]


@pytest.mark.parametrize(
    ("text", "hyper", "why"),
    [
        ("a\tb\n" * 3, {"pattern": "(?P<source>x)"}, "groups"),
        ("a\tb\n" * 3, {"pattern": "(["}, "not a regular expression"),
        ("a b\nc\n", {"pattern": r"(?P<source>\w) (?P<target>\w)"}, r"p.tsv:2: the line does not match"),
        ("a\tb\nabc\tabcdefgh\n", {"validation_path": "p.tsv", "length": 5}, r"at least 9 for the pair of .*p.tsv:2"),
        ("abcdef\tb\n" * 2, {"length": 3}, "every training pair is longer than 3"),
        ("\tb\na\tb\na\tb\n", {}, r"p.tsv:1: the source has no tokens"),
    ],
)  # fmt: skip
def test_invalid_pairs_are_refused_in_one_line(text: str, hyper: Any, why: str, tmp_path: Path) -> None:
    if "validation_path" in hyper:
        hyper = {**hyper, "validation_path": tmp_path / hyper["validation_path"]}
    with pytest.raises(InputError, match=why) as raised:
        SequenceToSequence(path=write(tmp_path, "p.tsv", text), **hyper).fingerprint()
    assert "\n" not in str(raised.value)


def test_buckets_part_the_pairs_by_the_length_of_the_target() -> None:
    lengths = [1, 1, 1, 2, 2, 3, 5, 8, 9]
    examples = make_pairs([[3]] * 9, [[4] * n for n in lengths], 1, 10)
    parts = by_target_length(examples, 3)
    assert {name: len(part["tokens"]) for name, part in parts.items()} == {"1": 3, "2-3": 3, "5-9": 3}
    assert by_target_length(examples, 1) == {}
    assert sum(len(part["tokens"]) for part in by_target_length(examples, 9).values()) == 9


def test_dates_and_code_replace_a_missing_file() -> None:
    dates = SequenceToSequence()
    names = {id: piece for piece, id in dates.text_tokenizer.ids.items()}
    examples = dates.validation()
    for source, targets in list(zip(examples["source"], examples["targets"], strict=True))[:50]:
        target = "".join(names[id] for id in targets.tolist() if id >= 3)
        assert target[:4] in "".join(names[id] for id in source.tolist() if id >= 3) and len(target) == 10
    code = Classification()
    assert code.classes == ["decide", "define", "end", "import", "repeat", "say"]


@needs_data
def test_banking77_matches_its_manifest() -> None:
    task = Classification(
        path=DATA / "banking77" / "train.csv",
        validation_path=DATA / "banking77" / "test.csv",
        class_column="category",
        length=80,
    )
    assert len(task.training(0, 0)["tokens"]) == 10_003 and len(task.validation()["tokens"]) == 3_080
    assert task.n_classes == 77 and (task.validation()["targets"].bincount() == 40).all()


@needs_data
def test_scan_is_read_from_its_file() -> None:
    folder = DATA / "scan"
    task = SequenceToSequence(
        path=folder / "tasks_train_length.txt",
        validation_path=folder / "tasks_test_length.txt",
        pattern="IN: (?P<source>.*) OUT: (?P<target>.*)",
        level="word",
        length=49,
    )
    assert len(task.training(0, 0)["tokens"]) == 16_990 and len(task.validation()["tokens"]) == 3_920
    assert task.vocabulary == 3 + 1 + 13 + 6
