"""A ragged step, laid out over ranks and micro-batches as a peer would have it, in float64."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import strategies as st

CLIP, BETA = 0.2, 0.1


@dataclass(frozen=True, eq=False)
class Row:
    """One sample.  pg and kl are the terms of its R tokens, before any mean."""

    current: np.ndarray
    old: np.ndarray
    reference: np.ndarray
    mask: np.ndarray
    advantage: float
    rollout: int
    prompt: int
    pg: np.ndarray | None = None
    kl: np.ndarray | None = None

    @property
    def active(self) -> int:
        return int(self.mask.sum())

    @property
    def pg_sum(self) -> float:
        return float(self.pg[self.mask].sum())

    @property
    def kl_sum(self) -> float:
        return float(self.kl[self.mask].sum())


@dataclass(frozen=True, eq=False)
class Step:
    """rank -> micro-batch -> row."""

    ranks: list[list[list[Row]]]

    @property
    def rows(self) -> list[Row]:
        return [row for rank in self.ranks for batch in rank for row in batch]

    @property
    def batches(self) -> list[list[Row]]:
        return [batch for rank in self.ranks for batch in rank]

    @property
    def active(self) -> int:
        return sum(row.active for row in self.rows)

    def map(self, change: Callable[[Row], Row]) -> "Step":
        return Step([[[change(row) for row in batch] for batch in rank] for rank in self.ranks])

    def with_terms(self, objective: Callable[[Row], np.ndarray]) -> "Step":
        return self.map(lambda row: replace(row, pg=objective(row), kl=k3(row)))

    def one_token_terms(self) -> Iterator["Step"]:
        """For each row: every term is 0 but those of its tokens, which are 1 / R of it."""
        for chosen in self.rows:

            def only(row: Row, chosen: Row = chosen) -> Row:
                share = 1 / max(row.active, 1) if row is chosen else 0.0
                zeros = np.zeros(len(row.mask))
                return replace(row, pg=np.full(len(row.mask), share), kl=zeros)

            yield self.map(only)


def k3(row: Row) -> np.ndarray:
    """r - 1 - log r, r = reference / current: the KL estimator that all of the peers have."""
    log_r = row.reference - row.current
    return np.exp(log_r) - 1 - log_r


def ppo(row: Row) -> np.ndarray:
    ratio = np.exp(row.current - row.old)
    return -np.minimum(ratio * row.advantage, ratio.clip(1 - CLIP, 1 + CLIP) * row.advantage)


def gspo(row: Row) -> np.ndarray:
    """One ratio for the row: the geometric mean over its active tokens."""
    change = (row.current - row.old)[row.mask]
    ratio = np.exp(change.mean()) if row.active else 1.0
    clipped = np.clip(ratio, 1 - CLIP, 1 + CLIP)
    return np.full(len(row.mask), -min(ratio * row.advantage, clipped * row.advantage))


@st.composite
def steps(draw: st.DrawFn, *, fan_out: bool = False, empty: bool = True) -> Step:
    """1 to 2 ranks, 1 to 3 micro-batches each, of the same 1 to 3 rows; complete groups.

    fan_out: every rollout is two samples.  empty: rows may be fully masked.
    """
    ranks, batches, rows = (draw(st.integers(1, most)) for most in (2, 3, 3))
    samples = ranks * batches * rows * (2 if fan_out else 1)
    per_rollout = 2 if fan_out else 1
    rollouts = samples // per_rollout
    group = draw(st.sampled_from([g for g in range(1, rollouts + 1) if rollouts % g == 0]))
    masks = [
        draw(st.lists(st.booleans(), min_size=1, max_size=5).filter(lambda m: empty or any(m)))
        for _ in range(samples)
    ]
    if not any(map(any, masks)):
        masks[0] = [True]
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    made = [
        _row(random, mask, i // per_rollout, i // per_rollout // group)
        for i, mask in enumerate(masks)
    ]
    width = len(made) // (ranks * batches)
    split = [made[start : start + width] for start in range(0, len(made), width)]
    return Step([split[r * batches : (r + 1) * batches] for r in range(ranks)])


def _row(random: np.random.Generator, mask: list[bool], rollout: int, prompt: int) -> Row:
    old = -random.exponential(1.0, len(mask))
    return Row(
        current=old + random.normal(0, 0.8, len(mask)),
        old=old,
        reference=old + random.normal(0, 0.3, len(mask)),
        mask=np.array(mask),
        advantage=float(random.normal()),
        rollout=rollout,
        prompt=prompt,
    )


def example() -> Step:
    """Two ranks of two micro-batches of two rows; one row is fully masked."""
    random = np.random.default_rng(0)
    lengths = [1, 4, 2, 2, 5, 1, 0, 3]
    rows = [
        _row(random, [True] * length or [False, False], i, i // 4)
        for i, length in enumerate(lengths)
    ]
    return Step([[rows[0:2], rows[2:4]], [rows[4:6], rows[6:8]]])
