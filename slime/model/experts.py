"""The mixture of experts of a model, as config.json describes it."""

from dataclasses import dataclass

from slime.model.config_json import ConfigJson

_MOST = 100_000  # they are counted up to
_COUNTS = ("num_experts", "num_local_experts")  # two names of one field


@dataclass(frozen=True, slots=True)
class Experts:
    """In all layers but `dense_layers`, a router sends each token to some of many small MLPs."""

    count: int
    per_token: int
    feed_forward_size: int  # of one expert
    normalised: bool  # whether the probabilities of a token's experts are made to sum to 1
    dense_layers: tuple[int, ...]  # layers that keep one MLP for all tokens, from 0

    def in_layer(self, layer: int) -> bool:
        return layer not in self.dense_layers


def read_experts(config: ConfigJson, layers: int) -> Experts:
    """Raises ConfigError naming the field that is missing or out of range."""
    written = [name for name in _COUNTS if name in config.values]
    if len({str(config.values[name]) for name in written}) > 1:
        raise config.error(f"{' and '.join(written)} differ: delete the wrong one")
    name = (written or _COUNTS)[0]
    count, per_token = config.count(name, most=_MOST), config.count("num_experts_per_tok")
    if per_token > count:
        raise config.error(f"num_experts_per_tok={per_token} is more than {name}={count}")
    dense_layers = _dense_layers(config, layers)
    if len(dense_layers) == layers:
        raise config.error(
            "mlp_only_layers and decoder_sparse_step leave no layer with experts; that is a "
            "qwen3 model"
        )
    return Experts(
        count=count,
        per_token=per_token,
        feed_forward_size=config.count("moe_intermediate_size"),
        normalised=config.flag("norm_topk_prob"),
        dense_layers=dense_layers,
    )


def _dense_layers(config: ConfigJson, layers: int) -> tuple[int, ...]:
    """Every decoder_sparse_step-th layer has experts, unless mlp_only_layers names it."""
    step = config.integer("decoder_sparse_step", config.values.get("decoder_sparse_step", 1))
    named = config.values.get("mlp_only_layers")
    named = [] if named is None else named
    if not isinstance(named, list) or not all(type(layer) is int for layer in named):
        raise config.wrong("mlp_only_layers", "a list of layer numbers", named)
    return tuple(n for n in range(layers) if n in named or (n + 1) % step)
