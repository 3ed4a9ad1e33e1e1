"""No silently wrong model: the trainer's logits beside those of transformers, before training."""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from math import prod
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from slime.config.schema import ConfigError, ModelConfig, Precision
from slime.model.architecture import read_architecture
from slime.model.precision import dtype_of
from slime.model.tensors import tensor_shapes

# Up to so many parameters model.verify=null verifies.
SMALL = 1_000_000_000

# Root mean square of the difference over that of the logits.  Measured: 1e-6 and 1e-2; a wrong
# base of the rotary positions gives 0.3, a transposed weight 1.4.
_LIMITS = {torch.float32: 1e-4, torch.bfloat16: 5e-2}
_LENGTHS = (5, 32, 128)

Sequences = Sequence[Sequence[int]]
Logits = Callable[[Sequences], list[Tensor]]  # -> per sequence, [T, vocabulary] float32


def is_verified(config: ModelConfig, folder: Path) -> bool:
    """Whether the model in `folder` is to be verified."""
    if config.verify is not None:
        return config.verify
    return sum(prod(shape) for _, shape in tensor_shapes(read_architecture(folder))) <= SMALL


def verify(folder: Path, precision: Precision, trainer: Logits, reference: Logits) -> None:
    """Raises ConfigError saying by how much the two differ, when that is more than rounding."""
    sequences = _some_tokens(folder)
    found, right = trainer(sequences), reference(sequences)
    if not all(bool(logits_TV.isfinite().all()) for logits_TV in right):
        raise ConfigError(
            f"model.verify: the logits of {folder} are nan or inf in transformers, too: its "
            f"weights are broken; model.verify=false trains all the same"
        )
    difference = torch.cat([(a - b).flatten() for a, b in zip(found, right, strict=True)])
    size = torch.cat([logits_TV.flatten() for logits_TV in right])
    error = (difference.double().square().mean() / size.double().square().mean()).sqrt().item()
    limit = _LIMITS[dtype_of(precision)]
    if not error <= limit:  # nan, too
        raise ConfigError(
            f"model.verify: the trainer's logits for {folder} are not those of transformers: they "
            f"differ by {error:.1e} of their size (up to {difference.abs().max():.1e}), where "
            f"rounding is below {limit:.0e}; training would change another model than the one that "
            f"answers. Check that config.json belongs to the weights, and report the model; "
            f"model.verify=false trains all the same"
        )


def logits_of_transformers(folder: Path, precision: Precision) -> Logits:
    """By a short process of its own; on the CPU, and in the precision of the trainer."""

    def run(sequences: Sequences) -> list[Tensor]:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "logits.safetensors"
            asked = ["/".join(",".join(map(str, tokens)) for tokens in sequences)]
            dtype = str(dtype_of(precision)).removeprefix("torch.")
            command = [sys.executable, "-m", "slime.model.logits", str(folder), dtype, str(file)]
            done = subprocess.run([*command, *asked], capture_output=True, text=True, check=False)
            if done.returncode:
                reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ConfigError(
                    f"model.verify: transformers cannot run {folder} ({reason}); "
                    f"model.verify=false trains without this comparison"
                )
            tensors = load_file(file)
            return [tensors[str(n)] for n in range(len(sequences))]

    return run


def _some_tokens(folder: Path) -> list[list[int]]:
    """The same every time."""
    model = read_architecture(folder)
    draw = random.Random(0)
    return [
        [draw.randrange(model.vocabulary_size) for _ in range(min(length, model.max_positions))]
        for length in _LENGTHS
    ]
