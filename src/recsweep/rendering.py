"""What a person sees: tables and the console they are printed on."""

import os
import shutil
import sys
from pathlib import Path
from typing import Any


def print_table(table: Any) -> None:
    wide_console().print(table)


def wide_console() -> Any:
    """Where tables are printed."""
    from rich.console import Console

    console = Console(force_jupyter=False)  # in a notebook it would go past whoever holds sys.stdout
    # a pipe has no width: do not cut what a file or a log will keep
    return console if console.is_terminal else Console(width=240, force_jupyter=False)


def command_line(words: str) -> str:
    """A `recsweep` command as it works in the current directory."""
    here = Path(sys.executable).with_name("recsweep")
    known = not here.is_file() or shutil.which("recsweep") == str(here)
    return f"{'recsweep' if known else os.path.relpath(here)} {words}"
