"""Per-token estimators of KL(current || reference) from tokens sampled by the current policy.

Source: J. Schulman, "Approximating KL divergence" (2020), http://joschu.net/blog/kl-approx.html,
with r = reference / current.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from slime.config.schema import K1, K2, K3, ConfigError, KLConfig, KLPlace, ReferenceKLConfig

# (log-probs of the policy [T], of the reference [T]) -> [T]
KLEstimator = Callable[[Tensor, Tensor], Tensor]


def k1(log_probs_T: Tensor, reference_log_probs_T: Tensor) -> Tensor:
    """-log r.  -> [T]"""
    return log_probs_T - reference_log_probs_T


def k2(log_probs_T: Tensor, reference_log_probs_T: Tensor) -> Tensor:
    """(log r)^2 / 2.  -> [T]"""
    return (reference_log_probs_T - log_probs_T).square() / 2


def k3(log_probs_T: Tensor, reference_log_probs_T: Tensor) -> Tensor:
    """r - 1 - log r.  -> [T]"""
    log_r_T = reference_log_probs_T - log_probs_T
    # expm1, because r - 1 in float32 has no correct digit left when the policies are close.
    return torch.expm1(log_r_T) - log_r_T


@dataclass(frozen=True, slots=True)
class KLPenalty:
    """coefficient * estimate, added to the loss of every active token."""

    estimate: KLEstimator
    coefficient: float | None  # None: paid in the reward, so that it is only measured here


def build_kl_estimator(config: ReferenceKLConfig) -> KLEstimator:
    """The estimator that a KL node names.  Raises ConfigError for a class that is none."""
    match config:
        case K1():
            return k1
        case K2():
            return k2
        case K3():
            return k3
        case _:
            raise ConfigError(f"loss.kl must be a K1, K2 or K3, got a {type(config).__name__}")


def build_kl(config: KLConfig) -> KLPenalty | None:
    """The KL term, or None when the config asks for none."""
    match config:
        case ReferenceKLConfig(place=KLPlace.loss):
            return KLPenalty(build_kl_estimator(config), config.coefficient)
        case ReferenceKLConfig():
            return KLPenalty(build_kl_estimator(config), None)
        case _:
            return None
