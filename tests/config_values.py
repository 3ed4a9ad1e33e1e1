"""config.json with each field in turn absent, or of a value that it should not have."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rope_scalings import SCALINGS
from tiny_models import write_tiny_model

VALUES: tuple[Any, ...] = (
    None, True, False, "x", "", "1" * 5000, -1, 0, 1, 2, 0.0, 1.5, 2.0, 1e308, 10**400,
    float("nan"), float("inf"), [], ["x"], [None], {}, {"a": 1},
)  # fmt: skip

# Read by slime or transformers, and in no tiny model's config.json.
_MORE = (
    "layer_types", "use_sliding_window", "sliding_window", "max_window_layers", "rope_parameters",
    "rope_scaling", "partial_rotary_factor", "original_max_position_embeddings", "mlp_bias",
    "quantization_config", "per_layer_config", "num_local_experts", "_attn_implementation",
)  # fmt: skip


def changed_configs(folder: Path, family: str) -> Iterator[tuple[str, Any]]:
    """Write one config.json after the other.  -> what was changed, and to what"""
    config = json.loads((write_tiny_model(folder, family) / "config.json").read_text())
    for field in sorted({*config, *_MORE} - {"dtype"}):
        for what, changed in _changed(config, field):
            (folder / "config.json").write_text(json.dumps(changed))
            yield field, what
    for scaling in SCALINGS:
        for field in (*scaling, "type", "partial_rotary_factor", "full_attention"):
            for what, rope in _changed(scaling, field):
                changed = config | {"rope_parameters": rope}
                (folder / "config.json").write_text(json.dumps(changed))
                yield f"{scaling['rope_type']} {field}", what


def _changed(values: dict[str, Any], field: str) -> Iterator[tuple[Any, dict[str, Any]]]:
    yield "absent", {name: value for name, value in values.items() if name != field}
    for value in VALUES:
        yield value, values | {field: value}
