import math

import pytest
import torch
from parrot import Parrot

from slime.config.schema import ArithmeticTask, ConfigError, FirstNumberReward, RolloutConfig
from slime.config.schema import LocalEngine as LocalEngineConfig
from slime.data import Finish, Prompt
from slime.reward import Scorer
from slime.rollout.engine import Sampling
from slime.rollout.generate import build_sampling, evaluate, generate, request_seed
from slime.rollout.limits import check_lengths, encode_within_limit
from slime.task import build_task

PROMPTS = [Prompt(3, "1 + 1 =", "2"), Prompt(4, "20 + 30 =", "50")]


def config(**values):
    defaults = {"samples_per_prompt": 3, "max_prompt_tokens": 64}
    return RolloutConfig(engine=LocalEngineConfig(), **(defaults | values))


def run(engine, tokenizer, seed=0, iteration=0, prompts=PROMPTS, **values):
    a_config = config(**values)
    sampling = build_sampling(a_config, [], tokenizer)
    return generate(engine, prompts, tokenizer, a_config, sampling, seed, iteration)


def test_groups_hold_what_was_asked_and_answered(tiny_tokenizer):
    engine = Parrot(tiny_tokenizer, " 42")
    groups = run(engine, tiny_tokenizer)
    assert [group.prompt for group in groups] == PROMPTS
    assert [r.id for g in groups for r in g.rollouts] == [9, 10, 11, 12, 13, 14]
    for group in groups:
        for rollout in group.rollouts:
            [sample] = rollout.samples
            assert sample.rollout_id == rollout.id
            assert sample.prompt_id == rollout.prompt_id == group.prompt.id
            assert sample.prompt_tokens_P.tolist() == tiny_tokenizer.encode(group.prompt.text)
            assert torch.equal(sample.response_tokens_R, engine.tokens)
            assert sample.rollout_log_probs_R.dtype == torch.float32
            assert sample.loss_mask_R.tolist() == [True, True, True]
            assert (rollout.text, rollout.finish, rollout.reward) == (" 42", Finish.length, None)


def test_a_stop_token_is_in_the_response_but_not_in_its_text(tiny_tokenizer):
    for text in ("42\n", "42<|end|>"):
        [group, _] = run(Parrot(tiny_tokenizer, text, Finish.stop), tiny_tokenizer)
        assert group.rollouts[0].text == "42"
        assert group.rollouts[0].samples[0].active_tokens == 3
    [group, _] = run(Parrot(tiny_tokenizer, "42\n", Finish.length), tiny_tokenizer)
    assert group.rollouts[0].text == "42\n"


def test_every_rollout_of_a_run_has_a_seed_of_its_own(tiny_tokenizer):
    engine = Parrot(tiny_tokenizer, "1")
    for iteration in range(3):
        run(engine, tiny_tokenizer, seed=1, iteration=iteration)
        run(engine, tiny_tokenizer, seed=2, iteration=iteration)
    seeds = [request.seed for requests, _ in engine.asked for request in requests]
    assert len(set(seeds)) == len(seeds) == 36
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_a_seed_is_the_same_number_on_every_machine():
    assert request_seed(0, 1, 2, 3) == 10631103076138069647


def test_the_same_arguments_give_the_same_groups(tiny_engine, tiny_tokenizer):
    def texts(**values):
        return [r.text for g in run(tiny_engine, tiny_tokenizer, **values) for r in g.rollouts]

    assert texts(seed=5) == texts(seed=5)
    assert len({tuple(texts(seed=s, iteration=i)) for s in (5, 6) for i in (0, 1)}) == 4
    assert len(set(texts())) == 6


def test_the_sampling_is_what_the_config_says(tiny_tokenizer):
    values = {"temperature": 0.5, "top_p": 0.9, "max_response_tokens": 7}
    newline = tiny_tokenizer.encode("\n")[0]
    assert build_sampling(config(**values), ["\n"], tiny_tokenizer) == Sampling(
        temperature=0.5,
        top_p=0.9,
        max_response_tokens=7,
        stop_token_ids=frozenset({0, newline}),
    )


# Limits


