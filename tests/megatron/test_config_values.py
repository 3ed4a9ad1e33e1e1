"""A config.json that slime takes is taken by transformers, too, and is the same model there."""

import pytest
import torch
from config_values import changed_configs
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from slime.config.schema import ConfigError
from slime.megatron.rotary import inverse_frequencies
from slime.model.architecture import FAMILIES, read_architecture
from slime.model.rope import YarnRope


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_taken_is_the_same_model_in_transformers(family, tmp_path):
    folder = tmp_path / "model"
    for changed in changed_configs(folder, family):
        try:
            architecture = read_architecture(folder)
        except ConfigError:
            continue
        assert facts(architecture) == facts_of_transformers(folder), changed
        frequencies, factor = rotary_of_transformers(folder)
        assert torch.equal(inverse_frequencies(architecture), frequencies), changed
        scaling = architecture.rope_scaling
        assert (scaling.attention_factor if isinstance(scaling, YarnRope) else 1) == factor, changed


def facts(model):
    experts = model.experts
    found = {
        "num_hidden_layers": model.layers,
        "hidden_size": model.hidden_size,
        "num_attention_heads": model.attention_heads,
        "num_key_value_heads": model.key_value_heads,
        "head_dim": model.head_size,
        "intermediate_size": model.feed_forward_size,
        "vocab_size": model.vocabulary_size,
        "max_position_embeddings": model.max_positions,
        "rms_norm_eps": model.norm_epsilon,
        "tie_word_embeddings": model.tied_embeddings,
        "layers with experts": [n for n in range(model.layers) if experts and experts.in_layer(n)],
    }
    if experts is not None:
        found |= {
            "num_experts": experts.count,
            "num_experts_per_tok": experts.per_token,
            "moe_intermediate_size": experts.feed_forward_size,
            "norm_topk_prob": experts.normalised,
        }
    return found


def facts_of_transformers(folder):
    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        layers = AutoModelForCausalLM.from_config(config).model.layers
    found = {
        "head_dim": layers[0].self_attn.head_dim,
        "layers with experts": [n for n, one in enumerate(layers) if hasattr(one.mlp, "experts")],
    }
    names = facts(read_architecture(folder)).keys() - found.keys()
    return found | {name: getattr(config, name) for name in names}


def rotary_of_transformers(folder):
    rotary = LlamaRotaryEmbedding(AutoConfig.from_pretrained(folder))
    return rotary.inv_freq, rotary.attention_scaling
