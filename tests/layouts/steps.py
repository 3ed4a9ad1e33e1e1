"""Nasty iterations: ragged, fanned out, partly empty, with log-probs that every bound binds on.

Drawn from a random.Random, so that a seed gives one and hypothesis can draw and shrink them.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random

import numpy as np
import torch
from hypothesis import strategies as st
from tiny_models import VOCABULARY

from slime.data import Finish, Group, Prompt, Rollout, Sample

LONGEST_PROMPT, LONGEST_RESPONSE = 6, 14

CLIP_LOW, CLIP_HIGH = 0.2, 0.3  # of the ratio current / old
SEQUENCE_CLIP_LOW, SEQUENCE_CLIP_HIGH = 0.06, 0.09  # of its geometric mean over a sample
KEPT_LOW, KEPT_HIGH = 0.6, 1.8  # of old / rollout under icepop
CAP = 1.4  # of old / rollout under tis

# float32 and float64 must agree on which side of a bound a token is.
MARGIN = 2e-3
_CORNERS = [math.log(ratio) for ratio in (1 - CLIP_LOW, 1 + CLIP_HIGH)]
_SEQUENCE_CORNERS = [math.log(r) for r in (1 - SEQUENCE_CLIP_LOW, 1 + SEQUENCE_CLIP_HIGH)]
_ENGINE_CORNERS = [math.log(ratio) for ratio in (KEPT_LOW, KEPT_HIGH, CAP)]


@dataclass(frozen=True, eq=False)
class Drawn:
    """Groups, and the old and reference log-probs [R] of each of their samples."""

    groups: tuple[Group, ...]
    old: Mapping[int, np.ndarray]  # by id() of the sample's response tokens
    reference: Mapping[int, np.ndarray]


def of(log_probs: Mapping[int, np.ndarray], sample: Sample) -> np.ndarray:
    """Those of `sample`, or of a copy of it with another mask."""
    return log_probs[id(sample.response_tokens_R)]


def iterations(prompts: int = 4) -> st.SearchStrategy[tuple[Group, ...]]:
    """Without log-probs: they need the model."""
    return st.randoms(use_true_random=False).map(lambda random: draw_groups(random, prompts))


def draw_groups(random: Random, prompts: int = 4) -> tuple[Group, ...]:
    """Ragged groups: the first with equal rewards, the second often without an active token.

    The last one has something to learn from, so that a step of its own is not empty.
    """
    groups = [_group(random, 10 * p + 7, random.choice((1, 2, 3, 4))) for p in range(prompts - 1)]
    groups[0] = _each_rollout(groups[0], lambda rollout: replace(rollout, reward=0.5))
    if prompts > 2 and random.random() < 0.4:
        groups[1] = _each_rollout(groups[1], _emptied)
    last = _group(random, 3, random.choice((2, 3)))
    best, *others = last.rollouts
    start = _sample(random, best, mask=(1, 0, 1), prompt=2)
    best = replace(best, reward=2.0, finish=Finish.stop, samples=(start, *best.samples))
    return (*groups, replace(last, rollouts=(best, *others)))


def draw_lonely_group(random: Random) -> tuple[Group, ...]:
    """Two active tokens, at the start of one of two samples: most workers have none of them."""
    group = _group(random, 5, 2)
    masks, rewards = ((1, 1, *[0] * 10), (0, 0, 0)), (1.0, 0.0)
    rollouts = tuple(
        replace(
            rollout,
            finish=Finish.stop,
            reward=reward,
            samples=(_sample(random, rollout, mask=mask, prompt=1),),
        )
        for rollout, mask, reward in zip(group.rollouts, masks, rewards, strict=True)
    )
    return (replace(group, rollouts=rollouts),)


def _each_rollout(group: Group, change: Callable[[Rollout], Rollout]) -> Group:
    return replace(group, rollouts=tuple(change(rollout) for rollout in group.rollouts))


def _emptied(rollout: Rollout) -> Rollout:
    return replace(
        rollout,
        samples=tuple(
            replace(sample, loss_mask_R=torch.zeros_like(sample.loss_mask_R))
            for sample in rollout.samples
        ),
    )


def _group(random: Random, prompt_id: int, size: int) -> Group:
    rollouts = tuple(_rollout(random, prompt_id, i) for i in range(size))
    return Group(Prompt(prompt_id, f"question {prompt_id}", "42"), rollouts)


def _rollout(random: Random, prompt_id: int, place: int) -> Rollout:
    rollout = Rollout(
        id=1000 * prompt_id + place,
        prompt_id=prompt_id,
        samples=(),
        text="",
        finish=random.choice((Finish.stop, Finish.stop, Finish.length, Finish.aborted)),
        reward=random.choice((0.0, 0.25, 1.0)),
    )
    fan_out = random.choice((1, 1, 2, 3))
    return replace(rollout, samples=tuple(_sample(random, rollout) for _ in range(fan_out)))


def _sample(
    random: Random, rollout: Rollout, mask: Sequence[int] | None = None, prompt: int | None = None
) -> Sample:
    mask = _mask(random) if mask is None else mask
    prompt = prompt or random.randint(1, LONGEST_PROMPT)
    content = Random(random.getrandbits(16))  # hypothesis need not look for better tokens
    return Sample(
        prompt_id=rollout.prompt_id,
        rollout_id=rollout.id,
        prompt_tokens_P=_tokens(content, prompt),
        response_tokens_R=_tokens(content, len(mask)),
        loss_mask_R=torch.tensor(mask, dtype=torch.bool),
        rollout_log_probs_R=torch.zeros(len(mask)),
    )


def _mask(random: Random) -> list[int]:
    """Whole, several turns, one end only, nothing; of a response that may be empty."""
    tokens = random.randint(0, LONGEST_RESPONSE)
    kind = random.choice(("whole", "whole", "turns", "turns", "start", "end", "nothing"))
    edge = random.randint(0, tokens)
    match kind:
        case "whole":
            return [1] * tokens
        case "turns":
            bits = random.getrandbits(LONGEST_RESPONSE)
            return [bits >> t & 1 for t in range(tokens)]
        case "start":
            return [1] * edge + [0] * (tokens - edge)
        case "end":
            return [0] * edge + [1] * (tokens - edge)
    return [0] * tokens


def _tokens(random: Random, count: int) -> torch.Tensor:
    return torch.tensor([random.randrange(VOCABULARY) for _ in range(count)], dtype=torch.int64)


# ---- log-probs ----


def with_log_probs(
    groups: Sequence[Group], current: Callable[[Sample], np.ndarray], seed: int
) -> Drawn:
    """Old, reference and rollout log-probs as far off the model's as several steps bring them."""
    random = Random(seed)
    old: dict[int, np.ndarray] = {}
    reference: dict[int, np.ndarray] = {}

    def spread(sample: Sample) -> Sample:
        current_R = current(sample)
        key = id(sample.response_tokens_R)
        old[key] = _old(random, current_R, sample.loss_mask_R.tolist())
        # Not too near: the slopes of k2 and k3 vanish there, and only rounding would be left.
        reference[key] = _rounded(
            [c + random.choice((-1, 1)) * random.uniform(0.2, 0.8) for c in current_R]
        )
        rollout_R = _rounded(
            [_rollout_log_prob(random, c, o) for c, o in zip(current_R, old[key], strict=True)]
        )
        return replace(sample, rollout_log_probs_R=torch.tensor(rollout_R, dtype=torch.float32))

    def each_sample(rollout: Rollout) -> Rollout:
        return replace(rollout, samples=tuple(map(spread, rollout.samples)))

    return Drawn(tuple(_each_rollout(group, each_sample) for group in groups), old, reference)


