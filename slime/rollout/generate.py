"""From prompts to groups of rollouts, and from held-out prompts to an evaluation."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from slime.config.schema import RolloutConfig
from slime.data import Finish, Group, Prompt, Rollout, Sample
from slime.model.tokenizer import Tokenizer
from slime.reward import RewardFailure, Scorer
from slime.rollout.engine import Engine, Generation, Request, Sampling
from slime.rollout.limits import encode_within_limit


@dataclass(frozen=True, slots=True)
class Answer:
    """One greedy answer to a held-out prompt."""

    prompt_id: int
    reward: float
    response_tokens: int


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Greedy answers to held-out prompts, one each, in the order of the prompts."""

    answers: tuple[Answer, ...]
    failures: tuple[RewardFailure, ...] = ()

    @property
    def reward_mean(self) -> float:
        return sum(a.reward for a in self.answers) / len(self.answers)

    @property
    def response_tokens_mean(self) -> float:
        return sum(a.response_tokens for a in self.answers) / len(self.answers)


def build_sampling(
    config: RolloutConfig, stop_tokens: Sequence[str], tokenizer: Tokenizer
) -> Sampling:
    """The sampling distribution, and the tokens that end a rollout.

    Raises ConfigError for a text in task.stop_tokens that is not a single token.
    """
    return Sampling(
        temperature=config.temperature,
        top_p=config.top_p,
        max_response_tokens=config.max_response_tokens,
        stop_token_ids=tokenizer.stop_token_ids(stop_tokens),
    )


def generate(
    engine: Engine,
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer,
    config: RolloutConfig,
    sampling: Sampling,
    seed: int,
    iteration: int,
) -> list[Group]:
    """One group per prompt, in order, with rollout.samples_per_prompt rollouts without rewards.

    The same arguments on the same weights give the same groups.  Rollout ids follow from prompt
    ids, so they are as unique as those.  Raises ConfigError for a prompt that is too long.
    """
    samples = config.samples_per_prompt
    tokens = [encode_within_limit(prompt, tokenizer, config) for prompt in prompts]
    requests = [
        Request(prompt_tokens, request_seed(seed, iteration, prompt.id, sample))
        for prompt, prompt_tokens in zip(prompts, tokens, strict=True)
        for sample in range(samples)
    ]
    generations = iter(engine.generate(requests, sampling))
    return [
        group_of(prompt, prompt_tokens, [next(generations) for _ in range(samples)], tokenizer)
        for prompt, prompt_tokens in zip(prompts, tokens, strict=True)
    ]


def evaluate(
    engine: Engine,
    prompts: Sequence[Prompt],
    tokenizer: Tokenizer,
    config: RolloutConfig,
    sampling: Sampling,
    scorer: Scorer,
) -> Evaluation:
    """One greedy rollout per prompt, scored.  Raises ValueError when there are no prompts."""
    if not prompts:
        raise ValueError("an evaluation needs at least one prompt")
    tokens = [encode_within_limit(prompt, tokenizer, config) for prompt in prompts]
    greedy = replace(sampling, temperature=0.0, top_p=1.0)
    generations = engine.generate([Request(t, seed=0) for t in tokens], greedy)
    scored = scorer.score(
        [
            group_of(prompt, prompt_tokens, [generation], tokenizer)
            for prompt, prompt_tokens, generation in zip(prompts, tokens, generations, strict=True)
        ]
    )
    rewards = [r.reward for g in scored.groups for r in g.rollouts if r.reward is not None]
    return Evaluation(
        answers=tuple(
            Answer(prompt.id, reward, len(generation.tokens_R))
            for prompt, reward, generation in zip(prompts, rewards, generations, strict=True)
        ),
        failures=scored.failures,
    )


@dataclass(frozen=True, slots=True)
class Examiner:
    """The evaluation of a run: always the same questions."""

    engine: Engine
    held_out: tuple[Prompt, ...]
    tokenizer: Tokenizer
    config: RolloutConfig
    sampling: Sampling
    scorer: Scorer

    def __call__(self) -> Evaluation | None:
        """None where nothing is held out."""
        if not self.held_out:
            return None
        return evaluate(
            self.engine, self.held_out, self.tokenizer, self.config, self.sampling, self.scorer
        )


def request_seed(seed: int, iteration: int, prompt_id: int, sample: int) -> int:
    """A seed of 64 bits that is the same everywhere (unlike Python's own hash)."""
    name = f"{seed} {iteration} {prompt_id} {sample}"
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())


def group_of(
    prompt: Prompt,
    prompt_tokens: tuple[int, ...],
    generations: Sequence[Generation],
    tokenizer: Tokenizer,
) -> Group:
    """The rollouts of a prompt, without rewards, one of one sample for each generation."""
    prompt_tokens_P = torch.tensor(prompt_tokens, dtype=torch.int64)
    rollouts = []
    for place, generation in enumerate(generations):
        rollout_id = prompt.id * len(generations) + place
        sample = Sample(
            prompt_id=prompt.id,
            rollout_id=rollout_id,
            prompt_tokens_P=prompt_tokens_P,
            response_tokens_R=generation.tokens_R,
            loss_mask_R=torch.ones_like(generation.tokens_R, dtype=torch.bool),
            rollout_log_probs_R=generation.log_probs_R,
        )
        text = tokenizer.decode(_without_end(generation).tolist())
        rollouts.append(Rollout(rollout_id, prompt.id, (sample,), text, generation.finish))
    return Group(prompt, tuple(rollouts))


def _without_end(generation: Generation) -> Tensor:
    """A stop token is part of the response, but not of its text."""
    return generation.tokens_R[: -1 if generation.finish is Finish.stop else None]
