"""Passwords and tokens must not reach a log, a message or the tracking store."""

import re

_PATTERNS = (
    (re.compile(r"(\w://[^/\s:@'\"]*:)[^\s\"]*@"), r"\1***@"),  # scheme://user:password@host
    (re.compile(r"(https?://)[^/\s:@'\"]+@"), r"\1***@"),  # https://token@host
    (
        re.compile(
            r"(?i)([?&;#][\w.-]*(?:password|passwd|pwd|secret|sig|signature|key|token)=)[^&;#\s'\"]+"
        ),
        r"\1***",
    ),
)


def mask(text: str) -> str:
    """The text with the secret parts of every URI in it replaced by ***."""
    for pattern, replacement in _PATTERNS:
        text = pattern.sub(replacement, text)
    return text
