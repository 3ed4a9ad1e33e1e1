"""A safetensors file written one tensor after the other."""

from pathlib import Path

import pytest
import safetensors.torch
import torch

from slime.megatron.convert import Described
from slime.megatron.shard import encode, write

TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "c.bias": torch.ones(3, dtype=torch.float16),
    "view": torch.arange(12, dtype=torch.float32).view(3, 4).t(),
}


def described(tensors):
    return [Described(name, tuple(t.shape), t.dtype) for name, t in tensors.items()]


@pytest.fixture(params=["memory", "disk"])
def put(request, tmp_path):
    """(described, tensors) -> the bytes of the file."""
    if request.param == "memory":
        return lambda described, tensors: encode(described, iter(tensors))

    def on_disk(described, tensors):
        write(tmp_path / "file", described, iter(tensors))
        return (tmp_path / "file").read_bytes()

    return on_disk


def test_safetensors_reads_what_was_written(put):
    found = safetensors.torch.load(put(described(TENSORS), TENSORS.items()))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_tensor_that_was_not_announced_is_an_error(put):
    other = TENSORS | {"b": torch.ones(2)}
    with pytest.raises(ValueError, match="was announced"):
        put(described(TENSORS), other.items())


def test_a_tensor_that_does_not_come_is_an_error(put):
    fewer = {name: tensor for name, tensor in TENSORS.items() if name != "view"}
    with pytest.raises(ValueError, match="shorter"):
        put(described(TENSORS), fewer.items())


def test_only_one_tensor_at_a_time_is_asked_for(put):
    alive = []

    def one_by_one():
        for name, tensor in TENSORS.items():
            assert not any(alive)
            alive.append(True)
            yield name, tensor
            alive[-1] = False

    put(described(TENSORS), one_by_one())
    assert len(alive) == len(TENSORS)


def test_a_full_disk_is_an_error_after_the_last_tensor():
    """The other ranks take part in making each of them."""
    large = {name: torch.ones(10_000) for name in "abc"}  # more than waits in memory
    came = []

    def one_by_one():
        for name, tensor in large.items():
            came.append(name)
            yield name, tensor

    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), described(large), one_by_one())
    assert came == list(large)
