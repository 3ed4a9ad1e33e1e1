"""A folder of saved rollouts from elsewhere."""

import json
import struct

import pytest
from rollout.test_replay import SAMPLING, group
from safetensors.torch import load_file, save_file

from slime.config.schema import ConfigError
from slime.rollout.replay import read_iteration, save_iteration


@pytest.fixture
def saved(tmp_path):
    save_iteration(tmp_path, SAMPLING, 0, [group()])
    read_iteration(tmp_path, 0)
    return tmp_path / "iteration_00000"


def refused(saved):
    with pytest.raises(ConfigError) as caught:
        read_iteration(saved.parent, 0)
    line = str(caught.value)
    assert line.startswith(f"rollout.engine.path: {saved} is damaged (")
    assert "\n" not in line
    return line


def lie(saved, change):
    file = saved / "rollouts.json"
    index = json.loads(file.read_text())
    change(index["groups"][0]["rollouts"][0]["samples"][0])
    file.write_text(json.dumps(index))


@pytest.mark.parametrize("name", ["samples.safetensors", "rollouts.json"])
def test_a_pickle_in_the_place_of_a_file_is_refused(name, saved, trap):
    (saved / name).write_bytes(trap.pickled)
    refused(saved)


def test_other_files_are_not_opened(saved, trap):
    for name in ("samples.bin", "samples.pt", "samples.pkl", "rollouts.yaml"):
        (saved / name).write_bytes(trap.pickled)
    read_iteration(saved.parent, 0)


@pytest.mark.parametrize("count", [-1, -(10**30), 10**30, 4, 1.5, "2", None, [2], True])
@pytest.mark.parametrize("key", ["prompt_tokens", "response_tokens"])
def test_counts_that_lie_are_refused(key, count, saved):
    lie(saved, lambda sample: sample.update({key: count}))
    refused(saved)


def test_a_negative_count_cannot_make_up_for_another(saved):
    def shift(sample):
        sample["prompt_tokens"] = -2

    lie(saved, shift)
    refused(saved)


@pytest.mark.parametrize("size", [1 << 62, 1 << 30, 100_000])
def test_a_header_that_lies_is_refused(size, saved):
    (saved / "samples.safetensors").write_bytes(struct.pack("<Q", size) + b"[" * 100_000)
    refused(saved)


@pytest.mark.parametrize("name", ["loss_mask", "prompt_tokens", "rollout_log_probs"])
def test_tensors_of_another_shape_are_refused(name, saved):
    file = saved / "samples.safetensors"
    tensors = load_file(file)
    save_file(tensors | {name: tensors[name][None].contiguous()}, file)
    refused(saved)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[]", "{}", '{"format": 1' + "0" * 5000 + "}", "\xff"], ids=repr
)
def test_an_index_that_is_none_is_one_line(text, saved):
    (saved / "rollouts.json").write_bytes(text.encode("latin-1"))
    refused(saved)
