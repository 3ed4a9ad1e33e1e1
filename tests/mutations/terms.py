"""Wrong terms: mutations of what a micro-batch makes of its tokens."""

from tests.mutations.mutation import Mutation

_BUILD, _CLIP = "slime/loss/build.py", "slime/loss/clip.py"
_RATIO, _UNCLIPPED = "slime/loss/ratio.py", "slime/loss/unclipped.py"
_KL, _CORRECTION = "slime/loss/kl.py", "slime/loss/correction.py"
_TESTS, _GSPO_TESTS = "tests/loss/test_loss.py::test_", "tests/loss/test_gspo.py::test_"
_CORRECTION_TESTS = "tests/loss/test_correction.py::test_"
_OBJECTIVE_TESTS = "tests/loss/test_objectives.py::test_"
_INFINITE_TESTS = "tests/loss/test_infinite_ratio.py::test_"
_FORMULAS = _TESTS + "loss_and_metrics_are_those_of_the_formulas"
_OBJECTIVES = _OBJECTIVE_TESTS + "values_slopes_and_fractions_are_those_of_the_formulas"

TERMS = (
    Mutation(
        "the mask is dropped",
        _BUILD,
        "return torch.where(terms.mask_T, values_T, 0.0)",
        "return values_T",
        _FORMULAS,
    ),
    Mutation(
        "the mask is multiplied, so that nan stays nan",
        _BUILD,
        "return torch.where(terms.mask_T, values_T, 0.0)",
        "return values_T * terms.mask_T",
        _TESTS + "nothing_at_a_masked_position_leaks_into_the_value_or_the_gradient",
    ),
    Mutation(
        "KL under the weights of the policy-gradient term",
        _BUILD,
        "self.kl.coefficient * _weighted_sum(kl_T, terms.auxiliary_weights_T)",
        "self.kl.coefficient * _weighted_sum(kl_T, terms.weights_T)",
        _TESTS + "kl_and_entropy_use_the_auxiliary_weights_and_policy_gradient_its_own",
    ),
    Mutation(
        "entropy under the weights of the policy-gradient term",
        _BUILD,
        "mean = _weighted_sum(terms.entropy_T, terms.auxiliary_weights_T)",
        "mean = _weighted_sum(terms.entropy_T, terms.weights_T)",
        _TESTS + "kl_and_entropy_use_the_auxiliary_weights_and_policy_gradient_its_own",
    ),
    Mutation(
        "entropy is punished",
        _BUILD,
        "return -self.entropy_coefficient * mean",
        "return self.entropy_coefficient * mean",
        _FORMULAS,
    ),
    Mutation(
        "no KL coefficient",
        _BUILD,
        "self.kl.coefficient * _weighted_sum(kl_T, terms.auxiliary_weights_T)",
        "_weighted_sum(kl_T, terms.auxiliary_weights_T)",
        _FORMULAS,
    ),
    Mutation(
        "a mean over the micro-batch on top of the weights",
        _BUILD,
        "return (values_T.double() * weights_T.double()).sum()",
        "return (values_T.double() * weights_T.double()).sum() / max(len(values_T), 1)",
        _FORMULAS,
    ),
    Mutation(
        "sums in float32",
        _BUILD,
        "return (values_T.double() * weights_T.double()).sum()",
        "return (values_T * weights_T).sum().double()",
        _TESTS + "a_small_term_beside_large_ones_is_not_lost_in_float32",
    ),
    Mutation(
        "the reported loss is scaled with the one that is differentiated",
        _BUILD,
        "loss=loss.detach().clone(),",
        "loss=loss.detach(),",
        _TESTS + "scaling_the_returned_loss_in_place_leaves_the_metrics_alone",
    ),
    Mutation(
        "a late mask shrinks the denominator",
        _BUILD,
        "policy_loss = _weighted_sum(policy_T, terms.weights_T)",
        "kept = (active_T & (factor_T != 0)).sum().clamp(min=1)\n"
        "        policy_loss = _weighted_sum(policy_T, terms.weights_T) * active_T.sum() / kept",
        _CORRECTION_TESTS + "a_token_that_is_dropped_leaves_every_other_number_as_it_was",
    ),
    Mutation(
        "the correction's ratio upside down",
        _BUILD,
        "return torch.exp(_old(terms) - terms.rollout_log_probs_T)",
        "return torch.exp(terms.rollout_log_probs_T - _old(terms))",
        _CORRECTION_TESTS + "loss_and_metrics_are_those_of_the_formulas",
    ),
    Mutation(
        "the gradient goes through the correction",
        _BUILD,
        "return terms.log_probs_T.detach() if old_T is None else old_T",
        "return terms.log_probs_T if old_T is None else old_T",
        _CORRECTION_TESTS + "the_factor_is_a_number_to_the_gradient",
    ),
    Mutation(
        "the correction's ratio over the tokens that are left",
        _BUILD,
        "correction_ratio=_sum(torch.where(active_T, mismatch_T, 0.0)),",
        "correction_ratio=_sum(torch.where(active_T, factor_T, 0.0)),",
        _CORRECTION_TESTS + "loss_and_metrics_are_those_of_the_formulas",
    ),
    Mutation(
        "truncated importance sampling from below",
        _CORRECTION,
        "return ratio_T.clamp(max=self.cap)",
        "return ratio_T.clamp(min=self.cap)",
        _CORRECTION_TESTS + "tis_truncates_from_above_and_icepop_keeps_what_is_within",
    ),
    Mutation(
        "icepop without its lower bound",
        _CORRECTION,
        "return (ratio_T < self.low) | (ratio_T > self.high)",
        "return ratio_T > self.high",
        _CORRECTION_TESTS + "tis_truncates_from_above_and_icepop_keeps_what_is_within",
    ),
    Mutation(
        "clip bounds swapped",
        _CLIP,
        "ratio_T.clamp(1 - self.low, 1 + self.high),",
        "ratio_T.clamp(1 - self.high, 1 + self.low),",
        _TESTS + "ppo_clips_only_where_the_change_already_went_the_way_of_the_advantage",
    ),
    Mutation(
        "clipped where the change went against the advantage",
        _CLIP,
        "good_T, bad_T = advantages_T > 0, advantages_T < 0",
        "good_T, bad_T = advantages_T < 0, advantages_T > 0",
        _TESTS + "ppo_clips_only_where_the_change_already_went_the_way_of_the_advantage",
    ),
    Mutation(
        "clipped whatever the advantage",
        _CLIP,
        "high_T = (good_T & (ratio_T > 1 + self.high))",
        "high_T = (ratio_T > 1 + self.high)",
        _TESTS + "ppo_clips_only_where_the_change_already_went_the_way_of_the_advantage",
    ),
    Mutation(
        "a clipped token still pulls",
        _CLIP,
        "moving_T = moving(ratio_T, terms.log_probs_T, ~stops_T)",
        "moving_T = bounded_T = moving(bounded_T, terms.log_probs_T, terms.mask_T)",
        _TESTS + "the_gradient_is_the_slope_of_the_formulas",
    ),
    Mutation(
        "dual clip for good actions",
        _CLIP,
        "(bad_T & (ratio_T > self.dual))",
        "(good_T & (ratio_T > self.dual))",
        _OBJECTIVE_TESTS + "dual_clip_bounds_the_term_of_bad_actions",
    ),
    Mutation(
        "dual clip at the upper bound of good actions",
        _CLIP,
        "ratio_T.clamp(1 - self.low, self.dual),",
        "ratio_T.clamp(1 - self.low, 1 + self.high),",
        _OBJECTIVE_TESTS + "dual_clip_bounds_the_term_of_bad_actions",
    ),
    Mutation(
        "the gradient of a clipped infinite ratio stops too late",
        _RATIO,
        "moves_T & ~log_probs_T.isinf()",
        "~log_probs_T.isinf()",
        _INFINITE_TESTS + "the_term_and_its_gradient_are_those_of_the_limit",
    ),
    Mutation(
        "an infinite ratio without an advantage is nan",
        _CLIP,
        "stops_T = low_T | high_T | (advantages_T == 0)",
        "stops_T = low_T | high_T",
        _INFINITE_TESTS + "the_term_and_its_gradient_are_those_of_the_limit",
    ),
    Mutation(
        "CISPO's gradient passes through the weight",
        _UNCLIPPED,
        "weight_T = ratio_T.clamp(1 - self.low, 1 + self.high)",
        "weight_T = moving(ratio_T, terms.log_probs_T, terms.mask_T).clamp(\n"
        "            1 - self.low, 1 + self.high)",
        _OBJECTIVES,
    ),
    Mutation(
        "CISPO drops what it should truncate",
        _UNCLIPPED,
        "weight_T = ratio_T.clamp(1 - self.low, 1 + self.high)",
        "weight_T = torch.where(ratio_T > 1 + self.high, 0.0, ratio_T)",
        _OBJECTIVE_TESTS + "under_cispo_every_token_pulls_with_at_most_the_upper_bound",
    ),
    Mutation(
        "CISPO without a log-prob",
        _UNCLIPPED,
        "term_T=-weight_T * terms.advantages_T * log_probs_T,",
        "term_T=-moving(weight_T, terms.log_probs_T, terms.mask_T) * terms.advantages_T,",
        _OBJECTIVES,
    ),
    Mutation(
        "CISPO counts truncated ratios of good actions only",
        _UNCLIPPED,
        "clipped_high_T=ratio_T > 1 + self.high,",
        "clipped_high_T=(ratio_T > 1 + self.high) & (terms.advantages_T > 0),",
        _OBJECTIVE_TESTS + "under_cispo_a_truncated_ratio_counts_whatever_the_advantage",
    ),
    Mutation(
        "REINFORCE without its importance ratio",
        _UNCLIPPED,
        "term_T=-torch.where(stops_T, finite_T, moving_T) * terms.advantages_T,",
        "term_T=-terms.log_probs_T * terms.advantages_T,",
        _OBJECTIVES,
    ),
    Mutation(
        "REINFORCE is clipped",
        _UNCLIPPED,
        "torch.where(stops_T, finite_T, moving_T) * terms.advantages_T",
        "torch.where(stops_T, finite_T, moving_T.clamp(0.8, 1.2)) * terms.advantages_T",
        _OBJECTIVES,
    ),
    Mutation(
        "SFT weighs by the advantage",
        _UNCLIPPED,
        "term_T=-terms.log_probs_T,",
        "term_T=-terms.log_probs_T * terms.advantages_T,",
        _OBJECTIVE_TESTS + "sft_is_the_weighted_negative_log_likelihood_and_reads_nothing_else",
    ),
    Mutation(
        "SFT with the likelihood, not its logarithm",
        _UNCLIPPED,
        "term_T=-terms.log_probs_T,",
        "term_T=-terms.log_probs_T.exp(),",
        _OBJECTIVES,
    ),
    Mutation(
        "SFT leaves out samples without an advantage",
        "slime/plan.py",
        "or isinstance(loss.objective, SFT)",
        "or False",
        "tests/test_plan.py::test_under_sft_no_sample_is_idle_because_no_advantage_is_read",
    ),
    Mutation(
        "the sequence ratio is a product, not a mean",
        _RATIO,
        "return sums_S / active_S",
        "return sums_S",
        _GSPO_TESTS + "loss_and_metrics_are_those_of_the_formula",
    ),
    Mutation(
        "the sequence ratio of the tokens that one worker holds",
        _RATIO,
        "sequences.add_shards(sums_S)",
        "pass",
        _GSPO_TESTS + "tokens_of_a_sample_may_be_on_several_workers",
    ),
    Mutation(
        "k1 with the wrong sign",
        _KL,
        "return log_probs_T - reference_log_probs_T",
        "return reference_log_probs_T - log_probs_T",
        _FORMULAS,
    ),
    Mutation(
        "k2 without its half",
        _KL,
        "(reference_log_probs_T - log_probs_T).square() / 2",
        "(reference_log_probs_T - log_probs_T).square()",
        _FORMULAS,
    ),
    Mutation(
        "k3 the other way round",
        _KL,
        "log_r_T = reference_log_probs_T - log_probs_T",
        "log_r_T = log_probs_T - reference_log_probs_T",
        _FORMULAS,
    ),
)
