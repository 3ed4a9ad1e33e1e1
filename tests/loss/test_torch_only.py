import subprocess
import sys

# Every module of the rooms that people may use in a trainer of their own.
PROGRAM = """
import importlib, pkgutil, sys
import torch
torchs = {name.partition(".")[0] for name in sys.modules} | set(sys.stdlib_module_names)
import slime.advantage, slime.data, slime.loss

for room in (slime.advantage, slime.data, slime.loss):
    for module in pkgutil.walk_packages(room.__path__, f"{room.__name__}."):
        importlib.import_module(module.name)

print(sorted({name.partition(".")[0] for name in sys.modules} - torchs))
"""


def test_loss_data_and_advantage_need_torch_only():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['slime']"
