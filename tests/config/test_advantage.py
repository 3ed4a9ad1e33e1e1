"""Which advantages go with which rollouts, and what they leave of a fingerprint."""

import pytest

from slime.config.fingerprint import fingerprint
from slime.config.schema import KLPlace, Whitening


@pytest.mark.parametrize("advantage", ["reinforce_plus_plus", "constant"])
def test_a_group_of_one_is_legal_where_nothing_is_compared(advantage, command):
    ended = command("rollout.samples_per_prompt=1", f"advantage={advantage}")
    assert ended.exit_code == 0, ended.err
    [(config, _)] = ended.trained
    assert config.advantage.name == advantage


@pytest.mark.parametrize("advantage", ["grpo", "dr_grpo", "rloo", "reinforce_plus_plus_baseline"])
def test_whoever_compares_may_pay_for_a_kl(advantage, command):
    ended = command(f"advantage={advantage}", "loss/kl=k1", "loss.kl.place=reward")
    assert ended.exit_code == 0, ended.err


def test_the_new_keys_are_neutral_as_they_come(config):
    plain = fingerprint(config("loss/kl=k3"))
    assert fingerprint(config("loss/kl=k3", "loss.kl.place=loss")) == plain
    assert fingerprint(config("loss/kl=k3", "advantage.whitening=none")) == plain
    changed = ["loss.kl.place=reward", "advantage.whitening=tokens", "advantage.whitening=rollouts"]
    assert len({fingerprint(config("loss/kl=k3", change)) for change in changed} | {plain}) == 4


def test_what_is_whitened_by_default(config):
    assert config().advantage.whitening is Whitening.none
    assert config("advantage=reinforce_plus_plus").advantage.whitening is Whitening.tokens
    assert config("loss/kl=k1").loss.kl.place is KLPlace.loss
