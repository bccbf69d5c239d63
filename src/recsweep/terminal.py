"""What a terminal is sent: text that only shows, whatever names and ids hold."""

import io
import re
import sys
from typing import TextIO

ACTED_ON = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f"  # control characters but for the end of a line: escapes, bells
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # these change the order of what stands around
    "\u2028\u2029\ud800-\udfff]"  # ends of lines for some, and halves of characters
)
"""Characters that a terminal acts on, in place of showing them."""


def printable(text: str) -> str:
    r"""The text with what a terminal would act on in Python's notation, as `\x1b`; ends of lines
    stay."""
    return ACTED_ON.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def tell(text: str = "", *, file: TextIO | None = None, end: str = "\n") -> None:
    """Print what a person reads, to stdout unless told, at once."""
    print(printable(text), file=file, end=end, flush=True)


def take_any_text() -> None:
    """Let stdout and stderr write what their encoding lacks in Python's notation, as `\\u2013`, and
    not fail at it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
