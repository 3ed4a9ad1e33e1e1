"""The angles of rotary positions: the same float32 numbers that transformers has.

megatron's own formulas for scaled positions differ from transformers' in what they can be told, so
the inverse frequencies are computed here and put in the place of megatron's.
"""

import math

import torch
from megatron.core.transformer import TransformerConfig
from torch import Tensor

from slime.model.architecture import Architecture
from slime.model.rope import LinearRope, Llama3Rope, RopeScaling, YarnRope


def inverse_frequencies(architecture: Architecture) -> Tensor:
    """Radians a position for each pair of a head's features.  -> [head_size / 2] float32"""
    size = architecture.head_size
    base = architecture.rope_theta ** (torch.arange(0, size, 2, dtype=torch.float32) / size)
    match architecture.rope_scaling:
        case None:
            return 1.0 / base
        case LinearRope(factor):
            return 1.0 / base / factor
        case Llama3Rope() as rope:
            return _llama3(1.0 / base, rope)
        case YarnRope() as rope:
            return _yarn(base, rope, architecture.rope_theta)


def scale_positions(config: TransformerConfig, scaling: RopeScaling | None) -> None:
    """Multiply rotated queries and keys by YaRN's attention factor, as megatron wants it said.

    megatron computes its factor as 0.1 * mscale * ln(scale) + 1 over the same without mscale; with
    scale = e that is any number we like.
    """
    if isinstance(scaling, YarnRope):
        config.yarn_rotary_scaling_factor = math.e
        config.yarn_mscale = (scaling.attention_factor - 1) / 0.1
        config.yarn_mscale_all_dim = 0.0


def _llama3(frequencies: Tensor, rope: Llama3Rope) -> Tensor:
    """Turns over the original positions decide: few are slowed down, many are left alone."""
    wavelengths = 2 * math.pi / frequencies
    longest_kept = rope.original_positions / rope.high_frequency_factor
    shortest_slowed = rope.original_positions / rope.low_frequency_factor
    share_kept = (rope.original_positions / wavelengths - rope.low_frequency_factor) / (
        rope.high_frequency_factor - rope.low_frequency_factor
    )
    between = (1 - share_kept) * frequencies / rope.factor + share_kept * frequencies
    slowed = torch.where(wavelengths > shortest_slowed, frequencies / rope.factor, between)
    return torch.where(wavelengths < longest_kept, frequencies, slowed)


def _yarn(base: Tensor, rope: YarnRope, theta: float) -> Tensor:
    """YaRN, arXiv:2309.00071 section 3.2, "NTK-by-parts"."""
    size = 2 * len(base)

    def pair_that_turns(times: float) -> float:
        """Which pair of features turns so often over the original positions."""
        wavelength = rope.original_positions / (times * 2 * math.pi)
        return size * math.log(wavelength) / (2 * math.log(theta))

    first, last = pair_that_turns(rope.beta_fast), pair_that_turns(rope.beta_slow)
    if rope.truncate:
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, size - 1)
    width = last - first if last != first else 0.001
    slowed = ((torch.arange(len(base), dtype=torch.float32) - first) / width).clamp(0, 1)
    # 1 - (1 - slowed) is not slowed in float32, and transformers takes that way.
    kept = 1 - slowed
    return 1.0 / (rope.factor * base) * (1 - kept) + 1.0 / base * kept
