"""rollout/engine=local: a transformers model in this process."""

import sys
from collections.abc import Sequence
from pathlib import Path
from types import BuiltinFunctionType
from typing import Any

import torch
from torch import Tensor

from slime.config.schema import Precision
from slime.model.compute import computing_in
from slime.model.onednn import multiply_with_onednn
from slime.model.precision import dtype_of
from slime.rollout.decode import decode
from slime.rollout.engine import Engine, Generation, Request, Sampling
from slime.rollout.sampling import build_sampler
from slime.rollout.weights import copy_weights


class LocalEngine(Engine):
    """On a GPU where there is one, else on the CPU."""

    def __init__(
        self, model_folder: str, batch_size: int, precision: Precision = Precision.auto
    ) -> None:
        """Load the model in `model_folder`; generate at most `batch_size` rollouts at once.

        Raises RuntimeError in a process where torch was altered to run Megatron on the CPU.
        """
        _refuse_an_altered_torch()
        from transformers import AutoModelForCausalLM

        from slime.model.quiet import quiet_transformers

        quiet_transformers()
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        model = AutoModelForCausalLM.from_pretrained(
            Path(model_folder),
            dtype=dtype_of(precision),
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            # On a CPU grouped products of experts are for some widths only.
            experts_implementation="eager" if device.type == "cpu" else None,
            attn_implementation="sdpa",  # else config.json may name code to download
        )
        self._model: Any = model.to(device).eval().requires_grad_(False)
        multiply_with_onednn(self._model)
        self._batch_size = batch_size

    def generate(self, requests: Sequence[Request], sampling: Sampling) -> list[Generation]:
        """One Generation per request, in order; at temperature 0 every log-prob is 0.

        Raises ValueError for an empty prompt, or one that with its response exceeds the model's
        positions; FloatingPointError when the model's probabilities are not finite.
        """
        self._check_lengths(requests, sampling.max_response_tokens)
        sampler = build_sampler(sampling)
        generations: list[Generation] = []
        for start in range(0, len(requests), self._batch_size):
            batch = requests[start : start + self._batch_size]
            generations += decode(self._model, batch, sampling, sampler)
        return generations

    @torch.no_grad()
    def logits(self, sequences: Sequence[Sequence[int]], precision: Precision) -> list[Tensor]:
        """What follows each token of each sequence, computed in `precision` with these weights.

        -> per sequence, [T, V] float32 on the CPU
        """
        device = self._model.device
        with computing_in(dtype_of(precision), self._model):
            return [
                self._model(input_ids=torch.tensor([tokens], device=device)).logits[0].float().cpu()
                for tokens in map(list, sequences)
            ]

    def load_weights(self, shards: Sequence[bytes]) -> None:
        """Replace every weight by safetensors-encoded tensors under Hugging Face names.

        Empty shards are skipped.  Raises ValueError, and changes nothing, when the shards do not
        hold exactly the model's parameters in their shapes.
        """
        copy_weights(self._model, shards)

    def _check_lengths(self, requests: Sequence[Request], response_tokens: int) -> None:
        positions = self._model.config.max_position_embeddings
        for request in requests:
            prompt_tokens = len(request.prompt_tokens)
            if prompt_tokens == 0:
                raise ValueError("a prompt without tokens cannot be answered")
            if prompt_tokens + response_tokens > positions:
                raise ValueError(
                    f"a prompt of {prompt_tokens} tokens and a response of up to "
                    f"{response_tokens} exceed the model's {positions} positions"
                )


def _refuse_an_altered_torch() -> None:
    """With torch's factories replaced, transformers loads wrong rotary frequencies, silently."""
    factories = (torch.arange, torch.empty, torch.ones, torch.tensor, torch.zeros)
    altered = any(not isinstance(factory, BuiltinFunctionType) for factory in factories)
    megatron = sys.modules.get("megatron.core.parallel_state")
    if altered or (megatron is not None and vars(megatron).get("torch") is not torch):
        raise RuntimeError(
            "this process runs Megatron on the CPU with an altered torch; the local rollout "
            "engine needs a process of its own"
        )
