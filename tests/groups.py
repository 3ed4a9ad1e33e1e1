"""Groups made by hand, for tests that need rollouts but no engine."""

from collections.abc import Sequence

import torch

from slime.data import Finish, Group, Prompt, Rollout, Sample
from slime.reward import RewardFailure
from slime.rollout.selection import Round, Selection


def sample(
    prompt_id: int | None, rollout_id: int, active: int, *, masked: int = 0, prompt: int = 3
) -> Sample:
    """`active` tokens with mask 1 after `masked` ones with mask 0."""
    response = active + masked
    return Sample(
        prompt_id=prompt_id,
        rollout_id=rollout_id,
        prompt_tokens_P=torch.arange(5, 5 + prompt),
        response_tokens_R=torch.arange(20, 20 + response),
        loss_mask_R=torch.tensor([False] * masked + [True] * active, dtype=torch.bool),
        rollout_log_probs_R=torch.linspace(-1.0, -0.5, response),
    )


def group(prompt_id: int, rewards: Sequence[float | None], active: Sequence[int]) -> Group:
    """One rollout of one sample per reward."""
    rollouts = tuple(
        Rollout(
            id=100 * prompt_id + i,
            prompt_id=prompt_id,
            samples=(sample(prompt_id, 100 * prompt_id + i, tokens),),
            text=f"answer {i}",
            finish=Finish.stop,
            reward=reward,
        )
        for i, (reward, tokens) in enumerate(zip(rewards, active, strict=True))
    )
    return Group(Prompt(prompt_id, f"question {prompt_id}", "42"), rollouts)


def collected(groups: Sequence[Group], *failures: RewardFailure) -> Selection:
    """What the loop gets when no filter is set, after 1 s of generation and half a second more."""
    return Selection((Round(tuple(groups), failures, 1.0, 0.5),), tuple(groups))
