"""Sliding-window attention, which the trainer does not have: whether a model uses it.

As transformers decides it, for each family in its own way; Qwen files carry a window size that
mostly does not count.
"""

from slime.model.config_json import ConfigJson

_FULL = ("full_attention", "attention")  # the second is an old name

# What transformers assumes where config.json says nothing.
_WINDOW, _FIRST_LAYER = 4096, 28


def refuse_sliding_windows(config: ConfigJson, family: str, layers: int) -> None:
    """Raises ConfigError naming the field that makes a layer's attention slide."""
    kinds = config.names("layer_types")
    for layer, kind in enumerate(kinds):
        if kind not in _FULL:
            raise config.error(
                f"layer_types[{layer}] is {kind!r:.60}; only 'full_attention' is supported"
            )
    if config.values.get("layer_types") is not None and len(kinds) != layers:
        raise config.error(
            f"layer_types has {len(kinds)} layers and num_hidden_layers={layers}: they must agree"
        )
    if family == "llama":
        return
    window = config.values.get("sliding_window", _WINDOW)
    if window is not None and type(window) is not int:
        raise config.wrong("sliding_window", "an integer or null", window)
    # Qwen3-MoE has a window for all layers or none: neither their types nor a first one count.
    first = 0 if family == "qwen3_moe" else _first_layer(config)
    all_full = bool(kinds) and family != "qwen3_moe"
    slides = config.flag("use_sliding_window") and window is not None
    if slides and first < layers and not all_full:
        raise config.error(
            f"use_sliding_window=true with sliding_window={window}: attention slides in the layers "
            f"from {first} on, which is not supported"
        )


def _first_layer(config: ConfigJson) -> int:
    value = config.values.get("max_window_layers", _FIRST_LAYER)
    if type(value) is not int or value < 0:
        raise config.wrong("max_window_layers", "an integer >= 0", value)
    return value
