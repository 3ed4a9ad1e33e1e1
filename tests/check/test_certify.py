"""The real planner, loss and train worker on one worker, against the formulas, and broken ones."""

from dataclasses import replace

import pytest
import torch
from groups import group
from layout_process import layout_process
from tiny_models import write_tiny_model

from slime.check import case
from slime.check.certify import certify
from slime.check.subject import open_subject
from slime.config.schema import ConfigError, ParallelConfig
from slime.data import Finish, Group, Prompt
from slime.model.architecture import read_architecture
from slime.model.shrink import shrunken, write_random_model
from slime.plan import build_planner
from slime.rollout.engine import Sampling
from slime.rollout.replay import save_iteration
from slime.start import worker_spec


@pytest.fixture(scope="module")
def worker():
    with layout_process() as process:
        yield process


@pytest.fixture
def certificate(worker, config, tmp_path):
    """The certificate of a command line on one worker; `breaks` is done to the planned step."""

    def certificate(*overrides, breaks=lambda step: step):
        found = config("command=check", *overrides)
        plan = build_planner(
            found.loss, found.advantage, found.steps_per_iteration, found.incomplete_step
        )
        subject = open_subject(found, plan, tmp_path)
        return certify(
            found,
            subject,
            lambda groups: [breaks(step) for step in plan(groups)],
            lambda step: worker.gradient(worker_spec(found, subject.folder), step),
            lambda _: None,
        )

    return certificate


EVERY_TERM = ["loss/kl=k3", "loss.kl.coefficient=0.3", "loss.entropy_coefficient=0.05"]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        [*EVERY_TERM, "loss/correction=icepop"],
        [*EVERY_TERM, "loss/correction=icepop", "steps_per_iteration=2"],
        ["loss/aggregation=prompt_mean", "loss/kl=k1", "loss/correction=tis"],
        [
            *EVERY_TERM, "loss/aggregation=token_mean", "loss.empty_units=drop",
            "loss.auxiliary_aggregation=prompt_mean", "steps_per_iteration=2",
        ],
        [
            "loss/aggregation=constant", "loss.divisor=40960", "loss.mask_truncated=true",
            "advantage=dr_grpo", "rollout.temperature=0.7",
        ],
        [
            "loss/objective=gspo", "loss/correction=tis", "loss/kl=k2", "parallel.layout=bshd",
            "steps_per_iteration=2",
        ],
        ["loss.objective.dual_clip=2.5", "steps_per_iteration=2"],
        [
            *EVERY_TERM, "loss/objective=cispo", "loss.objective.clip_low=0.5",
            "loss/correction=tis", "loss/aggregation=prompt_mean", "steps_per_iteration=2",
        ],
        ["loss/objective=reinforce", "loss/correction=icepop", "steps_per_iteration=2"],
        [
            "loss/objective=sft", "advantage=constant", "rollout/engine=demonstrations",
            "rollout.samples_per_prompt=1", "loss/aggregation=token_mean",
        ],
        [
            "loss/aggregation=dr_grpo", "parallel.max_tokens_per_microbatch=2",
            "rollout.max_prompt_tokens=1", "rollout.max_response_tokens=1",
        ],
    ],
    ids=" ".join,
)  # fmt: skip
def test_the_loss_is_the_one_of_the_formulas(overrides, certificate):
    found = certificate(*overrides)
    assert found.ok, [row for row in found.rows if not row.ok]
    assert found.verdict.startswith("loss exact on ")
    assert found.worst_relative_error < 1e-5


IN_REWARD = ["loss.kl.coefficient=0.2", "loss.kl.place=reward"]
KL_IN_REWARD = ["loss/kl=k1", *IN_REWARD]


