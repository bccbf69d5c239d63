"""What the package says on its way: one line a message on stderr, without secrets and escapes."""

import logging

from recsweep.masking import mask
from recsweep.terminal import printable


class _MaskedFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(mask(super().format(record)))


def log_to_stderr() -> None:
    """Show the package's messages, each once however often this is called."""
    formatters = [handler.formatter for handler in logging.root.handlers]
    if not any(isinstance(formatter, _MaskedFormatter) for formatter in formatters):
        handler = logging.StreamHandler()
        handler.setFormatter(_MaskedFormatter("%(message)s"))
        logging.root.addHandler(handler)
    logging.getLogger("recsweep").setLevel(logging.INFO)
