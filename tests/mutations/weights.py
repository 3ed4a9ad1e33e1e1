"""Wrong denominators: mutations of what is computed once for a whole step."""

from tests.mutations.mutation import Mutation

_AGGREGATION, _PLAN = "slime/loss/aggregation.py", "slime/plan.py"
_TESTS, _PLAN_TESTS = "tests/loss/test_aggregation.py::test_", "tests/test_plan.py::test_"

WEIGHTS = (
    Mutation(
        "N in the place of P",
        _AGGREGATION,
        "return _unit_mean(step, step.prompt_ids, empty_units)",
        "wrong = len(step.rollout_ids.unique()) / len(step.prompt_ids.unique())\n"
        "    return _unit_mean(step, step.prompt_ids, empty_units) / wrong",
        _TESTS + "prompts_are_counted_from_ids_and_may_have_any_number_of_rollouts",
    ),
    Mutation(
        "P from N / group size",
        _AGGREGATION,
        "return _unit_mean(step, step.prompt_ids, empty_units)",
        "rollouts = len(step.rollout_ids.unique())\n"
        "    prompts_P, sizes_P = step.prompt_ids.unique(return_counts=True)\n"
        "    guessed = rollouts / int(sizes_P.max())\n"
        "    return _unit_mean(step, step.prompt_ids, empty_units) * len(prompts_P) / guessed",
        _TESTS + "prompts_are_counted_from_ids_and_may_have_any_number_of_rollouts",
    ),
    Mutation(
        "N from samples, not rollouts",
        _AGGREGATION,
        "return _unit_mean(step, step.rollout_ids, empty_units)",
        "return _unit_mean(step, torch.arange(len(step.rollout_ids)), empty_units)",
        _TESTS + "a_rollout_of_several_samples_counts_once",
    ),
    Mutation(
        "N of the constant mode from samples",
        _AGGREGATION,
        "rollouts = _Units.counted(step.rollout_ids, step).count(empty_units)",
        "rollouts = len(step.rollout_ids)",
        _TESTS + "a_rollout_of_several_samples_counts_once",
    ),
    Mutation(
        "no 1 / N beside the divisor",
        _AGGREGATION,
        "rollouts * float(divisor)",
        "float(divisor)",
        _TESTS + "constant_is_one_over_rollouts_times_divisor_whatever_the_lengths",
    ),
    Mutation(
        "the divisor on top of token_mean",
        _AGGREGATION,
        "        case TokenMeanLoss():\n            return token_mean",
        "        case TokenMeanLoss():\n            return lambda step: token_mean(step) / 37.5",
        _TESTS + "weights_are_those_of_the_formula",
    ),
    Mutation(
        "a phantom token for every empty sample of the step",
        _AGGREGATION,
        "step.active_tokens.sum().expand_as(step.active_tokens)",
        "step.active_tokens.clamp(min=1).sum().expand_as(step.active_tokens)",
        _TESTS + "a_fully_masked_rollout_counts_once_in_n_and_adds_no_token",
    ),
    Mutation(
        "a phantom token for every empty sample of a rollout",
        _AGGREGATION,
        "active_tokens_U.index_add_(0, of_sample_S, step.active_tokens.long())",
        "active_tokens_U.index_add_(0, of_sample_S, step.active_tokens.long().clamp(min=1))",
        _TESTS + "weights_are_those_of_the_formula",
    ),
    Mutation(
        "empty units are counted when they are to be dropped",
        _AGGREGATION,
        "return int((self.active_tokens_U > 0).sum())",
        "return int((self.active_tokens_U >= 0).sum())",
        _TESTS + "a_fully_masked_rollout_does_not_count_when_empty_units_are_dropped",
    ),
    Mutation(
        "empty units are dropped when they are to be counted",
        _AGGREGATION,
        "return len(self.active_tokens_U)",
        "return int((self.active_tokens_U > 0).sum())",
        _TESTS + "a_fully_masked_rollout_counts_once_in_n_and_adds_no_token",
    ),
    Mutation(
        "a weight for samples without an active token",
        _AGGREGATION,
        "torch.where(step.active_tokens > 0, 1 / denominators_S.double(), 0.0)",
        "torch.where(step.active_tokens >= 0, 1 / denominators_S.double(), 0.0)",
        _TESTS + "a_step_without_active_tokens_has_zero_weights_and_no_nan",
    ),
    Mutation(
        "KL and entropy are a sample mean under token_mean",
        _AGGREGATION,
        "        case AuxiliaryAggregation.auto if isinstance(config, TokenMeanLoss):\n"
        "            return token_mean",
        "        case AuxiliaryAggregation.auto if isinstance(config, TokenMeanLoss):\n"
        "            return partial(sample_mean, empty_units=config.empty_units)",
        _TESTS + "kl_and_entropy_are_a_sample_mean_except_under_token_mean",
    ),
    Mutation(
        "KL and entropy follow the policy-gradient term",
        _AGGREGATION,
        "        case AuxiliaryAggregation.auto | AuxiliaryAggregation.sample_mean:\n"
        "            return partial(sample_mean, empty_units=config.empty_units)",
        "        case AuxiliaryAggregation.auto | AuxiliaryAggregation.sample_mean:\n"
        "            return build_aggregation(config)",
        _TESTS + "kl_and_entropy_are_a_sample_mean_except_under_token_mean",
    ),
    Mutation(
        "the denominator of an iteration, not of a step",
        _PLAN,
        "weights = self.aggregation(shape).tolist()",
        "weights = (self.aggregation(shape) / self.steps_per_iteration).tolist()",
        _PLAN_TESTS + "steps_take_whole_prompts_and_weigh_their_own_rollouts_only",
    ),
    Mutation(
        "a prompt in two groups, each with denominators of its own",
        _PLAN,
        "        _check_ids(groups)\n",
        "",
        _PLAN_TESTS + "a_prompt_in_two_groups_is_an_error_that_names_it",
    ),
    Mutation(
        "N without the rollouts that have no gradient",
        _PLAN,
        "shape = step_shape(samples)",
        "busy = [s for s, a_R in zip(samples, advantages, strict=True) if a_R.any()]\n"
        "        shape = step_shape([s if s in busy else samples[0] for s in samples])",
        _PLAN_TESTS + "idle_samples_are_left_out_but_count_in_the_weights",
    ),
    Mutation(
        "truncated rollouts leave the numerator only",
        _PLAN,
        "shape = step_shape(samples)",
        "shape = step_shape([s for g in generated for r in g.rollouts for s in r.samples])",
        _PLAN_TESTS + "truncated_rollouts_leave_numerator_and_denominators_but_not_the_baseline",
    ),
    Mutation(
        "aborted rollouts train like the others",
        _PLAN,
        "if rollout.finish is Finish.stop:",
        "if rollout.finish is not Finish.length:",
        _PLAN_TESTS + "truncated_rollouts_leave_numerator_and_denominators_but_not_the_baseline",
    ),
    Mutation(
        "samples without an advantage are left out beside a KL term",
        _PLAN,
        "skip_idle=loss.skip_idle_samples and not every_sample_trains,",
        "skip_idle=loss.skip_idle_samples,",
        _PLAN_TESTS + "with_a_kl_term_or_an_entropy_bonus_no_sample_is_idle",
    ),
)
