"""Every family of models in Megatron says what it says in transformers, on every layout."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from layouts import workers
from layouts.crew import Crew
from layouts.layouts import ADAM, parallel
from processes import free_port
from rope_scalings import SCALINGS
from tiny_models import VOCABULARY, write_tiny_model
from torch import Tensor
from transformers import AutoModelForCausalLM

from slime.config.schema import Layout, ParallelConfig, SampleMeanLoss
from slime.megatron.spec import TrainWorkerSpec

EXPERTS = {"num_experts": 6, "num_experts_per_tok": 2}
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama_tied": ("llama", {"tie_word_embeddings": True}),
    **{
        f"llama_{scaling['rope_type']}_{n}": (
            "llama", {"rope_parameters": scaling, "rope_theta": None}
        )
        for n, scaling in enumerate(SCALINGS)
    },
    "qwen2": ("qwen2", {}),
    "qwen2_untied": ("qwen2", {"tie_word_embeddings": False}),
    "qwen3": ("qwen3", {}),
    "qwen3_untied": ("qwen3", {"tie_word_embeddings": False}),
    "qwen3_moe": ("qwen3_moe", {}),
    "qwen3_moe_not_normalised": ("qwen3_moe", {"norm_topk_prob": False}),
    "qwen3_moe_tied": ("qwen3_moe", EXPERTS | {"tie_word_embeddings": True}),
    "qwen3_moe_one_expert": ("qwen3_moe", {"num_experts_per_tok": 1, "norm_topk_prob": False}),
    "qwen3_moe_dense_first": ("qwen3_moe", {"mlp_only_layers": [0]}),
}  # fmt: skip
ONE = [parallel()]
DENSE = [
    parallel(tensor=2), parallel(pipeline=2), parallel(tensor=2, pipeline=2),
    parallel(context=2, tensor=2, layout=Layout.bshd),
]  # fmt: skip
MIXTURE = [
    *DENSE,
    parallel(data=2, expert=2), parallel(context=2, expert=2),
    parallel(data=2, expert=2, tensor=2), parallel(data=2, expert=2, pipeline=2),
    parallel(data=4, expert=2),
]  # fmt: skip
SEQUENCES = [
    torch.randint(VOCABULARY, (n,), generator=torch.Generator().manual_seed(n)).tolist()
    for n in (11, 1, 37)
]


@pytest.fixture(scope="module")
def crews() -> Iterator[dict[int, Crew]]:
    found = {size: Crew(size) for size in (1, 2, 4)}
    yield found
    for crew in found.values():
        crew.dismiss()


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    return {
        name: write_tiny_model(root / name, family, **changes)
        for name, (family, changes) in MODELS.items()
    }


def layouts_of(name: str) -> list[ParallelConfig]:
    return MIXTURE if name.startswith("qwen3_moe") else DENSE


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_logits_and_weights_are_those_of_transformers_on_every_layout(name, crews, folders):
    expected = transformers_logits(folders[name])
    stored = safetensors.torch.load_file(folders[name] / "model.safetensors")
    for layout in [*ONE, *layouts_of(name)]:
        logits, weights = through_megatron(crews[layout.workers], folders[name], layout)
        for right, found in zip(expected, logits, strict=True):
            torch.testing.assert_close(found, right, rtol=0, atol=1e-4, msg=f"{name} {layout}")
        assert weights.keys() == stored.keys(), layout
        assert all(torch.equal(weights[n], stored[n]) for n in stored), layout


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "qwen2", "qwen3", "qwen3_moe"])
def test_one_worker_loads_says_and_returns_a_model(name, crews, folders):
    [layout] = ONE
    logits, _ = through_megatron(crews[1], folders[name], layout)
    for right, found in zip(transformers_logits(folders[name]), logits, strict=True):
        assert (found - right).abs().max() < 1e-4


def test_what_makes_a_model_matters_for_its_logits(folders):
    """What the cases differ in, by more than the tolerance: else they would prove nothing."""
    logits = {name: transformers_logits(folder)[2] for name, folder in folders.items()}
    for name, other in (
        ("qwen3_moe", "qwen3_moe_not_normalised"),
        *(("llama", name) for name in MODELS if name.startswith("llama_") and name[-1].isdigit()),
        ("llama_yarn_2", "llama_yarn_4"),
    ):
        assert (logits[name] - logits[other]).abs().max() > 1e-2, (name, other)


def through_megatron(
    crew: Crew, folder: Path, layout: ParallelConfig
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Logits, the same on every worker that has them, and the weights of all workers together."""
    spec = TrainWorkerSpec(
        str(folder), SampleMeanLoss(), ADAM, layout, temperature=0.7, total_steps=1, seed=0
    )
    crew(workers.open_worker, spec, free_port())
    first, *others = [found for found in crew(workers.logits, SEQUENCES) if found]
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    weights: dict[str, Tensor] = {}
    for shard in crew(workers.weights):
        part = safetensors.torch.load(shard) if shard else {}
        assert not part.keys() & weights.keys(), "a tensor comes from two workers"
        weights |= part
    return first, weights


def transformers_logits(folder: Path) -> list[Tensor]:
    model = AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, experts_implementation="eager"
    )
    with torch.no_grad():
        return [model(torch.tensor(tokens)[None]).logits[0] for tokens in SEQUENCES]
