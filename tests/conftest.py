import os
import signal

from hypothesis import settings

# Two cores are easily oversubscribed, and a slow test then looks like a hang.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# What runs in the background ignores Ctrl-C, and so would all that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_LONGEST = ("test_grid.py", "test_recovery_job.py", "test_mutations.py", "test_main_job.py")

# A first call on a busy machine is slow, and that is no failure.
settings.register_profile("unhurried", deadline=None, max_examples=50)
settings.load_profile("unhurried")


def pytest_configure(config):
    """Tests of layouts start more processes than a machine has GPUs: they run on gloo everywhere.

    Only `pytest -m gpu` sees the GPUs.
    """
    if config.option.markexpr != "gpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    """The longest files first: at the end they would leave the other processes without work."""
    items.sort(key=lambda item: (*_LONGEST, item.path.name).index(item.path.name))
