"""What is asked where a file could mean two things: what was seen, and the settings that answer."""

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from recsweep.config import override
from recsweep.errors import DataError

SHOWN_NAMES = 10
"""Names of columns that a message shows at most."""


def said(setting: str, value: Any) -> str:
    """A setting of the data as a word of a command line."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = list(value)
    return in_command(override(f"data.{setting}", value))


def in_command(word: str) -> str:
    """A word of a command line, quoted where a shell would read it otherwise."""
    from recsweep.mistakes import in_shell

    return word if re.fullmatch(r"[\w.=/+,-]+", word) else in_shell(word)


def ask(path: Path, seen: str, settings: Sequence[str]) -> NoReturn:
    raise DataError(
        f"{path} {seen}. Add to the command "
        f"{' or '.join(settings) if settings else 'data.user_column=... and data.item_column=...'}."
    )


def cut(name: str) -> str:
    return name if len(name) <= 40 else f"{name[:40]}…"


def listed(names: Sequence[str], *, near: str | None = None) -> str:
    """At most ten names in a sentence, those nearest to another one first."""
    ordered = list(names)
    if near is not None and len(ordered) > SHOWN_NAMES:
        first = difflib.get_close_matches(near, ordered, n=3, cutoff=0.5)
        ordered = [*first, *(name for name in ordered if name not in first)]
    shown = ", ".join(map(cut, ordered[:SHOWN_NAMES]))
    more = len(ordered) - SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown
