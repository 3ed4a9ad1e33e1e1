"""Wrong advantages: mutations of estimators, whitening and the KL in the reward."""

from tests.mutations.mutation import Mutation

_ESTIMATORS, _WHITENING = "slime/advantage/estimators.py", "slime/advantage/whitening.py"
_BUILD, _TOKENS = "slime/advantage/build.py", "slime/advantage/advantages.py"
_KL, _PLAN, _LOSS = "slime/kl_in_reward.py", "slime/plan.py", "slime/loss/build.py"
_TESTS = "tests/advantage/test_estimators.py::test_"
_WHITENING_TESTS = "tests/advantage/test_whitening.py::test_"
_KL_TESTS = "tests/test_kl_in_reward.py::test_"
_PLAN_TESTS = "tests/test_plan.py::test_"

ADVANTAGES = (
    Mutation(
        "the mean of all in the place of that of the others",
        _ESTIMATORS,
        "centred * len(rewards) / others if others else 0.0",
        "centred if others else 0.0",
        _TESTS + "rloo_subtracts_the_mean_of_the_others",
    ),
    Mutation(
        "a token does not pay for itself",
        _ESTIMATORS,
        "to_go_R = penalties_R.flip(0).cumsum(0).flip(0) + after",
        "to_go_R = penalties_R.flip(0).cumsum(0).flip(0) + after - penalties_R",
        _TESTS + "reinforce_plus_plus_is_the_reward_without_what_is_still_to_be_paid",
    ),
    Mutation(
        "a sample pays for itself only",
        _ESTIMATORS,
        "after = after + penalties_R.sum()",
        "after = after + 0 * penalties_R.sum()",
        _TESTS + "what_is_still_to_be_paid_goes_on_in_the_samples_that_follow",
    ),
    Mutation(
        "a token pays for what lies behind it",
        _ESTIMATORS,
        "penalties_R.flip(0).cumsum(0).flip(0)",
        "penalties_R.cumsum(0)",
        _TESTS + "reinforce_plus_plus_is_the_reward_without_what_is_still_to_be_paid",
    ),
    Mutation(
        "rewards without their shaping",
        _BUILD,
        "reward = rollout.reward + rollout.shaping",
        "reward = rollout.reward",
        _TESTS + "shaping_counts_as_reward",
    ),
    Mutation(
        "rewards that pay nothing within a group",
        _BUILD,
        "[_reward(rollout) - _sum(penalties, rollout) for rollout in group.rollouts]",
        "[_reward(rollout) for rollout in group.rollouts]",
        _TESTS + "rloo_subtracts_the_mean_of_the_others",
    ),
    Mutation(
        "reinforce_plus_plus with the baseline of its sibling",
        _BUILD,
        "        case ReinforcePlusPlusAdvantage():\n            return _whole_rewards",
        "        case ReinforcePlusPlusAdvantage():\n"
        "            return partial(_within_groups, dr_grpo)",
        _WHITENING_TESTS + "over_rollouts_reinforce_plus_plus_whitens_the_rewards",
    ),
    Mutation(
        "advantages on masked tokens",
        _TOKENS,
        "torch.where(s.loss_mask_R, value, 0.0)",
        "value.expand(len(s.loss_mask_R))",
        _TESTS + "a_masked_token_has_no_advantage_whatever_it_would_cost",
    ),
    Mutation(
        "returns on masked tokens",
        _BUILD,
        "torch.where(sample.loss_mask_R, values_R, 0.0)",
        "values_R",
        _TESTS + "a_masked_token_has_no_advantage_whatever_it_would_cost",
    ),
    Mutation(
        "the sample deviation where the population's belongs",
        _WHITENING,
        "centred_N.square().mean().sqrt()",
        "centred_N.std()",
        _WHITENING_TESTS + "the_deviation_is_that_of_the_population_as_in_openrlhf",
    ),
    Mutation(
        "whitening that leaves the mean",
        _WHITENING,
        "return centred_N / (centred_N",
        "return values_N / (centred_N",
        _WHITENING_TESTS + "over_tokens_reinforce_plus_plus_whitens_the_returns",
    ),
    Mutation(
        "equal advantages divided by epsilon",
        _WHITENING,
        "if len(values_N) == 0 or bool((values_N == values_N[0]).all()):",
        "if len(values_N) == 0:",
        _WHITENING_TESTS + "equal_advantages_give_exactly_zero",
    ),
    Mutation(
        "a mean of rounding taken away from those that have no advantage",
        _WHITENING,
        "_ROUNDING = 1e-12",
        "_ROUNDING = 0",
        _WHITENING_TESTS + "over_rollouts_a_group_of_equal_rewards_still_gets_exactly_zero",
    ),
    Mutation(
        "masked tokens among those that are whitened",
        _WHITENING,
        "standardised(values_T[mask_T], epsilon)",
        "standardised(values_T, epsilon)[mask_T]",
        _WHITENING_TESTS + "over_tokens_each_active_one_counts_once",
    ),
    Mutation(
        "tokens whitened as rollouts",
        _BUILD,
        "partial(_whitened_tokens, _of_tokens(config), epsilon)",
        "partial(_whitened_rollouts, _of_rollouts(config), epsilon)",
        _WHITENING_TESTS + "a_long_rollout_moves_the_mean_over_tokens_and_not_that_over_rollouts",
    ),
    Mutation(
        "truncated rollouts whitened with the others",
        _PLAN,
        "advantages = flattened(groups, self.advantage(groups))",
        "advantages = flattened(groups, self.advantage(generated))",
        _PLAN_TESTS + "truncated_rollouts_are_not_among_the_tokens_that_are_whitened",
    ),
    Mutation(
        "advantages before their log-probs are known",
        _PLAN,
        "advantage=_not_known_yet if kl_in_reward(loss.kl) else build_advantage(advantage),",
        "advantage=build_advantage(advantage),",
        _KL_TESTS + "until_the_log_probs_are_there_no_advantage_is_a_number",
    ),
    Mutation(
        "the reference's KL to the policy",
        _KL,
        "self.estimate(old_R.double(), reference_R.double())",
        "self.estimate(reference_R.double(), old_R.double())",
        _KL_TESTS + "a_group_is_compared_by_what_is_left_of_its_rewards",
    ),
    Mutation(
        "masked tokens that pay",
        _KL,
        "torch.where(sample.sample.loss_mask_R, self.coefficient * kl_R, 0.0)",
        "self.coefficient * kl_R",
        _KL_TESTS + "a_group_is_compared_by_what_is_left_of_its_rewards",
    ),
    Mutation(
        "a KL without its coefficient",
        _KL,
        "self.coefficient * kl_R",
        "kl_R",
        _KL_TESTS + "under_reinforce_plus_plus_a_token_pays_for_itself_and_those_after_it",
    ),
    Mutation(
        "a KL that is paid in the reward and in the loss",
        "slime/loss/kl.py",
        "return KLPenalty(build_kl_estimator(config), None)",
        "return KLPenalty(build_kl_estimator(config), config.coefficient)",
        "tests/loss/test_kl_in_reward.py::test_the_loss_has_no_kl_term_and_measures_the_kl",
    ),
)
