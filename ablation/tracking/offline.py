"""Reads back what wandb wrote offline, which it has no function for.

A .wandb file is a LevelDB log of protobuf records, in blocks of 32 KiB.
"""

import json
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

BLOCK = 32768
START = struct.pack("<4sHB", b":W&B", 0xBEE1, 0)
HEADER = struct.Struct("<IHB")  # checksum, length, type
WHOLE, FIRST, MIDDLE, LAST = 1, 2, 3, 4


@dataclass
class Record:
    """One W&B run as it lies on disk; `exit_code` is None while it was not finished."""

    id: str = ""
    name: str = ""
    group: str = ""
    job_type: str = ""
    tags: tuple[str, ...] = ()
    project: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)  # name or pattern -> its x axis
    exit_code: int | None = None


def read(file: Path) -> Record:
    """What a .wandb file holds, as far as it was written. Errors: OSError; ValueError where it is damaged."""
    from wandb.proto import wandb_internal_pb2

    protocol: Any = wandb_internal_pb2

    def values(items: Any) -> dict[str, Any]:
        return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}

    out = Record()
    for data in _records(file.read_bytes()):
        record = protocol.Record.FromString(data)
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run = record.run
            out.id, out.name, out.group, out.project = run.run_id, run.display_name, run.run_group, run.project
            out.job_type, out.tags = run.job_type, tuple(run.tags)
            out.config |= values(run.config.update)
        elif kind == "config":
            out.config |= values(record.config.update)
        elif kind == "history":
            out.history.append(values(record.history.item))
        elif kind == "summary":
            out.summary |= values(record.summary.update)
        elif kind == "metric":
            out.metrics[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "exit":
            out.exit_code = record.exit.exit_code
    return out


def _records(log: bytes) -> Iterator[bytes]:
    if not log:
        return  # only just created
    if log[:7] != START:
        raise ValueError("no file of wandb")
    offset, parts = 7, b""
    while offset + HEADER.size <= len(log):
        left = BLOCK - offset % BLOCK
        if left < HEADER.size:
            offset += left
            continue
        checksum, length, kind = HEADER.unpack_from(log, offset)
        data = log[offset + HEADER.size : offset + HEADER.size + length]
        if len(data) < length:
            return  # still being written
        if zlib.crc32(bytes([kind]) + data) != checksum:
            raise ValueError(f"the record at byte {offset} is damaged")
        offset += HEADER.size + length
        parts = data if kind in (WHOLE, FIRST) else parts + data
        if kind in (WHOLE, LAST):
            yield parts
