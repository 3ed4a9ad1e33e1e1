"""TaskConfig -> Task."""

from slime.config.schema import ArithmeticTask, JsonlTask, TaskConfig
from slime.task.protocol import RenderChat, Task


def build_task(config: TaskConfig, seed: int, render_chat: RenderChat) -> Task:
    """The configured task; `render_chat` turns chat messages into the text the model is given.

    Raises ConfigError when a task file is missing or malformed, or nothing can be held out.
    """
    match config:
        case ArithmeticTask():
            from slime.task.arithmetic import Arithmetic

            return Arithmetic(config, seed)
        case JsonlTask():
            from slime.task.jsonl import Jsonl

            return Jsonl(config, seed, render_chat)
    raise TypeError(f"no task for {type(config).__name__}")
