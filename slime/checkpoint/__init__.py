"""The folder of a run's checkpoints: written whole or not at all, read only when it is whole.

Knows files, not tensors; imports neither torch nor megatron.
"""

from slime.checkpoint.position import Position
from slime.checkpoint.read import newest, open_checkpoint
from slime.checkpoint.saved import FOLDER, Checkpoint, Origin
from slime.checkpoint.write import NotSavedError

__all__ = [
    "FOLDER",
    "Checkpoint",
    "NotSavedError",
    "Origin",
    "Position",
    "newest",
    "open_checkpoint",
]
