"""rollout/filter: which groups of an iteration are trained on, and how many prompts that takes.

A group whose rewards are all equal has no variance: under a group baseline every advantage in it is
0.  What is compared is the task's own reward, before any shaping.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from slime.config.schema import DynamicFilter, FilterConfig, RolloutConfig, ZeroVarianceFilter
from slime.data import Group
from slime.reward import RewardFailure


@dataclass(frozen=True, slots=True, eq=False)
class Round:
    """One draw of prompts, generated and scored, and the wall-clock seconds that took."""

    groups: tuple[Group, ...]
    failures: tuple[RewardFailure, ...]
    generate_s: float
    reward_s: float


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """One iteration's groups: all that were generated, and those that are trained on."""

    rounds: tuple[Round, ...]
    trained: tuple[Group, ...]
    unfilled: int = 0  # of the trained: groups without variance, for want of others

    @property
    def generated(self) -> tuple[Group, ...]:
        return tuple(group for one in self.rounds for group in one.groups)

    @property
    def failures(self) -> tuple[RewardFailure, ...]:
        return tuple(failure for one in self.rounds for failure in one.failures)

    @property
    def generate_s(self) -> float:
        return sum(one.generate_s for one in self.rounds)

    @property
    def reward_s(self) -> float:
        return sum(one.reward_s for one in self.rounds)


# Draws the next prompts, generates and scores.
Draw = Callable[[], Round]
Select = Callable[[Draw], Selection]


def has_variance(group: Group) -> bool:
    """Whether the rewards of its rollouts differ."""
    return len({rollout.reward for rollout in group.rollouts}) > 1


def everything(draw: Draw) -> Selection:
    """One draw, and all of it is trained on."""
    drawn = draw()
    return Selection((drawn,), drawn.groups)


def with_variance(draw: Draw) -> Selection:
    """One draw, without its groups without variance (ScaleRL, arXiv:2510.13786): fewer prompts."""
    drawn = draw()
    return Selection((drawn,), tuple(filter(has_variance, drawn.groups)))


def until_full(draw: Draw, prompts: int, max_rounds: int) -> Selection:
    """Draw until `prompts` groups have variance (DAPO, arXiv:2503.14476 eq. 11).

    What is drawn beyond that is not trained on.  After `max_rounds` draws groups without variance,
    the first ones, fill what is missing (DAPO's code gives up there), spread over the iteration.
    """
    rounds: list[Round] = []
    varied: list[Group] = []
    equal: list[Group] = []
    while len(varied) < prompts and len(rounds) < max_rounds:
        rounds.append(draw())
        for group in rounds[-1].groups:
            (varied if has_variance(group) else equal).append(group)
    kept = varied[:prompts]
    fill = equal[: prompts - len(kept)]
    return Selection(tuple(rounds), _spread(kept, fill), unfilled=len(fill))


def _spread(kept: Sequence[Group], fill: Sequence[Group]) -> tuple[Group, ...]:
    """Both in their order, the fill evenly between the others: steps are cut in this order.

    At the end it would make whole steps without a signal, which move the weights all the same.
    """
    places = [
        ((number + 0.5) / len(groups), group)
        for groups in (kept, fill)
        for number, group in enumerate(groups)
    ]
    return tuple(group for _, group in sorted(places, key=lambda place: place[0]))


def build_selection(config: RolloutConfig) -> Select:
    """The configured filter."""
    match config.filter:
        case DynamicFilter(max_rounds=max_rounds):
            prompts = config.prompts_per_iteration
            return partial(until_full, prompts=prompts, max_rounds=max_rounds)
        case ZeroVarianceFilter():
            return with_variance
        case FilterConfig():
            return everything
    raise TypeError(f"no filter for {type(config.filter).__name__}")


def prompts_per_draw(config: RolloutConfig) -> int:
    """The same for every draw of a run, so that no question of an epoch is left out."""
    match config.filter:
        case DynamicFilter(prompts_per_round=int(drawn)):
            return drawn
    return config.prompts_per_iteration
