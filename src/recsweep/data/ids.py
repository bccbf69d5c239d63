"""What an id is, wherever one enters or leaves: in files, lists, requests and notebooks.

An id is the text that stands in the file: `007` stays `007` and is not `7`. A column whose ids are
all whole numbers, as `3` or, of floats, `3.0`, holds numbers. Somebody who asks by an id may write
it as a number or as text: 3, 3.0, `3` and `3.0` name the same one.
"""

import re
from collections.abc import Collection

import numpy as np

from recsweep.checks import as_said
from recsweep.errors import DataError

RawId = int | float | str
"""An id as it is asked for."""

WHOLE_NUMBER = re.compile(r"(0|-?[1-9][0-9]{0,17})(?:\.0+)?")
"""Texts that stand for a number, their first group: 18 digits always fit 64 bits; 007 is none, or
it would be 7."""


def id_array(texts: Collection[str]) -> np.ndarray:
    """The ids of one column as they are kept, (n,): int64 where all are whole numbers, else the
    texts as they stand, see `text_array`."""
    numbers = [WHOLE_NUMBER.fullmatch(text) for text in texts]
    if all(numbers):
        return np.array([int(number[1]) for number in numbers if number], dtype=np.int64)
    return text_array(texts)


def text_array(texts: Collection[str]) -> np.ndarray:
    """Ids of text, each as long as it is: one of 50,000 characters makes no other longer.
    DataError where one ends in a NUL, which parts the ids in a digest."""
    if cut := next((text for text in texts if text.endswith("\0")), None):
        raise DataError(
            f"An id must not end in a NUL character, as {as_said(cut)}. Delete it there."
        )
    return np.array(list(texts), dtype=np.dtypes.StringDType())


def spelled(raw: object) -> str | None:
    """The one text by which an id is looked up: a whole number without `.0`, another text without
    blanks around it. None for what is no id: `True`, nan, None."""
    if isinstance(raw, bool | np.bool_) or not isinstance(
        raw, int | float | str | np.integer | np.floating
    ):
        return None
    if isinstance(raw, float | np.floating):
        return str(int(raw)) if np.isfinite(raw) and raw == int(raw) else None
    try:
        text = str(raw).strip()
    except ValueError:  # a number of more digits than Python writes
        return None
    number = WHOLE_NUMBER.fullmatch(text)
    return number[1] if number else text
