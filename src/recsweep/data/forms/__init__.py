"""How a table of interactions is written: what the user says of it, and what is settled before a
row is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

AUTO = "auto"
"""The value of a setting that is found in the file."""

Shape = Literal["long", "lists", "counted_lists", "users_by_items", "items_by_users"]
"""What a line is: one interaction; a user and their items; a count and the items of the user whose
number (from 0) is that of the line; a user's row of a matrix; an item's row of it."""

SHAPES: tuple[Shape, ...] = ("long", "lists", "counted_lists", "users_by_items", "items_by_users")

BLANKS = " "
"""The separator that stands for any run of spaces and tabs."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What the settings `data.*` of the same names say of the form of a file; AUTO is found.

    Attributes:
        separator: Text between the fields of a line; BLANKS for runs of blanks.
        columns: Names of the columns of a file without a header; `null` (None) where the first line
            names them.
        user_column: Column of the raw user ids; of a matrix the one with the ids of its rows.
        item_column: Column of the raw item ids, likewise.
        rating_column: Column of the ratings; None where every row is a positive.
        timestamp_column: Column of the times, or several names of which the first one present is
            read; None where there is none.
        shape: One of SHAPES.
        decimal: `.` or `,`.
        date_format: A format of dates, as `%d/%m/%Y`.
        encoding: Encoding of a text file, as `latin-1`.
        unrated: Values that stand for no rating, as 99.
        positive_values: Texts of the ratings that are positives; None where they are numbers.
    """

    separator: str = AUTO
    columns: Sequence[str] | str | None = AUTO
    user_column: str = AUTO
    item_column: str = AUTO
    rating_column: str | None = AUTO
    timestamp_column: str | Sequence[str] | None = AUTO
    shape: str = AUTO
    decimal: str = AUTO
    date_format: str = AUTO
    encoding: str = AUTO
    unrated: tuple[float, ...] = ()
    positive_values: Sequence[str] | None = None


@dataclass(frozen=True, kw_only=True)
class Format:
    """How the rows of a file are written, all of it settled: after this nothing is guessed.

    Attributes:
        kind: `text`, `json` (lines or one array), `parquet` or `arrow`.
        separator: Text between the fields of a line of text; BLANKS for runs of blanks.
        quote: `"` where fields may stand in it, else an empty text: then a quote is a character as
            any other.
        header: Whether the first line of a text names the columns.
        columns: Names of all columns, in their order; of lists without columns none.
        shape: What a line is.
        user: Column of the raw user ids; None where the number of the line is the id, or where
            the columns of a matrix are the users.
        item: Column of the raw item ids, likewise.
        rating: Column of the ratings; None where every row is a positive, and in a matrix.
        time: Column of the times; None where there is none.
        values: Columns of a matrix that hold ratings, whose names are ids; else empty.
        decimal: `.` or `,`.
        dates: How times are written: `number`, `iso` (2017-08-18, also with a time of day, with
            slashes and without leading zeros) or a format as `%d/%m/%Y`.
    """

    kind: Literal["text", "json", "parquet", "arrow"]
    separator: str = ","
    quote: str = ""
    header: bool = True
    columns: tuple[str, ...] = ()
    shape: Shape = "long"
    user: str | None = None
    item: str | None = None
    rating: str | None = None
    time: str | None = None
    values: tuple[str, ...] = ()
    decimal: str = "."
    dates: str = "number"

    @property
    def is_rated(self) -> bool:
        """Whether rows have ratings."""
        return self.rating is not None or bool(self.values)


@dataclass(frozen=True)
class Note:
    """One thing that was found in a file, and how to say otherwise.

    Attributes:
        what: What was found, as `separator`.
        value: Its value in words, as `tab`.
        setting: A setting that says it, as `data.separator=';'`, for the user to change.
    """

    what: str
    value: str
    setting: str


@dataclass(frozen=True)
class Found:
    """The form of a file, and what of it was found rather than said.

    Attributes:
        format: The form.
        notes: What was found.
        unrated: The number that stands for no rating in a matrix, as 99, where none was said.
    """

    format: Format
    notes: tuple[Note, ...]
    unrated: float | None = None

    def in_words(self) -> str:
        """What was found, in one line."""
        return ", ".join(f"{note.what} {note.value}" for note in self.notes)