def _old(random: Random, current_R: np.ndarray, mask: Sequence[bool]) -> np.ndarray:
    """The gap current - old leaves the clip ranges of a token and of the sequence on both sides."""
    drift = random.choice((-0.2, 0.0, 0.0, 0.2))
    while True:
        around = partial(random.uniform, drift - 0.4, drift + 0.4)
        gaps = [_off(_CORNERS, around) for _ in current_R]
        old_R = _rounded([c - gap for c, gap in zip(current_R, gaps, strict=True)])
        active = [gap for gap, m in zip(gaps, mask, strict=True) if m]
        if not active or _is_off(_SEQUENCE_CORNERS, sum(active) / len(active)):
            return old_R
        drift = random.uniform(-0.2, 0.2)


def _rollout_log_prob(random: Random, current: float, old: float) -> float:
    """Off the bounds of the correction, whether the old log-probs are given or the current ones."""
    while True:
        gap = random.uniform(-0.9, 0.9)
        if _is_off(_ENGINE_CORNERS, gap) and _is_off(_ENGINE_CORNERS, gap + current - old):
            return old - gap


def _off(corners: Sequence[float], draw: Callable[[], float]) -> float:
    while True:
        value = draw()
        if _is_off(corners, value):
            return value


def _is_off(corners: Sequence[float], value: float) -> bool:
    return all(abs(value - corner) > MARGIN for corner in corners)


def _rounded(values: Sequence[float]) -> np.ndarray:
    """What a float32 holds, in float64: both sides read the same numbers."""
    return np.array(values, dtype=np.float32).astype(np.float64)
