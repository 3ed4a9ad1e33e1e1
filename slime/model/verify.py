"""No silently wrong model: the trainer's logits beside those of transformers, before training."""

import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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

# What rounding stays below.  In float32, whatever the weights are in: the root mean square of the
# difference over that of the logits.  Measured on 36 random mixtures of 2 to 12 layers, 4 to 128
# experts, weights of 0.02 to 0.3: at most 9e-7, and 1.2e-5 where 12 layers of 0.3 blow rounding up;
# no token went to another expert.  Wrong models: 0.15 and more for another base of the rotary
# positions, 0.03 for a transposed weight, 0.02 for norm_topk_prob, 5e-4 for two experts of one
# layer in each other's place, where any token goes to one of them.
#
# In bfloat16 tokens at a tie go to other experts: the same right mixtures differ by up to 0.2 (0.5
# where rounding is blown up).  So there it is the median over the tokens: 0.05 (0.4) for the right
# ones, 0.16 for another base, 0.26 for a transposed weight in the first layer; experts in each
# other's place are not found.
_LIMITS = {Precision.float32: 1e-4, Precision.bfloat16: 0.1}
_LENGTHS = (5, 32, 128)

Sequences = Sequence[Sequence[int]]
Logits = Callable[[Sequences], list[Tensor]]  # -> per sequence, [T, vocabulary] float32


@dataclass(frozen=True, slots=True)
class Difference:
    """Of the trainer's logits from those of transformers, relative to the size of these."""

    error: float
    largest: float  # of one logit, as it is
    limit: float

    @property
    def is_rounding(self) -> bool:
        return self.error <= self.limit  # not so for nan

    def __str__(self) -> str:
        return (
            f"they differ by {self.error:.1e} of their size (up to {self.largest:.1e}), where "
            f"rounding is below {self.limit:.0e}"
        )


def is_verified(config: ModelConfig, folder: Path) -> bool:
    """Whether the model in `folder` is to be verified."""
    if config.verify is not None:
        return config.verify
    return sum(prod(shape) for _, shape in tensor_shapes(read_architecture(folder))) <= SMALL


def verify(folder: Path, trainer: Logits, reference: Logits, precision: Precision) -> None:
    """Whether the trainer has the model of the folder.  precision: that both compute in.

    Raises ConfigError saying by how much the two differ, when that is more than rounding.
    """
    difference = _compare(folder, f"{folder}", trainer, reference, precision)
    if not difference.is_rounding:
        raise ConfigError(
            f"model.verify: the trainer's logits for {folder} are not those of transformers: "
            f"{difference}; training would change another model than the one that answers. Check "
            f"that config.json belongs to the weights, and report the model; model.verify=false "
            f"trains all the same"
        )


def verify_checkpoint(
    checkpoint: Path, folder: Path, trainer: Logits, engine: Logits, precision: Precision
) -> None:
    """Whether the engine has what the trainer has read from a checkpoint of the folder's model.

    Raises ConfigError as verify() does, when it has not.
    """
    difference = _compare(folder, f"{checkpoint}", trainer, engine, precision)
    if not difference.is_rounding:
        raise ConfigError(
            f"model.verify: after reading the checkpoint {checkpoint} the trainer's logits are not "
            f"those of transformers with the weights it exports: {difference}. Start from another "
            f"checkpoint (checkpoint.resume=<path>), and report this; model.verify=false goes on "
            f"all the same"
        )


def _compare(
    folder: Path, weights: str, trainer: Logits, reference: Logits, precision: Precision
) -> Difference:
    """weights: where they are from.  Raises ConfigError where the reference says nan or inf."""
    sequences = _some_tokens(folder)
    found, right = trainer(sequences), reference(sequences)
    if not all(bool(logits_TV.isfinite().all()) for logits_TV in right):
        raise ConfigError(
            f"model.verify: the logits of {weights} are nan or inf in transformers, too: its "
            f"weights are broken; model.verify=false trains all the same"
        )
    right_TV = torch.cat(right).double()
    difference_TV = torch.cat([a - b for a, b in zip(found, right, strict=True)]).double()
    of_tokens = precision is Precision.bfloat16
    error = (_of_median_token if of_tokens else _of_all)(difference_TV, right_TV)
    return Difference(error, difference_TV.abs().max().item(), _LIMITS[precision])


def _of_all(difference_TV: Tensor, right_TV: Tensor) -> float:
    return (difference_TV.square().mean() / right_TV.square().mean()).sqrt().item()


def _of_median_token(difference_TV: Tensor, right_TV: Tensor) -> float:
    error_T: Tensor = difference_TV.norm(dim=-1) / right_TV.norm(dim=-1)
    return error_T.median().item()


def logits_of_transformers(folder: Path, weights: Precision, computed_in: Precision) -> Logits:
    """By a short process of its own, on the CPU.  weights: the precision that the trainer has."""

    def run(sequences: Sequences) -> list[Tensor]:
        with tempfile.TemporaryDirectory() as scratch:
            file = Path(scratch) / "logits.safetensors"
            asked = ["/".join(",".join(map(str, tokens)) for tokens in sequences)]
            dtypes = [str(dtype_of(p)).removeprefix("torch.") for p in (weights, computed_in)]
            command = [sys.executable, "-m", "slime.model.logits", str(folder), *dtypes, str(file)]
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
