"""A certificate as it is printed: every term, the effective weights, warnings, the verdict."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from slime.check.certificate import Certificate
from slime.check.compare import Row
from slime.check.tables import coloured, new_table, print_modes


def print_certificate(out: Console, certificate: Certificate) -> None:
    _print_rows(out, certificate.rows)
    out.print(
        "relative errors: of a sum, by the absolute values of what it adds up; of a parameter, by "
        "its largest gradient element (or a hundredth of the largest of all)",
        style="dim",
    )
    print_modes(out, certificate.modes, "gradient norm", certificate.gradient_norms)
    for warning in certificate.warnings:
        out.print(f"warning: {warning}", style="yellow", markup=False, soft_wrap=True)
    style = "bold green" if certificate.ok else "bold red"
    out.print(certificate.verdict, style=style, markup=False, soft_wrap=True)


def _print_rows(out: Console, rows: Sequence[Row]) -> None:
    """A row for each term: both values, the relative error and whether it is within bounds."""
    table = new_table("term", 16, "layout", "reference", "relative error", "bound", "")
    for row in rows:
        table.add_row(
            escape(row.term),
            _value(row.layout),
            _value(row.reference),
            "-" if row.relative_error is None else f"{row.relative_error:.1e}",
            f"{row.tolerance:.0e}",
            coloured("ok" if row.ok else "FAIL"),
        )
    out.print(table)


def _value(value: float | None) -> str:
    if value is None or value != value:
        return "not finite" if value is None else "-"
    return f"{value:.8g}"
