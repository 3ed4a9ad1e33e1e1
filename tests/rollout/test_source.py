"""Rounds of generating and scoring, and what of them is kept."""

import pytest
from groups import collected, group
from parrot import Parrot

from slime.config.schema import (
    DynamicFilter,
    ExactMatchReward,
    LocalEngine,
    RolloutConfig,
    SoftOverlong,
)
from slime.data import Finish, Prompt
from slime.reward import Scorer
from slime.reward.overlong import build_shaping
from slime.rollout.engine import Sampling
from slime.rollout.generate import Examiner, generate
from slime.rollout.replay import save_iteration
from slime.rollout.selection import build_selection
from slime.rollout.source import Drawn, Replayed

SAMPLING = Sampling(1.0, 1.0, max_response_tokens=4, stop_token_ids=frozenset())
CONFIG = RolloutConfig(
    engine=LocalEngine(),
    filter=DynamicFilter(max_rounds=3),
    prompts_per_iteration=2,
    samples_per_prompt=2,
    max_response_tokens=4,
)


@pytest.fixture(scope="module")
def scorer():
    with Scorer(ExactMatchReward()) as scorer:
        yield scorer


@pytest.fixture
def drawn(tiny_tokenizer, scorer):
    """Draws two prompts at a time; every answer is 42, in three tokens where four are allowed."""
    engine = Parrot(tiny_tokenizer, " 42")
    kept = []
    ids = iter(range(100))

    def draws(iteration):
        prompts = [Prompt(i, "6 * 7 =", "42" if i % 2 else "41") for i in (next(ids), next(ids))]
        return generate(engine, prompts, tiny_tokenizer, CONFIG, SAMPLING, 0, iteration)

    source = Drawn(
        draws=draws,
        select=build_selection(CONFIG),
        scorer=scorer,
        shaping=build_shaping(SoftOverlong(buffer_fraction=0.5), 4),
        keep=lambda iteration, groups: kept.append((iteration, groups)),
        engine=engine,
        examine=Examiner(
            engine, (Prompt(99, "6 * 7 =", "42"),), tiny_tokenizer, CONFIG, SAMPLING, scorer
        ),
    )
    return source, kept


def test_rounds_are_generated_and_scored_until_the_filter_has_enough(drawn):
    source, _ = drawn
    phases = []
    selection = source.collect(3, phases.append)
    assert phases == ["generating", "scoring"] * 3
    assert [g.prompt.id for g in selection.generated] == [0, 1, 2, 3, 4, 5]
    assert [g.rollouts[0].reward for g in selection.generated] == [0, 1, 0, 1, 0, 1]
    assert selection.unfilled == 2


def test_what_is_trained_on_is_kept_and_nothing_else(drawn):
    source, kept = drawn
    selection = source.collect(3, print)
    assert kept == [(3, selection.trained)]
    assert len(selection.trained) == 2 < len(selection.generated)


def test_shaping_stands_beside_the_reward(drawn):
    source, _ = drawn
    rollouts = [r for g in source.collect(0, print).generated for r in g.rollouts]
    assert {(r.reward, r.shaping) for r in rollouts} == {(0.0, -0.5), (1.0, -0.5)}


def test_an_evaluation_is_of_the_tasks_own_reward(drawn):
    source, _ = drawn
    assert source.evaluate().reward_mean == 1.0


def test_a_replay_is_one_round_without_a_reward_to_compute(tmp_path):
    groups = collected([group(1, [1.0, 1.0], [2, 4])]).trained
    save_iteration(tmp_path, SAMPLING, 0, groups)
    phases = []
    selection = Replayed(tmp_path).collect(0, phases.append)
    assert phases == ["reading rollouts"]
    assert [g.prompt for g in selection.trained] == [g.prompt for g in groups]
    assert selection.trained == selection.generated
    assert (len(selection.rounds), selection.reward_s) == (1, 0.0)
    assert {r.finish for g in selection.trained for r in g.rollouts} == {Finish.stop}
