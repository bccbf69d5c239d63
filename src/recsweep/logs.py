"""What the package says on its way: one line a message on stderr, without secrets and escapes."""

import logging
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO

from recsweep.masking import mask
from recsweep.terminal import printable

VERBOSITY = "RECSWEEP_VERBOSITY"
"""Environment variable by which worker processes know too how much is to be said."""

QUIET, VERBOSE = "quiet", "verbose"
OF_DATA = ("recsweep.data.", "recsweep.run.plan")
"""Modules that say what data were read: each worker finds it for itself, and one of them says
it."""

ONCE_MARK = "\x1e"
"""What a worker writes before a line of theirs, for the process that shows what it says."""

LEVELS = {QUIET: logging.WARNING, VERBOSE: logging.DEBUG}


class _MaskedStream:
    """A text stream to which everything is written without secrets."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(mask(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        self.write("".join(lines))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def mask_terminal() -> None:
    """Mask whatever this process says from now on, whoever says it: Hydra, argparse, drivers and
    tracebacks repeat what they were given."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None and not isinstance(stream, _MaskedStream):
            setattr(sys, name, _MaskedStream(stream))


class _StderrHandler(logging.StreamHandler):
    """Writes to what is stderr at that moment: a bar takes its place, and shows lines above."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, value: TextIO) -> None:
        pass


class _MaskedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(mask(super().format(record)))


class _WorkerFormatter(_MaskedFormatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        if not record.name.startswith(OF_DATA):
            return text
        return "\n".join(f"{ONCE_MARK}{line}" for line in text.split("\n"))


def log_to_stderr(*, as_worker: bool = False) -> None:
    """Show the package's messages, each once however often this is called; mask the terminal.

    Args:
        as_worker: Whether another process shows what this one says.
    """
    mask_terminal()
    formatters = [handler.formatter for handler in logging.root.handlers]
    if not any(isinstance(formatter, _MaskedFormatter) for formatter in formatters):
        handler = _StderrHandler()
        formatter = _WorkerFormatter if as_worker else _MaskedFormatter
        handler.setFormatter(formatter("%(message)s"))
        logging.root.addHandler(handler)
    logging.getLogger("recsweep").setLevel(LEVELS.get(os.environ.get(VERBOSITY, ""), logging.INFO))


def is_quiet() -> bool:
    """Whether `--quiet` was given: results and warnings alone."""
    return os.environ.get(VERBOSITY) == QUIET


def shows_progress() -> bool:
    """Whether a bar has somebody who looks at it: stderr is a terminal, and `--quiet` was not
    given."""
    return sys.stderr.isatty() and not is_quiet()
