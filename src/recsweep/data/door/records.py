"""Text as records, exactly: what a quick reader stumbles over is read here, field by field."""

import csv
import itertools
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TextIO

from recsweep.data.forms import BLANKS, Format

LONGEST_FIELD = 100_000_000
"""Characters of a field: one that is longer is a quote that nobody closed."""

END = "\0"
"""A line after the last: where it isn't a record, a quote that nobody closed has swallowed it."""


class Record(NamedTuple):
    """A line, or several where a quoted field holds line breaks.

    Attributes:
        row: Its number from 1, blank lines and a header not counted; 0 of a header.
        fields: Its fields, without the blanks before them.
        fault: What is wrong with it, after `The row`; else None.
    """

    row: int
    fields: list[str]
    fault: str | None


def open_text(path: Path) -> TextIO:
    """A plain text, with its line ends as they stand."""
    return path.open("rt", encoding="utf-8-sig", newline="")


def lines(path: Path) -> Iterator[str]:
    """The lines of a text without their ends."""
    with open_text(path) as stream:
        for line in stream:
            yield line.rstrip("\r\n")


def split(line: str, separator: str) -> list[str]:
    """The fields of a line without quotes."""
    return _splitter(separator)(line)


def header(path: Path, format: Format) -> tuple[list[str], int]:
    """The fields of the first line that isn't blank, and how many lines there are up to it."""
    with open_text(path) as stream:
        reader = _Records(stream, format)
        first = next(iter(reader), [])
        return [field.strip() for field in first], reader.num_lines


def records(stream: Iterable[str], format: Format, width: int) -> Iterator[Record]:
    """The records of the lines of a text, with their ends, after its header.

    A record has a fault if it hasn't `width` fields, one empty field at its end aside. Of several
    lines that a quote has made one faulty record, the first is the fault, and the others are read
    by themselves.
    """
    reader = _Records(itertools.chain(stream, [END]), format)
    row = 0 if format.header else 1
    for fields in reader:
        if reader.current[-1] is END and len(reader.current) == 1:
            return
        fault = None
        if reader.too_long or reader.current[-1] is END:
            fault = "opens a quote that is never closed"
        elif row > 0 and len(fields) != width:
            if len(fields) == width + 1 and not fields[-1].strip():
                del fields[-1]
            else:
                fault = f"has {_counted(len(fields))}, where the columns are {width}"
        if fault:
            reader.resume_after_first_line()
        if row > 0:
            yield Record(row, fields, fault)
        row += 1


def _counted(number: int) -> str:
    return "one field" if number == 1 else f"{number} fields"


class _Records:
    """The fields of each record of some lines, blank lines left out."""

    def __init__(self, stream: Iterable[str], format: Format) -> None:
        csv.field_size_limit(LONGEST_FIELD)
        self.stream = iter(stream)
        self.split = None if format.quote else _splitter(format.separator)
        self.separator = format.separator
        self.blanks = "".join({*" \t\r\n"} - {*format.separator[:1]}) + " "
        self.ahead: deque[str] = deque()  # lines that are to be read again
        self.current: list[str] = []  # those of the record
        self.num_lines = 0
        self.too_long = False

    def resume_after_first_line(self) -> None:
        """Read the lines of the record again but the first."""
        self.ahead.extendleft(reversed(self.current[1:]))
        self.num_lines -= len(self.current) - 1
        self.current = []
        self.reader = self._new_reader()

    def _lines(self) -> Iterator[str]:
        while True:
            line = self.ahead.popleft() if self.ahead else next(self.stream, None)
            if line is None:
                return
            self.current.append(line)
            self.num_lines += 1
            yield line

    def _new_reader(self) -> Iterator[list[str]]:
        if self.split is not None:
            return map(self.split, self._lines())
        return csv.reader(self._lines(), delimiter=self.separator[0], skipinitialspace=True)

    def __iter__(self) -> Iterator[list[str]]:
        self.reader = self._new_reader()
        while True:
            self.current, self.too_long = [], False
            try:
                fields = next(self.reader, None)
            except csv.Error:  # a field beyond the limit
                self.too_long = True
                yield []
                continue
            if fields is None:
                return
            if not any(line.strip(self.blanks) for line in self.current):
                continue
            if self.split is None and len(self.separator) > 1:
                # A repeated separator is read as one, with empty fields between.
                fields = fields[:: len(self.separator)]
            yield fields


def _splitter(separator: str) -> Callable[[str], list[str]]:
    if separator == BLANKS:
        blanks = re.compile("[ \t]+")
        return lambda line: blanks.split(line.strip(" \t\r\n"))
    return lambda line: [field.lstrip(" \t") for field in line.rstrip("\r\n").split(separator)]
