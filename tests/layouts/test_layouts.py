"""The loss of a step is the one in the paper on every layout: the core.  test_grid.py has more."""

from dataclasses import replace

import pytest
from layouts.adamw import first_step
from layouts.checks import check, check_all, check_log_probs
from layouts.compare import FLOAT32, assert_weights_are
from layouts.layouts import ADAM, LAYOUTS, PAIRS, shares_of
from layouts.problems import LOSSES, MODES, TERMS, UNITS, lonely_problem, model_of, seeded_problems

SEEDS = {"llama": 0, "qwen3": 1}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
@pytest.mark.parametrize("layout", PAIRS)
def test_loss_metrics_and_every_gradient_are_the_oracles(layout, family, mode, folders, pair):
    found = seeded_problems(folders[family], SEEDS[family], mode)
    check_all(pair, folders[family], LAYOUTS[layout], mode, found)


@pytest.mark.parametrize("layout", ["dp2_distributed", "cp2_distributed"])
def test_with_a_distributed_optimizer_the_gradient_is_whole(layout, folders, pair):
    found = seeded_problems(folders["qwen3"], 1, "prompt_mean")
    check_all(pair, folders["qwen3"], LAYOUTS[layout], "prompt_mean", found)


@pytest.mark.parametrize("loss", [*TERMS, *UNITS])
def test_every_term_and_every_way_to_count_is_the_oracles(loss, folders, pair):
    """Where sequences are shared, because whole sequences matter to some of them."""
    on_policy = loss in ("policy_only", "gspo_custom", "tis", "k2")
    found = seeded_problems(folders["llama"], 5, loss, on_policy=on_policy)
    check_all(pair, folders["llama"], LAYOUTS["cp2"], loss, found)


@pytest.mark.parametrize("count", [1, 3, 7])
def test_the_number_of_micro_batches_does_not_matter(count, folders, pair):
    [problem] = seeded_problems(folders["qwen3"], 1, "prompt_mean", prompts=6)
    shares = shares_of(problem.step.samples, replace(LAYOUTS["dp2"], microbatches=count))
    assert [len(share) for share in shares] == [count, count]
    check(pair, folders["qwen3"], LAYOUTS["dp2"], "prompt_mean", problem, shares)


@pytest.mark.parametrize("mode", ["sample_mean", "token_mean"])
def test_ranks_with_different_numbers_of_micro_batches_weigh_the_same(mode, folders, pair):
    [problem] = seeded_problems(folders["llama"], 0, mode)
    samples = problem.step.samples
    shares = (samples[:1], samples[1:2], samples[2:5]), (samples[5:],)
    check(pair, folders["llama"], LAYOUTS["dp2"], mode, problem, shares)


@pytest.mark.parametrize("loss", ["sample_mean", "policy_only"])
@pytest.mark.parametrize("layout", PAIRS)
def test_a_rank_without_an_active_token_adds_nothing(layout, loss, folders, pair):
    """Under cp2 the second worker has none, under dp2 the empty sample or, without it, a filler."""
    problem = lonely_problem(folders["llama"], loss)
    if layout == "dp2":
        *_, last = shares_of(problem.step.samples, LAYOUTS[layout])
        assert sum(sample.sample.active_tokens for [sample] in last) == 0
    check(pair, folders["llama"], LAYOUTS[layout], loss, problem)


@pytest.mark.parametrize("mode", MODES)
def test_a_last_step_smaller_than_the_others_has_its_own_denominators(mode, folders, pair):
    found = seeded_problems(folders["llama"], 2, mode, prompts=5, steps=2)
    assert [problem.step.prompts for problem in found] == [3, 2]
    check_all(pair, folders["llama"], LAYOUTS["dp2"], mode, found)


@pytest.mark.parametrize("optimizer", ["", "_distributed"])
@pytest.mark.parametrize("layout", ["dp2", "cp2", "tp2_sequence", "pp2"])
def test_a_step_leaves_the_weights_of_plain_adamw(layout, optimizer, folders, pair):
    family = "llama" if optimizer else "qwen3"
    [problem] = seeded_problems(folders[family], SEEDS[family], "token_mean")
    config = LAYOUTS[layout + optimizer]
    shares = shares_of(problem.step.samples, config)
    before = model_of(folders[family]).weights()
    after = pair.step(folders[family], config, LOSSES["token_mean"], shares).tensors
    expected = first_step(before, problem.gradient, ADAM)
    assert_weights_are(after, expected, before, FLOAT32)


@pytest.mark.parametrize("layout", PAIRS)
def test_log_probs_before_the_step_are_the_models(layout, folders, pair):
    [problem] = seeded_problems(folders["qwen3"], 1, "sample_mean")
    check_log_probs(pair, folders["qwen3"], LAYOUTS[layout], problem)
