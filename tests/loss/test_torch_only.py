import subprocess
import sys

PROGRAM = """
import sys
import slime.advantage, slime.data, slime.data.layout, slime.data.packing, slime.loss

heavy = {"omegaconf", "hydra", "ray", "megatron", "transformers", "matplotlib"}
print(sorted(heavy & set(sys.modules)))
"""


def test_loss_data_and_advantage_need_torch_only():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
