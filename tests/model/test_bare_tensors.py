"""What is in a pickle: bare tensors are converted, all else is one line, and no code runs."""

import os
import pickle

import pytest
import torch
from safetensors.torch import load_file

from slime.config.schema import ConfigError
from slime.model.unpickle import main, unpickle


@pytest.fixture
def folder(tmp_path):
    return tmp_path


class Attack:
    def __reduce__(self):
        return os.system, (f"touch {os.environ['ATTACKED']}",)


@pytest.mark.parametrize("old", [False, True])
def test_names_that_share_a_tensor_and_parts_of_one_are_kept(old, folder):
    whole = torch.arange(12.0).view(3, 4)
    weights = {"a": whole, "b": whole, "c": whole[1], "d": whole.T, "e": whole[:, :2]}
    weights |= {"f": torch.nn.Parameter(torch.ones(2)), "g": torch.randn(4, 3).T}
    torch.save(weights, folder / "pytorch_model.bin", _use_new_zipfile_serialization=not old)
    unpickle(folder)
    found = load_file(folder / "model.safetensors")
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_the_code_in_a_pickle_does_not_run(name, folder, monkeypatch, capsys):
    monkeypatch.setenv("ATTACKED", str(folder / "attacked"))
    torch.save({"w": torch.ones(2), "x": Attack()}, folder / name)
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err == (
        f"config error: {folder / name} cannot be read as bare tensors: it holds 'posix.system' "
        f"too, and code may run when such an object is read\n"
    )
    assert not (folder / "attacked").exists()
    assert not list(folder.glob("*.safetensors"))
    torch.load(folder / name, weights_only=False)
    assert (folder / "attacked").exists(), "the pickle must be a real attack"


ONES = torch.ones(2, 2)
UNFIT = {
    "is not dense (torch.sparse_coo)": lambda: ONES.to_sparse(),
    "is not dense (torch.sparse_csr)": lambda: ONES.to_sparse_csr(),
    "is quantised": lambda: torch.quantize_per_tensor(ONES, 0.1, 0, torch.qint8),
    "is a meta tensor, without values": lambda: ONES.to("meta"),
    "is of torch.complex128": lambda: ONES.to(torch.complex128),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", UNFIT)
def test_a_tensor_that_safetensors_has_no_form_for_is_named(what, folder):
    torch.save({"a": ONES, "b": UNFIT[what]()}, folder / "pytorch_model.bin")
    assert refused(folder) == (f"{folder}/pytorch_model.bin: 'b' {what}, which cannot be converted")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"w": 1}, "holds 'w', which is not a tensor"),
        ({"w": [ONES]}, "holds 'w', which is not a tensor"),
        ({1: ONES}, "holds 1, which is not a tensor"),
        ([ONES], "holds a list, not a dictionary of tensors"),
        (ONES, "holds a Tensor, not a dictionary of tensors"),
        ({}, "holds no tensors"),
    ],
)
def test_what_is_no_dictionary_of_tensors_is_refused(content, said, folder):
    torch.save(content, folder / "pytorch_model.bin")
    assert said in refused(folder)


def broken(folder):
    torch.save({"w": ONES}, folder / "whole")
    whole = (folder / "whole").read_bytes()
    (folder / "whole").unlink()
    return {
        b"": "is empty",
        whole[:-100]: "is cut short or broken",
        whole[:100]: "is cut short or broken",
        b"\x93hello" * 50: "is no pickle of tensors, or a broken one",
        b"<html>": "cannot be read as bare tensors",
        pickle.dumps({"w": 1}): "cannot be read as bare tensors",
        pickle.dumps({"w": ONES}): "cannot be read as bare tensors",
    }


def test_a_file_that_is_no_pickle_of_tensors_is_one_line(folder):
    for content, said in broken(folder).items():
        (folder / "pytorch_model.bin").write_bytes(content)
        assert said in refused(folder), content[:20]


def refused(folder):
    with pytest.raises(ConfigError) as error:
        unpickle(folder)
    assert [path.name for path in folder.iterdir()] == ["pytorch_model.bin"]
    line = str(error.value)
    assert line.isprintable()
    assert len(line) < 400
    return line
