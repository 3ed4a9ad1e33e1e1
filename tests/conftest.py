import os

# Two cores are easily oversubscribed, and a slow test then looks like a hang.
os.environ.setdefault("OMP_NUM_THREADS", "1")
