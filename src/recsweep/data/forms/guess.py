"""How a table of interactions is written, found in its first lines; a question where they could
mean two things."""

import math
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn, cast

from recsweep.checks import check_choice
from recsweep.data.files import File, sample
from recsweep.data.forms import (
    AUTO,
    BLANKS,
    SHAPES,
    Asked,
    Format,
    Found,
    Note,
    Shape,
    dates,
    dialect,
    roles,
    typed,
)
from recsweep.data.forms.columns import MISSING, Columns
from recsweep.data.forms.dialect import Parted, is_number
from recsweep.data.forms.matrices import Matrix, matrix_of
from recsweep.data.forms.questions import SHOWN_NAMES, ask, cut, listed, said
from recsweep.errors import DataError


def guess(files: Sequence[File], asked: Asked) -> Found:
    """The form of a file, or of parts of one form.

    Args:
        files: The parts, in order; the first one shows the form.
        asked: What is said of it, which counts, and is checked.

    Raises:
        DataError: The file is not as said, or could be meant in two ways: then the settings that
            say which are named.
    """
    first = files[0]
    if asked.shape != AUTO:
        check_choice("data.shape", asked.shape, SHAPES)
    found = (_Text if first.kind == "text" else _Typed)(files, asked).found()
    if first.encoding is not None and asked.encoding == AUTO and first.encoding != "utf-8":
        note = Note("encoding", first.encoding, said("encoding", first.encoding))
        found = replace(found, notes=(note, *found.notes))
    return found


def guess_table(files: Sequence[File]) -> Format:
    """The form of any table, as one of titles or features: its columns, by their whole names, as
    `age:token`, and none of them the users', the items', the ratings' or the times'."""
    asked = Asked()
    if files[0].kind != "text":
        return _Typed(files, asked).table()[0]
    try:
        return _Text(files, asked, whole_names=True).table()[0]
    except DataError:  # words above words: people name the columns of such tables
        return _Text(files, replace(asked, columns=None), whole_names=True).table()[0]


def threshold(low: float, high: float, whole: bool, name: str | None) -> tuple[float | None, str]:
    """The least rating of a positive, from the range of all ratings; None where every row is one.

    Args:
        low: The lowest rating.
        high: The highest.
        whole: Whether all are whole numbers.
        name: Column of the ratings; None for the cells of a matrix.

    Returns:
        It, and the rule in words.

    Raises:
        DataError: The range tells nothing: data.positive_rating must say it.
    """
    is_judgement = name is not None and roles.role_of(name) == "rating" and not roles.is_count(name)
    is_count = (name is not None and roles.is_count(name)) or (whole and low >= 0 and high > 100)
    if is_count and (low < 0 or high > 1 or name is None or not is_judgement):
        if low > 0:
            return None, "every row, as it counts how often or how much"
        return (1.0 if whole else sys.float_info.min), "above 0, as it counts how often or how much"
    if low >= 0 and high == 1 and whole:
        return 1.0, "1, not 0"
    if low >= 0:
        for most, least in ((5, 4.0), (10, 7.0), (100, 70.0)):
            if least <= high <= most and (most < 100 or is_judgement or low == 0 or not whole):
                return least, f"at least {least:g}, as they run to {high:g}"
    column = "The cells" if name is None else f"The ratings in {cut(name)}"
    raise DataError(
        f"{column} run from {low:g} to {high:g}, which doesn't tell from where on one is a "
        f"positive. Add data.positive_rating={_between(low, high):g} to the command, or what else "
        "is the least of a positive"
        + ("." if name is None else ", or data.rating_column=null if every row is one.")
    )


def _between(low: float, high: float) -> float:
    return float(f"{low + 0.75 * (high - low):.2g}") if math.isfinite(high - low) else 1.0


