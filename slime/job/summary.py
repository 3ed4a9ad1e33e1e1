"""The end of a sweep in words, from what its jobs left: in whatever process they ran."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from slime.config.ended import RECORD, EndedJob, read_json


def print_summary(jobs: Sequence[EndedJob]) -> None:
    """A line for each job that was evaluated, the best first; and one for each that failed."""
    evaluated = [job for job in jobs if job.evaluation is not None]
    if evaluated:
        print("held-out mean reward of each job, the best first:")
    overrides = {job.number: _overrides(job) for job in evaluated}
    shared = set.intersection(*map(set, overrides.values())) if len(evaluated) > 1 else set()
    for job in sorted(evaluated, key=lambda job: -(job.evaluation or 0)):
        differs = "".join(f"  {each}" for each in overrides[job.number] if each not in shared)
        print(f"  {job.evaluation:.4g}  #{job.number}{differs}  {_where(job)}")
    failed = [job for job in jobs if job.exit_code]
    if failed:
        print(f"{len(failed)} of {len(jobs)} jobs failed:", file=sys.stderr)
    for job in failed:
        print(f"  #{job.number}: {_reason(job)}: {_where(job)}", file=sys.stderr)


def _overrides(job: EndedJob) -> list[str]:
    written: list[str] = read_json(_where(job) / RECORD).get("overrides", [])
    return [override for override in written if not override.startswith("sweep.")]


def _reason(job: EndedJob) -> str:
    if job.ended is not None:
        return f"exit code {job.exit_code}"
    if job.run_directory.is_dir():
        return "its process died (exit code 1)"
    return "never started (exit code 1)"


def _where(job: EndedJob) -> Path:
    """The folder that holds the run, which is an earlier one's if the job was skipped."""
    finished_in = job.ended.finished_in if job.ended is not None else None
    return Path(os.path.relpath(finished_in or job.run_directory))
