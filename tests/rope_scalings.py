"""The ways in which rotary positions are scaled, for models of 64 positions."""

from typing import Any

_BASE = {"rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}

SCALINGS: tuple[dict[str, Any], ...] = (
    {"rope_type": "linear", "rope_theta": 500.0, "factor": 3.0},
    {"rope_type": "llama3", **_BASE, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"rope_type": "yarn", **_BASE},
    {"rope_type": "yarn", **_BASE, "attention_factor": 0.8, "beta_slow": 0.2, "truncate": False},
    {"rope_type": "yarn", **_BASE, "mscale": 0.7, "mscale_all_dim": 1.3},
)
