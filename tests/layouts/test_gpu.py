"""The same on GPUs, over nccl, on the layouts that this machine has enough of them for."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from layouts.checks import check_all, check_log_probs
from layouts.compare import Bounds
from layouts.crew import Crew
from layouts.layouts import LAYOUTS, Trainers
from layouts.problems import LOSSES, MODES, Setting, model_of, problems, seeded, seeded_problems

from slime.config.schema import Precision

pytestmark = pytest.mark.gpu

# As on a CPU: see test_grid.py.
BFLOAT16 = Bounds(relative=0.06, of_terms=5e-3, of_largest=5e-3)


@pytest.fixture(scope="module")
def gpus() -> Iterator[Trainers]:
    crew = Crew(min(4, torch.cuda.device_count()))
    yield Trainers(crew)
    crew.dismiss()


@pytest.fixture(params=LAYOUTS)
def layout(request):
    config = LAYOUTS[request.param]
    if config.workers > torch.cuda.device_count():
        pytest.skip(f"needs {config.workers} GPUs")
    return config


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_loss_metrics_and_every_gradient_are_the_oracles(layout, family, mode, folders, gpus):
    check_all(gpus, folders[family], layout, mode, seeded_problems(folders[family], 1, mode))


def test_in_bfloat16_the_loss_is_the_oracles_to_its_few_bits(layout, folders, gpus):
    """No bound binds, so that rounding can make none of them bind."""
    folder = folders["llama"]
    found = problems(
        seeded(folder, 7), Setting(LOSSES["k2"], on_policy=True),
        model_of(folder, torch.bfloat16),
    )  # fmt: skip
    config = replace(layout, precision=Precision.bfloat16)
    check_all(gpus, folder, config, "k2", found, BFLOAT16)


def test_log_probs_before_the_step_are_the_models(layout, folders, gpus):
    [problem] = seeded_problems(folders["qwen3"], 1, "sample_mean")
    check_log_probs(gpus, folders["qwen3"], layout, problem)
