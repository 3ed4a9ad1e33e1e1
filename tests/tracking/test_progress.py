import io
from dataclasses import replace

from groups import collected, group
from rich.console import Console

from slime.data.metrics import NOTHING_TO_TRAIN
from slime.tracking.progress import IterationReport, RunProgress
from slime.tracking.records import Times, rollout_metrics

SELECTION = collected([group(1, [1.0, 0.0], [2, 4])])
REPORT = IterationReport(
    iteration=0,
    rollout=rollout_metrics(SELECTION, trained_prompts=1),
    step=replace(NOTHING_TO_TRAIN, loss=1.5e-9, grad_norm=None, skipped=True),
    times=Times.of(SELECTION, train_s=6.0, push_s=0.5, checkpoint_s=0.0, iteration_s=10.0),
)


def shown(*, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, force_terminal=terminal, width=300, highlight=False)
    with RunProgress(4, console) as progress:
        progress.phase("generating")
        progress.iteration(REPORT)
    return out.getvalue()


def test_without_a_terminal_an_iteration_is_one_plain_line():
    assert shown(terminal=False).splitlines() == [
        "iteration 1/4  reward 0.500  length 3.0  loss 1.5e-09  grad norm -  1 tokens/s  "
        "generate 1.0s train 6.0s push 0.5s  ETA 0:30"
    ]


def test_on_a_terminal_the_phase_and_the_time_left_stay_in_view():
    text = shown(terminal=True)
    assert "generating" in text
    assert "0:30 left" in text
    assert "iteration 1/4" in text


def test_an_iteration_that_replays_nothing_has_no_numbers_to_show():
    nothing = collected([])
    rollout, times = (
        rollout_metrics(nothing, trained_prompts=0),
        Times.of(nothing, train_s=6.0, push_s=0.5, checkpoint_s=0.0, iteration_s=10.0),
    )
    out = io.StringIO()
    with RunProgress(4, Console(file=out, width=300, highlight=False)) as progress:
        progress.iteration(replace(REPORT, rollout=rollout, times=times))
    assert out.getvalue().startswith("iteration 1/4  reward -  length -  loss 1.5e-09")
