"""Demonstrations as groups: what the model is trained to say, token for token."""

import pytest
import torch

from slime.config.schema import ConfigError, Demonstrations, RolloutConfig
from slime.data import Finish, Prompt
from slime.model.tiny import END
from slime.rollout.demonstrations import build_demonstrator
from slime.task import Demonstration

PROMPT = Prompt(5, "2 + 2 =", "4")


def demonstration(response, prompt=PROMPT):
    return Demonstration(prompt, response, "task.path: some.jsonl line 3:")


@pytest.fixture
def demonstrator(tiny_tokenizer):
    def build(stop_tokens=(), **values):
        defaults = {"samples_per_prompt": 1, "max_response_tokens": 8, "max_prompt_tokens": 16}
        config = RolloutConfig(engine=Demonstrations(), **(defaults | values))
        return build_demonstrator(config, stop_tokens, tiny_tokenizer)

    return build


def test_a_group_is_one_rollout_whose_end_is_trained_too(demonstrator, tiny_tokenizer):
    group = demonstrator(["\n"]).group(demonstration(" 4"))
    [rollout] = group.rollouts
    [sample] = rollout.samples
    assert group.prompt == PROMPT
    assert (rollout.id, rollout.prompt_id) == (5, 5)
    assert (rollout.text, rollout.finish, rollout.reward) == (" 4", Finish.stop, None)
    assert sample.prompt_tokens_P.tolist() == tiny_tokenizer.encode("2 + 2 =")
    assert sample.response_tokens_R.tolist() == tiny_tokenizer.encode(" 4\n")
    assert sample.loss_mask_R.tolist() == [True, True, True]


def test_nobody_sampled_it_so_its_log_probs_are_0(demonstrator):
    [sample] = demonstrator().group(demonstration(" 4")).rollouts[0].samples
    assert torch.equal(sample.rollout_log_probs_R, torch.zeros(3, dtype=torch.float32))


def test_without_a_stop_token_of_the_task_the_models_own_end_closes(demonstrator, tiny_tokenizer):
    [sample] = demonstrator().group(demonstration(" 4")).rollouts[0].samples
    assert sample.response_tokens_R.tolist() == tiny_tokenizer.encode(f" 4{END}")


def test_a_response_may_be_as_long_as_a_rollout_its_end_included(demonstrator):
    fits = demonstration("1234567")
    demonstrator(max_response_tokens=8).check([fits])
    sample = demonstrator(max_response_tokens=8).group(fits).rollouts[0].samples[0]
    assert len(sample.response_tokens_R) == 8


def test_a_response_that_is_too_long_is_named_with_its_line_and_what_to_write(demonstrator):
    with pytest.raises(ConfigError) as error:
        demonstrator(max_response_tokens=8).check([demonstration(" 4"), demonstration("12345678")])
    assert str(error.value) == (
        "task.path: some.jsonl line 3: the response '12345678' has 9 tokens with the one that ends "
        "it; write rollout.max_response_tokens=9 or more, or shorten it"
    )


@pytest.mark.parametrize("response", ["4\n", "4\n5", f"4{END}"])
def test_a_response_that_would_end_before_its_end_is_named(demonstrator, response):
    with pytest.raises(ConfigError, match=r"line 3: the response .* holds a token that ends"):
        demonstrator(["\n"]).check([demonstration(response)])


def test_what_the_check_accepts_can_be_made_a_group(demonstrator):
    one = demonstrator(["\n"])
    for response in ("", " 4", "1234567", "é"):
        one.check([demonstration(response)])
        one.group(demonstration(response))
