"""A real model goes through the trainer and comes out the same: SmolLM2-135M, ten prompts."""

from pathlib import Path

import pytest
import torch
from processes import run_processes
from train_samples import POLICY_ONLY, worker_spec
from train_worker_cases import running

from slime.config.schema import Precision, SmolLM2Model
from slime.model.architecture import read_architecture
from slime.model.prepare import prepare_model
from slime.model.shrink import write_random_model
from slime.model.tokenizer import load_tokenizer
from slime.rollout.engine import Request, Sampling
from slime.rollout.local import LocalEngine

TOKENS = 24
PROMPTS = (
    "The capital of France is", "def fibonacci(n):", "Once upon a time", "2 + 2 =",
    "Water boils at", "The opposite of hot is", "import numpy as np\n", "Dear Sir or Madam,",
    "The three primary colours are", "A list of fruits: apple,",
)  # fmt: skip


def exported(_rank: int, folder: Path) -> bytes:
    with running(worker_spec(folder, loss=POLICY_ONLY)) as worker:
        return worker.export_weights()


def continued_by_transformers(folder: Path, prompts: list[list[int]]) -> list[list[int]]:
    """Greedily, one prompt at a time, without a cache."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        tokens = list(prompt)
        with torch.no_grad():
            for _ in range(TOKENS):
                tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        answers.append(tokens[len(prompt) :])
    return answers


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_answers_after_load_export_and_push_as_in_transformers(tmp_path):
    folder = prepare_model(SmolLM2Model())
    prompts = [list(load_tokenizer(folder).encode(prompt)) for prompt in PROMPTS]
    expected = continued_by_transformers(folder, prompts)
    assert len({tuple(answer) for answer in expected}) == len(PROMPTS)

    # The engine starts with other weights, so that all it knows is what the trainer exported.
    write_random_model(read_architecture(folder), 0, tmp_path / "random")
    engine = LocalEngine(str(tmp_path / "random"), len(PROMPTS), Precision.float32)
    engine.load_weights(run_processes(1, exported, folder))
    greedy = Sampling(0.0, 1.0, TOKENS, frozenset())
    requests = [Request(tuple(prompt), seed=0) for prompt in prompts]
    assert [g.tokens_R.tolist() for g in engine.generate(requests, greedy)] == expected
