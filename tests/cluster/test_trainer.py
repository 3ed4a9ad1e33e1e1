from slime.cluster.trainer import Trainer
from slime.data import Step
from slime.data.metrics import NOTHING_TO_TRAIN


def test_a_step_without_any_active_token_reaches_no_worker():
    nobody = Trainer(actors=(), max_tokens_per_microbatch=8)
    step = Step(samples=(), rollouts=4, prompts=2, active_tokens=0)
    metrics = nobody.train(step)
    assert metrics is NOTHING_TO_TRAIN
    assert metrics.skipped
    assert metrics.loss == 0
