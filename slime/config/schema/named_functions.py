"""Which functions a config names by import path, and which of them a shared cluster may import."""

from collections.abc import Iterator, Sequence

from slime.config.schema.base import MISSING
from slime.config.schema.loss import CustomLoss, LossConfig
from slime.config.schema.rollout import FunctionReward, RewardConfig
from slime.config.schema.training import ClusterConfig


def named_functions(loss: LossConfig, reward: RewardConfig) -> Iterator[tuple[str, str]]:
    """(key, package.module:name) of each."""
    if isinstance(loss, CustomLoss) and loss.function != MISSING:
        yield "loss.function", loss.function
    if isinstance(reward, FunctionReward) and reward.function != MISSING:
        yield "reward.function", reward.function


def refused_on_a_shared_cluster(
    loss: LossConfig, reward: RewardConfig, cluster: ClusterConfig
) -> Iterator[str]:
    """A sentence for each function that is not below one of cluster.allowed_imports."""
    if cluster.address is None:
        return
    for key, path in named_functions(loss, reward):
        if not _is_allowed(path, cluster.allowed_imports):
            package = path.partition(":")[0].partition(".")[0]
            allowed = ",".join(cluster.allowed_imports)
            yield (
                f"{key}={path} may not be imported on a shared cluster (cluster.address="
                f"{cluster.address}): cluster.allowed_imports=[{allowed}] has no prefix of it; "
                f"write cluster.allowed_imports=[{package}] if its other users agree"
            )


def _is_allowed(path: str, prefixes: Sequence[str]) -> bool:
    """my_rewards allows my_rewards:f and my_rewards.math:f, not my_rewards_too:f."""
    module = path.partition(":")[0]
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)
