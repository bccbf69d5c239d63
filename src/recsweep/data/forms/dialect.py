"""The separator and the quotes of a text of lines, by how evenly they part it."""

import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from recsweep.data.forms import BLANKS

SEPARATORS = ("\t", "::", "|", ";", ",")
"""Of two that part a text as well, the earlier one is taken."""

EVEN = 0.8
"""Share of the lines that must have one number of fields, where lines are rows of a table."""

_ROWS = 10_000
_NUMBER = re.compile(r"\s*[+-]?(\d+([.,]\d+)?|[.,]\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Parted:
    """The first rows of a text, parted in one way.

    Attributes:
        separator: Text between the fields; BLANKS for runs of blanks.
        quote: `"` where fields may stand in it, else an empty text.
        rows: Fields of each row that isn't blank.
        width: Number of fields that most rows have.
        even: Share of the rows that have it.
    """

    separator: str
    quote: str
    rows: list[list[str]] = field(repr=False)
    width: int
    even: float

    def numbers(self) -> int:
        """How many columns hold numbers alone, but for the first row and for blanks."""
        rows = [row for row in self.rows[1:] if len(row) == self.width] or self.rows[:1]
        return sum(
            all(not text or is_number(text) for text in column) and any(column)
            for column in zip(*rows, strict=False)
        )


def is_number(text: str) -> bool:
    """Whether a text is a number, with a point or a comma."""
    return _NUMBER.fullmatch(text) is not None


def as_number(text: str) -> float:
    return float(text.replace(",", "."))


def parted(text: str, separator: str) -> Parted:
    """The first rows of a text by this separator, with quotes or without.

    Between commas and semicolons a quote at the beginning of a field is one of a pair; else it is
    where most such fields end with one too.
    """
    if separator == BLANKS or len(separator) > 1:
        without = _measured(separator, "", _split(text, separator))
        if separator == BLANKS and '"' in text and (rows := _read(text, " ")):
            within = _measured(separator, '"', rows)  # as R writes tables
            return within if within.even >= without.even else without
        return without
    plain, strict = _split(text, separator), _read(text, separator)
    without = _measured(separator, "", plain)
    if separator in ",;":  # where a field that begins with a quote has to end with one
        within = _measured(separator, '"', strict or _read(text, separator, strict=False) or [])
        if within.even >= without.even:
            return within
        unquoted = [[field.strip(' "') for field in row] for row in plain]
        return _measured(separator, '"', unquoted)
    begun = [field for row in plain for field in row if field.startswith('"')]
    whole = sum(len(field) > 1 and field.endswith('"') for field in begun)
    if strict is None:
        # some quote is a character; or else a row is broken, which the reading will tell
        return _measured(separator, '"', plain) if whole > len(begun) / 2 else without
    within = _measured(separator, '"', strict)
    is_plain = without.even == 1 and len(within.rows) < len(without.rows)
    if (separator == "\t" and not begun) or is_plain:
        return without
    return within if within.even >= without.even else without


def find_separator(text: str, told: Callable[[Sequence[str]], int]) -> Parted | None:
    """The way in which a text is parted most evenly; None where no separator makes rows of one
    width.

    Args:
        text: The first lines of a file.
        told: How many names that people give to columns are among the fields of the first line.
    """
    found = [each for each in (parted(text, sign) for sign in SEPARATORS) if _is_table(each)]
    blanks = parted(text, BLANKS)
    if not found:
        return blanks if _is_table(blanks) else None
    best = max(
        found,
        key=lambda each: (told(each.rows[0]), round(each.even, 1), each.numbers(), each.width),
    )
    if best.separator == "," and _has_decimal_commas(blanks):
        return blanks
    return best


def _has_decimal_commas(blanks: Parted) -> bool:
    """Whether all commas of rows of several fields stand within numbers, as in `1 2 3,5`."""
    within = [text for row in blanks.rows for text in row if "," in text]
    return _is_table(blanks) and blanks.width > 2 and all(map(is_number, within))


def _is_table(each: Parted) -> bool:
    # R leaves out the name of the first column, others end each line by a separator
    return each.width > 1 and each.even >= EVEN and abs(len(each.rows[0]) - each.width) <= 1


def _measured(separator: str, quote: str, rows: list[list[str]]) -> Parted:
    rows = [row for row in rows if any(fields.strip() for fields in row)]
    widths = Counter(map(len, rows))
    if not widths:
        return Parted(separator, quote, rows, 0, 0.0)
    width, number = max(widths.items(), key=lambda entry: (entry[1], entry[0]))
    # the header may have one name more or less than its rows have fields
    apart = len(rows) > 1 and len(rows[0]) != width and not all(map(is_number, rows[0]))
    return Parted(separator, quote, rows, width, number / (len(rows) - apart))


def _split(text: str, separator: str) -> list[list[str]]:
    lines = text.split("\n", _ROWS)[:_ROWS]
    return [line.split() if separator == BLANKS else line.split(separator) for line in lines]


def _read(text: str, separator: str, *, strict: bool = True) -> list[list[str]] | None:
    """The rows by Python's csv; None where a quote stands where none may, in a strict reading."""
    csv.field_size_limit(max(csv.field_size_limit(), len(text)))
    reader = csv.reader(
        io.StringIO(text), delimiter=separator, skipinitialspace=True, strict=strict
    )
    rows: list[list[str]] = []
    try:
        for row in reader:
            rows.append(row)
            if len(rows) == _ROWS:
                break
    except csv.Error as error:
        # the text ends amid a field where it is but the beginning of a file
        if "unexpected end" not in str(error) or not rows or _runs_on(rows, text):
            return None
    return rows


def _runs_on(rows: Sequence[Sequence[str]], text: str) -> bool:
    """Whether a quote that is never closed takes in more than a long field would."""
    read = sum(len(field) + 1 for row in rows for field in row)
    return len(text) - read > 100_000 or len(text) < 100_000
