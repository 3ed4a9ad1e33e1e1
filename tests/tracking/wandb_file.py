"""Reads a .wandb file: LevelDB's log format around W&B's own protocol messages.

After a header of 7 bytes: https://github.com/google/leveldb/blob/main/doc/log_format.md
"""

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

HEADER, BLOCK, RECORD_HEADER = 7, 32 * 1024, 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> list[Record]:
    return [Record.FromString(data) for data in _chunks(path.read_bytes())]


def _chunks(data: bytes) -> Iterator[bytes]:
    position, parts = HEADER, b""
    while position + RECORD_HEADER <= len(data):
        left_in_block = BLOCK - position % BLOCK
        if left_in_block < RECORD_HEADER:
            position += left_in_block
            continue
        _, size, kind = struct.unpack("<IHB", data[position : position + RECORD_HEADER])
        if kind not in (FULL, FIRST, MIDDLE, LAST):
            return
        position += RECORD_HEADER
        parts += data[position : position + size]
        position += size
        if kind in (FULL, LAST):
            yield parts
            parts = b""


def history(found: list[Record]) -> list[dict]:
    """The rows that run.log wrote."""
    return [_items(r.history.item) for r in found if r.WhichOneof("record_type") == "history"]


def config(found: list[Record]) -> dict:
    [run] = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    return _items(run.config.update)


def axes(found: list[Record]) -> dict[str, str]:
    """The x axis of each curve that has one."""
    metrics = [r.metric for r in found if r.WhichOneof("record_type") == "metric"]
    return {m.name: m.step_metric for m in metrics if m.step_metric}


def _items(items) -> dict:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def run_id(found: list[Record]) -> str:
    return next(r.run.run_id for r in found if r.WhichOneof("record_type") == "run")
