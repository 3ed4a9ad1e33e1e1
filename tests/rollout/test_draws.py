"""Which prompts an iteration gets, however many draws it takes."""

import json

import pytest
from parrot import Parrot

from slime.config.schema import (
    ArithmeticTask,
    Demonstrations,
    DynamicFilter,
    FilterConfig,
    JsonlTask,
    LocalEngine,
    RolloutConfig,
)
from slime.rollout.demonstrations import build_demonstrator
from slime.rollout.draws import DemonstratedDraws, SampledDraws
from slime.rollout.generate import build_sampling
from slime.task import build_task


def no_chat(messages):
    raise AssertionError(f"no chat was expected, got {messages}")


def arithmetic(seed=0):
    return build_task(ArithmeticTask(), seed, no_chat)


def sampled(tokenizer, task, rollout_filter, seed=7):
    config = RolloutConfig(
        engine=LocalEngine(),
        filter=rollout_filter,
        prompts_per_iteration=4,
        samples_per_prompt=2,
    )
    engine = Parrot(tokenizer, "1")
    sampling = build_sampling(config, [], tokenizer)
    return SampledDraws(engine, task, tokenizer, sampling, config, seed), engine


def prompts_of(groups):
    return [group.prompt for group in groups]


def test_without_a_filter_a_draw_is_an_iteration(tiny_tokenizer):
    draws, _ = sampled(tiny_tokenizer, arithmetic(), FilterConfig())
    for iteration in range(3):
        assert prompts_of(draws(iteration)) == arithmetic().prompts(iteration, 4)


def test_every_draw_of_a_run_is_another_one_whichever_iteration_it_is_for(tiny_tokenizer):
    draws, engine = sampled(tiny_tokenizer, arithmetic(), DynamicFilter(prompts_per_round=3))
    drawn = [prompts_of(draws(iteration)) for iteration in (0, 0, 1, 1, 1)]
    assert drawn == [arithmetic().prompts(number, 3) for number in range(5)]
    ids = [prompt.id for prompts in drawn for prompt in prompts]
    assert len(set(ids)) == len(ids)
    seeds = [request.seed for requests, _ in engine.asked for request in requests]
    assert len(set(seeds)) == len(seeds) == 5 * 3 * 2


def test_another_run_draws_the_same(tiny_tokenizer):
    first, one = sampled(tiny_tokenizer, arithmetic(), DynamicFilter())
    second, other = sampled(tiny_tokenizer, arithmetic(), DynamicFilter())
    for iteration in (0, 0, 1):
        assert prompts_of(first(iteration)) == prompts_of(second(iteration))
    assert one.asked == other.asked


@pytest.fixture
def questions(tmp_path):
    lines = [{"prompt": f"q{i}", "answer": str(i), "response": f" {i}."} for i in range(20)]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    return build_task(JsonlTask(path=str(path)), 0, no_chat)


def test_no_question_of_an_epoch_is_skipped(tiny_tokenizer, questions):
    draws, _ = sampled(tiny_tokenizer, questions, DynamicFilter(prompts_per_round=6))
    epoch = [p.text for iteration in (0, 0, 1) for p in prompts_of(draws(iteration))]
    assert sorted(epoch) == sorted({f"q{i}" for i in range(20)} - {"q9", "q19"})


def test_demonstrations_are_of_the_same_prompts_that_would_be_sampled(tiny_tokenizer, questions):
    config = RolloutConfig(engine=Demonstrations(), prompts_per_iteration=4, samples_per_prompt=1)
    demonstrator = build_demonstrator(config, [], tiny_tokenizer)
    draws = DemonstratedDraws(demonstrator, questions, config)
    for iteration in range(3):
        groups = draws(iteration)
        assert prompts_of(groups) == questions.prompts(iteration, 4)
        texts = [rollout.text for group in groups for rollout in group.rollouts]
        assert texts == [f" {prompt.answer}." for prompt in prompts_of(groups)]