class _Text:
    """The form of a text, settled step by step."""

    def __init__(self, files: Sequence[File], asked: Asked, *, whole_names: bool = False) -> None:
        self.files = files
        self.file = files[0]
        self.asked = asked
        self.whole_names = whole_names
        self.path = self.file.path
        self.notes: list[Note] = []
        self.text = sample(self.file)
        if not self.text.strip():
            raise DataError(
                f"{self.path} is empty. Set data.path to a file with one interaction a line."
            )
        self._refuse_comments()

    def _refuse_comments(self) -> None:
        lines = self.text.split("\n")
        mark = lines[0][:1]
        if lines[0][:2] in ("# ", "% ") and any(line and line[0] != mark for line in lines):
            raise DataError(
                f"{self.path} begins with a comment. Delete the lines that begin with {mark}, as "
                f"by `grep -v '^{mark}' FILE > ratings.txt`, and set data.path to what is left."
            )

    def found(self) -> Found:
        parted = self._parted()
        if parted is None:
            return self._lists()
        form, table = self.table(parted)
        if self.asked.shape == AUTO and not form.header and (words := _as_lists(table)):
            ask(self.path, words, [said("shape", "long"), said("shape", "lists")])
        matrix = matrix_of(table, form.header)
        if matrix is not None:
            return _found_matrix(self, form, table, matrix)
        return _found_long(self, form, table)

    def table(self, parted: Parted | None = None) -> tuple[Format, Columns]:
        """The form of the table, and its columns."""
        asked = self.asked
        if parted is None:
            parted = dialect.find_separator(self.text, _told) or dialect.parted(self.text, ",")
        header = self._has_header(parted)
        names, rows, has_types = self._columns(parted, header)
        if asked.separator == AUTO:
            setting = said("separator", _said_separator(parted.separator))
            self.notes.append(Note("separator", _spoken(parted.separator), setting))
        names, rows = _with_folders(self.files, names, rows)
        table = Columns(
            self.path,
            names,
            rows,
            asked,
            named=header or asked.columns not in (AUTO, None),
            separator=parted.separator,
        )
        if asked.columns == AUTO:
            words = "in the first line" if header else "none"
            setting = said("columns", None if header else names[:SHOWN_NAMES])
            self.notes.append(
                Note("header", words + (", with types" if has_types else ""), setting)
            )
        form = Format(
            kind="text",
            separator=parted.separator,
            quote=parted.quote,
            header=header,
            columns=tuple(names),
        )
        return form, table

    def _parted(self) -> Parted | None:
        """The rows of a table; None where each line is a list."""
        separator = self.asked.separator
        if self.asked.shape in ("lists", "counted_lists"):
            return None
        if separator == AUTO:
            parted = dialect.find_separator(self.text, _told)
        else:
            parted = dialect.parted(self.text, separator)
        if self.asked.shape != AUTO:
            return parted or self._refuse_uneven()
        if parted is not None and separator != AUTO and parted.even < dialect.EVEN:
            return None if _are_lists(parted.rows) else parted
        if parted is not None and parted.even < 1 and self._may_be_lists(parted):
            return None
        return parted

    def _may_be_lists(self, parted: Parted) -> bool:
        """Whether lines that nearly all have two fields may be lists of mostly one item."""
        if parted.width != 2 or not _are_lists(parted.rows):
            return False
        if parted.even > 0.95:
            ask(
                self.path,
                "has lines of two numbers, and a few of more or fewer",
                [said("shape", "long"), said("shape", "lists")],
            )
        return True

    def _lists(self) -> Found:
        """The form of lines `user item item …` or `count item item …`."""
        asked = self.asked
        separator = self.asked.separator
        lines = [line for line in self.text.split("\n")[:5_000] if line.strip()]
        if separator == AUTO:
            separator = max(
                (BLANKS, *dialect.SEPARATORS),
                key=lambda sign: sum(len(_fields(line, sign)) > 1 for line in lines[1:] or lines),
            )
            if separator == "\t" or all(
                len(_fields(line, BLANKS)) == len(_fields(line, separator)) for line in lines
            ):
                separator = BLANKS
        rows = [_fields(line, separator) for line in lines]
        header = len(rows) > 1 and not rows[0][0].isdigit() and _are_lists(rows[1:])
        body = rows[1:] if header else rows
        shape = cast(Shape, asked.shape)
        if asked.shape == AUTO:
            if not _are_lists(body) or (header and _told(rows[0]) > 1):
                self._refuse_uneven()
            is_counted = len({len(row) for row in body}) > 1 and all(
                int(row[0]) == len(row) - 1 for row in body
            )
            shape = "counted_lists" if is_counted else "lists"
            words = "a count and so many items a line" if is_counted else "a user and items a line"
            self.notes.append(Note("shape", words, said("shape", shape)))
        if asked.separator == AUTO:
            setting = said("separator", _said_separator(separator))
            self.notes.append(Note("separator", _spoken(separator), setting))
        users = "by the number of the line" if shape == "counted_lists" else "first in each line"
        self.notes.append(Note("users", users, said("shape", shape)))
        self.notes.append(
            Note("ratings", "none, every item of a list is a positive", said("shape", shape))
        )
        form = Format(kind="text", separator=separator, header=header, shape=shape)
        return Found(form, tuple(self.notes))

    def _refuse_uneven(self) -> NoReturn:
        lines = [line for line in self.text.split("\n")[:5_000] if line.strip()]
        widths = Counter(len(_fields(line, BLANKS)) for line in lines).most_common(3)
        seen = ", ".join(f"{number:,} with {width}" for width, number in widths)
        if len(widths) == 1 and widths[0][0] == 1:
            raise DataError(
                f"{self.path} has one field a line, whichever separator is tried. Set data.path "
                "to a file with users and items, or data.separator to what stands between them."
            )
        ask(
            self.path,
            f"has lines of unlike numbers of fields, whichever separator is tried ({seen})",
            [said("separator", ","), said("separator", "tab"), said("shape", "lists")],
        )

    def _has_header(self, parted: Parted) -> bool:
        """Whether the first line names the columns."""
        columns = self.asked.columns
        first = [field.strip() for field in parted.rows[0]]
        if columns is None:
            return True
        if columns != AUTO:
            if [roles.normal(name) for name in first] == [roles.normal(name) for name in columns]:
                raise DataError(
                    f"The first line of {self.path} names the columns, as data.columns does. Set "
                    "data.columns=null."
                )
            return False
        asked = {self.asked.user_column, self.asked.item_column, self.asked.rating_column}
        if asked & {*first} or all(map(roles.is_typed, first)) or _told(first) > 1:
            return True
        looks = _looks_as_header(first, parted.rows[1:])
        if looks is None and any(
            name not in (AUTO, None) and not name.startswith("column_") for name in asked
        ):
            return True  # names are asked for, though others than these
        if looks is None:
            names = ["user_id", "item_id", *(f"column_{n}" for n in range(3, len(first) + 1))]
            ask(
                self.path,
                "has a first line that may name the columns, or be a row as the others",
                [said("columns", None), said("columns", names)],
            )
        return looks

    def _columns(self, parted: Parted, header: bool) -> tuple[list[str], list[list[str]], bool]:
        """Names of all fields of a row, the rows, and whether the names had types."""
        columns = self.asked.columns
        rows = [row for row in parted.rows[header:] if len(row) == parted.width]
        if not header:
            if columns == AUTO or columns is None:
                return _numbered([""] * parted.width), rows, False
            given = list(columns)
            if len(parted.rows[0]) < len(given):
                raise DataError(
                    f"{self.path} has {len(parted.rows[0])} fields in its first line, and "
                    f"data.columns names {len(given)} ({listed(given)}). Correct data.columns or "
                    "data.separator."
                )
            return given + _numbered([""] * parted.width)[len(given) :], rows, False
        first = [field.strip() for field in parted.rows[0]]
        width = parted.width if rows else len(first)
        typed = all(map(roles.is_typed, filter(None, first)))
        names = [roles.bare(name) for name in first] if typed and not self.whole_names else first
        if len(names) == width - 1:
            # a separator ends each line; or else R has left out the name of the rows' numbers
            ends = not any(row[-1].strip() for row in rows)
            names = [*names, ""] if ends else ["", *names]
        elif len(names) == width + 1 and not names[-1]:
            names = names[:-1]
        elif len(names) != width:
            raise DataError(
                f"{self.path} names {len(names)} columns in its first line, and most of its other "
                f"lines have {width} fields. Correct the first line, or data.separator "
                f"({parted.separator!r})."
            )
        return _numbered(names), rows, typed


