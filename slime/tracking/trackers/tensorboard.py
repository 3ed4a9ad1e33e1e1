"""TensorBoard: event files in the run directory.

The config and the run's end are what its HPARAMS page reads, so runs can be filtered there.
"""

import json
import shutil
from pathlib import Path

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import Status
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter

from slime.tracking.facts import RunFacts, Value
from slime.tracking.past import Past
from slime.tracking.tracker import Point, RunState, points

_STATUS = {
    RunState.finished: Status.STATUS_SUCCESS,
    RunState.failed: Status.STATUS_FAILURE,
    RunState.interrupted: Status.STATUS_FAILURE,  # it has no third one; the text run/state does
}


class TensorBoard:
    """A scalar for every number."""

    def __init__(self, facts: RunFacts, past: Past | None = None) -> None:
        self.where: str | None = None  # its folder is named tensorboard
        self.run_id: str | None = None
        folder = facts.directory / "tensorboard"
        if past is not None:  # its files cannot be cut where the run goes on: they are made anew
            shutil.rmtree(folder, ignore_errors=True)
        self._writer = SummaryWriter(str(folder))
        self._write_start(facts)
        if past is not None:
            self._write_past(facts.directory / "metrics.jsonl")
        self._writer.flush()

    def write(self, points: list[Point]) -> None:
        for point in points:
            self._writer.add_scalar(point.name, point.value, point.x)
        self._writer.flush()

    def close(self, state: RunState) -> None:
        self._writer.add_text("run/state", state.value)
        data = HParamsPluginData()
        data.session_end_info.status = _STATUS[state]
        self._write_hparams(metadata.SESSION_END_INFO_TAG, data)
        self._writer.close()

    def _write_past(self, metrics: Path) -> None:
        for line in metrics.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            for point in points(record, record["iteration"]):
                self._writer.add_scalar(point.name, point.value, point.x)

    def _write_start(self, facts: RunFacts) -> None:
        rows = [f"| {key} | {value} |" for key, value in facts.origin.items()]
        self._writer.add_text("run/origin", "\n".join(["| run | |", "|---|---|", *rows]))
        data = HParamsPluginData()
        data.session_start_info.group_name = facts.name
        for key, value in (facts.flat_config | facts.origin).items():
            _set_hparam(data, key, value)
        self._write_hparams(metadata.SESSION_START_INFO_TAG, data)

    def _write_hparams(self, tag: str, data: HParamsPluginData) -> None:
        value = Summary.Value(
            tag=tag,
            metadata=metadata.create_summary_metadata(data),
            tensor=metadata.NULL_TENSOR,
        )
        self._writer.file_writer.add_summary(Summary(value=[value]))


def _set_hparam(data: HParamsPluginData, key: str, value: Value) -> None:
    """The protocol has a field for each type; null is left out."""
    match value:
        case bool():
            data.session_start_info.hparams[key].bool_value = value
        case int() | float():
            data.session_start_info.hparams[key].number_value = value
        case str():
            data.session_start_info.hparams[key].string_value = value
