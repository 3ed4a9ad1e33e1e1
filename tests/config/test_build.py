"""build() alone: a composition by Hydra, with whatever was pushed into it, to a Config."""

import pytest

from slime.config.build import build
from slime.config.compose import compose
from slime.config.schema import ConfigError, Schedule, check


@pytest.fixture(scope="session")
def built(loader):
    return lambda *overrides: build(compose(loader, list(overrides)))


def test_a_right_composition_becomes_a_typed_config(built):
    config = built("loss/aggregation=constant", "loss.divisor=5", "optimizer.schedule=cosine")
    assert config.loss.divisor == 5.0
    assert config.optimizer.schedule is Schedule.cosine
    assert config.task.stop_tokens == ["\n"]
    assert isinstance(config.task.stop_tokens, list)
    check(config)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+foo=1"], r"^unknown key 'foo' \(valid keys: advantage"),
        (["++loss.foo=1"], r"^unknown key 'loss.foo'"),
        (["++loss.divisor=5"], r"^'loss.divisor' is not used by loss/aggregation=sample_mean; "),
        (["++loss.kl.coefficient=5"], r"^'loss.kl.coefficient' is not used by loss/kl=none; "),
        (["loss.aggregation=constant"], r"select it with loss/aggregation=constant$"),
        (["loss/aggregation=constant"], r"^loss.divisor is required \("),
        (
            ["~model"],
            r"^model is required: pass model=tiny\|tiny_moe\|smollm2_135m\|qwen2_5_0_5b\|"
            r"qwen3_0_6b\|qwen3_4b\|qwen3_30b_a3b\|path$",
        ),
        (["~iterations"], r"^iterations is required \(how often to generate and train\): "),
        (["~evaluation"], r"^evaluation is required \(it has keys of its own\): "),
        (["iterations=0"], r"^iterations must be at least 1, got 0$"),
        (["seed=${nope}"], r"^seed=\$\{nope\}: there is no key 'nope'$"),
    ],
)
def test_what_hydra_lets_through_is_still_a_config_error(overrides, message, built):
    with pytest.raises(ConfigError, match=message):
        built(*overrides)


def test_every_problem_of_a_composition_is_told_at_once(built):
    with pytest.raises(ConfigError) as caught:
        built("+foo=1", "loss/aggregation=constant", "iterations=0", "++rollout.bar=2")
    assert len(str(caught.value).splitlines()) == 4