@pytest.mark.parametrize(
    "overrides",
    [
        ["advantage=rloo", "advantage.whitening=rollouts"],
        ["advantage=grpo", "advantage.whitening=tokens", "loss.mask_truncated=true"],
        ["advantage=reinforce_plus_plus"],
        ["advantage=reinforce_plus_plus_baseline", "steps_per_iteration=2"],
        ["advantage=constant", "advantage.value=0.5"],
        [*KL_IN_REWARD, "advantage=dr_grpo"],
        ["loss/kl=k3", *IN_REWARD, "advantage=grpo", "loss.entropy_coefficient=0.05"],
        ["loss/kl=k2", *IN_REWARD, "advantage=rloo", "loss/aggregation=token_mean"],
        [*KL_IN_REWARD, "advantage=reinforce_plus_plus", "steps_per_iteration=2"],
        [*KL_IN_REWARD, "advantage=reinforce_plus_plus", "advantage.whitening=none"],
        [*KL_IN_REWARD, "advantage=reinforce_plus_plus_baseline", "loss.mask_truncated=true"],
    ],
    ids=" ".join,
)
def test_the_advantages_are_those_of_the_formulas(overrides, certificate):
    found = certificate(*overrides)
    assert found.ok, [row for row in found.rows if not row.ok]
    assert found.worst_relative_error < 1e-5


def test_a_kl_in_the_reward_is_measured_and_is_no_term_of_the_loss(certificate):
    found = certificate(*KL_IN_REWARD, "advantage=reinforce_plus_plus")
    values = {row.term: row.reference for row in found.rows}
    assert values["kl_loss"] == 0
    assert values["kl"] != 0
    assert "off policy" in found.step


def by_half_lengths(step):
    """A custom aggregation."""
    return 1 / (step.active_tokens.double() + 1).sqrt()


@pytest.mark.parametrize(("steps", "clips"), [(1, False), (2, True)])
def test_a_step_is_on_policy_where_training_would_be(steps, clips, certificate):
    found = certificate(f"steps_per_iteration={steps}")
    value = {row.term: row.layout for row in found.rows}
    assert (value["clip_fraction_high"] > 0) == clips
    assert (value["ratio"] != 1) == clips
    assert ("on policy" in found.step) == (not clips)


def test_the_loss_with_weights_of_the_user_s_own(certificate):
    function = f"loss.function={__name__}:by_half_lengths"
    found = certificate("loss/aggregation=custom", function, "loss.auxiliary_aggregation=same")
    assert found.ok, [row for row in found.rows if not row.ok]
    assert found.modes[0].name == f"custom, {__name__}:by_half_lengths"
    assert len(found.modes) == len(found.gradient_norms) == 5


def test_bfloat16_is_right_within_its_rounding(certificate):
    found = certificate(*EVERY_TERM, "parallel.precision=bfloat16", "loss/correction=icepop")
    assert found.ok, [row for row in found.rows if not row.ok]
    assert found.verdict.startswith("loss right within rounding on thd bfloat16, 1 worker")


def one_sample(step, **changes):
    """With one of its samples changed, one that has active tokens and a gradient."""
    samples = list(step.samples)
    s = next(i for i, one in enumerate(samples) if one.weight > 0 and one.advantages_R.any())
    samples[s] = replace(samples[s], **{k: f(samples[s]) for k, f in changes.items()})
    return replace(step, samples=tuple(samples))


def test_a_kl_that_the_reward_does_not_pay_right_fails(certificate, monkeypatch):
    honest = case.build_kl_in_reward

    def twice(kl, advantage):
        return honest(replace(kl, coefficient=2 * kl.coefficient), advantage)

    monkeypatch.setattr(case, "build_kl_in_reward", twice)
    found = certificate(*KL_IN_REWARD, "advantage=reinforce_plus_plus")
    assert "pg_loss" in [row.term for row in found.rows if not row.ok]


