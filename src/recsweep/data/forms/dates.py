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


BROKEN = 0.1
"""Share of the times in a column that may be unreadable: the reading names the first of them."""


def forms(texts: Sequence[str]) -> list[str]:
    """The forms in which the texts can be read but for a few, as `Format.dates`: several where the
    texts don't tell day and month apart; none where they are no times."""
    if not texts:
        return []
    broken = int(BROKEN * len(texts))
    for form, pattern in (("number", _NUMBER), ("iso", _ISO)):
        if sum(pattern.fullmatch(text) is None for text in texts) <= broken:
            return [form]
    # where a few are broken, one of the first few is whole
    whole = texts[: min(broken, 2) + 1]
    found = [form for form in _FORMATS if any(_read(whole, form))]
    times = {form: _read(texts, form) for form in found}
    lost = {form: read.count(None) for form, read in times.items()}
    different: dict[tuple[datetime | None, ...], str] = {}
    for form, read in times.items():
        if lost[form] <= broken and lost[form] == min(lost.values()):
            different.setdefault(tuple(read), form)
    return list(different.values())


def _read(texts: Sequence[str], form: str) -> list[datetime | None]:
    """The times, None where one isn't of the form."""
    times: list[datetime | None] = []
    for text in texts:
        try:
            times.append(datetime.strptime(text, form))
        except ValueError:
            times.append(None)
    return times
