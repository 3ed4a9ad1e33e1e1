import json
from dataclasses import asdict

import pytest
from rope_scalings import SCALINGS
from tiny_models import write_tiny_model

from slime.config.schema import ConfigError
from slime.model.architecture import FAMILIES, Architecture, read_architecture
from slime.model.experts import Experts
from slime.model.rope import Llama3Rope, rope_parameters

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "vocab_size": 100,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
    "rope_theta": 5000.0,
    "hidden_act": "silu",
}
QWEN2 = LLAMA | {"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2"}
QWEN3 = LLAMA | {"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "head_dim": 32}


def read(folder, values):
    (folder / "config.json").write_text(json.dumps(values))
    return read_architecture(folder)


def test_every_value_is_read(tmp_path):
    assert read(tmp_path, LLAMA | {"tie_word_embeddings": True}) == Architecture(
        family="llama",
        layers=3,
        hidden_size=64,
        attention_heads=4,
        key_value_heads=2,
        head_size=16,
        feed_forward_size=96,
        vocabulary_size=100,
        max_positions=128,
        rope_theta=5000.0,
        norm_epsilon=1e-5,
        tied_embeddings=True,
        qkv_bias=False,
        qk_norm=False,
    )


def test_the_families_differ_in_bias_and_norm(tmp_path):
    qwen2, qwen3 = read(tmp_path, QWEN2), read(tmp_path, QWEN3)
    assert (qwen2.qkv_bias, qwen2.qk_norm, qwen2.head_size) == (True, False, 16)
    assert (qwen3.qkv_bias, qwen3.qk_norm, qwen3.head_size) == (False, True, 32)


def test_rope_theta_is_read_where_transformers_5_writes_it(tmp_path):
    values = LLAMA | {"rope_parameters": {"rope_type": "default", "rope_theta": 7.0}}
    del values["rope_theta"]
    assert read(tmp_path, values).rope_theta == 7.0


def test_what_older_llama_files_leave_out_has_the_value_transformers_gives_it(tmp_path):
    values = {k: v for k, v in LLAMA.items() if k not in ("num_key_value_heads", "rope_theta")}
    architecture = read(tmp_path, values)
    assert (architecture.key_value_heads, architecture.rope_theta) == (4, 10000.0)
    assert not architecture.tied_embeddings


@pytest.mark.parametrize("family", FAMILIES)
def test_transformers_reads_the_same_values(tmp_path, family):
    from transformers import AutoConfig

    folder = write_tiny_model(tmp_path / family, family)
    AutoConfig.from_pretrained(folder).save_pretrained(tmp_path / "again")
    architecture = read_architecture(folder)
    assert asdict(read_architecture(tmp_path / "again")) == asdict(architecture)
    config = AutoConfig.from_pretrained(folder)
    assert config.rope_parameters["rope_theta"] == architecture.rope_theta
    assert config.num_key_value_heads == architecture.key_value_heads


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"model_type": "mistral"}, "model_type is 'mistral'.*llama, qwen2, qwen3, qwen3_moe"),
        ({"model_type": None}, "model_type is None"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification"),
        ({"architectures": "LlamaForCausalLM"}, "architectures must be a list of names, got 'Llam"),
        ({"architectures": {"a": 1}}, "architectures must be a list of names"),
        ({"layer_types": 5}, "layer_types must be a list of names, got 5"),
        ({"transformers_weights": "other.safetensors"}, "transformers_weights is 'other"),
        ({"per_layer_config": {"0": {"head_dim": 8}}}, "per_layer_config is"),
        ({"num_attention_heads": 6, "head_dim": 16}, "hidden_size=64 is not a multiple of num_att"),
        ({"num_hidden_layers": 10**400}, "num_hidden_layers must be at most 10000"),
        ({"rope_scaling": {"type": "linear", "factor": 10**400}}, "rope_parameters.factor must be"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2.0}, "rope_theta": 1.0},
            "rope_theta=1 must be above 1 where rope_type is yarn",
        ),
        ({"rope_scaling": {"type": "yarn"}}, "rope_parameters.factor is missing"),
        (
            {"rope_scaling": {"type": "yarn", "factor": 2.0, "truncate": 0}},
            "rope_parameters.truncate must be true or false, got 0",
        ),
        (
            {"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2.0}}},
            r"rope_parameters\['full_attention'\] is for some of the layers",
        ),
        ({"rope_parameters": [1]}, "rope_parameters must be an object"),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}}, "rope_type is 'dynamic'"),
        ({"rope_parameters": {"rope_type": "longrope"}}, "rope_type is 'longrope'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "low_freq_factor is missing"),
        ({"rope_scaling": {"type": "linear"}}, "rope_parameters.factor is missing"),
        (
            {"rope_scaling": {"type": "yarn", "original_max_position_embeddings": "x"}},
            "rope_parameters.original_max_position_embeddings must be an integer",
        ),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        ({"mlp_bias": True}, "mlp_bias"),
        ({"attention_bias": True}, "attention_bias"),
        ({"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ({"quantization_config": {"bits": 4}}, "quantization_config"),
        ({"num_hidden_layers": None}, "num_hidden_layers is missing"),
        ({"rms_norm_eps": None}, "rms_norm_eps is missing"),
        ({"hidden_size": 0}, "hidden_size must be an integer >= 1"),
        ({"vocab_size": "many"}, "vocab_size must be an integer"),
        ({"rope_theta": -1}, "rope_theta must be a finite number > 0"),
        ({"num_key_value_heads": 3}, "num_key_value_heads=3"),
        ({"tie_word_embeddings": "yes"}, "tie_word_embeddings must be true or false"),
    ],
)
def test_what_the_trainer_cannot_do_is_refused_by_name(tmp_path, values, said):
    with pytest.raises(ConfigError, match=said) as error:
        read(tmp_path, LLAMA | values)
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


def test_qwen3_must_say_its_head_size(tmp_path):
    with pytest.raises(ConfigError, match="head_dim is missing"):
        read(tmp_path, {k: v for k, v in QWEN3.items() if k != "head_dim"})


@pytest.mark.parametrize("content", ["{", "[]", '"llama"', ""])
def test_a_config_that_is_no_json_object_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_architecture(tmp_path)


def test_a_missing_folder_and_a_missing_config_are_told_apart(tmp_path):
    with pytest.raises(ConfigError, match="is not a folder"):
        read_architecture(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        read_architecture(tmp_path)


QWEN3_MOE = QWEN3 | {
    "architectures": ["Qwen3MoeForCausalLM"],
    "model_type": "qwen3_moe",
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 24,
}


def test_the_experts_of_qwen3_moe_are_read(tmp_path):
    values = QWEN3_MOE | {"norm_topk_prob": True, "mlp_only_layers": [1]}
    assert read(tmp_path, values).experts == Experts(8, 2, 24, normalised=True, dense_layers=(1,))
    assert read(tmp_path, QWEN3_MOE).experts == Experts(8, 2, 24, normalised=False, dense_layers=())
    assert read(tmp_path, QWEN3).experts is None


@pytest.mark.parametrize(
    "changes", [{"decoder_sparse_step": 2}, {"mlp_only_layers": [0, 2]}, {"mlp_only_layers": None}]
)
def test_the_layers_with_experts_are_those_of_transformers(tmp_path, changes):
    from transformers import AutoConfig, AutoModelForCausalLM

    experts = read(tmp_path, QWEN3_MOE | changes).experts
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(tmp_path))
    sparse = [n for n, layer in enumerate(model.model.layers) if hasattr(layer.mlp, "experts")]
    assert [n for n in range(3) if experts.in_layer(n)] == sparse


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"num_experts_per_tok": 9}, "num_experts_per_tok=9 is more than num_experts=8"),
        ({"num_experts": None}, "num_experts is missing"),
        ({"moe_intermediate_size": None}, "moe_intermediate_size is missing"),
        ({"mlp_only_layers": [0, 1, 2]}, "no layer with experts"),
        ({"mlp_only_layers": "all"}, "mlp_only_layers must be a list"),
        ({"norm_topk_prob": 1}, "norm_topk_prob must be true or false"),
        ({"num_local_experts": 4}, "num_experts and num_local_experts differ"),
        ({"decoder_sparse_step": 0}, "decoder_sparse_step must be an integer >= 1"),
    ],
)
def test_experts_that_cannot_be_are_refused_by_name(tmp_path, values, said):
    with pytest.raises(ConfigError, match=said):
        read(tmp_path, QWEN3_MOE | values)


def test_scaled_positions_are_read_under_the_old_name_and_the_new(tmp_path):
    values = {
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    }
    for field, kind in (("rope_scaling", "type"), ("rope_parameters", "rope_type")):
        read_ = read(tmp_path, LLAMA | {field: values | {kind: "llama3"}})
        assert read_.rope_scaling == Llama3Rope(8.0, 1.0, 4.0, 32)
        assert read_.rope_theta == 5000.0


@pytest.mark.parametrize("scaling", SCALINGS, ids=lambda s: s["rope_type"])
def test_scaled_positions_survive_being_written(tmp_path, scaling):
    first = read(tmp_path, LLAMA | {"rope_parameters": scaling})
    written = rope_parameters(first.rope_theta, first.rope_scaling)
    assert read(tmp_path, LLAMA | {"rope_parameters": written}) == first