BROKEN = {
    "a weight": (lambda s: one_sample(s, weight=lambda one: 2 * one.weight), "pg_loss"),
    "a hair of a weight": (
        lambda s: one_sample(s, weight=lambda one: 1.01 * one.weight),
        "worst parameter",
    ),
    "an auxiliary weight": (
        lambda s: one_sample(s, auxiliary_weight=lambda one: 2 * one.auxiliary_weight),
        "kl_loss",
    ),
    "an advantage": (lambda s: one_sample(s, advantages_R=lambda one: -one.advantages_R), "loss"),
    "a sample left out": (lambda s: replace(s, samples=s.samples[1:]), "active_tokens"),
    "a mask": (
        lambda s: one_sample(
            s,
            sample=lambda one: replace(
                one.sample, loss_mask_R=torch.zeros_like(one.sample.loss_mask_R)
            ),
        ),
        "active_tokens",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_broken_fails(what, certificate):
    breaks, term = BROKEN[what]
    found = certificate(*EVERY_TERM, breaks=breaks)
    assert not found.ok
    assert term in [row.term.partition(":")[0] for row in found.rows if not row.ok]
    assert found.verdict.startswith("FAIL: ")


@pytest.fixture
def saved(tmp_path):
    """A saved iteration: ragged, one rollout cut short, tokens up to 90."""
    groups = [group(p, [1.0, 0.0, 0.5], [1 + p, 7, 20 - p]) for p in range(4)]
    first = groups[0].rollouts
    cut = (replace(first[0], finish=Finish.length), *first[1:])
    groups[0] = Group(Prompt(0, "question 0", "42"), cut)
    sampling = Sampling(1.0, 1.0, max_response_tokens=32, stop_token_ids=frozenset())
    save_iteration(tmp_path / "saved", sampling, 0, groups)
    return f"check.replay={tmp_path / 'saved'}"


def test_a_saved_iteration_is_checked_on_a_small_model(saved, certificate):
    found = certificate(*EVERY_TERM, saved, "steps_per_iteration=2", "loss/correction=tis")
    assert found.ok, [row for row in found.rows if not row.ok]
    active = next(row for row in found.rows if row.term == "active_tokens")
    assert active.reference == (1 + 7 + 20) + (2 + 7 + 19)  # of the first step's two prompts


def test_tokens_that_a_small_vocabulary_does_not_have_become_others(tmp_path, certificate):
    large = shrunken(read_architecture(write_tiny_model(tmp_path / "m", "qwen3")), ParallelConfig())
    write_random_model(
        replace(large, vocabulary_size=500, max_positions=512), 0, tmp_path / "large"
    )
    (tmp_path / "large" / "tokenizer.json").touch()
    groups = [group(0, [1.0, 0.0], [3, 300])]
    sampling = Sampling(1.0, 1.0, max_response_tokens=400, stop_token_ids=frozenset())
    save_iteration(tmp_path / "saved", sampling, 0, groups)
    found = certificate(
        "model=path", f"model.path={tmp_path / 'large'}", f"check.replay={tmp_path / 'saved'}"
    )
    assert found.ok, [row for row in found.rows if not row.ok]


def test_a_saved_iteration_is_checked_on_the_model_itself_on_policy(saved, certificate):
    found = certificate(saved, "check.shrink=false", "loss.mask_truncated=true")
    assert found.ok, [row for row in found.rows if not row.ok]
    values = {row.term: row.reference for row in found.rows}
    assert values["ratio"] == 1
    assert values["active_tokens"] == 4 * 7 + (2 + 3 + 4)  # the third of each prompt is idle
    assert values["rollout_logprob_abs_diff"] > 1  # the file's own log-probs


def test_a_saved_iteration_that_does_not_fit_is_said(saved, certificate):
    with pytest.raises(ConfigError, match=r"^rollout.temperature=0.7: iteration 0 of .*check.repl"):
        certificate(saved, "rollout.temperature=0.7")


def test_a_saved_iteration_without_an_active_token_is_said(tmp_path, certificate):
    sampling = Sampling(1.0, 1.0, max_response_tokens=32, stop_token_ids=frozenset())
    save_iteration(tmp_path / "saved", sampling, 0, [group(0, [1.0, 0.0], [0, 0])])
    with pytest.raises(ConfigError, match="has no active token"):
        certificate(f"check.replay={tmp_path / 'saved'}")
