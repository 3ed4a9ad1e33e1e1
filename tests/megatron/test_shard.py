"""A safetensors file written one tensor after the other."""

import pytest
import safetensors.torch
import torch

from slime.megatron.convert import Described
from slime.megatron.shard import encode

TENSORS = {
    "a.weight": torch.arange(6, dtype=torch.float32).view(2, 3),
    "b": torch.tensor([1.5, -2.0], dtype=torch.bfloat16),
    "c.bias": torch.ones(3, dtype=torch.float16),
    "view": torch.arange(12, dtype=torch.float32).view(3, 4).t(),
}


def described(tensors):
    return [Described(name, tuple(t.shape), t.dtype) for name, t in tensors.items()]


def test_safetensors_reads_what_was_written():
    found = safetensors.torch.load(encode(described(TENSORS), TENSORS.items()))
    assert found.keys() == TENSORS.keys()
    for name, tensor in TENSORS.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


def test_a_tensor_that_was_not_announced_is_an_error():
    other = TENSORS | {"b": torch.ones(2)}
    with pytest.raises(ValueError, match="was announced"):
        encode(described(TENSORS), other.items())


def test_a_tensor_that_does_not_come_is_an_error():
    fewer = {name: tensor for name, tensor in TENSORS.items() if name != "view"}
    with pytest.raises(ValueError, match="shorter"):
        encode(described(TENSORS), fewer.items())


def test_only_one_tensor_at_a_time_is_asked_for():
    alive = []

    def one_by_one():
        for name, tensor in TENSORS.items():
            assert not any(alive)
            alive.append(True)
            yield name, tensor
            alive[-1] = False

    encode(described(TENSORS), one_by_one())
    assert len(alive) == len(TENSORS)
