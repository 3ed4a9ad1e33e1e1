"""One table of the checks of a sweep, from what its jobs left.  Imports nothing heavy."""

from collections.abc import Callable, Sequence
from typing import Any

from slime.check.preflight import CERTIFICATE
from slime.config.ended import EndedJob

_LOSS = ("loss", "pg_loss", "kl_loss", "entropy_loss")
_GRADIENT = ("grad_norm", "worst parameter")


def print_sweep(jobs: Sequence[EndedJob]) -> None:
    """A row for each job: what tells it from the others, its worst relative errors, ok or FAIL.

    Nothing when no job was a check.
    """
    checks = [job.read(CERTIFICATE) for job in jobs]
    if not any(checks):
        return
    from slime.check.tables import print_table  # rich, which a command line of one job never needs

    overrides = [job.read("run.json").get("overrides", []) for job in jobs]
    told = [set(of_job) for of_job in overrides if of_job]
    shared = told[0].intersection(*told) if told else set()
    print_table(
        "check of every job",
        ("job", "differs in", "loss", "metrics", "gradient", "bound", ""),
        [
            (
                f"#{number}",
                " ".join(o for o in overrides[number] if o not in shared),
                _worst(checks[number], lambda term: term in _LOSS),
                _worst(checks[number], lambda term: term not in (*_LOSS, *_GRADIENT)),
                _worst(checks[number], lambda term: term in _GRADIENT),
                _bound(checks[number]),
                _result(job, checks[number]),
            )
            for number, job in enumerate(jobs)
        ],
    )


def _worst(check: dict[str, Any], belongs: Callable[[str], bool]) -> str:
    """The largest relative error of these terms."""
    rows = [row for row in check.get("rows", []) if belongs(row["term"].partition(":")[0])]
    errors = [row["relative_error"] for row in rows]
    if not errors:
        return "-"
    return "not finite" if None in errors else f"{max(errors):.1e}"


def _bound(check: dict[str, Any]) -> str:
    return f"{max(row['tolerance'] for row in check['rows']):.0e}" if check else "-"


def _result(job: EndedJob, check: dict[str, Any]) -> str:
    if not check:
        return f"no check (exit code {job.exit_code})"
    return "ok" if check["ok"] else "FAIL"