class _Typed:
    """The form of a file that names its columns and types itself."""

    def __init__(self, files: Sequence[File], asked: Asked) -> None:
        self.files = files
        self.file = files[0]
        self.asked = asked
        self.path = self.file.path
        self.notes: list[Note] = []

    def found(self) -> Found:
        form, table = self.table()
        matrix = matrix_of(table, True)
        if matrix is not None:
            return _found_matrix(self, form, table, matrix)
        return _found_long(self, form, table)

    def table(self) -> tuple[Format, Columns]:
        """The form of the table, and its columns."""
        names, rows = typed.first_rows(self.file)
        names, rows = _with_folders(self.files, names, rows)
        table = Columns(self.path, names, rows, self.asked, named=True)
        return Format(kind=self.file.kind, columns=tuple(names)), table


def _found_matrix(of: _Text | _Typed, form: Format, table: Columns, wide: Matrix) -> Found:
    asked, notes = of.asked, of.notes
    by_user = wide.shape == "users_by_items"
    values, names = wide.values, form.columns
    if form.kind == "text" and not form.header and asked.columns == AUTO:
        # the columns have no names: the ids of what they stand for are their numbers
        new = {name: str(place + 1) for place, name in enumerate(values)}
        names = tuple(new.get(name, name) for name in names)
        values = tuple(new.values())
    texts = [text for name in wide.values for text in table.values[name]]
    unrated = None if asked.unrated else wide.unrated
    rows_are, columns_are = ("users", "items") if by_user else ("items", "users")
    if asked.shape == AUTO:
        notes.append(Note("shape", f"a matrix, its rows the {rows_are}", said("shape", wide.shape)))
    setting = "user_column" if by_user else "item_column"
    where = "by the number of the line" if wide.ids is None else f"in {cut(wide.ids)}"
    notes.append(Note(rows_are, where, said(setting, wide.ids or "NAME")))
    notes.append(Note(columns_are, f"the {len(values):,} other columns", said("shape", wide.shape)))
    if wide.count is not None:
        notes.append(
            Note(
                "left out",
                f"{cut(wide.count)}, which holds whole numbers as a count of the cells",
                said("shape", wide.shape),
            )
        )
    if unrated is not None:
        notes.append(
            Note(
                "no rating",
                f"{unrated:g}",
                said("unrated", int(unrated) if unrated.is_integer() else unrated),
            )
        )
    form = replace(
        form,
        columns=names,
        shape=wide.shape,
        user=wide.ids if by_user else None,
        item=None if by_user else wide.ids,
        values=values,
        decimal=_decimal(of, texts),
    )
    return Found(form, tuple(notes), unrated)


