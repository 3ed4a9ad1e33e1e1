"""MLflow: a store of runs in a database or on a server.

Through MlflowClient alone, which has no global run and no global store.
"""

import json
import logging
import time
import warnings

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from slime.config.schema import MlflowTracking
from slime.tracking.facts import RunFacts, Value
from slime.tracking.past import Past
from slime.tracking.tracker import Point, RunState

_STATUS = {
    RunState.finished: "FINISHED",
    RunState.failed: "FAILED",
    RunState.interrupted: "KILLED",
}
_MOST_PARAMS = 100  # that a store takes at once
_LONGEST_PARAM = 6000  # characters


class Mlflow:
    """Params are the flat config, tags the origin."""

    run_id: str | None

    def __init__(self, config: MlflowTracking, facts: RunFacts, past: Past | None = None) -> None:
        logging.getLogger("mlflow").setLevel(logging.WARNING)  # it announces each table it makes
        uri = config.uri or f"sqlite:///{facts.directory / 'mlflow.db'}"
        self.where: str | None = f"mlflow ui --backend-store-uri {uri}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its own use of SQLAlchemy
            self._client = MlflowClient(tracking_uri=uri)
        if past is not None and past.tracker is not None:
            self.run_id = past.tracker
            self._client.update_run(self.run_id, status="RUNNING")
        else:
            self.run_id = self._create(config, facts)

    def write(self, points: list[Point]) -> None:
        now = int(time.time() * 1000)
        metrics = [Metric(point.name, point.value, now, point.x) for point in points]
        self._client.log_batch(self.run_id, metrics=metrics)

    def close(self, state: RunState) -> None:
        self._client.log_batch(self.run_id, tags=[RunTag("state", state.value)])
        self._client.set_terminated(self.run_id, _STATUS[state])

    def _create(self, config: MlflowTracking, facts: RunFacts) -> str:
        experiment = _experiment_id(self._client, config.experiment)
        name = config.run_name or facts.name
        run = self._client.create_run(experiment, run_name=name, tags=_tags(facts))
        run_id = str(run.info.run_id)
        params = [_param(key, value) for key, value in facts.flat_config.items()]
        for start in range(0, len(params), _MOST_PARAMS):
            self._client.log_batch(run_id, params=params[start : start + _MOST_PARAMS])
        return run_id


def _experiment_id(client: MlflowClient, name: str) -> str:
    """Of the experiment with this name, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name))
        except MlflowException:  # another job of the sweep was faster
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    return str(found.experiment_id)


def _tags(facts: RunFacts) -> dict[str, str]:
    commit = facts.origin.get("commit")
    return facts.origin | ({"mlflow.source.git.commit": commit} if commit else {})


def _param(key: str, value: Value) -> Param:
    text = value if isinstance(value, str) else json.dumps(value)
    return Param(key, text[:_LONGEST_PARAM])
