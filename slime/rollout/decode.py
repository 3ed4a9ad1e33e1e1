"""One batch of rollouts, a token a step.

Each distinct prompt runs through the model once, however many rollouts start from it; its keys and
values are then copied to each of them.  Prompts are padded on the left in here and nowhere else.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from slime.data import Finish
from slime.rollout.engine import Generation, Request, Sampling
from slime.rollout.kv_cache import new_cache
from slime.rollout.sampling import Sampler, uniform_numbers

# Taking ended rows out copies the keys and values of all others: wait until it is worth it.
_WORTH_DROPPING = 1 / 8


@torch.inference_mode()
def decode(
    model: Any, requests: Sequence[Request], sampling: Sampling, sampler: Sampler
) -> list[Generation]:
    """One Generation per request, in order.

    model: a transformers causal language model.  R = max_response_tokens, S = requests.
    Raises FloatingPointError when a sampled token's log-prob is not finite.
    """
    steps = sampling.max_response_tokens
    numbers_SR = uniform_numbers([r.seed for r in requests], steps).to(model.device)
    stops = torch.tensor(sorted(sampling.stop_token_ids), device=model.device)
    tokens_SR = torch.zeros(len(requests), steps, dtype=torch.int64, device=model.device)
    log_probs_SR = torch.zeros(len(requests), steps, device=model.device)
    rows, logits_BV = _prefill(model, [r.prompt_tokens for r in requests], steps)
    for step in range(steps):
        drawn_B, log_probs_B = sampler(logits_BV, numbers_SR[rows.request_B, step])
        tokens_SR[rows.request_B, step] = drawn_B
        log_probs_SR[rows.request_B, step] = log_probs_B
        rows.running_B &= ~torch.isin(drawn_B, stops)
        if step + 1 == steps or not rows.running_B.any():
            break
        logits_BV = rows.advance(model, rows.drop_ended(drawn_B))
    if not log_probs_SR.isfinite().all():
        raise FloatingPointError("the model's probabilities are not finite: its weights are broken")
    return _cut(tokens_SR.cpu(), log_probs_SR.cpu(), sampling.stop_token_ids)


@dataclass(slots=True)
class _Rows:
    """What is in the batch: B rows, each on behalf of a request."""

    request_B: Tensor
    running_B: Tensor  # False: ended, not yet taken out
    mask_BL: Tensor  # False: padding
    cache: Any

    def drop_ended(self, drawn_B: Tensor) -> Tensor:
        """Take ended rows out if they are many; -> the drawn tokens of the rows that are left."""
        kept = self.running_B.nonzero()[:, 0]
        rows = len(self.running_B)
        if rows - len(kept) < _WORTH_DROPPING * rows or len(kept) == rows:
            return drawn_B
        self.request_B, self.running_B = self.request_B[kept], self.running_B[kept]
        self.mask_BL = self.mask_BL[kept]
        self.cache.batch_select_indices(kept)
        return drawn_B[kept]

    def advance(self, model: Any, drawn_B: Tensor) -> Tensor:
        """Append a token to each row: -> logits [B, V] of the next."""
        self.mask_BL = torch.nn.functional.pad(self.mask_BL, (0, 1), value=True)
        output = model(
            drawn_B[:, None],
            attention_mask=self.mask_BL,
            position_ids=self.mask_BL.sum(-1, keepdim=True) - 1,
            past_key_values=self.cache,
            use_cache=True,
        )
        logits_BV: Tensor = output.logits[:, -1]
        return logits_BV


def _prefill(model: Any, prompts: Sequence[tuple[int, ...]], steps: int) -> tuple[_Rows, Tensor]:
    """-> a row per prompt, and logits [B, V] of their first response tokens."""
    distinct = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    place_B = torch.tensor([distinct[prompt] for prompt in prompts], device=model.device)
    tokens_PL, mask_PL = _pad_left(list(distinct), model.device)
    cache = new_cache(model.config.num_hidden_layers, tokens_PL.shape[1] + steps)
    output = model(
        tokens_PL,
        attention_mask=mask_PL,
        position_ids=(mask_PL.cumsum(-1) - 1).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_select_indices(place_B)
    rows = _Rows(
        request_B=torch.arange(len(prompts), device=model.device),
        running_B=torch.ones(len(prompts), dtype=torch.bool, device=model.device),
        mask_BL=mask_PL[place_B],
        cache=cache,
    )
    return rows, output.logits[place_B, -1]


def _pad_left(prompts: Sequence[tuple[int, ...]], device: torch.device) -> tuple[Tensor, Tensor]:
    """-> tokens [P, L] and the mask [P, L] of those that are not padding."""
    longest = max(len(prompt) for prompt in prompts)
    tokens_PL = torch.zeros(len(prompts), longest, dtype=torch.int64)
    mask_PL = torch.zeros(len(prompts), longest, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        tokens_PL[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask_PL[row, longest - len(prompt) :] = True
    return tokens_PL.to(device), mask_PL.to(device)


def _cut(tokens_SR: Tensor, log_probs_SR: Tensor, stops: frozenset[int]) -> list[Generation]:
    """Each row up to its first stop token, that one included."""
    generations = []
    for tokens_R, log_probs_R in zip(tokens_SR, log_probs_SR, strict=True):
        ends = (place for place, token in enumerate(tokens_R.tolist()) if token in stops)
        end = next(ends, None)
        length = len(tokens_R) if end is None else end + 1
        finish = Finish.length if end is None else Finish.stop
        generations.append(
            Generation(tokens_R[:length].clone(), log_probs_R[:length].clone(), finish)
        )
    return generations
