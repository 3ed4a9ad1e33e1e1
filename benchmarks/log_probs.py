"""From hidden states to log-probs, entropy and gradients: peak memory, time and exactness.

    python benchmarks/log_probs.py              # needs the extra: pip install -e '.[bench]'

Side by side, each in a process of its own: (a) plain torch, (b) TRL, (c) slime.  Peak memory is
what the process holds at most above its inputs during the first forward and backward pass; time is
the median of later ones, on the clock and in CPU seconds of all threads.  Gradients are compared
with float64 on all T tokens, never a subset: the float64 reference is plain torch on 256 tokens at
a time.  Prints markdown.  On a busy machine OMP_NUM_THREADS=1 makes the CPU seconds comparable.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import log_probs_run as run
import torch

# Vocabulary and hidden size of SmolLM2-135M and of Qwen2.5-0.5B.
HIDDEN = {49152: 576, 151936: 896}
# Measured: (a) needs 5 tensors of [T, V] in float32; one more to be on the safe side.
LARGEST_NEED = 6


@dataclass(frozen=True)
class Row:
    """What one process measured."""

    measured: run.Measured
    error: float  # norm of the difference from float64 / norm, the worse of the two gradients


def main() -> None:
    options = parse()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtypes = ("float32", "bfloat16") if device == "cuda" else ("float32",)
    print(setting(device))
    for vocabulary in options.vocabularies:
        for dtype in dtypes:
            tokens = fitting_tokens(options.tokens, vocabulary, device)
            case = run.Case(tokens, vocabulary, HIDDEN[vocabulary], dtype, device, options.repeats)
            print(f"\n{title(case, options.tokens)}\n", flush=True)
            rows = measure(case, [m for m in run.METHODS if m not in left_out(device)])
            print(table(rows), flush=True)
    print(f"\nLoad average when done: {os.getloadavg()[0]:.1f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=4096, help="T (default 4096)")
    parser.add_argument(
        "--vocabularies", type=int, nargs="+", choices=HIDDEN, default=list(HIDDEN), help="V"
    )
    parser.add_argument("--repeats", type=int, default=3, help="timed passes (default 3)")
    return parser.parse_args()


def left_out(device: str) -> set[str]:
    return set() if device == "cpu" else {"(c) slime, oneDNN off"}


def measure(case: run.Case, methods: list[str]) -> dict[str, Row]:
    with tempfile.TemporaryDirectory() as folder:
        reference = Path(folder) / "float64.pt"
        in_own_process(run.REFERENCE, case, reference)
        return {m: row(in_own_process(m, case, reference)) for m in methods}


def row(answer: dict[str, Any]) -> Row:
    return Row(run.Measured(**answer["measured"]), answer["error"])


def in_own_process(method: str, case: run.Case, reference: Path) -> dict[str, Any]:
    command = [sys.executable, run.__file__, method, json.dumps(asdict(case)), str(reference)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def fitting_tokens(tokens: int, vocabulary: int, device: str) -> int:
    """Halved until (a) fits into the memory that is free."""
    while tokens * vocabulary * 4 * LARGEST_NEED > free_bytes(device):
        tokens //= 2
    return tokens


def free_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))


def setting(device: str) -> str:
    where = torch.cuda.get_device_name() if device == "cuda" else f"{processor()}, CPU"
    return (
        f"{where}; {torch.get_num_threads()} threads; Python {platform.python_version()}, "
        f"torch {torch.__version__}, trl {version('trl')}; "
        f"load average at the start {os.getloadavg()[0]:.1f}"
    )


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(x.partition(": ")[2] for x in lines if x.startswith("model name"))


def title(case: run.Case, asked: int) -> str:
    scaled = "" if case.tokens == asked else f" (not {asked}: (a) would not fit into memory)"
    return f"T = {case.tokens}{scaled}, V = {case.vocabulary}, H = {case.hidden}, {case.dtype}"


def table(rows: dict[str, Row]) -> str:
    plain = rows["(a) plain torch"].measured
    lines = [
        "| | peak MiB above the inputs | of (a) | seconds | of (a) | CPU seconds | of (a) "
        "| gradient error |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        m = row.measured
        lines.append(
            f"| {name} | {m.peak_bytes / 2**20:.0f} | {m.peak_bytes / plain.peak_bytes:.3f} | "
            f"{m.seconds:.3f} | {m.seconds / plain.seconds:.2f} | "
            f"{m.cpu_seconds:.3f} | {m.cpu_seconds / plain.cpu_seconds:.2f} | {row.error:.1e} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