def test_a_prompt_that_is_too_long_is_named_with_the_key(tiny_tokenizer, tiny_engine):
    long = Prompt(0, "How much is one and one? " * 10, "2")
    with pytest.raises(ConfigError) as error:
        run(tiny_engine, tiny_tokenizer, prompts=[long])
    assert str(error.value).startswith("rollout.max_prompt_tokens=64: the prompt 'How much is")
    assert "has 250 tokens" in str(error.value)
    with pytest.raises(ConfigError, match="has 250 tokens"):
        check_lengths([*PROMPTS, long], tiny_tokenizer, config(), positions=4096)
    check_lengths([*PROMPTS, long], tiny_tokenizer, config(max_prompt_tokens=250), positions=4096)


def test_a_prompt_of_exactly_the_limit_is_accepted(tiny_tokenizer, tiny_engine):
    [prompt] = [Prompt(0, "x" * 64, "")]
    check_lengths([prompt], tiny_tokenizer, config(), positions=4096)
    run(tiny_engine, tiny_tokenizer, prompts=[prompt])


def test_prompt_and_response_must_fit_the_models_positions(tiny_tokenizer):
    prompts = [Prompt(0, "x" * 50, "")]
    check_lengths(prompts, tiny_tokenizer, config(max_response_tokens=14), positions=64)
    with pytest.raises(ConfigError, match=r"rollout\.max_response_tokens=15.*64 positions"):
        check_lengths(prompts, tiny_tokenizer, config(max_response_tokens=15), positions=64)


class Deaf:
    """A tokenizer that knows letters only, and drops the rest."""

    def encode(self, text):
        return [ord(c) for c in text if c.isalpha()]


@pytest.mark.parametrize("text", ["", "\u3000", "1 + 1 = "])
def test_a_prompt_without_tokens_is_named(text):
    prompts = [Prompt(0, "how much?", ""), Prompt(1, text, "")]
    with pytest.raises(ConfigError, match="makes no tokens of the prompt") as error:
        check_lengths(prompts, Deaf(), config(), positions=4096)
    assert repr(text) in str(error.value)
    with pytest.raises(ConfigError, match="makes no tokens of the prompt"):
        encode_within_limit(prompts[1], Deaf(), config())


def test_a_short_prompt_whose_beginning_has_no_tokens_is_accepted():
    check_lengths([Prompt(0, "12345678901 is it", "")], Deaf(), config(), positions=4096)


# Evaluation


@pytest.fixture(scope="module")
def scorer():
    with Scorer(FirstNumberReward()) as scorer:
        yield scorer


def judge(engine, tokenizer, scorer, prompts):
    a_config = config(temperature=0.7, top_p=0.5)
    sampling = build_sampling(a_config, [], tokenizer)
    return evaluate(engine, prompts, tokenizer, a_config, sampling, scorer)


def test_an_evaluation_asks_each_prompt_once_and_greedily(tiny_tokenizer, scorer):
    engine = Parrot(tiny_tokenizer, " 50")
    evaluation = judge(engine, tiny_tokenizer, scorer, PROMPTS)
    assert (evaluation.reward_mean, evaluation.response_tokens_mean) == (0.5, 3.0)
    assert [a.prompt_id for a in evaluation.answers] == [p.id for p in PROMPTS]
    assert [a.reward for a in evaluation.answers].count(1.0) == 1
    assert evaluation.failures == ()
    [(requests, sampling)] = engine.asked
    assert (len(requests), sampling.temperature) == (2, 0.0)


def test_an_evaluation_repeats(tiny_engine, tiny_tokenizer, scorer):
    prompts = build_task(ArithmeticTask(), 0, tiny_tokenizer.render_chat).held_out(8)
    first = judge(tiny_engine, tiny_tokenizer, scorer, prompts)
    assert first == judge(tiny_engine, tiny_tokenizer, scorer, prompts)
    assert math.isfinite(first.reward_mean)


def test_a_reward_that_fails_is_part_of_the_evaluation(tiny_tokenizer, scorer):
    evaluation = judge(
        Parrot(tiny_tokenizer, "2"), tiny_tokenizer, scorer, [Prompt(0, "?", "Paris"), PROMPTS[0]]
    )
    assert evaluation.reward_mean == 0.5
    assert [failure.answer for failure in evaluation.failures] == ["Paris"]


def test_an_evaluation_of_nothing_is_an_error(tiny_engine, tiny_tokenizer, scorer):
    with pytest.raises(ValueError, match="at least one prompt"):
        judge(tiny_engine, tiny_tokenizer, scorer, [])
