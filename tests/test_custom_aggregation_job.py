"""A user's own aggregation, named on the command line of a real run."""

from launching import TINY, launch, left_behind

MODULE = """
def weights(step):
    return step.active_tokens
"""


def test_a_function_that_returns_no_weights_is_one_line_before_any_worker_starts(tmp_path):
    (tmp_path / "their_module.py").write_text(MODULE)
    custom = ["loss/aggregation=custom", "loss.function=their_module:weights"]
    done = launch(tmp_path, *TINY, *custom, PYTHONPATH=str(tmp_path))
    assert done.exit_code == 2
    assert done.stderr == (
        "config error: loss.function=their_module:weights must return floating-point weights, "
        "returned torch.int64\n"
    )
    assert not left_behind(tmp_path)