def _found_long(of: _Text | _Typed, form: Format, table: Columns) -> Found:
    asked, notes = of.asked, of.notes
    if asked.shape not in (AUTO, "long"):
        raise DataError(
            f"{of.path} holds one interaction a row, and no {asked.shape}. Set data.shape=long."
        )
    found = table.roles()
    for role, setting, absent in (
        ("user", "user_column", ""),
        ("item", "item_column", ""),
        ("rating", "rating_column", "none, every row is a positive"),
        ("time", "timestamp_column", "none"),
    ):
        if getattr(asked, setting) == AUTO:
            name = found[role]
            what = {"rating": "ratings", "time": "times"}.get(role, f"{role}s")
            value = absent if name is None else f"in {cut(name)}"
            notes.append(Note(what, value, said(setting, name)))
    rating, time = found["rating"], found["time"]
    decimal = "."
    if rating is not None:
        texts = table.values[rating]
        if asked.positive_values is None:
            _check_numbers(of.path, rating, texts)
        decimal = _decimal(of, texts)
    form = replace(
        form,
        user=found["user"],
        item=found["item"],
        rating=rating,
        time=time,
        decimal=decimal,
        dates=form.dates
        if time is None
        else _dates(of, time, list(dict.fromkeys(table.values[time]))),
    )
    return Found(form, tuple(notes))


