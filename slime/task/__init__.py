"""Where prompts and their answers come from."""

from slime.task.build import build_task
from slime.task.protocol import RenderChat, Task

__all__ = ["RenderChat", "Task", "build_task"]
