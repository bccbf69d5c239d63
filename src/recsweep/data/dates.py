"""The forms in which people write times."""

import re
from collections.abc import Sequence
from datetime import datetime
from itertools import product

_NUMBER = re.compile(r"[+-]?\d+([.,]\d+)?([eE][+-]?\d+)?")
_ISO = re.compile(
    r"\d{4}[-/]\d{1,2}[-/]\d{1,2}"
    r"([ T]\d{1,2}:\d{2}(:\d{2}([.,]\d+)?)?\s*(Z|UTC|[+-]\d{2}(:?\d{2})?)?)?"
)

_DAYS = (
    *(f"%d{sign}%m{sign}%Y" for sign in "/.-"),
    *(f"%m{sign}%d{sign}%Y" for sign in "/.-"),
    *(f"%d{sign}%m{sign}%y" for sign in "/.-"),
    *(f"%m{sign}%d{sign}%y" for sign in "/.-"),
    *("%Y.%m.%d", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%d/%b/%Y"),
    *("%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%m %d, %Y"),
)
_HOURS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", "T%H:%M:%S")
_FORMATS = (
    *(day + hour for day, hour in product(_DAYS, _HOURS)),
    *("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%a %b %d %H:%M:%S UTC %Y"),
    *("%a, %d %b %Y %H:%M:%S %z", "%a, %d %b %Y %H:%M:%S GMT", "%d/%b/%Y:%H:%M:%S %z"),
    *("%Y%m%dT%H%M%S", "%Y%m%dT%H%M%SZ"),
)
"""As `strptime` takes them."""


def forms(texts: Sequence[str]) -> list[str]:
    """The forms in which all the texts can be read, as `Format.dates`: several where the texts
    don't tell day and month apart; none where they are no times."""
    if not texts:
        return []
    if all(map(_NUMBER.fullmatch, texts)):
        return ["number"]
    if all(map(_ISO.fullmatch, texts)):
        return ["iso"]
    found = [form for form in _FORMATS if _read(texts[:1], form) is not None]
    times = {form: read for form in found if (read := _read(texts, form)) is not None}
    different: dict[tuple[datetime, ...], str] = {}
    for form, read in times.items():
        different.setdefault(tuple(read), form)
    return list(different.values())


def _read(texts: Sequence[str], form: str) -> list[datetime] | None:
    try:
        return [datetime.strptime(text, form) for text in texts]
    except ValueError:
        return None