def _check_numbers(path: Path, name: str, texts: Sequence[str]) -> None:
    """Ask which words of a rating column are positives, where it holds words alone."""
    words = Counter(text for text in texts if not is_number(text))
    if 2 * sum(words.values()) <= len(texts) or not words:
        return  # numbers, but for rows that the reading refuses
    if len(words) <= SHOWN_NAMES and all(len(word) <= 30 for word in words):
        listed = [word for word, _ in words.most_common()]
        likely = [word for word in listed if word.lower() in ("true", "yes", "y", "t", "like")]
        if sum(words.values()) == len(words) and not likely:
            return  # none comes twice, as those of events do: the reading refuses the first
        chosen = likely or listed
        raise DataError(
            f"Column {cut(name)} of {path} holds {', '.join(listed)}, and no ratings. Say which "
            f"of them are positives, as {said('positive_values', chosen)}, or that every row is "
            f"one: {said('rating_column', None)}."
        )
    raise DataError(
        f"Column {cut(name)} of {path} holds texts, and no ratings. Add "
        f"{said('rating_column', None)} to the command if every row is a positive, or name "
        "another column."
    )


def _decimal(of: _Text | _Typed, texts: Sequence[str]) -> str:
    """The sign of decimals among numbers."""
    asked = of.asked.decimal
    if asked != AUTO:
        return asked
    with_comma = [text for text in texts if "," in text and is_number(text)]
    if not with_comma:
        thousands = [text for text in texts if re.fullmatch(r"-?\d{1,3}(\.\d{3})+,\d+", text)]
        sign = "," if thousands else "."
    elif all(re.fullmatch(r"-?\d{1,3},\d{3}", text) for text in with_comma):
        ask(
            of.path,
            "has numbers as 1,234, whose comma may be that of a decimal, or of thousands, which "
            "aren't read",
            [said("decimal", ","), said("rating_column", None)],
        )
    else:
        sign = ","
    if sign == ",":
        of.notes.append(Note("decimals", "with a comma", said("decimal", ",")))
    return sign


def _dates(of: _Text | _Typed, name: str, texts: Sequence[str]) -> str:
    """The form of times."""
    if of.asked.date_format != AUTO:
        return of.asked.date_format
    forms = dates.forms(list(dict.fromkeys(texts)))
    if len(forms) > 1:
        ask(
            of.path,
            f"has times in {cut(name)} that can be read with the day or the month first",
            [*(said("date_format", form) for form in forms[:3]), said("timestamp_column", None)],
        )
    if not forms:
        numbers = sum(map(is_number, texts))
        isos = sum(dates.forms([text]) == ["iso"] for text in texts)
        if texts and not numbers and not isos:
            raise DataError(
                f"Column {cut(name)} of {of.path} holds times in no form that is known. Say it, "
                f"as {said('date_format', '%d/%m/%Y %H:%M')}, or do without times: "
                f"{said('timestamp_column', None)}."
            )
        # some are of the form, and the reading refuses the others with their row
        return "iso" if isos > numbers else "number"
    if forms[0] not in ("number", "iso"):
        of.notes.append(Note("dates", f"as {forms[0]}", said("date_format", forms[0])))
    return forms[0]


