"""What a person sees: tables and the console they are printed on."""

from typing import Any


def print_table(table: Any) -> None:
    wide_console().print(table)


def wide_console() -> Any:
    """Where tables are printed."""
    from rich.console import Console

    console = Console()
    # a pipe has no width: do not cut what a file or a log will keep
    return console if console.is_terminal else Console(width=240)
