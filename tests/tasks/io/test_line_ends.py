"""One rule for the byte order mark and for line ends, in all readers and for prompts."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch

from ablation.errors import InputError
from ablation.tasks.classification import Classification
from ablation.tasks.generated.listops import ListOps
from ablation.tasks.io.rows import RowFile, read_rows
from ablation.tasks.io.tokens import learn_byte_pairs
from ablation.tasks.sequence_to_sequence import SequenceToSequence
from ablation.tasks.text.causal import Text

POEM = "First Citizen:\nBefore we proceed\n\nspeak é\n" * 40
WAYS = {"lf": ("", "\n"), "crlf": ("", "\r\n"), "cr": ("", "\r"), "bom": ("\ufeff", "\n"), "both": ("\ufeff", "\r\n")}
FIELDS = ("task.path", "task.text_column", "task.class_column")


def written(folder: Path, way: str, name: str, text: str) -> Path:
    mark, end = WAYS[way]
    file = folder / way / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes((mark + text.replace("\n", end)).encode())
    return file


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", ["char", "byte", "word", "bpe"])
def test_texts_have_the_same_tokens(way: str, level: Any, tmp_path: Path) -> None:
    task = Text(path=written(tmp_path, way, "a.txt", POEM), level=level, length=8)
    plain = Text(path=written(tmp_path, "lf", "a.txt", POEM), level=level, length=8)
    assert torch.equal(task.encoded[0], plain.encoded[0]) and task.vocabulary == plain.vocabulary
    assert task.fingerprint() == plain.fingerprint() == sha256(POEM.encode()).hexdigest()
    if level == "word":
        assert "\n" in task.text_tokenizer.ids and task.decode(task.parts[0][:3].tolist()) == "First Citizen:\n"


def test_bytes_that_are_no_text_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"\xff\r\n\r" * 100)
    assert Text(path=tmp_path / "a.bin", level="byte", length=8).raw == b"\xff\r\n\r" * 100


TABLES = {
    "a.csv": 'text,class\n"two\nlines",x\nplain,y\n' * 1,
    "a.tsv": "text\tclass\ntwo lines\tx\nplain\ty\n",
    "a.jsonl": '{"text": "two\\nlines", "class": "x"}\n{"text": "plain", "class": "y"}\n',
    "a.json": '[{"text": "two\\nlines",\n "class": "x"},\n{"text": "plain", "class": "y"}]\n',
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TABLES)
def test_tables_have_the_same_rows(way: str, name: str, tmp_path: Path) -> None:
    rows = read_rows(written(tmp_path, way, name, TABLES[name]), ("text", "class"), None, FIELDS)
    assert rows == read_rows(written(tmp_path, "lf", name, TABLES[name]), ("text", "class"), None, FIELDS)
    assert [row.second for row in rows] == ["x", "y"] and rows[0].first.split() == ["two", "lines"]


@pytest.mark.parametrize("way", WAYS)
def test_lines_of_a_pattern_are_the_same(way: str, tmp_path: Path) -> None:
    file = written(tmp_path, way, "a.txt", "IN: a OUT: X\nIN: b OUT: Y\n")
    rows = read_rows(file, (1, 2), "IN: (?P<source>.*) OUT: (?P<target>.*)", FIELDS)
    assert [tuple(row) for row in rows] == [("a", "X", 1, ""), ("b", "Y", 2, "")]


@pytest.mark.parametrize("way", WAYS)
def test_expressions_are_the_same(way: str, tmp_path: Path) -> None:
    one, two = ("3\t[MAX 1 3 ]\n4\t[MIN 4 5 ]\n", "5\t[MAX 5 3 ]\n")
    files = [written(tmp_path, way, "one.tsv", one), written(tmp_path, way, "two.tsv", two)]
    assert ListOps(path=files[0], validation_path=files[1], length=8).training(0, 0)["targets"].tolist() == [3, 4]


@pytest.mark.parametrize("way", WAYS)
def test_tokenizers_are_the_same(way: str, tmp_path: Path) -> None:
    text = learn_byte_pairs([POEM], 280).to_str(pretty=True)
    options: dict[str, Any] = {"level": "bpe", "max_vocabulary": 300, "length": 8}
    (tmp_path / "poem.txt").write_text(POEM)
    tasks = [
        Text(path=tmp_path / "poem.txt", tokenizer=written(tmp_path, w, "tokenizer.json", text), **options)
        for w in (way, "lf")
    ]
    assert torch.equal(tasks[0].encoded[0], tasks[1].encoded[0])


@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_prompts_are_read_by_the_same_rule(end: str, tmp_path: Path) -> None:
    (tmp_path / "poem.txt").write_text(POEM)
    for level in ("char", "byte", "word", "bpe"):
        task = Text(path=tmp_path / "poem.txt", level=level, length=8)  # type: ignore[arg-type]
        assert task.encode(f"First Citizen:{end}we") == task.encode("First Citizen:\nwe")
    pairs = SequenceToSequence(path=written(tmp_path, "lf", "a.csv", '"a\nb",c\nd,e\n"a\nb",e\n'), length=8)
    assert pairs.encode(f"a{end}b") == pairs.encode("a\nb")


def test_fingerprint_of_a_table_changes_only_with_its_values(tmp_path: Path) -> None:
    """Earlier runs on tables with other line ends keep their ids, unless their values had such line ends inside."""
    plain = written(tmp_path, "crlf", "a.tsv", TABLES["a.tsv"])
    assert RowFile(plain, ("text", "class"), None, FIELDS).fingerprint == sha256(plain.read_bytes()).hexdigest()
    inside = written(tmp_path, "crlf", "a.csv", TABLES["a.csv"])
    assert RowFile(inside, ("text", "class"), None, FIELDS).fingerprint != sha256(inside.read_bytes()).hexdigest()
    escaped = tmp_path / "escaped.jsonl"
    escaped.write_text(json.dumps({"text": "two\r\nlines", "class": "x"}) + "\n" + '{"text": "b", "class": "y"}\n')
    table = RowFile(escaped, ("text", "class"), None, FIELDS)
    assert table.fingerprint != sha256(escaped.read_bytes()).hexdigest() and table.rows[0].first == "two\nlines"


def test_text_of_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("wide".encode("utf-16") * 100)
    (tmp_path / "a.csv").write_bytes("text,class\na,b\n".encode("utf-16"))
    for task in (Text(path=tmp_path / "a.txt", length=8), Classification(path=tmp_path / "a.csv")):
        with pytest.raises(InputError, match="not UTF-8 at byte 0"):
            task.fingerprint()
