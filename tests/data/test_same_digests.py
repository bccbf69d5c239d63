"""What was read rightly stays as it was: the digests of data and splits, the numbers of users and
items and what was left out, of a file of each kind, as in digests.tsv beside this module.

Stored runs, studies and champions name their data by these digests. The table was recorded by the
reader before DuckDB's. A new case is recorded by `python tests/data/test_same_digests.py NAME`,
which appends its line; a line that stands is never changed.
"""

import csv
import gzip
import io
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from recsweep.config import option
from recsweep.data.interactions import Interactions
from recsweep.data.readers import InteractionFile
from recsweep.data.split import LeaveLastOut, NewUsers, PerUserRatio, RandomCells, Temporal
from recsweep.errors import DataError

TABLE = Path(__file__).with_name("digests.tsv")
REPOSITORY = Path(__file__).parents[2]

CSV: dict[str, Any] = {
    "name": "test",
    "separator": ",",
    "columns": None,
    "user_column": "user_id",
    "item_column": "item_id",
    "rating_column": "rating",
    "timestamp_column": "time",
    "positive_rating": 4,
    "unrated": None,
}
"""What data=csv said before settings could be found, with the times of the table below."""

SPLITS = (
    RandomCells(validation=0.1, test=0.2, seed=0, max_cells=2_000_000),
    LeaveLastOut(),
    Temporal(validation=0.1, test=0.2),
    PerUserRatio(validation=0.1, test=0.2, seed=0),
    NewUsers(users=0.2, history=0.5, seed=0),
)

HEADER = ("user_id", "item_id", "rating", "time")
Row = tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """Files that `write` makes in a folder (it returns the path or the paths), and the settings
    they are read with."""

    write: Callable[[Path], str | list[str]]
    settings: dict[str, Any] = field(default_factory=dict)
    option: str | None = None

    def reader(self, folder: Path) -> InteractionFile:
        path = self.write(folder)
        if self.option is None:
            return InteractionFile(**CSV | self.settings, path=path)
        settings = OmegaConf.merge(option("data", self.option), self.settings | {"path": path})
        reader: InteractionFile = instantiate(settings)
        return reader


CASES: dict[str, Case] = {}


# Tables


