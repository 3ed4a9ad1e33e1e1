"""One process of log_probs.py: python log_probs_run.py METHOD CASE REFERENCE, a JSON line out.

On a CPU the peak is VmHWM of /proc/self/status, the kernel's own high-water mark of the resident
set, set back when the inputs exist.  On a GPU it is torch.cuda.max_memory_allocated.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

Function = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    tokens: int
    vocabulary: int
    hidden: int
    dtype: str
    device: str
    repeats: int


@dataclass(frozen=True)
class Inputs:
    """A model whose logits have a standard deviation of 2, and random targets and weights."""

    hidden_TH: Tensor
    weight_VH: Tensor
    targets_T: Tensor
    slopes_T: Tensor  # d loss / d log-prob: step weight times advantage

    @classmethod
    def of(cls, case: Case) -> "Inputs":
        generator = torch.Generator(case.device).manual_seed(0)
        make = {"generator": generator, "device": case.device, "dtype": getattr(torch, case.dtype)}
        return cls(
            torch.randn(case.tokens, case.hidden, **make).requires_grad_(),
            torch.randn(case.vocabulary, case.hidden, **make)
            .mul_(2 / case.hidden**0.5)
            .requires_grad_(),
            torch.randint(case.vocabulary, (case.tokens,), generator=generator, device=case.device),
            torch.randn(case.tokens, generator=generator, device=case.device) / case.tokens,
        )


def plain_torch(hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    logits_TV = hidden_TH @ weight_VH.t()
    log_p_TV = torch.log_softmax(logits_TV.float(), dim=-1)
    log_probs_T = log_p_TV.gather(1, targets_T[:, None])[:, 0]
    return log_probs_T, -(log_p_TV.exp() * log_p_TV).sum(-1)


def trl(hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """What TRL makes of logits."""
    from trl.trainer.utils import selective_log_softmax_and_entropy

    return selective_log_softmax_and_entropy(hidden_TH @ weight_VH.t(), targets_T)


def trl_fused(hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    """What TRL's add_fused_lm_head makes of hidden states: its trainers' way since 1.16."""
    from trl.kernels import ChunkedLogProbFunction
    from trl.trainer.utils import _CHUNKED_LOGPROB_CHUNK_SIZE

    log_probs_T, entropy_T, *_ = ChunkedLogProbFunction.apply(
        hidden_TH,
        weight_VH,
        None,
        targets_T,
        1.0,
        _CHUNKED_LOGPROB_CHUNK_SIZE,
        None,
        1.0,
        ("entropy",),
    )
    return log_probs_T, entropy_T


def slime(hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor) -> tuple[Tensor, Tensor]:
    from slime.loss import log_probs_and_entropy

    return log_probs_and_entropy(
        hidden_TH, weight_VH, targets_T, temperature=1.0, entropy_gradient=True
    )


def slime_without_onednn(
    hidden_TH: Tensor, weight_VH: Tensor, targets_T: Tensor
) -> tuple[Tensor, Tensor]:
    """With the matrix products of the others, torch.mm."""
    torch.backends.mkldnn.set_flags(False)
    return slime(hidden_TH, weight_VH, targets_T)


METHODS: dict[str, Function] = {
    "(a) plain torch": plain_torch,
    "(b) TRL, from logits": trl,
    "(b) TRL, fused head": trl_fused,
    "(c) slime": slime,
    "(c) slime, oneDNN off": slime_without_onednn,
}
REFERENCE = "float64"


def forward_and_backward(function: Function, inputs: Inputs) -> None:
    inputs.hidden_TH.grad = inputs.weight_VH.grad = None
    log_probs_T, entropy_T = function(inputs.hidden_TH, inputs.weight_VH, inputs.targets_T)
    loss = -(inputs.slopes_T * log_probs_T).sum() - 0.01 * entropy_T.sum() / len(entropy_T)
    loss.backward()


@dataclass(frozen=True)
class Measured:
    """Of one forward and backward pass."""

    peak_bytes: int  # above the inputs
    seconds: float
    cpu_seconds: float  # of all threads: with one thread, the fair measure on a busy machine


def measure(function: Function, case: Case) -> tuple[Measured, Inputs]:
    """-> what was measured, and the inputs with their gradients"""
    small = Case(8, 32, 8, case.dtype, case.device, 1)
    forward_and_backward(function, Inputs.of(small))  # libraries and threads are no tensors
    inputs = Inputs.of(case)
    before = start_of_peak(case.device)
    forward_and_backward(function, inputs)
    peak = peak_bytes(case.device) - before
    passes = [timed(function, inputs, case.device) for _ in range(case.repeats)]
    seconds, cpu_seconds = (median(column) for column in zip(*passes, strict=True))
    return Measured(peak, seconds, cpu_seconds), inputs


def timed(function: Function, inputs: Inputs, device: str) -> tuple[float, float]:
    """-> seconds, CPU seconds"""
    start, cpu_start = time.perf_counter(), time.process_time()
    forward_and_backward(function, inputs)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, time.process_time() - cpu_start


def start_of_peak(device: str) -> int:
    """-> bytes in use now"""
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    Path("/proc/self/clear_refs").write_text("5")  # sets VmHWM to VmRSS
    return memory_status("VmRSS")


def peak_bytes(device: str) -> int:
    if device == "cuda":
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated()
    return memory_status("VmHWM")


def memory_status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) * 1024 for x in lines if x.startswith(f"{name}:"))


def write_reference(case: Case, file: Path) -> None:
    """Gradients of all T tokens by plain torch in float64, 256 tokens at a time."""
    inputs = Inputs.of(case)
    weight_VH = inputs.weight_VH.detach().double().requires_grad_()
    hidden_grads = []
    for rows in torch.arange(case.tokens).split(256):
        hidden_RH = inputs.hidden_TH.detach()[rows].double().requires_grad_()
        log_p_RV = torch.log_softmax(hidden_RH @ weight_VH.t(), dim=-1)
        log_probs_R = log_p_RV.gather(1, inputs.targets_T[rows, None])[:, 0]
        entropy = -(log_p_RV.exp() * log_p_RV).sum()
        loss = -(inputs.slopes_T[rows] * log_probs_R).sum() - 0.01 * entropy / case.tokens
        loss.backward()
        hidden_grads.append(hidden_RH.grad)
    torch.save([torch.cat(hidden_grads), weight_VH.grad], file)


def gradient_error(inputs: Inputs, reference: Path) -> float:
    exact = torch.load(reference, mmap=True)
    own = inputs.hidden_TH.grad, inputs.weight_VH.grad
    return max(float((g.double() - e).norm() / e.norm()) for g, e in zip(own, exact, strict=True))


def main(method: str, case: Case, reference: Path) -> None:
    if method == REFERENCE:
        write_reference(case, reference)
        print(json.dumps({}))
        return
    measured, inputs = measure(METHODS[method], case)
    error = gradient_error(inputs, reference)
    print(json.dumps({"measured": asdict(measured), "error": error}))


if __name__ == "__main__":
    main(sys.argv[1], Case(**json.loads(sys.argv[2])), Path(sys.argv[3]))
