from slime.cluster.trainer import Trainer
from slime.config.schema import ParallelConfig
from slime.data import Step
from slime.data.metrics import NOTHING_TO_TRAIN
from slime.data.sharing import build_sharing


def test_a_step_without_any_active_token_reaches_no_worker():
    parallel = ParallelConfig()
    nobody = Trainer((), parallel, build_sharing(parallel))
    step = Step(samples=(), rollouts=4, prompts=2, active_tokens=0)
    metrics = nobody.train(step)
    assert metrics is NOTHING_TO_TRAIN
    assert metrics.skipped
    assert metrics.loss == 0
