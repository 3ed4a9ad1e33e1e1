"""The keys of metrics.jsonl that get a picture beside the reward."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Metric:
    """A picture of one key of metrics.jsonl."""

    key: str
    title: str
    unit: str
    meaning: str


HEALTH = (
    Metric("rollout/response_tokens_mean", "Response length", "tokens", "mean over rollouts"),
    Metric(
        "rollout/truncated_fraction",
        "Truncated rollouts",
        "share",
        "rollouts that hit rollout.max_response_tokens",
    ),
    Metric(
        "rollout/zero_variance_fraction",
        "Groups of equal rewards",
        "share",
        "groups that teach nothing",
    ),
    Metric(
        "rollout/neg_logprob_mean",
        "Sampling entropy",
        "nats per token",
        "minus the mean log-prob of what was sampled, over all rollouts: the same population in "
        "every recipe",
    ),
    Metric(
        "train/entropy",
        "Entropy of the trained tokens",
        "nats per token",
        "of the next-token distribution, over the tokens that were trained on",
    ),
    Metric(
        "train/grad_norm",
        "Gradient norm",
        "before clipping",
        "depends on the loss's scale: compare its course, not its height",
    ),
    Metric(
        "train/clip_fraction_low",
        "Clipped below",
        "share of tokens",
        "the lower bound took their gradient away, or truncated their ratio",
    ),
    Metric(
        "train/clip_fraction_high",
        "Clipped above",
        "share of tokens",
        "an upper bound took their gradient away, or truncated their ratio",
    ),
    Metric("train/kl", "KL to the reference", "nats per token", "the configured estimator"),
    Metric(
        "rollout/kl_penalty_mean",
        "KL paid in the reward",
        "reward",
        "what loss.kl.place=reward took off, of the rollouts that are trained on",
    ),
    Metric(
        "rollout/shaping_mean",
        "Shaping",
        "reward",
        "what reward/overlong added before advantages were computed; in no other reward here",
    ),
    Metric(
        "rollout/filtered_prompts",
        "Filtered prompts",
        "prompts / iteration",
        "generated, and kept out of training by rollout/filter",
    ),
    Metric(
        "train/correction_fraction",
        "Corrected tokens",
        "share of tokens",
        "truncated or masked by loss/correction",
    ),
    Metric(
        "train/rollout_logprob_abs_diff",
        "Engine against trainer",
        "nats",
        "mean absolute difference of the two's log-probs of the same tokens",
    ),
    Metric("train/skipped", "Skipped steps", "share", "steps without a finite loss and gradient"),
    Metric(
        "time/response_tokens_per_s",
        "Throughput",
        "response tokens / s",
        "response tokens of an iteration over all of its seconds",
    ),
)
