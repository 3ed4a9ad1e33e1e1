"""What slime makes of the same step, from a command line."""

from functools import cache
from pathlib import Path

import torch
from coming_from.step import BETA, CLIP, Row, Step
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from slime.config.compose import search_path
from slime.config.overrides import read_command_line
from slime.config.schema import LossConfig
from slime.config.store import register
from slime.data import StepShape
from slime.loss import (
    Sequences,
    TokenTerms,
    build_aggregation,
    build_auxiliary_aggregation,
    build_loss,
)

ROOT = Path(__file__).parents[2]


@cache
def loss_config(command_line: str) -> LossConfig:
    """The loss node that a command line means."""
    register(ROOT / "recipes")
    loader = ConfigLoaderImpl(search_path(ROOT / "conf"))
    return read_command_line(loader, command_line.split()).loss


def with_the_terms_of(command_line: str) -> str:
    """The same, with the KL penalty and the clip range of the peers' formulas."""
    clip = f" loss.objective.clip_low={CLIP} loss.objective.clip_high={CLIP}"
    has_own = "loss/objective=cispo" in command_line
    kl = f" loss/kl=k3 loss.kl.coefficient={BETA}"
    return command_line + kl + ("" if has_own else clip)


def shape(step: Step) -> StepShape:
    return StepShape(
        active_tokens=torch.tensor([row.active for row in step.rows]),
        rollout_ids=torch.tensor([row.rollout for row in step.rows]),
        prompt_ids=torch.tensor([row.prompt for row in step.rows]),
    )


def weights(command_line: str, step: Step) -> list[float]:
    return build_aggregation(loss_config(command_line))(shape(step)).tolist()


def auxiliary_weights(command_line: str, step: Step) -> list[float]:
    return build_auxiliary_aggregation(loss_config(command_line))(shape(step)).tolist()


def loss(command_line: str, step: Step) -> float:
    config = loss_config(with_the_terms_of(command_line))
    lengths = torch.tensor([len(row.mask) for row in step.rows])
    of_token_T = torch.repeat_interleave(torch.arange(len(step.rows)), lengths)

    def tokens(read) -> torch.Tensor:
        return torch.cat([torch.as_tensor(read(row)) for row in step.rows])

    def advantages(row: Row) -> torch.Tensor:
        return torch.full((len(row.mask),), row.advantage, dtype=torch.float64)

    weights_S = build_aggregation(config)(shape(step))
    auxiliary_S = build_auxiliary_aggregation(config)(shape(step))
    old_T = tokens(lambda row: row.old)
    terms = TokenTerms(
        log_probs_T=tokens(lambda row: row.current),
        entropy_T=torch.zeros_like(old_T),
        rollout_log_probs_T=old_T,
        advantages_T=tokens(advantages),
        mask_T=tokens(lambda row: row.mask),
        weights_T=weights_S[of_token_T],
        auxiliary_weights_T=auxiliary_S[of_token_T],
        old_log_probs_T=old_T,
        reference_log_probs_T=tokens(lambda row: row.reference),
        sequences=Sequences(
            of_token_T=of_token_T,
            active_tokens_S=shape(step).active_tokens.double(),
            add_shards=lambda _: None,
        ),
    )
    return build_loss(config)(terms).loss.item()
