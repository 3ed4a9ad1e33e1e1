"""Which recipe wins at scale: ScaleRL's law per recipe, and what the fits allow to be said."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from slime.report.curves import HELD_OUT, Axis, choose_axis, choose_reward, points_of
from slime.report.final import NO_DIFFERENCE
from slime.report.intervals import FEWEST_SEEDS, Difference, difference
from slime.report.law import Points
from slime.report.recipes import Recipe
from slime.report.sigmoid import Refused, Sigmoid, fit


@dataclass(frozen=True, slots=True)
class RecipeFit:
    recipe: Recipe
    points: Points
    result: Sigmoid | Refused


@dataclass(frozen=True, slots=True)
class AsymptotePair:
    """A of the first minus A of the second."""

    first: Recipe
    second: Recipe
    difference: Difference

    @property
    def verdict(self) -> str:
        if self.difference.low <= 0 <= self.difference.high:
            return NO_DIFFERENCE
        higher = self.first if self.difference.estimate > 0 else self.second
        return f"{higher.label} ends up higher"


@dataclass(frozen=True, slots=True)
class Scaling:
    """Every recipe's fit, against one compute axis and for one reward."""

    axis: Axis
    reward: str
    fits: tuple[RecipeFit, ...]
    pairs: tuple[AsymptotePair, ...]

    @property
    def reward_name(self) -> str:
        return "held-out reward" if self.reward == HELD_OUT else "sampled reward"

    @property
    def fitted(self) -> tuple[Recipe, ...]:
        return tuple(f.recipe for f in self.fits if isinstance(f.result, Sigmoid))

    @property
    def by_covariance_alone(self) -> bool:
        """Whether an interval could not look at the spread over seeds."""
        laws = [f.result for f in self.fits if isinstance(f.result, Sigmoid)]
        return any(law.seeds < FEWEST_SEEDS for law in laws)

    @property
    def refused(self) -> tuple[Recipe, ...]:
        return tuple(f.recipe for f in self.fits if isinstance(f.result, Refused))


def scale(recipes: Sequence[Recipe]) -> Scaling:
    """Fit the law to each recipe by itself."""
    axis, reward = choose_axis(recipes), choose_reward(recipes)
    fits = []
    for recipe in recipes:
        points = points_of(recipe, reward, axis)
        fits.append(RecipeFit(recipe, points, fit(points)))
    laws = [(f.recipe, f.result) for f in fits if isinstance(f.result, Sigmoid)]
    pairs = [
        AsymptotePair(first, second, difference(one.asymptote, other.asymptote))
        for (first, one), (second, other) in combinations(laws, 2)
    ]
    return Scaling(axis, reward, tuple(fits), tuple(pairs))