def _with_folders(
    files: Sequence[File], names: Sequence[str], rows: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """The columns and rows with those that the names of folders hold, as `year=2020/`."""
    new = [name for name, _ in files[0].folders if name not in names]
    parts = [dict(file.folders) for file in files]
    # each part stands for its rows: those of the first may all be of one folder
    return [*names, *new], [
        [*row, *(parts[place % len(parts)].get(name, "") for name in new)]
        for place, row in enumerate(rows)
    ]


def _said_separator(separator: str) -> str:
    words = {"\t": "tab", BLANKS: "blanks"}
    return words.get(separator, separator)


def _spoken(separator: str) -> str:
    words = {"\t": "tab", BLANKS: "blanks", ",": "comma", ";": "semicolon"}
    return words.get(separator, separator)


def _fields(line: str, separator: str) -> list[str]:
    if separator == BLANKS:
        return line.split()
    return [field.strip() for field in line.strip().split(separator) if field.strip()]


def _looks_as_header(first: Sequence[str], rows: Sequence[Sequence[str]]) -> bool | None:
    """Whether the fields of a first line are names, seen beside the other rows; None where it may
    be either."""
    numbers = [is_number(name) for name in first]
    rest = [[text.strip() for text in row] for row in rows if len(row) == len(first)]
    if not rest:
        # one row; or the name of the first column is left out, or a separator stands at the end
        return _told(first) > 0 or (bool(rows) and not any(numbers))
    below = [set(texts) - {""} for texts in zip(*rest, strict=True) if texts]
    numeric = [bool(texts) and all(map(is_number, texts)) for texts in below]
    if any(numeric) and all(
        is_name_number
        for is_name_number, is_numeric in zip(numbers, numeric, strict=True)
        if is_numeric
    ):
        # numbers above numbers: ids as names stand above ratings, and each but once
        return (
            not numbers[0]
            and len(first) > 3
            and (not first[0] or roles.role_of(first[0]) is not None)
            and len(set(first)) == len(first)
        )
    if any(
        is_numeric and name.lower() not in MISSING and not is_number(name)
        for name, is_numeric in zip(first, numeric, strict=True)
    ):
        return True
    if any(name in texts for name, texts in zip(first, below, strict=True)):
        return False
    if _told(first) and not any(numbers):
        return True
    if any(re.search(r"\d", name) or len(name) > 40 for name in first):
        return False
    return None


def _as_lists(table: Columns) -> str | None:
    """Words where lines of one width may be a user and as many items as any other's; else None."""
    columns = [table.values[name] for name in table.names]
    number = len(columns[0])
    if (
        len(columns) < 3
        or number < 10
        or not all(len(texts) == number and all(map(str.isdigit, texts)) for texts in columns)
        or len(set(columns[0])) < number
        or any(len(set(texts)) < min(number, 20) / 2 for texts in columns[1:])
        or any(len(set(items)) < len(items) for items in zip(*columns[1:], strict=True))
        or (len(columns) == 4 and table.is_time(table.names[3], sure=False))
    ):
        return None
    return "begins each line with another number, and as many others follow in each"


def _are_lists(rows: Sequence[Sequence[str]]) -> bool:
    """Whether all fields are whole numbers, as ids of lists are."""
    return all(field.strip().isdigit() for row in rows for field in row if field)


def _told(names: Sequence[str]) -> int:
    """How many roles the names tell for sure."""
    return len({role for name in names if (role := roles.role_of(name.strip())) is not None})


def _numbered(names: Iterable[str]) -> list[str]:
    """The names, with `column_3` where the third has none."""
    return [name or f"column_{place + 1}" for place, name in enumerate(names)]
