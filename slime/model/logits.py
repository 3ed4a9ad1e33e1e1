"""Logits by transformers: python -m slime.model.logits FOLDER DTYPE DTYPE FILE 1,2,3/4,5

The first dtype is what the weights are rounded to, the second what is computed in.
FILE becomes a safetensors file with a tensor [T, V] float32 for each sequence, named 0, 1, ...
"""

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from slime.model.quiet import quiet_transformers


@torch.no_grad()
def main(folder: str, dtype: str, computed_in: str, file: str, sequences: str) -> None:
    quiet_transformers()
    model = AutoModelForCausalLM.from_pretrained(
        Path(folder),
        dtype=getattr(torch, dtype),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        experts_implementation="eager",
    ).to(getattr(torch, computed_in))
    logits = {}
    for number, sequence in enumerate(sequences.split("/")):
        tokens = torch.tensor([[int(token) for token in sequence.split(",")]])
        logits[str(number)] = model(input_ids=tokens).logits[0].float().contiguous()
    save_file(logits, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
