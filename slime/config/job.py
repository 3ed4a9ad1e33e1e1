"""One job: from what Hydra composed to ended.json, in whatever process a launcher runs it."""

import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from slime.config import provenance
from slime.config.build import build
from slime.config.ended import (
    CONFIG_ERROR,
    CRASH,
    ENDED,
    INTERRUPTED,
    Ended,
    last_evaluation,
    read_ended,
)
from slime.config.errors import report
from slime.config.fingerprint import fingerprint
from slime.config.functions import not_named_in
from slime.config.resume import finished_runs, make_room
from slime.config.schema import Config, ConfigError
from slime.config.used_folder import job_goes_on
from slime.disk import disk_problem

Dispatch = Callable[[Config, Path], int]


@dataclass(frozen=True, slots=True)
class Job:
    """What Hydra calls for a run and for each job of a sweep; launchers send it to other processes.

    dispatch: runs a config that proved right, into a run directory.  -> exit code
    argv: what the user wrote; the process of a launcher has arguments of its own.
    """

    dispatch: Dispatch
    argv: tuple[str, ...]

    def __call__(self, cfg: DictConfig) -> float | None:
        """The evaluation of what was trained, for a sweeper that maximises it; None if it failed.

        A job that fails does not take the rest of a sweep with it; an interrupt does.
        """
        sys.argv = list(self.argv)
        folder = Path(HydraConfig.get().runtime.output_dir)
        ended = how_it_ends(lambda: self._run(build(cfg), folder))
        if ended != read_ended(folder):
            ended.write(folder)
        if ended.exit_code == INTERRUPTED:
            raise KeyboardInterrupt
        return ended.evaluation

    def _run(self, config: Config, folder: Path) -> Ended:
        if unnamed := not_named_in(HydraConfig.get().overrides.task, config):
            raise ConfigError("\n".join(unnamed))
        if config.sweep.resume and (done := _done_before(config, folder)) is not None:
            return done
        (folder / ENDED).unlink(missing_ok=True)
        code = self.dispatch(config, provenance.write(config))
        trained = code == 0 and config.command.trains
        return Ended(code, last_evaluation(folder) if trained else None)


def how_it_ends(run: Callable[[], Ended]) -> Ended:
    """What `run` gives; if it raises, the reason is printed and the exit code says which kind."""
    try:
        return run()
    except KeyboardInterrupt:
        return Ended(INTERRUPTED)
    except Exception as error:
        if report(error):
            return Ended(CONFIG_ERROR)
        if (problem := disk_problem(error)) is not None:
            print(f"stopped: {problem}", file=sys.stderr)
            return Ended(CRASH)
        traceback.print_exception(error)
        return Ended(CRASH)


def _done_before(config: Config, folder: Path) -> Ended | None:
    """How the same training ended before this sweep; None if the job has to run, and may."""
    hydra = HydraConfig.get()
    if hydra.mode != RunMode.MULTIRUN:
        return None
    done = finished_runs(folder.parent).get(fingerprint(config))
    if done is None and job_goes_on(folder, config):
        print(f"#{hydra.job.num} goes on from its newest checkpoint", flush=True)
        return None
    if done is None or done.folder != folder:
        make_room(folder)
    if done is None:
        return None
    print(f"#{hydra.job.num} is skipped: {done.folder} holds the same training", flush=True)
    if done.folder == folder:
        return read_ended(folder)
    return Ended(0, done.evaluation, str(done.folder))
