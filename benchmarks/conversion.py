"""Peak memory of loading a Hugging Face folder into the trainer, and of exporting it again.

    python benchmarks/conversion.py

Random models in the shapes of real ones, each measured in a process of its own, one train worker in
float32.  Anonymous memory is what the process cannot give back; the pages of files that it reads
can be dropped at any time, and are shown beside it.  Prints the section for RESULTS.md.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from math import prod
from pathlib import Path

from slime.model.architecture import Architecture
from slime.model.experts import Experts
from slime.model.tensors import tensor_shapes

MIB = 2**20
_SMOLLM2 = Architecture(
    family="llama", layers=30, hidden_size=576, attention_heads=9, key_value_heads=3, head_size=64,
    feed_forward_size=1536, vocabulary_size=49152, max_positions=8192, rope_theta=1e5,
    norm_epsilon=1e-5, tied_embeddings=True, qkv_bias=False, qk_norm=False,
)  # fmt: skip
MODELS = {
    "SmolLM2-135M's shape": _SMOLLM2,
    "Qwen3-0.6B's shape, 12 of 28 layers": replace(
        _SMOLLM2, family="qwen3", layers=12, hidden_size=1024, attention_heads=16,
        key_value_heads=8, head_size=128, feed_forward_size=3072, vocabulary_size=151936,
        qk_norm=True,
    ),
    "Qwen3-30B-A3B's shape, 1 of 48 layers": replace(
        _SMOLLM2, family="qwen3_moe", layers=1, hidden_size=2048, attention_heads=32,
        key_value_heads=4, head_size=128, feed_forward_size=6144, vocabulary_size=49152,
        qk_norm=True, experts=Experts(128, 8, 768, normalised=True, dense_layers=()),
    ),
}  # fmt: skip


def main() -> None:
    print("## Loading and exporting weights: peak memory\n\n    python benchmarks/conversion.py\n")
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, one train worker, "
        "float32.  MiB above what the process holds before the model is built; in brackets with "
        "the pages of the files it reads, which the kernel may drop.\n"
    )
    print(
        "| model | weights | largest tensor | loading | saving | one copy and the largest | "
        "pushing |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, model in MODELS.items():
        print(_row(name, model), flush=True)
    print(
        "\nLoading and saving go from file to file.  Pushing makes a file in memory for the "
        "rollout engine, which is one copy more."
    )


def _row(name: str, model: Architecture) -> str:
    sizes = [4 * prod(shape) for _, shape in tensor_shapes(model)]
    weights, largest = sum(sizes) / MIB, max(sizes) / MIB
    with tempfile.TemporaryDirectory() as folder:
        _in_own_process("write", name, folder)
        loading, saving, pushing = json.loads(_in_own_process("measure", name, folder))
    return (
        f"| {name} | {weights:.0f} | {largest:.0f} | {_shown(loading)} | {_shown(saving)} | "
        f"{weights + largest:.0f} | {_shown(pushing)} |"
    )


def _shown(peak: list[float]) -> str:
    anonymous, with_files = peak
    return f"{anonymous:.0f} ({with_files:.0f})"


def _in_own_process(what: str, name: str, folder: str) -> str:
    command = [sys.executable, __file__, what, name, folder]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def write(name: str, folder: Path) -> None:
    from slime.model.shrink import write_random_model

    write_random_model(MODELS[name], 0, folder)


def measure(name: str, folder: Path) -> None:
    """Prints [anonymous, with files] in MiB while loading, while saving and while pushing."""
    import socket

    import torch
    from torch import Tensor

    from slime.config.schema import ParallelConfig
    from slime.distributed.groups import form_groups
    from slime.distributed.rendezvous import Rendezvous, meet
    from slime.megatron import device_layer
    from slime.megatron.convert import export, load_folder
    from slime.megatron.model import build_model
    from slime.megatron.shard import encode, write

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    device_layer.install()
    device = meet(Rendezvous(0, 1, "127.0.0.1", port))
    form_groups(ParallelConfig(), seed=0)
    _resident()  # what measuring itself needs
    before = _resident()
    model = build_model(MODELS[name], torch.float32, device, ParallelConfig())
    loading = _peak(lambda: load_folder(model, folder), before)

    found = export(model, Tensor.detach)

    def save() -> None:
        write(folder / "saved", found.described(), found.tensors())

    saving = _peak(save, before)
    pushing = _peak(lambda: encode(found.described(), found.tensors()), before)
    print(json.dumps([loading, saving, pushing]))


def _peak(work: Callable[[], object], before: tuple[float, float]) -> tuple[float, float]:
    """The most that is held while `work` runs, above `before`."""
    found, done = [_resident()], threading.Event()

    def watch() -> None:
        while not done.is_set():
            found.append(_resident())
            time.sleep(0.001)

    watcher = threading.Thread(target=watch)
    watcher.start()
    kept = work()  # what it returns counts
    found.append(_resident())
    done.set()
    watcher.join()
    del kept
    return max(a for a, _ in found) - before[0], max(all_ for _, all_ in found) - before[1]


def _resident() -> tuple[float, float]:
    """Anonymous memory, and all of it, in MiB."""
    fields = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return tuple(int(fields[name].split()[0]) / 1024 for name in ("RssAnon", "VmRSS"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["write", name, folder]:
            write(name, Path(folder))
        case ["measure", name, folder]:
            measure(name, Path(folder))
        case _:
            main()