def rows(
    user: Callable[[int], str] = str,
    item: Callable[[int], str] = str,
    rating: Callable[[int], str] = str,
    time: Callable[[int], str] = str,
) -> list[Row]:
    """300 rows of 23 users and 17 items whose numbers are scattered, with ratings from 0 to 5,
    repeated pairs and times of which some are equal."""
    table, state = [], 12345
    for _ in range(300):
        state = (state * 1_103_515_245 + 12_345) % 2**31
        drawn = state >> 8
        table.append(
            (
                user((drawn % 23) * 37 % 101),
                item((drawn // 23) % 17 * 53 % 97),
                rating((drawn // 391) % 6),
                time(1_500_000_000 + (drawn // 2346) % 97 * 86_400),
            )
        )
    return table


def text_of(
    table: Iterable[Sequence[str]],
    header: Sequence[str] | None = HEADER,
    separator: str = ",",
    end: str = "\n",
    quoted: bool = False,
) -> str:
    """A table as CSV; a repeated separator is written between fields without quotes."""
    lines = [*([header] if header else []), *table]
    if len(separator) > 1:
        return "".join(separator.join(line) + end for line in lines)
    stream = io.StringIO()
    quoting = csv.QUOTE_ALL if quoted else csv.QUOTE_MINIMAL
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting).writerows(lines)
    return stream.getvalue()


def bytes_at(name: str, content: bytes) -> Callable[[Path], str]:
    def write(folder: Path) -> str:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return str(path)

    return write


def of_text(name: str, content: str | bytes, **settings: Any) -> None:
    data = content.encode() if isinstance(content, str) else content
    CASES[name] = Case(bytes_at("data.csv", data), settings)


def of_frame(
    name: str,
    change: Callable[[Any], Any] = lambda frame: frame,
    settings: dict[str, Any] | None = None,
    **written: Any,
) -> None:
    """A case of Parquet: the table as numbers, changed."""

    def write(folder: Path) -> str:
        import pandas

        frame = pandas.DataFrame(rows(), columns=list(HEADER)).astype("int64")
        change(frame).to_parquet(folder / "data.parquet", index=False, **written)
        return str(folder / "data.parquet")

    CASES[name] = Case(write, settings or {})


def of_arrow(name: str, **types: str) -> None:
    """A case of Parquet whose columns have Arrow's types of these names."""

    def write(folder: Path) -> str:
        import pyarrow
        from pyarrow import parquet

        columns = dict(zip(HEADER, zip(*rows(), strict=True), strict=True))
        arrays = {}
        for column, texts in columns.items():
            name = types.get(column, "int64")
            numbers = pyarrow.array([int(text) for text in texts])
            if name == "dictionary":
                arrays[column] = numbers.cast("string").dictionary_encode()
            elif name == "decimal":
                arrays[column] = numbers.cast(pyarrow.decimal128(20, 0))
            else:
                arrays[column] = numbers.cast(getattr(pyarrow, name)())
        parquet.write_table(pyarrow.table(arrays), folder / "data.parquet")
        return str(folder / "data.parquet")

    CASES[name] = Case(write)


def plain(separator: str = ",", **parts: Any) -> str:
    return text_of(rows(), separator=separator, **parts)


# Dialects of text

of_text("comma", plain())
for word, mark in {
    "semicolon": ";",
    "tab": "\t",
    "pipe": "|",
    "blank": " ",
    "caret": "^",
    "control character": "\x01",
    "two colons": "::",
    "two pipes": "||",
    "two tabs": "\t\t",
    "three semicolons": ";;;",
}.items():
    of_text(word, plain(mark), separator=mark)
    of_text(
        f"{word}, no header",
        plain(mark, header=None),
        separator=mark,
        columns=["user_id", "item_id", "rating", "time"],
    )
of_text(
    "columns of other names",
    plain(header=None),
    columns=["a", "b", "c", "d"],
    user_column="b",
    item_column="a",
    rating_column="c",
    timestamp_column="d",
)
of_text(
    "columns fewer than fields",
    plain(header=None),
    columns=["user_id", "item_id", "rating"],
    timestamp_column=None,
)
of_text("windows", plain(end="\r\n"))
of_text("old mac", plain(end="\r"))
of_text("all quoted", plain(quoted=True))
of_text("all quoted, semicolon, windows", plain(";", quoted=True, end="\r\n"), separator=";")
of_text("all quoted, tab", plain("\t", quoted=True), separator="\t")
of_text("byte order mark", b"\xef\xbb\xbf" + plain().encode())
of_text("byte order mark, quoted header", b"\xef\xbb\xbf" + plain(quoted=True).encode())
of_text("byte order mark, no header", b"\xef\xbb\xbf" + plain(header=None).encode(),
        columns=list(HEADER))  # fmt: skip
of_text("no line end at the end", plain().rstrip("\n"))
of_text("blank first lines", "\n\n" + plain())
of_text("blank lines between", plain(end="\n\n"))
of_text("blanks after commas", plain().replace(",", ", "))
of_text("blanks after commas, quoted", plain(quoted=True).replace(",", ",  "))
of_text("blanks around names", plain(header=(" user_id", "item_id ", " rating ", "time")))
of_text("runs of blanks", "\n".join("   ".join(row) for row in [HEADER, *rows()]), separator=" ")
of_text("trailing comma in each row", plain(end=",\n").replace("time,\n", "time\n", 1))
of_text("trailing comma in each line", plain(end=",\n"))
of_text(
    "unnamed index", text_of(((str(n), *row) for n, row in enumerate(rows())), header=("", *HEADER))
)
of_text(
    "other columns, two of one name",
    text_of(
        (("x", row[3], "", *row[:3], "1") for row in rows()),
        header=("note", "time", "", "user_id", "item_id", "rating", "note"),
    ),
)
of_text(
    "text with separators, quotes and line breaks",
    text_of(
        (
            (*row[:2], f'Good, "very"\n\nindeed; {n}\r\n, é', *row[2:])
            for n, row in enumerate(rows())
        ),
        header=("user_id", "item_id", "review", "rating", "time"),
    ),
)
of_text(
    "text as the last column",
    text_of(((*row, "x\n" * (n % 3)) for n, row in enumerate(rows())), header=(*HEADER, "review")),
)
of_text(
    "names with commas and blanks",
    plain(header=("user, id", "item id", "rating", "time")),
    user_column="user, id",
    item_column="item id",
)
of_text("one row", "user_id,item_id,rating,time\n7,8,5,1\n")

# Compression, archives, folders, several files

CASES["gzip"] = Case(bytes_at("data.csv", gzip.compress(plain().encode(), mtime=0)))
CASES["gzip in two members"] = Case(
    bytes_at(
        "data.csv.gz",
        gzip.compress(plain().encode()[:999], mtime=0)
        + gzip.compress(plain().encode()[999:], mtime=0),
    )
)
CASES["gzip, two colons"] = Case(
    bytes_at("ratings.gz", gzip.compress(plain("::").encode(), mtime=0)), {"separator": "::"}
)
for word, name in {
    "file": "u.data",
    "folder": "x/u.data",
    "folder further down": "x/y/u.data",
}.items():

    def _unpacked(folder: Path, name: str = name) -> str:
        bytes_at(name, plain("\t", header=None).encode())(folder)
        return str(folder / Path(name).parts[0])

    CASES[f"movielens {word}"] = Case(_unpacked, option="movielens_100k")


def _zipped(folder: Path) -> str:
    with zipfile.ZipFile(folder / "any name", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ml-100k/README", "no data")
        archive.writestr("ml-100k/u.data", plain("\t", header=None))
    return str(folder / "any name")


CASES["movielens zip"] = Case(_zipped, option="movielens_100k")
CASES["movielens 1m"] = Case(
    bytes_at("ratings.dat", plain("::", header=None).encode()), option="movielens_1m"
)


def _several(folder: Path) -> list[str]:
    table = rows()
    turned = text_of(([row[3], row[2], row[0], row[1]] for row in table[100:200]),
                     header=("time", "rating", "user_id", "item_id"))  # fmt: skip
    return [
        bytes_at("b.csv", text_of(table[:100]).encode())(folder),
        bytes_at("a.csv", gzip.compress(turned.encode()))(folder),
        bytes_at("c.csv", text_of(table[200:]).encode())(folder),
    ]


CASES["several files, columns in another order"] = Case(_several)
CASES["several files, order decides"] = Case(_several, {"timestamp_column": None})


def _csv_and_parquet(folder: Path) -> list[str]:
    import pandas

    frame = pandas.DataFrame(rows()[100:], columns=list(HEADER)).astype("int64")
    frame.to_parquet(folder / "b.parquet", index=False)
    return [bytes_at("a.csv", text_of(rows()[:100]).encode())(folder), str(folder / "b.parquet")]


CASES["csv and parquet"] = Case(_csv_and_parquet)

# Ids

NOTHING = ("NA", "nan", "NULL", "null", "None", "N/A", "#N/A", "\\N")
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
IDS: dict[str, Callable[[int], str]] = {
    "negative": lambda n: str(n - 50),
    "floats": lambda n: f"{n}.0",
    "floats and whole numbers": lambda n: f"{n}.00" if n % 2 else str(n),
    "leading zeros": lambda n: f"{n:05}",
    "some leading zeros": lambda n: f"{n:02}",
    "18 digits": lambda n: str(10**17 + n),
    "19 digits": lambda n: str(10**18 + n),
    "above 64 bits": lambda n: str(2**64 + n),
    "numbers and one text": lambda n: "x" if n == 37 else str(n),
    "fractions": lambda n: f"{n}.5",
    "signs": lambda n: f"+{n}",
    "minus zero": lambda n: f"-{n}",
    "exponents": lambda n: f"{n}e2",
    "words": lambda n: f"User {n}",
    "uuid": lambda n: f"{n * 2654435761 % 2**32:08x}-1111-4222-8333-{n:012d}",
    "asin": lambda n: f"B00{n:07X}",
    "hexadecimal": lambda n: f"0x{n:x}",
    "upper and lower case": lambda n: ("ab" if n % 2 else "AB") + str(n // 2),
    "unicode": lambda n: "éèüß日本語🙂"[n % 8] * (n // 8 + 1),
    "composed and decomposed": lambda n: ("é" if n % 2 else "e\u0301") + str(n // 2),
    "beyond the basic plane": lambda n: ("\uffee" if n % 2 else "\U0001f600") + str(n // 2),
    "trailing blanks": lambda n: f"{n // 2}" + " " * (n % 2),
    "blanks inside": lambda n: f"a {n} b",
    "separators": lambda n: f"a,{n}",
    "line breaks": lambda n: f"a\n{n}",
    "windows line breaks": lambda n: f"a\r\n{n}",
    "quotes": lambda n: f'a"{n}"',
    "one quote": lambda n: f'{n}" disc',
    "apostrophes": lambda n: f"O'{n}",
    "backslashes": lambda n: f"a\\{n}\\",
    "tabs": lambda n: f"a\t{n}",
    "words for nothing": lambda n: [f"x{n}", *NOTHING][n % 9],
    "true and false": lambda n: ["true", "false", "True", "x"][n % 4],
    "dates": lambda n: f"2020-01-{n % 28 + 1:02}",
    "times": lambda n: f"12:{n % 60:02}",
    "hash marks": lambda n: f"#{n}",
    "formulas": lambda n: f"={n}",
    "percent": lambda n: f"%{n}%",
    "digits of another script": lambda n: str(n).translate(ARABIC),
    "underscores in numbers": lambda n: f"1_{n:03}",
    "thousands": lambda n: f"1,{n:03}",
    "300 characters": lambda n: "long" * 75 + str(n),
}  # fmt: skip
for word, spelling in IDS.items():
    of_text(f"ids: {word}", text_of(rows(user=spelling)))
    if word not in ("line breaks", "windows line breaks"):
        of_text(f"item ids: {word}", text_of(rows(item=spelling), quoted=True))
of_text("ids: latin-1", text_of(rows(user=lambda n: "éèüß"[n % 4] + str(n))).encode("latin-1"))
of_text("ids: windows-1252", text_of(rows(user=lambda n: "a€"[n % 2] + str(n))).encode("cp1252"))
of_text(
    "ids: latin-1 after 70,000 bytes of ascii",
    text_of([*rows() * 14, *rows(user=lambda n: "é" * (n % 2) + str(n))]).encode("latin-1"),
)
of_text(
    "ids: utf-8 and latin-1 in one file",
    text_of(rows(user=lambda n: f"é{n}")).encode()
    + text_of(rows(user=lambda n: f"è{n}"), header=None).encode("latin-1"),
)
of_text("ids: blanks in quotes", plain().replace("37,", '" 37",').replace("\n0,", '\n"0 ",'))

# Ratings and what is positive

RATINGS: dict[str, Callable[[int], str]] = {
    "halves": lambda n: str(n / 2 + 2.5),
    "floats": lambda n: f"{n}.0",
    "negative": lambda n: str(n - 2),
    "exponents": lambda n: f"{n}e0",
    "signs": lambda n: f"+{n}",
    "without a zero": lambda n: f".{n}",
    "many digits": lambda n: f"{n}.{'0123456789' * 3}",
    "blanks": lambda n: f"{n} ",
}
for word, spelling in RATINGS.items():
    low = {"without a zero": 0.4, "negative": -1, "halves": 3.5}.get(word, 4)
    of_text(f"ratings: {word}", text_of(rows(rating=spelling)), positive_rating=low)
of_text("ratings: none", text_of([row[:2] for row in rows()], header=HEADER[:2]),
        rating_column=None, timestamp_column=None)  # fmt: skip
of_text("ratings: not asked for", plain(), rating_column=None)
of_text("ratings: unrated", plain(), unrated=0)
of_text("ratings: unrated of 99", text_of(rows(rating=lambda n: "99" if n == 5 else str(n))),
        unrated=99, positive_rating=3.5)  # fmt: skip
of_text("ratings: all positive", plain(), positive_rating=0)

# Repeated pairs and blocks

of_text("pairs: latest", plain())
of_text("pairs: last of the file", plain(), timestamp_column=None)
of_text("pairs: no rating, no time", plain(), timestamp_column=None, rating_column=None)
of_text("pairs: one time for all", text_of(rows(time=lambda n: "5")))
of_text("pairs: from the latest to the earliest", text_of(reversed(rows())))
for users, items in ((10, 10), (1, 17), (23, 5), (7, None), (None, 3), (22, 16)):
    of_text(f"block: {users} x {items}", plain(), num_users=users, num_items=items)
    of_text(
        f"block: {users} x {items}, unrated, words",
        text_of(rows(user=lambda n: f"u{n}", item=lambda n: f"i{n:03}")),
        num_users=users,
        num_items=items,
        unrated=0,
        timestamp_column=None,
    )
of_text(
    "block: ties everywhere",
    text_of([(str(user), str(item), "5", "1") for user in range(9) for item in range(9)]),
    num_users=4,
    num_items=5,
)
of_text(
    "block: ties of texts",
    text_of([(f"u{user}", f"i{item}", "5", "1") for user in range(12) for item in range(12)]),
    num_users=4,
    num_items=5,
)

# Times

TIMES: dict[str, Callable[[int], str]] = {
    "negative": lambda n: str(n - 1_503_000_000),
    "floats": lambda n: f"{n}.0",
    "milliseconds": lambda n: str(n * 1000 + 7),
    "nanoseconds": lambda n: str(n * 10**9 + n % 1000),
    "exponents": lambda n: f"{n // 1000}e3",
}
for word, spelling in TIMES.items():
    of_text(f"times: {word}", text_of(rows(time=spelling)))
DATES = {
    "date": "%Y-%m-%d",
    "slashes": "%Y/%m/%d",
    "seconds": "%Y-%m-%d %H:%M:%S",
    "minutes": "%Y-%m-%d %H:%M",
    "letter": "%Y-%m-%dT%H:%M:%S",
    "zulu": "%Y-%m-%dT%H:%M:%SZ",
    "offset": "%Y-%m-%dT%H:%M:%S+02:00",
    "short offset": "%Y-%m-%d %H:%M:%S-0530",
    "milliseconds": "%Y-%m-%d %H:%M:%S.123",
    "microseconds": "%Y-%m-%dT%H:%M:%S.123456",
    "nanoseconds": "%Y-%m-%dT%H:%M:%S.123456789",
    "slashes and seconds": "%Y/%m/%d %H:%M:%S",
}


def date(n: int, form: str) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(n, tz=UTC).strftime(form)


for word, form in DATES.items():
    of_text(f"dates: {word}", text_of(rows(time=lambda n, form=form: date(n, form))))
of_text(
    "dates: without leading zeros",
    text_of(rows(time=lambda n: date(n, "%Y-%m-%d").replace("-0", "-"))),
)
of_text(
    "dates: slashes without leading zeros",
    text_of(rows(time=lambda n: date(n, "%Y/%m/%d").replace("/0", "/"))),
)
of_text(
    "dates: several forms",
    text_of(rows(time=lambda n: date(n, list(DATES.values())[n // 86_400 % len(DATES)]))),
)
of_text("dates: before 1970", text_of(rows(time=lambda n: date(n - 2 * 10**9, "%Y-%m-%d"))))
of_text("times: the first present", plain(), timestamp_column=["date", "time", "rating"])
of_text("times: none present", plain(), timestamp_column=["date", "day"])

# Food.com's files

of_foodcom = {
    "raw": text_of(
        (
            (row[0], row[1], date(int(row[3]), "%Y/%m/%d").replace("/0", "/"), row[2], 'Nice,\n"x"')
            for row in rows()
        ),
        header=("user_id", "recipe_id", "date", "rating", "review"),
    ),
    "dense": text_of(
        ((*row[:3], str(n * 7 % 301)) for n, row in enumerate(rows())),
        header=("user_id", "recipe_id", "rating", "review_id"),
    ),
    "split file": text_of(
        (
            (row[0], row[1], date(int(row[3]), "%Y-%m-%d"), f"{row[2]}.0", "0", "1")
            for row in rows()
        ),
        header=("user_id", "recipe_id", "date", "rating", "u", "i"),
    ),
}
for word, content in of_foodcom.items():
    CASES[f"foodcom {word}"] = Case(
        bytes_at(f"{word}.csv", content.encode()), {"num_users": 20, "num_items": 15}, "foodcom"
    )

# Parquet

for width in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
              "float64", "float16", "string", "large_string", "string_view", "dictionary",
              "decimal"):  # fmt: skip
    of_arrow(f"parquet: ids of {width}", user_id=width, item_id=width)
    of_arrow(f"parquet: ratings of {width}", rating=width)
for width in ("float64", "string", "uint64", "decimal"):
    of_arrow(f"parquet: times of {width}", time=width)
of_frame("parquet: row groups of 7", row_group_size=7)
of_frame("parquet: zstd", compression="zstd")
of_frame("parquet: gzip, old version", compression="gzip", version="1.0")
of_frame("parquet: brotli", compression="brotli")
of_frame("parquet: no compression", compression=None)
of_frame("parquet: nullable numbers", lambda frame: frame.astype("Int64"))
of_frame("parquet: categories", lambda frame: frame.astype({"user_id": "category"}))
of_frame("parquet: fractions as ids", lambda frame: frame.assign(user_id=frame.user_id + 0.5))
of_frame("parquet: some fractions", lambda frame: frame.assign(user_id=frame.user_id / 2))
of_frame("parquet: 19 digits", lambda frame: frame.assign(user_id=frame.user_id + 10**18))
of_frame(
    "parquet: 19 digits and a negative",
    lambda frame: frame.assign(user_id=(frame.user_id - 50) * 10**16),
)
of_frame(
    "parquet: above 63 bits",
    lambda frame: frame.assign(user_id=frame.user_id.astype("uint64") + 2**63),
)
of_frame("parquet: large floats", lambda frame: frame.assign(user_id=frame.user_id * 1e15 + 1e16))
of_frame(
    "parquet: texts with odd characters",
    lambda frame: frame.assign(user_id=[f'é"{user},\n ' for user in frame.user_id]),
)
of_frame(
    "parquet: texts with blanks first",
    lambda frame: frame.assign(user_id=[f" {user}" for user in frame.user_id]),
)
of_frame(
    "parquet: texts of floats",
    lambda frame: frame.assign(user_id=[f"{user}.0" for user in frame.user_id]),
)
of_frame("parquet: true and false as ids", lambda frame: frame.assign(user_id=frame.user_id > 50))
of_frame("parquet: halves as ratings", lambda frame: frame.assign(rating=frame.rating / 2 + 2.5))
for unit in ("s", "ms", "us", "ns"):
    of_frame(
        f"parquet: times in {unit}",
        lambda frame, unit=unit: frame.assign(
            time=np.array(frame.time * 10**6 + 123_456, "datetime64[us]").astype(
                f"datetime64[{unit}]"
            )
        ),
    )
of_frame(
    "parquet: times of a zone",
    lambda frame: frame.assign(
        time=np.array(frame.time, "datetime64[s]")
    ).assign(time=lambda f: f.time.dt.tz_localize("UTC").dt.tz_convert("Europe/Berlin")),
)  # fmt: skip
of_frame(
    "parquet: dates",
    lambda frame: frame.assign(
        time=[np.datetime64(time, "s").astype("datetime64[D]").item() for time in frame.time]
    ),
)
of_frame(
    "parquet: dates as texts",
    lambda frame: frame.assign(time=[date(time, "%Y-%m-%d") for time in frame.time]),
)
of_frame("parquet: an index", lambda frame: frame.assign(__index_level_0__=range(len(frame))))
of_frame("parquet: lists beside", lambda frame: frame.assign(tags=[["a", "b"]] * len(frame)))
of_frame("parquet: a block", settings={"num_users": 10, "num_items": 9, "unrated": 0})


# What is recorded of a case


@dataclass(frozen=True)
class Content:
    """Interactions, equal where their content is: most cases hold the same and split alike."""

    digest: str
    interactions: Interactions = field(compare=False)


@cache
def digests_of_splits(content: Content) -> str:
    splits = []
    for rule in SPLITS:
        with suppress(DataError):  # a rule that this data is too small for, or that needs times
            split = rule.split(content.interactions)
            splits.append(f"{split.kind}={split.digest}")
    return " ".join(splits)


def recorded(interactions: Interactions) -> list[str]:
    order = np.lexsort((interactions.items, interactions.users))
    assert (order == np.arange(len(interactions))).all(), "the positives aren't in order"
    return [
        f"{interactions.num_users} x {interactions.num_items}",
        str(len(interactions)),
        json.dumps(dict(interactions.dropped)),
        interactions.digest,
        digests_of_splits(Content(interactions.digest, interactions)),
    ]


def table() -> dict[str, list[str]]:
    """The recorded lines by case; none in the first recording."""
    lines = TABLE.read_text(encoding="utf-8").splitlines() if TABLE.exists() else []
    fields = (line.split("\t") for line in lines if not line.startswith("#"))
    return {case: rest for case, *rest in fields}


RECORDED = table()


@pytest.mark.parametrize("name", CASES)
def test_a_file_reads_as_it_did(name: str, tmp_path: Path) -> None:
    interactions = CASES[name].reader(tmp_path).load()
    assert recorded(interactions) == RECORDED[name]


REAL: dict[str, tuple[str, str, dict[str, Any]]] = {
    "real foodcom_dense": ("foodcom_dense.csv.gz", "foodcom", {}),
    "real foodcom_dense, whole": (
        "foodcom_dense.csv.gz",
        "foodcom",
        {"num_users": None, "num_items": None},
    ),
    "real foodcom_raw_sample": (
        "foodcom_raw_sample.csv.gz",
        "foodcom",
        {"num_users": None, "num_items": None},
    ),
    "real foodcom_interactions_validation": (
        "foodcom_interactions_validation.csv.gz",
        "foodcom",
        {"num_users": None, "num_items": None},
    ),
    "real foodcom_interactions_test": (
        "foodcom_interactions_test.csv.gz",
        "foodcom",
        {"num_users": 500, "num_items": 500},
    ),
    "real ml-100k": ("ml-100k", "movielens_100k", {}),
    "real ml-100k, a block": ("ml-100k/u.data", "movielens_100k", {"num_users": 500}),
    "real ml-1m": (
        "ledger/ml-1m/ratings.csv.gz",
        "csv",
        {"item_column": "movie_id", "timestamp_column": None},
    ),
    "real gowalla": (
        "ledger/gowalla/test.csv.gz",
        "csv",
        {"user_column": "user", "item_column": "item", "rating_column": None},
    ),
    "real movielens_small": (
        "field/movielens_small.parquet",
        "csv",
        {"user_column": "userId", "item_column": "movieId", "timestamp_column": "timestamp"},
    ),
    "real yelp": ("field/yelp_train_stars.csv", "csv", {
        "item_column": "business_id", "rating_column": "stars"
    }),
    "real last.fm": ("field/lastfm_user_artists.dat", "csv", {
        "separator": "\t", "user_column": "userID", "item_column": "artistID",
        "rating_column": "weight", "positive_rating": 1,
    }),
    "real pinterest": ("field/pinterest-20.test.rating", "csv", {
        "separator": "\t", "columns": ["user_id", "item_id", "one", "time"], "rating_column": None,
    }),
    "real sasrec": ("field/sasrec_Video.txt", "csv", {
        "separator": " ", "columns": ["user_id", "item_id"], "rating_column": None,
    }),
}  # fmt: skip


def real_case(name: str, folder: Path) -> Case:
    path, option, settings = REAL[name]
    before = {} if option != "csv" else {key: CSV[key] for key in CSV if key != "timestamp_column"}
    return Case(lambda _: str(folder / path), before | settings, option)


@pytest.mark.parametrize("name", REAL)
def test_a_real_file_reads_as_it_did(name: str, real_data: Path, tmp_path: Path) -> None:
    if not (real_data / REAL[name][0]).exists():
        pytest.skip(f"{real_data} has no {REAL[name][0]}")
    interactions = real_case(name, real_data).reader(tmp_path).load()
    assert recorded(interactions) == RECORDED[name]


def test_every_line_of_the_table_is_a_case() -> None:
    assert RECORDED.keys() == CASES.keys() | REAL.keys()


def record(names: Iterable[str]) -> None:
    """Append the lines of the cases to the table, as the reader reads them now."""
    real = Path(os.environ.get("RECSWEEP_DATA") or REPOSITORY.parent / "shared" / "data")
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            case = CASES[name] if name in CASES else real_case(name, real)
            line = "\t".join([name, *recorded(case.reader(Path(folder)).load())])
        with TABLE.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


if __name__ == "__main__":
    record(sys.argv[1:])
