"""The tables that check and explain print."""

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slime.check.shares import ModeShares

_WIDTH = 118  # where the output is no terminal


def console() -> Console:
    """Prints to stdout, as wide as the terminal."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_WIDTH)


def say(out: Console, line: str) -> None:
    """A line of text, as long as it is."""
    out.print(line, markup=False, soft_wrap=True)


def print_modes(
    out: Console, modes: Sequence[ModeShares], what: str, sizes: Sequence[float]
) -> None:
    """Effective weights; the first mode is the configured one.  sizes: `what` of each mode."""
    table = new_table(
        "mode",
        max(len(mode.name) for mode in modes),
        "shortest 10%",
        "longest 10%",
        "smallest prompt",
        "largest prompt",
        what,
        "x configured",
    )
    for mode, size in zip(modes, sizes, strict=True):
        table.add_row(
            escape(mode.name),
            f"{mode.shortest_decile:.1%}",
            f"{mode.longest_decile:.1%}",
            f"{mode.smallest_prompt:.1%}",
            f"{mode.largest_prompt:.1%}",
            f"{size:.3g}",
            f"{size / sizes[0]:.3g}" if sizes[0] else "-",
        )
    out.print(table)
    out.print(
        "shares of the gradient: weight x |advantage| over the active tokens of the shortest or "
        "longest rollouts, of the smallest or largest prompt; first the configured mode",
        style="dim",
    )


def print_table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    """One line a row; the last cell is a result."""
    out = console()
    table = new_table(head[0], 0, *head[1:])
    table.columns[1].justify = "left"
    for row in rows:
        table.add_row(*map(escape, row[:-1]), coloured(row[-1]))
    say(out, title)
    out.print(table)


def new_table(first: str, min_width: int, *numbers: str) -> Table:
    """Texts in the first column, numbers in the others."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(first, overflow="fold", min_width=min_width)
    for number in numbers:
        table.add_column(number, justify="right")
    return table


def coloured(result: str) -> str:
    """Green when it is ok, else red."""
    return f"[green]{result}[/]" if result == "ok" else f"[bold red]{result}[/]"
