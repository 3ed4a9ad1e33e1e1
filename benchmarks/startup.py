"""How long a mistake in a config takes to be told, beside `import hydra`.

    python benchmarks/startup.py

Wall clock of whole processes, the two taken in turn, median of twenty.  Prints the section for
benchmarks/RESULTS.md; run it on an idle machine.
"""

import os
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from statistics import median

LAUNCH = Path(__file__).resolve().parents[1] / "launch.py"
TIMES, GOAL = 20, 2.5
IMPORT = "python -c 'import hydra'"
COMMANDS = {
    "python -c pass": (["-c", "pass"], 0),
    IMPORT: (["-c", "import hydra"], 0),
    "launch.py loss/aggregation=constant": ([str(LAUNCH), "loss/aggregation=constant"], 2),
    "launch.py loss.agregation=constant": ([str(LAUNCH), "loss.agregation=constant"], 2),
    "launch.py recipe=dapo/v1 seed=-1": ([str(LAUNCH), "recipe=dapo/v1", "seed=-1"], 2),
    "launch.py --help": ([str(LAUNCH), "--help"], 0),
    "a completion": (["-m", "slime.config.completion", "loss/aggregation=constant", "loss."], 0),
}


def main() -> None:
    """Print the table."""
    load = os.getloadavg()[0]
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for number in range(TIMES + 1):
            for name, (arguments, exit_code) in COMMANDS.items():
                took = _seconds(arguments, exit_code, folder)
                if number:  # the first of each warms the disk cache
                    seconds[name].append(took)
    medians = {name: median(taken) for name, taken in seconds.items()}
    print(f"## From a wrong command line to its message, {date.today()}\n")
    print("    python benchmarks/startup.py\n")
    print(
        f"Median of {TIMES}, in turn; {os.cpu_count()} cores, load average {load:.1f} at the start."
    )
    print(f"The goal is at most {GOAL} times `import hydra`, and under a second.\n")
    print("| | seconds | of `import hydra` |\n|---|---|---|")
    for name, value in medians.items():
        print(f"| `{name}` | {value:.3f} | {value / medians[IMPORT]:.2f} |")


def _seconds(arguments: list[str], exit_code: int, folder: str) -> float:
    environment = os.environ | {"PYTHONPATH": str(LAUNCH.parent)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, check=False
    )
    took = time.perf_counter() - start
    if done.returncode != exit_code:
        sys.exit(f"{arguments} exited with {done.returncode}: {done.stderr.decode()}")
    return took


if __name__ == "__main__":
    main()
