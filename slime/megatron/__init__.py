"""The trainer: Megatron-core's model, optimizer and schedule, and the worker around them.

Importing this package imports neither torch nor megatron; `slime.megatron.worker` does.
"""

import warnings

# True of every machine without CUDA, said by six modules, and not a problem.
warnings.filterwarnings("ignore", "(Transformer Engine and )?Apex (is|are) not installed")
