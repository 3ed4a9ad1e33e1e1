"""What a run saves is checked against what another run, on another model, starts with."""

from pathlib import Path

import pytest
import torch
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from slime import sources
from slime.config.compose import search_path
from slime.config.overrides import read_command_line
from slime.config.schema import ConfigError
from slime.config.store import register
from slime.data import Finish, Group, Prompt, Rollout, Sample
from slime.plan import build_planner
from slime.rollout.engine import Sampling

ROOT = Path(__file__).parents[2]
SAMPLING = Sampling(0.7, 0.9, max_response_tokens=4, stop_token_ids=frozenset())


def group(number, token):
    sample = Sample(
        prompt_id=number,
        rollout_id=number,
        prompt_tokens_P=torch.tensor([5, 6]),
        response_tokens_R=torch.tensor([7, token]),
        loss_mask_R=torch.tensor([True, True]),
        rollout_log_probs_R=torch.tensor([-0.5, -1.0]),
    )
    rollout = Rollout(number, number, (sample,), "t", Finish.stop, 1.0)
    return Group(Prompt(number, "q", "a"), (rollout,))


@pytest.fixture
def replayed(tmp_path, tiny_folder, monkeypatch):
    """What the start of a replay of these groups says, all paths being in the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    register(ROOT / "recipes")
    loader = ConfigLoaderImpl(search_path(ROOT / "conf"))

    def replayed(groups, *overrides):
        sources._keep("~/saved", SAMPLING, tmp_path / "run", 0)(0, groups)
        fitting = {"rollout.temperature": "0.7", "rollout.top_p": "0.9", "iterations": "1"}
        fitting |= dict(override.split("=") for override in overrides)
        replay = ["model=tiny", "rollout/engine=replay", 'rollout.engine.path="~/saved"']
        config = read_command_line(loader, [*replay, *(f"{k}={v}" for k, v in fitting.items())])
        plan = build_planner(
            config.loss, config.advantage, config.steps_per_iteration, config.incomplete_step
        )
        try:
            sources.replayed(config, config.rollout.engine, tiny_folder, plan)
        except ConfigError as error:
            return [line.partition(":")[0] for line in str(error).splitlines()]
        return []

    return replayed


def test_a_replay_that_fits_starts(replayed, tmp_path):
    assert replayed([group(0, token=8), group(1, token=9)], "steps_per_iteration=2") == []
    assert (tmp_path / "saved" / "iteration_00000").is_dir()


@pytest.mark.parametrize(
    ("token", "override"),
    [
        (8, "rollout.temperature=0.9"),
        (8, "rollout.top_p=0.7"),
        (8, "steps_per_iteration=3"),
        (8, "parallel.max_tokens_per_microbatch=3"),
    ],
)
def test_a_key_that_does_not_fit_is_named(replayed, token, override):
    assert replayed([group(0, token), group(1, token)], override) == [override]


def test_rollouts_of_another_model_are_refused(replayed):
    assert replayed([group(0, token=49_151)]) == ["rollout.engine.path"]


def test_rollouts_that_the_planner_refuses_are_refused_before_the_start(replayed):
    assert replayed([group(0, token=8), group(0, token=8)]) == ["rollout.engine.path"]
