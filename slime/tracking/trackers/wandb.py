"""Weights & Biases: a .wandb file in the run directory, or, online, its server too."""

import wandb

from slime.config.schema import ConfigError, WandbMode, WandbTracking
from slime.tracking.facts import RunFacts
from slime.tracking.past import Past
from slime.tracking.tracker import Point, RunState

_EXIT_CODE = {RunState.finished: 0, RunState.failed: 1, RunState.interrupted: 130}
_LONGEST_UPLOAD_SECONDS = 300  # at the end of a run; wandb sync uploads the rest


class Wandb:
    """One history row for every record, each curve over its own axis."""

    def __init__(self, config: WandbTracking, facts: RunFacts, past: Past | None = None) -> None:
        self._known: set[str] = set()
        wandb.setup(_settings(config.mode))
        try:
            if config.mode is WandbMode.online:
                _log_in_without_asking()
            self._run = wandb.init(
                project=config.project,
                group=config.group or facts.sweep,
                name=config.run_name or facts.name,
                dir=str(facts.directory),
                config=facts.config | facts.origin,
                id=past.tracker if past else None,
                resume="allow" if past and past.tracker else None,
                reinit="create_new",  # jobs of a sweep may share a process
                settings=_settings(config.mode),
            )
        except BaseException:
            wandb.teardown()
            raise
        self.run_id: str | None = self._run.id
        for axis in ("step", "iteration"):
            self._run.define_metric(axis, hidden=True)
        folder = self._run.settings.sync_dir
        offline = f"upload this run to W&B with: wandb sync {folder}"
        self.where: str | None = self._run.url or offline

    def write(self, points: list[Point]) -> None:
        for point in points:
            if point.name not in self._known:
                self._known.add(point.name)
                self._run.define_metric(point.name, step_metric=point.axis)
        values: dict[str, float] = {point.name: point.value for point in points}
        self._run.log(values | {point.axis: point.x for point in points})

    def close(self, state: RunState) -> None:
        """No process of W&B is left after it."""
        try:
            self._run.summary["state"] = state.value
            self._run.finish(exit_code=_EXIT_CODE[state])
        finally:
            wandb.teardown()


def _settings(mode: WandbMode) -> wandb.Settings:
    """No output, no code, no git remote (its URL can hold a token), no question to a person."""
    return wandb.Settings(
        mode=mode.value,
        silent=True,
        console="off",
        disable_git=True,
        disable_code=True,
        save_code=False,
        x_disable_stats=mode is WandbMode.offline,  # looks for a cloud's metadata server
        finish_timeout=_LONGEST_UPLOAD_SECONDS,
    )


def _log_in_without_asking() -> None:
    """Raises ConfigError when W&B knows no API key; it would ask for one otherwise."""
    if not wandb.login(prompt=False, verify=False):
        raise ConfigError(
            "W&B has no API key for its server: run wandb login, set WANDB_API_KEY, or write "
            "tracking.mode=offline"
        )
