"""The loss of a step: weights fixed once for the whole step, token terms summed anywhere.

Needs torch only:

    weights_S = build_aggregation(config)(StepShape(active_tokens, rollout_ids, prompt_ids))
    loss = build_loss(config)   # for each micro-batch: loss(TokenTerms(...)).loss.backward()
"""

from slime.loss.aggregation import Aggregation, build_aggregation, build_auxiliary_aggregation
from slime.loss.build import Loss, build_loss
from slime.loss.kl import KLEstimator, build_kl_estimator
from slime.loss.log_probs import WHOLE_VOCABULARY, VocabularyShard, log_probs_and_entropy
from slime.loss.terms import LossOutput, MetricSums, Normalizer, Sequences, TokenTerms

__all__ = [
    "WHOLE_VOCABULARY",
    "Aggregation",
    "KLEstimator",
    "Loss",
    "LossOutput",
    "MetricSums",
    "Normalizer",
    "Sequences",
    "TokenTerms",
    "VocabularyShard",
    "build_aggregation",
    "build_auxiliary_aggregation",
    "build_kl_estimator",
    "build_loss",
    "log_probs_and_entropy",
]
