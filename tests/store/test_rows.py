"""The rows of metrics.jsonl, all at once and as they are appended."""

from pathlib import Path

import pytest

from ablation.errors import StorageError
from ablation.store.rows import RestartedError, RowReader, read_rows


def test_read_rows_skips_torn_lines(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    assert read_rows(file) == []
    file.write_bytes(b'{"step": 1, "a": null}\n{"st{"step": 2}\n[3]\n{"step": 4}\n{"ste')
    assert read_rows(file) == [{"step": 1, "a": None}, {"step": 4}]
    assert read_rows(file, having='"a"') == [{"step": 1, "a": None}]


def test_read_rows_names_what_it_cannot_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        read_rows(tmp_path)


def test_row_reader_returns_each_row_once(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    reader = RowReader(file)
    assert reader.read() == []
    file.write_bytes(b'{"step": 1}\n{"step":')
    assert reader.read() == [(0, {"step": 1})]
    with file.open("ab") as stream:
        stream.write(b' 2}\n{"step": 3}\n')
    assert reader.read() == [(1, {"step": 2}), (2, {"step": 3})]
    assert reader.read() == []
    assert (reader.lines, reader.size) == (3, file.stat().st_size)


def test_row_reader_notices_a_file_written_anew(tmp_path: Path) -> None:
    file = tmp_path / "metrics.jsonl"
    file.write_bytes(b'{"step": 1}\n')
    reader = RowReader(file)
    reader.read()
    file.write_bytes(b'{"step": 0}\n{"step": 1}\n')
    with pytest.raises(RestartedError):
        reader.read()
