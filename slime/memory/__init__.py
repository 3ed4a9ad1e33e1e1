"""How much memory a run needs, worker by worker, and whether a machine has it: arithmetic only."""
