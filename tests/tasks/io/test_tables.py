"""Malformed tables are refused with file and line, not read as far as they fit."""

from pathlib import Path

import pytest

from ablation.errors import InputError
from ablation.tasks.generated.listops import ListOps
from ablation.tasks.io.rows import read_rows

FIELDS = ("task.path", "task.text_column", "task.class_column")
NAMED = ("text", "class")
REFUSED = {
    "an unquoted comma": ("a.csv", "text,class\na,x\nb, c,y\n", NAMED, r"a.csv:3: 3 columns where .*; quote a value"),
    "a row that is longer behind": ("a.csv", "text,class\na,x,\n", NAMED, r"a.csv:2: 3 columns where the header has 2"),
    "a row that is shorter": ("a.csv", "text,class,more\na,x\n", NAMED, r"a.csv:2: 2 columns where the header has 3$"),
    "a tab too many": ("a.tsv", "text\tclass\na\tx\nb\t\tx\n", NAMED, r"a.tsv:3: 3 columns where the header has 2$"),
    "after lines in quotes": ("a.csv", 'text,class\n"a\nb",x\nb, c,y\n', NAMED, r"a.csv:4: 3 columns where the header"),
    "no header": ("a.tsv", "a\tx\nb\tx\ty\n", (1, 2), r"a.tsv:2: 3 columns where line 1 has 2$"),
    "too few columns": ("a.tsv", "a\tx\nb\tx\n", (1, 3), r"a.tsv:1: 2 columns, expected at least 3$"),
    "two columns of a name": ("a.csv", "text,class,class\na,x,y\n", NAMED, r"task.class_column: .*:1: 2 columns have"),
    "a key twice": ("a.jsonl", '{"text": "a", "class": "x"}\n{"text": "a", "class": "x", "class": "y"}\n', NAMED,
                    r"a.jsonl:2: the key 'class' appears 2 times in one object$"),
    "a key twice inside": ("a.jsonl", '{"text": "a", "class": "x", "more": {"b": 1, "b": 2}}\n', NAMED,
                           r"a.jsonl:1: the key 'b' appears 2 times"),
    "a key twice in a list": ("a.json", '[{"text": "a", "text": "b", "class": "x"}]', NAMED,
                              r"a.json: the key 'text' appears 2 times"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_malformed_table_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    name, text, columns, why = REFUSED[case]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=why) as raised:
        read_rows(tmp_path / name, columns, None, FIELDS)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)


def test_columns_that_are_not_used_may_share_a_name(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,class,more,more\n"b, c",y,1,2\n')
    assert read_rows(tmp_path / "a.csv", NAMED, None, FIELDS)[0][:2] == ("b, c", "y")


def test_nested_json_does_not_end_in_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": ' + 100_000 * "[" + "\n")
    with pytest.raises(InputError, match=r"a.jsonl:1: nested too deeply$"):
        read_rows(tmp_path / "a.jsonl", NAMED, None, FIELDS)


def test_an_expression_with_two_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "one.tsv").write_text("3\t[MAX 1 3 ]\n3\t[MAX 1 3 ]\n4\t( [MAX 1 3 ] )\n")
    (tmp_path / "two.tsv").write_text("5\t[MAX 5 3 ]\n")
    with pytest.raises(InputError, match=r"one.tsv:3: the expression has the label 4 here and 3 before$"):
        ListOps(path=tmp_path / "one.tsv", validation_path=tmp_path / "two.tsv", length=8).fingerprint()
