"""Where the command line writes: results to standard output, everything else to standard error."""

from typing import NoReturn

import typer
from rich.console import Console

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)


def out(text: str, *, quiet: bool = False) -> None:
    """Prints a line of plain text; with `quiet` to standard error, so that standard output stays machine-readable."""
    (stderr if quiet else stdout).print(text, markup=False, soft_wrap=True)


def warn(text: str) -> None:
    """Prints what a person should look at to standard error."""
    stderr.print("[yellow]Note:[/]", end=" ")
    stderr.print(text, markup=False, soft_wrap=True)


def fail(message: str, *hints: str) -> NoReturn:
    """Prints an error and what to do about it, and ends the command with exit code 1."""
    stderr.print("[bold red]Error:[/]", end=" ")
    stderr.print(message, markup=False, soft_wrap=True)
    for hint in hints:
        stderr.print(f"  {hint}", markup=False, soft_wrap=True)
    raise typer.Exit(1)
