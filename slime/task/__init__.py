"""Where prompts and their answers come from."""

from slime.task.build import build_task
from slime.task.protocol import Demonstration, RenderChat, Task

__all__ = ["Demonstration", "RenderChat", "Task", "build_task"]
