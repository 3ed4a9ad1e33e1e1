"""Wrong scales: mutations of packing, sharing and what undoes megatron's own averaging."""

from tests.mutations.mutation import Mutation

_PACKING, _SHARING = "slime/data/packing.py", "slime/data/sharing.py"
_PASSES, _WORKER = "slime/megatron/passes.py", "slime/megatron/worker.py"
_PACKING_TESTS = "tests/data/test_packing.py::test_"
_SPLIT = "tests/data/test_split.py::test_the_split_loss_is_the_formula_over_all_tokens_of_the_step"
_JOB = "tests/test_main_job.py::test_another_layout_trains_the_same_model_step_by_step"
_LAYOUTS = "tests/layouts/test_layouts.py::test_"
_ORACLE = _LAYOUTS + "loss_metrics_and_every_gradient_are_the_oracles"
_DP2, _CP2 = f"{_ORACLE}[dp2-llama-sample_mean]", f"{_ORACLE}[cp2-llama-sample_mean]"
_PP2 = f"{_ORACLE}[pp2-qwen3-sample_mean]"
_TP2 = f"{_ORACLE}[tp2_sequence-llama-sample_mean]"
_UNDO = "undo = len(batches) * step_parallel_size"

SCALING = (
    Mutation(
        "a sample's weight divided by its length once more",
        _PACKING,
        "return weights_S.repeat_interleave(lengths_S).to(torch.float32)",
        "shares_S = weights_S / lengths_S.clamp(min=1)\n"
        "    return shares_S.repeat_interleave(lengths_S).to(torch.float32)",
        _SPLIT,
    ),
    Mutation(
        "policy-gradient weights for KL and entropy",
        _PACKING,
        "auxiliary_weights_R=_per_token(samples, lambda s: s.auxiliary_weight),",
        "auxiliary_weights_R=_per_token(samples, lambda s: s.weight),",
        _PACKING_TESTS + "what_belongs_to_a_response_token_stays_with_it",
    ),
    Mutation(
        "log-probs of the token before",
        _PACKING,
        "first = start + len(sample.prompt_tokens_P) - 1",
        "first = start + len(sample.prompt_tokens_P)",
        _PACKING_TESTS
        + "every_response_token_is_predicted_from_the_token_before_it_in_its_own_sample",
    ),
    Mutation(
        "every response token is active",
        _PACKING,
        "mask_R=torch.cat([s.sample.loss_mask_R for s in samples]),",
        "mask_R=torch.cat([torch.ones_like(s.sample.loss_mask_R) for s in samples]),",
        _SPLIT,
    ),
    Mutation(
        "masked tokens count in the sequence ratio",
        _PACKING,
        "[s.sample.active_tokens for s in samples], dtype=torch.float32",
        "[len(s.sample.loss_mask_R) for s in samples], dtype=torch.float32",
        _LAYOUTS + "every_term_and_every_way_to_count_is_the_oracles[gspo]",
    ),
    Mutation(
        "a filler that trains",
        _SHARING,
        "return replace(sample, sample=masked, weight=0.0, auxiliary_weight=0.0)",
        "return sample",
        "tests/data/test_sharing.py::test_a_rank_without_samples_gets_a_filler_that_cannot_train",
    ),
    Mutation(
        "a context-parallel worker holds the wrong chunk",
        "slime/distributed/context.py",
        "chunks[2 * size - 1 - rank]",
        "chunks[size + rank]",
        "tests/distributed/test_context.py::"
        "test_worker_r_holds_chunks_r_and_the_r_th_from_the_end_of_every_sequence",
    ),
    Mutation(
        "the number of micro-batches is forgotten",
        _PASSES,
        _UNDO,
        "undo = step_parallel_size",
        _LAYOUTS + "the_number_of_micro_batches_does_not_matter[3]",
    ),
    Mutation(
        "data parallelism is forgotten",
        _PASSES,
        _UNDO,
        "undo = len(batches)",
        _DP2,
    ),
    Mutation(
        "context parallelism is forgotten",
        _WORKER,
        "            self._step_parallel.size,\n",
        "            self._step_parallel.size // self._context_parallel.size,\n",
        _CP2,
    ),
    Mutation(
        "a mean over the active tokens of each micro-batch",
        _PASSES,
        "return output.loss * undo, no_tokens_to_divide_by, output.metrics",
        "return output.loss * undo, batch.mask_R.sum().int(), output.metrics",
        _DP2,
    ),
    Mutation(
        "the auxiliary loss of experts inherits the scale of the main loss",
        _PASSES,
        _UNDO,
        "scale, undo = len(batches) * step_parallel_size, 1\n"
        "    model.config.grad_scale_func = lambda loss: loss * scale",
        "tests/megatron/test_moe_auxiliary_loss.py::"
        "test_the_auxiliary_loss_is_a_mean_over_ranks_and_their_micro_batches",
    ),
    Mutation(
        "metrics of one rank only",
        _WORKER,
        "of_stage = self._step_parallel.sum(mine)",
        "of_stage = mine",
        _DP2,
    ),
    Mutation(
        "metrics doubled over context parallelism",
        _WORKER,
        "of_stage = self._step_parallel.sum(mine)",
        "of_stage = self._context_parallel.sum(self._step_parallel.sum(mine))",
        _CP2,
    ),
    Mutation(
        "metrics doubled over tensor parallelism",
        _WORKER,
        "of_stage = self._step_parallel.sum(mine)",
        "of_stage = self._tensor_parallel.sum(self._step_parallel.sum(mine))",
        _TP2,
    ),
    Mutation(
        "metrics of the first pipeline stage",
        _WORKER,
        "self._pipeline.from_last(of_stage)",
        "of_stage",
        _PP2,
    ),
    Mutation(
        "sums are reported as means",
        "slime/megatron/metrics.py",
        "total.item() / active_tokens",
        "total.item()",
        "tests/megatron/test_step_metrics.py::"
        "test_weighted_terms_are_sums_and_the_rest_are_means_over_active_tokens",
    ),
    Mutation(
        "log-probs without the temperature",
        "slime/megatron/policy.py",
        "temperature=self.temperature",
        "temperature=1.0",
        _DP2,
    ),
    Mutation(
        "no gradient through the entropy",
        _WORKER,
        "entropy_gradient=self._loss.needs_entropy_gradient",
        "entropy_gradient=False",
        _DP2,
    ),
    Mutation(
        "old log-probs of the tokens that one worker holds",
        "slime/megatron/policy.py",
        "values_R.float()\n        self.context_parallel.sum_(whole)\n",
        "values_R.float()\n",
        _LAYOUTS + "log_probs_before_the_step_are_the_models[cp2]",
    ),
    Mutation(
        "of a distributed optimizer the sums of one rank",
        "slime/megatron/gradients.py",
        "if not model.ddp_config.use_distributed_optimizer:",
        "if True:",
        _LAYOUTS + "with_a_distributed_optimizer_the_gradient_is_whole[dp2_distributed]",
    ),
    Mutation(
        "gradients are not clipped",
        "slime/megatron/optimizer.py",
        "if self._clip_grad > 0:",
        "if False:",
        _LAYOUTS + "a_step_leaves_the_weights_of_plain_adamw[dp2-]",
    ),
    Mutation(
        "hidden states whose gradient is summed over tensor parallelism",
        "slime/megatron/model.py",
        "tensor_parallel_output_grad=False",
        "tensor_parallel_output_grad=True",
        _TP2,
    ),
    Mutation(
        "norms whose gradient stays that of one part of a sequence",
        "slime/megatron/norm.py",
        "self.weight.sequence_parallel = config.sequence_parallel",
        "self.weight.sequence_parallel = False",
        _TP2,
    ),
    Mutation(
        "keys and values without the gradient of the other context-parallel workers",
        "slime/megatron/attention.py",
        "tensor_parallel_output_grad=True",
        "tensor_parallel_output_grad=False",
        _CP2,
    ),
    Mutation(
        "the second step of an iteration without the log-probs before the first",
        "slime/start.py",
        "if (config.steps_per_iteration > 1 and reads_old) or kl_in_reward(kl):",
        "if False:",
        _JOB,
    ),
    Mutation(
        "log-probs taken from a pipeline stage that has none",
        "slime/cluster/trainer.py",
        "answers[speaker(rank, self.parallel)]",
        "answers[rank]",
        _JOB,
    ),
)
