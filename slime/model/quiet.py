"""transformers without its own progress bars and advice; errors still come through."""

from transformers.utils import logging


def quiet_transformers() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
