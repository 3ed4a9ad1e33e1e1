"""Where records go: a JSON line each, TensorBoard events."""

import json
from pathlib import Path
from typing import Any, Protocol, Self

from slime.config.schema import TensorBoardTracking, TrackingConfig


class Sink(Protocol):
    """Takes one flat record at a time; numbers only matter to the trackers."""

    def write(self, record: dict[str, Any], x: int) -> None: ...

    def close(self) -> None: ...


class JsonLines:
    """One JSON object a line, flushed at once, so that a killed run has lost none.

    NaN is not JSON: a record that holds one raises ValueError.  A file of another run is never
    added to: FileExistsError.
    """

    def __init__(self, path: Path) -> None:
        self._file = path.open("x", encoding="utf-8", errors="backslashreplace")

    def write(self, record: dict[str, Any], x: int) -> None:  # noqa: ARG002 - a Sink's signature
        self._file.write(json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars of every record in TensorBoard's event format, train/ by step, the rest by x."""

    def __init__(self, folder: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder))

    def write(self, record: dict[str, Any], x: int) -> None:
        for name, value in record.items():
            if "/" in name and isinstance(value, int | float):
                at = record["step"] if name.startswith("train/") else x
                self._writer.add_scalar(name, value, at)
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()


class Sinks:
    """All of a run's metric sinks as one."""

    def __init__(self, sinks: list[Sink]) -> None:
        self._sinks = sinks

    def write(self, record: dict[str, Any], x: int) -> None:
        for sink in self._sinks:
            sink.write(record, x)

    def close(self) -> None:
        for sink in self._sinks:
            sink.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def build_sinks(config: TrackingConfig, run_directory: Path) -> Sinks:
    """metrics.jsonl always; what the tracking group chose beside it."""
    sinks: list[Sink] = [JsonLines(run_directory / "metrics.jsonl")]
    match config:
        case TensorBoardTracking():
            sinks.append(TensorBoard(run_directory / "tensorboard"))
    return Sinks(sinks)
