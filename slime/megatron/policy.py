"""What the loss reads of a model: log-probs and entropy of response tokens, from hidden states."""

from dataclasses import dataclass

import torch
from torch import Tensor

from slime.data.packing import PackedBatch
from slime.distributed.groups import Peers
from slime.loss import Sequences, TokenTerms, VocabularyShard, log_probs_and_entropy
from slime.megatron.model import LanguageModel


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A model on its last pipeline stage, and those it shares the vocabulary and sequences with."""

    temperature: float
    tensor_parallel: Peers
    context_parallel: Peers

    def log_probs_and_entropy(
        self, model: LanguageModel, hidden_TH: Tensor, batch: PackedBatch, *, entropy_gradient: bool
    ) -> tuple[Tensor, Tensor]:
        """Of the response tokens that are predicted on this worker.  -> [R], [R]"""
        weight = model.output_weight
        group = self.tensor_parallel
        return log_probs_and_entropy(
            hidden_TH[batch.response_positions_R],
            weight,
            batch.targets_R,
            temperature=self.temperature,
            shard=VocabularyShard(group.rank * len(weight), group.sum_, group.max_),
            entropy_gradient=entropy_gradient,
        )

    def logits(self, model: LanguageModel, hidden_TH: Tensor, batch: PackedBatch) -> list[Tensor]:
        """Before the temperature, where each response token is predicted.

        -> per sample, [R, vocabulary] float32 on the CPU
        """
        shard_RV = hidden_TH[batch.response_positions_R] @ model.output_weight.T
        here_RV = torch.cat(self.tensor_parallel.gather(shard_RV.float()), dim=-1)
        whole = here_RV.new_zeros(sum(batch.response_lengths), here_RV.shape[-1])
        whole[batch.response_rows_R] = here_RV
        self.context_parallel.sum_(whole)
        return list(torch.split(whole.cpu(), list(batch.response_lengths)))

    def terms(self, log_probs_R: Tensor, entropy_R: Tensor, batch: PackedBatch) -> TokenTerms:
        """The same tokens with all that the loss reads about them."""
        return TokenTerms(
            log_probs_T=log_probs_R,
            entropy_T=entropy_R,
            rollout_log_probs_T=batch.rollout_log_probs_R,
            advantages_T=batch.advantages_R,
            mask_T=batch.mask_R,
            weights_T=batch.weights_R,
            auxiliary_weights_T=batch.auxiliary_weights_R,
            old_log_probs_T=batch.old_log_probs_R,
            reference_log_probs_T=batch.reference_log_probs_R,
            sequences=Sequences(batch.samples_R, batch.active_tokens_S, self.context_parallel.sum_),
        )

    def whole_responses(self, values_R: Tensor, batch: PackedBatch) -> list[Tensor]:
        """Values of this worker's response tokens, put together with those of the others.

        -> per sample, [R] float32 on the CPU
        """
        whole = torch.zeros(sum(batch.response_lengths), device=values_R.device)
        whole[batch.response_rows_R] = values_R.float()
        self.context_parallel.sum_(whole)
        return list(torch.split(whole.cpu(), list(batch.response_lengths)))
