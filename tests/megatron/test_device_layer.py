"""The device layer belongs to train workers, and to nobody else."""

import subprocess
import sys
from pathlib import Path

IMPORT_EVERYTHING = """
import importlib, pkgutil, torch
import slime
tensor_type = torch.Tensor.type
for module in pkgutil.walk_packages(slime.__path__, "slime."):
    importlib.import_module(module.name)
from slime.megatron import device_layer
assert not device_layer.is_installed()
assert torch.Tensor.type is tensor_type
"""

# Without a CUDA device; with one, install() does nothing.
INSTALL = """
import torch
torch.cuda.is_available = lambda: False
kept = {name: getattr(torch, name) for name in ("tensor", "zeros", "empty", "cuda")}
from slime.megatron import device_layer
device_layer.install()
device_layer.install()
assert device_layer.is_installed()
assert all(getattr(torch, name) is value for name, value in kept.items())
assert torch.zeros(2).type() == "torch.FloatTensor"

from megatron.core import parallel_state, utils
assert utils.torch.zeros(2, device="cuda").device.type == "cpu"
assert utils.torch.cuda.current_device().type == "cpu"
assert utils.torch.nn is torch.nn
"""

PRESENT = """
import torch
torch.cuda.is_available = lambda: True
from slime.megatron import device_layer
device_layer.install()
assert not device_layer.is_installed()
"""


def run(program: str) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_slime_does_not_install_it():
    run(IMPORT_EVERYTHING)


def test_it_changes_what_megatron_sees_and_not_torch():
    run(INSTALL)


def test_it_does_nothing_where_there_is_cuda():
    run(PRESENT)
