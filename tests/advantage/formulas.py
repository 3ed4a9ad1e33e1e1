"""Advantages from the papers' formulas, in Python floats, and steps to try them on.

Shares no code with slime/advantage: a formula is written as it is printed, with statistics' own
mean and standard deviations.
"""

import statistics
from dataclasses import dataclass

import torch
from hypothesis import strategies as st

from slime.data import Finish, Group, Prompt, Rollout, Sample


@dataclass(frozen=True)
class Token:
    active: bool
    penalty: float  # taken off the reward; of a masked token it is never looked at


@dataclass(frozen=True)
class Told:
    """A rollout: samples of tokens."""

    reward: float
    shaping: float
    samples: list[list[Token]]

    @property
    def tokens(self) -> list[Token]:
        return [token for sample in self.samples for token in sample]

    @property
    def paid(self) -> float:
        """The reward, shaped, without what its active tokens cost."""
        cost = sum(token.penalty for token in self.tokens if token.active)
        return self.reward + self.shaping - cost


Step = list[list[Told]]  # groups of rollouts

_numbers = st.one_of(st.sampled_from([0.0, 1.0]), st.floats(-100, 100))
_tokens = st.builds(Token, st.booleans(), st.floats(-1, 1))
_rollouts = st.builds(
    Told,
    reward=_numbers,
    shaping=st.sampled_from([0.0, -0.5]),
    samples=st.lists(st.lists(_tokens, min_size=1, max_size=3), min_size=1, max_size=3),
)
steps = st.lists(st.lists(_rollouts, min_size=1, max_size=4), min_size=1, max_size=4)


def grpo(group: list[float], reward: float, epsilon: float) -> float:
    """arXiv:2402.03300 section 4.1.2, with the sample standard deviation."""
    if len(group) < 2 or max(group) == min(group):
        return 0.0
    return (reward - statistics.fmean(group)) / (statistics.stdev(group) + epsilon)


def dr_grpo(group: list[float], reward: float) -> float:
    """arXiv:2503.20783 section 3.2."""
    return reward - statistics.fmean(group)


def rloo(group: list[float], place: int) -> float:
    """arXiv:2402.14740: the reward minus the mean of the others, whose mean it is not."""
    others = group[:place] + group[place + 1 :]
    return group[place] - statistics.fmean(others) if others else 0.0


def reinforce_plus_plus(rollout: Told, place: int) -> float:
    """arXiv:2501.03262: r - sum over i >= t of what token i costs."""
    to_come = [token.penalty for token in rollout.tokens[place:] if token.active]
    return rollout.reward + rollout.shaping - sum(to_come)


def whiten(values: list[float], epsilon: float) -> list[float]:
    """(A - mean) / (std + epsilon), with the population standard deviation."""
    mean, deviation = statistics.fmean(values), statistics.pstdev(values)
    return [(value - mean) / (deviation + epsilon) for value in values]


def groups_of(step: Step) -> list[Group]:
    """Rollout ids are 10 * group + place."""
    return [
        Group(
            Prompt(g, "question", "answer"),
            tuple(_rollout(g, 10 * g + i, told) for i, told in enumerate(group)),
        )
        for g, group in enumerate(step)
    ]


def penalties_of(step: Step) -> dict[int, tuple[torch.Tensor, ...]]:
    """As the estimators are given them: 0 at masked tokens."""
    return {
        10 * g + i: tuple(
            torch.tensor([t.penalty if t.active else 0.0 for t in sample], dtype=torch.float64)
            for sample in told.samples
        )
        for g, group in enumerate(step)
        for i, told in enumerate(group)
    }


def _rollout(group: int, number: int, told: Told) -> Rollout:
    samples = tuple(
        Sample(
            prompt_id=group,
            rollout_id=number,
            prompt_tokens_P=torch.arange(2),
            response_tokens_R=torch.arange(len(tokens)),
            loss_mask_R=torch.tensor([token.active for token in tokens]),
            rollout_log_probs_R=torch.zeros(len(tokens)),
        )
        for tokens in told.samples
    )
    return Rollout(number, group, samples, "text", Finish.stop, told.reward, told.shaping)


def plain(rewards_of_groups: list[list[float]]) -> Step:
    """One sample of two active tokens around a masked one for each reward; nothing is paid."""
    tokens = [Token(True, 0.0), Token(False, 0.0), Token(True, 0.0)]
    return [[Told(reward, 0.0, [tokens]) for reward in rewards] for rewards in rewards_of_groups]
