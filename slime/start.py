"""Config -> a run that is ready to iterate.  Everything is decided and checked here, once."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slime.cluster.engine import start_engine
from slime.cluster.place import get
from slime.cluster.session import ray_session
from slime.cluster.trainer import Trainer, start_trainer
from slime.config.schema import Config, LocalEngine, ReplayEngine, ReferenceKLConfig
from slime.data import Step
from slime.megatron.spec import TrainWorkerSpec
from slime.model.prepare import prepare_model
from slime.model.tokenizer import Tokenizer, load_tokenizer
from slime.plan import Planner, build_planner
from slime.rollout.source import RolloutSource
from slime.task import Task, build_task
from slime.tracking.run_log import RunLog
