"""A micro-batch as the model sees it: its sequences end to end, padded to what the layout needs.

Padding is added here and nowhere else, always to the right of a sequence, and no response token
stands on it: nothing that is computed there is read.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from slime.config.schema import Layout, ParallelConfig
from slime.data.rollout import Sample
from slime.data.step import TrainSample


@dataclass(frozen=True, slots=True)
class Padding:
    """The lengths that a layout asks of the sequences of a micro-batch."""

    multiple: int  # every length is a multiple of this
    to_longest: bool  # all lengths are the same (bshd)

    def lengths(self, tokens_S: Tensor) -> Tensor:
        """Padded lengths of sequences of so many tokens.  -> [S]"""
        padded_S = (tokens_S + self.multiple - 1) // self.multiple * self.multiple
        return padded_S.max().expand_as(padded_S) if self.to_longest else padded_S


def build_padding(config: ParallelConfig) -> Padding:
    """What the layout needs."""
    return Padding(config.sequence_multiple, to_longest=config.layout is Layout.bshd)


@dataclass(frozen=True, slots=True, eq=False)
class PackedBatch:
    """S samples of together T input tokens, padding included, and R response tokens.

    A sample's input is its prompt and response without the last token, which predicts nothing that
    is trained on.  A context-parallel worker holds some of the T tokens, and those of the R tokens
    that are predicted there; the lengths are always those of whole sequences.
    """

    tokens_T: Tensor  # int64; 0 is the padding
    cu_seqlens: Tensor  # int32 [S + 1]: sample s is tokens cu_seqlens[s] to cu_seqlens[s + 1]
    active_tokens_S: Tensor  # float32: of each whole sample
    response_positions_R: Tensor  # int64: where in T each response token is predicted
    response_rows_R: Tensor  # int64: which of the micro-batch's response tokens it is
    samples_R: Tensor  # int64: which of the S samples it belongs to
    targets_R: Tensor  # int64: the response tokens
    mask_R: Tensor  # bool
    advantages_R: Tensor  # float32
    weights_R: Tensor  # float32
    auxiliary_weights_R: Tensor  # float32
    rollout_log_probs_R: Tensor  # float32
    old_log_probs_R: Tensor | None  # float32
    reference_log_probs_R: Tensor | None  # float32
    response_lengths: tuple[int, ...]  # [S], of whole responses

    def to(self, device: torch.device | str) -> "PackedBatch":
        moved: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                moved[f.name] = value.to(device)
        return replace(self, **moved)


def pack(samples: Sequence[TrainSample], padding: Padding) -> PackedBatch:
    """One micro-batch's samples, in order.

    Raises ValueError for no samples, a sample without a prompt token, tensors that do not match
    the response's length, and samples of which only some have old or reference log-probs.
    """
    if not samples:
        raise ValueError("a micro-batch needs at least one sample")
    for train_sample in samples:
        _check_lengths(train_sample)
    inputs = [_input_tokens(s.sample) for s in samples]
    lengths = padding.lengths(torch.tensor([len(tokens) for tokens in inputs]))
    starts = lengths.cumsum(0) - lengths
    responses = torch.tensor([len(s.sample.response_tokens_R) for s in samples])
    return PackedBatch(
        tokens_T=torch.cat(
            [pad(t, (0, n - len(t))) for t, n in zip(inputs, lengths.tolist(), strict=True)]
        ),
        cu_seqlens=pad(lengths.cumsum(0), (1, 0)).to(torch.int32),
        active_tokens_S=torch.tensor(
            [s.sample.active_tokens for s in samples], dtype=torch.float32
        ),
        response_positions_R=torch.cat(
            [
                _predicting(s.sample, start)
                for s, start in zip(samples, starts.tolist(), strict=True)
            ]
        ),
        response_rows_R=torch.arange(int(responses.sum())),
        samples_R=torch.arange(len(samples)).repeat_interleave(responses),
        targets_R=torch.cat([s.sample.response_tokens_R for s in samples]),
        mask_R=torch.cat([s.sample.loss_mask_R for s in samples]),
        advantages_R=torch.cat([s.advantages_R for s in samples]),
        weights_R=_per_token(samples, lambda s: s.weight),
        auxiliary_weights_R=_per_token(samples, lambda s: s.auxiliary_weight),
        rollout_log_probs_R=torch.cat([s.sample.rollout_log_probs_R for s in samples]),
        old_log_probs_R=_all_or_none("old", [s.old_log_probs_R for s in samples]),
        reference_log_probs_R=_all_or_none("reference", [s.reference_log_probs_R for s in samples]),
        response_lengths=tuple(responses.tolist()),
    )


def _check_lengths(train: TrainSample) -> None:
    sample = train.sample
    if len(sample.prompt_tokens_P) == 0:
        raise ValueError(f"a sample of rollout {sample.rollout_id} has no prompt token")
    for name, values_R in (
        ("loss_mask_R", sample.loss_mask_R),
        ("rollout_log_probs_R", sample.rollout_log_probs_R),
        ("advantages_R", train.advantages_R),
        ("old_log_probs_R", train.old_log_probs_R),
        ("reference_log_probs_R", train.reference_log_probs_R),
    ):
        if values_R is not None and values_R.shape != sample.response_tokens_R.shape:
            raise ValueError(
                f"{name} of a sample of rollout {sample.rollout_id} has shape "
                f"{tuple(values_R.shape)}, its response {tuple(sample.response_tokens_R.shape)}"
            )


def _input_tokens(sample: Sample) -> Tensor:
    tokens = torch.cat([sample.prompt_tokens_P, sample.response_tokens_R])
    # One token is left even of a one-token sample: attention has no empty sequences.
    return tokens[: max(len(tokens) - 1, 1)]


def _predicting(sample: Sample, start: int) -> Tensor:
    """A hidden state predicts the token after it.  -> [R]"""
    first = start + len(sample.prompt_tokens_P) - 1
    return torch.arange(first, first + len(sample.response_tokens_R))


def _per_token(samples: Sequence[TrainSample], weight: Callable[[TrainSample], float]) -> Tensor:
    weights_S = torch.tensor([weight(s) for s in samples], dtype=torch.float64)
    lengths_S = torch.tensor([len(s.sample.response_tokens_R) for s in samples])
    return weights_S.repeat_interleave(lengths_S).to(torch.float32)


def _all_or_none(name: str, values: Sequence[Tensor | None]) -> Tensor | None:
    given = [v for v in values if v is not None]
    if not given:
        return None
    if len(given) < len(values):
        raise ValueError(
            f"{len(values) - len(given)} of {len(values)} samples of a micro-batch have no "
            f"{name} log-probs: either all of them have, or none"
        )
    return torch.cat(given)
