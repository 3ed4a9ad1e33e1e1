"""What the trainer is compared by: its logits in float32, whatever it trains in."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from processes import free_port, run_processes
from tiny_models import VOCABULARY, write_tiny_model
from torch import Tensor
from train_samples import POLICY_ONLY, worker_spec
from train_worker_cases import running

from slime.config.schema import Precision
from slime.model.verify import verify
from slime.rollout.local import LocalEngine

SEQUENCES = [[(7 * n + 3 * n * n) % VOCABULARY for n in range(length)] for length in (3, 40, 64)]
LAYOUTS = {
    "pipeline": {"pipeline": 2},
    "tensor": {"tensor": 2},
    "expert": {"data": 2, "expert": 2},
    "context": {"context": 2},
}

Found = tuple[Precision, list[Tensor], bool]  # the last: whether the weights are as before


def logits(rank: int, folder: Path, ports: dict[str, int], layouts: dict[str, dict]) -> list[Found]:
    """Of a trainer in bfloat16, on each layout."""
    found = []
    for name, layout in layouts.items():
        spec = worker_spec(folder, loss=POLICY_ONLY, precision=Precision.bfloat16)
        spec = replace(spec, parallel=replace(spec.parallel, **layout))
        with running(spec, rank, ports[name]) as worker:
            before = worker.export_weights()
            answer = worker.logits(SEQUENCES)
            found.append((worker.logits_precision, answer, worker.export_weights() == before))
    return found


@pytest.mark.parametrize(
    ("workers", "layouts"),
    [(1, {"alone": {}}), pytest.param(2, LAYOUTS, marks=pytest.mark.slow)],
)
def test_a_mixture_in_bfloat16_has_the_logits_of_transformers(workers, layouts, tmp_path):
    folder = write_tiny_model(tmp_path / "mixture", "qwen3_moe", num_hidden_layers=4)
    ports = {name: free_port() if workers > 1 else 0 for name in layouts}
    of_ranks = run_processes(workers, logits, folder, ports, layouts)
    engine = LocalEngine(str(folder), 1, Precision.bfloat16)
    right = partial(engine.logits, precision=Precision.float32)(SEQUENCES)
    for each in zip(*of_ranks, strict=True):
        assert all(precision is Precision.float32 for precision, _, _ in each)
        assert all(is_unchanged for _, _, is_unchanged in each)
        found = next(answer for _, answer, _ in each if answer)
        verify(folder, lambda _: found, lambda _: right, Precision.float32)  # noqa: B023
