import errno
import json

import pytest
import safetensors.torch
import torch

from slime.model.export import write_model_folder


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    config = {"model_type": "llama", "torch_dtype": "bfloat16"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "chat_template.jinja").write_text("{{ x }}")
    (folder / "model.safetensors.index.json").write_text("{}")
    (folder / "model-00001-of-00002.safetensors").write_text("old weights")
    (folder / "pytorch_model.bin").write_text("old weights")
    (folder / "onnx").mkdir()
    return folder


def shards(*contents):
    """Writes a file for each of them."""

    def write(folder):
        for number, tensors in enumerate(contents):
            safetensors.torch.save_file(tensors, folder / f"rank-{number:05d}.safetensors")

    return write


def weights(dtype):
    return shards({"w": torch.ones(2, dtype=dtype)})


def test_settings_are_kept_and_every_old_weight_stays_behind(source, tmp_path):
    write_model_folder(source, tmp_path / "model", weights(torch.float32))
    assert {p.name for p in (tmp_path / "model").iterdir()} == {
        "config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors",
    }  # fmt: skip
    saved = safetensors.torch.load_file(tmp_path / "model" / "model.safetensors")
    torch.testing.assert_close(saved["w"], torch.ones(2))


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.float32, "float32"), (torch.bfloat16, "bfloat16")]
)
def test_config_json_names_the_dtype_of_the_new_weights(source, tmp_path, dtype, name):
    write_model_folder(source, tmp_path / "model", weights(dtype))
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config == {"model_type": "llama", "dtype": name}


def test_a_read_only_source_folder_does_not_make_a_read_only_copy(source, tmp_path):
    source.chmod(0o555)
    write_model_folder(source, tmp_path / "model", weights(torch.float32))
    assert (tmp_path / "model").stat().st_mode & 0o200


def test_an_earlier_model_of_that_name_is_replaced_as_a_whole(source, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "stale.json").write_text("{}")
    write_model_folder(source, tmp_path / "model", weights(torch.float32))
    assert not (tmp_path / "model" / "stale.json").exists()
    assert not list(tmp_path.glob(".model*"))


def test_where_the_weights_cannot_be_written_the_earlier_model_stays(source, tmp_path):
    write_model_folder(source, tmp_path / "model", weights(torch.float32))

    def full(folder):
        (folder / "rank-00000.safetensors").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        write_model_folder(source, tmp_path / "model", full)
    assert (tmp_path / "model" / "model.safetensors").is_file()
    assert not list(tmp_path.glob(".model*"))


def test_several_shards_are_written_as_transformers_does(source, tmp_path):
    first = {"a": torch.ones(3), "b": torch.zeros(2)}
    second = {"c": torch.full((4,), 2.0)}
    write_model_folder(source, tmp_path / "model", shards(first, second))
    folder = tmp_path / "model"
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert index["metadata"] == {"total_size": 4 * (3 + 2 + 4)}
    assert sorted(set(index["weight_map"].values())) == [
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    for name, value in (("a", 1.0), ("b", 0.0), ("c", 2.0)):
        tensors = safetensors.torch.load_file(folder / index["weight_map"][name])
        assert set(tensors[name].tolist()) == {value}
    assert not (folder / "model.safetensors").exists()
