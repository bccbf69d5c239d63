"""Any table of interactions, written by csv, pandas or polars in any dialect and read back, gives
the same interactions: with the settings that describe the file, and with none but its path, where
the reader may ask but never read something else.

The short form draws the same tables each time; `--full` draws new ones, many more.
"""

import bz2
import csv
import gzip
import io
import lzma
import re
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, note, settings
from hypothesis import strategies as st

from recsweep.data.readers import InteractionFile
from recsweep.errors import DataError

SHORT, FULL = 40, 5_000
"""Tables that are drawn."""

POSITIVE = 4

Draw = Callable[[st.SearchStrategy[Any]], Any]


@dataclass(frozen=True)
class Table:
    """Rows as Python values; a column is None where the file has none."""

    users: list[Any]
    items: list[Any]
    ratings: list[float] | None
    times: list[Any] | None

    def columns(self) -> list[list[Any]]:
        return [
            column
            for column in (self.users, self.items, self.ratings, self.times)
            if column is not None
        ]

    def holds(self) -> dict[tuple[object, object], int | None]:
        """The positives and their times: of a pair the latest row, at equal times the last."""
        users, items = kept(self.users), kept(self.items)
        times = [0] * len(users) if self.times is None else [as_number(t) for t in self.times]
        ratings = [POSITIVE] * len(users) if self.ratings is None else self.ratings
        latest: dict[tuple[object, object], tuple[int, float]] = {}
        for user, item, rating, time in zip(users, items, ratings, times, strict=True):
            if (user, item) not in latest or latest[user, item][0] <= time:
                latest[user, item] = (time, rating)
        return {
            pair: None if self.times is None else time
            for pair, (time, rating) in latest.items()
            if rating >= POSITIVE
        }


def as_number(time: Any) -> int:
    """A time as the reader keeps it: dates as microseconds since 1970."""
    if isinstance(time, datetime):
        return (time.replace(tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(
            microseconds=1
        )
    return int(time)


def kept(ids: Sequence[Any]) -> list[Any]:
    """Ids as the reader keeps them: numbers where all of a column are whole numbers, else text."""
    texts = [str(raw) for raw in ids]
    whole = [re.fullmatch(r"(0|-?[1-9][0-9]{0,17})(\.0+)?", text, re.ASCII) for text in texts]
    if all(whole):
        return [int(match[1]) for match in whole if match]
    return texts


# What may stand in a table

NO_IDS = ("nan", "null", "none", "na", "n/a", "\\n", "<na>", "#n/a")
LETTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff")
ODD = st.sampled_from(list(" \t\n\r,;|:\"'\\#%&=+-_.0159aZé€ß日🙂\x01\x0b\x1c\x85\u2028\u00a0"))


def texts(barred: str, first_barred: str) -> st.SearchStrategy[str]:
    """Texts of any characters but those `barred`; the first one none of `first_barred` either."""
    text = st.text(st.one_of(ODD, LETTERS), min_size=1, max_size=8)
    return text.filter(
        lambda text: (
            not set(text) & set(barred)
            and text[0] not in first_barred
            and text.strip() != ""
            and text.strip().lower() not in NO_IDS
        )
    )


def ids(draw: Draw, size: int, barred: str, first_barred: str) -> list[Any]:
    few = st.integers(1, 6)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "small": few,
        "negative": st.integers(-5, 5),
        "any of 64 bits": st.integers(-(10**18) + 1, 10**18 - 1),
        "above 64 bits": few.map(lambda n: str(2**64 + n)),
        "leading zeros": few.map(lambda n: f"{n:03}"),
        "two spellings": st.sampled_from(["7", "07", "7.0", "8", "+8", "1e3", "0x7", "1_0"]),
        "floats": few.map(float),
        "words": few.map(lambda n: f"{'item' if ' ' in barred else 'item '}{n}"),
        "any text": texts(barred, first_barred),
        "a long text": few.map(lambda n: "x" * 3000 + str(n)),
    }
    kind = draw(st.sampled_from(list(kinds)))
    event(f"ids: {kind}")
    pool = draw(st.lists(kinds[kind], min_size=1, max_size=6, unique=True))
    return draw(st.lists(st.sampled_from(pool), min_size=size, max_size=size))


@st.composite
def tables(draw: Draw, *, barred: str = "", first_barred: str = "", plain: bool) -> Table:
    """A table of at least one positive; a `plain` one has ratings, times of our days and enough
    rows to be recognised by."""
    size = draw(st.integers(6, 25) if plain else st.integers(1, 25))
    users, items = (ids(draw, size, barred, first_barred) for _ in range(2))
    whole = st.integers(1, 5)
    rating = draw(st.sampled_from([whole, whole.map(lambda n: n - 0.5)]))
    ratings = draw(st.lists(rating, min_size=size, max_size=size))
    ratings[draw(st.integers(0, size - 1))] = 5
    if any(isinstance(number, float) for number in ratings):
        ratings = [float(number) for number in ratings]
    few = st.integers(1_400_000_000, 1_400_000_009)
    numbers = few if plain else st.one_of(few, st.integers(-(2**62), 2**62))
    dates = few.map(
        lambda n: datetime.fromtimestamp(n * 1.01, UTC).replace(tzinfo=None, microsecond=0)
    )
    time = draw(st.sampled_from([numbers, dates]))
    times = draw(st.none() | st.lists(time, min_size=size, max_size=size))
    rated = True if plain else draw(st.booleans())
    table = Table(users, items, ratings if rated else None, times)
    if not table.holds():  # the positive row has a later one of its pair
        table = Table(users, items, [5] * size if rated else None, times)
    return table


# How it may be written


@dataclass(frozen=True)
class Written:
    """Bytes of a file, and the settings that describe it."""

    content: bytes
    table: Table
    described: dict[str, Any]
    names: tuple[str, ...]


NAMES = (
    ("user_id", "item_id", "rating", "timestamp"),
    ("userId", "movieId", "rating", "timestamp"),
    ("reviewerID", "asin", "overall", "unixReviewTime"),
    ("customer_id", "product_id", "stars", "date"),
    ("user", "item", "rating", "time"),
)
ODD_NAMES = (
    *NAMES,
    ("a", "b", "c", "d"),
    ("user id", "item, id", "né", 'ti"me'),
    ("1st", "2nd", "3rd", "4th"),
    ("item_id", "user_id", "time", "rating"),
)

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lambda content: lzma.compress(content, preset=0),
    "zstd": lambda content: zstd(content),
    "zip": lambda content: zipped(content),
}


def zstd(content: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


def zipped(content: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("some folder/table.csv", content)
    return stream.getvalue()


QUOTINGS = (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)


@st.composite
def written(draw: Draw, *, plain: bool) -> Written:
    kind = draw(st.sampled_from(["text", "text", "text", "parquet", "arrow", "json"]))
    names = draw(st.sampled_from(NAMES if plain else ODD_NAMES))
    return draw({"text": as_text, "json": as_json}.get(kind, as_typed)(kind, names, plain))


@st.composite
def as_text(draw: Draw, kind: str, names: tuple[str, ...], plain: bool) -> Written:
    writer = draw(st.sampled_from(["csv", "pandas", "polars", "no quotes"]))
    separator = draw(st.sampled_from([",", "\t", ";", "|"]))
    if writer == "no quotes":
        separator = draw(st.sampled_from(["\t", "::", "|", " ", ",", ";"]))
        barred = f'\r\n"{separator[0]}' + (
            " \t\x0b\x0c\x1c\x1d\x1e\x1f\x85" if separator == " " else ""
        )
        if any(set(name) & set(barred) for name in names):
            names = NAMES[0]
        table = draw(tables(barred=barred, first_barred=" \t", plain=plain))
    else:
        table = draw(tables(first_barred=" \t", plain=plain))
    has_cr = any("\r" in str(raw) for raw in [*table.users, *table.items])
    if has_cr and writer == "polars":
        writer = "pandas"
    count = len(table.columns())
    names = names if table.ratings is not None else (*names[:2], names[3])
    names = names[:count]
    header = draw(st.booleans())
    if plain and not header and table.times is not None and isinstance(table.times[0], datetime):
        header = True
    order = (
        draw(st.permutations(range(count))) if header and writer != "no quotes" else range(count)
    )
    columns = [table.columns()[place] for place in order]
    written_names = [names[place] for place in order]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    # where it isn't part of the line end, writers leave a field with a CR without quotes
    quoting = csv.QUOTE_ALL if has_cr else draw(st.sampled_from(QUOTINGS))
    names_line = written_names if header else None
    content = text_by(draw, writer, quoting, separator, names_line, columns, end)
    if draw(st.booleans()) and writer == "csv":
        content = content.rstrip("\r\n") if not content.endswith('"') else content
    encoding = draw(st.sampled_from(["utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"]))
    data = encoded(content, encoding)
    if data is None:
        encoding, data = "utf-8", content.encode()
    pack = draw(st.sampled_from(["", "", *PACK]))
    event(f"text by {writer}, {encoding}, {pack or 'plain'}, {'header' if header else 'no header'}")
    described = {
        "separator": separator,
        "columns": None if header else written_names,
        "encoding": encoding,
        "shape": "long",
        "decimal": ".",
    }
    return Written(PACK[pack](data), table, described, names)


def encoded(content: str, encoding: str) -> bytes | None:
    """The content, or None where the encoding can't hold it, or where it would be taken for
    another: no reader can tell then."""
    try:
        data = content.encode(encoding)
    except UnicodeEncodeError:
        return None
    if encoding == "latin-1":
        if any(0x80 <= byte < 0xA0 for byte in data):
            return None
        try:
            return data if data.decode() == content else None
        except UnicodeDecodeError:
            return data
    return data


def text_by(
    draw: Draw,
    writer: str,
    quoting: int,
    separator: str,
    names: list[str] | None,
    columns: list[list[Any]],
    end: str,
) -> str:
    rows = list(zip(*columns, strict=True))
    if writer == "no quotes":
        lines = [*([names] if names else []), *rows]
        return "".join(separator.join(map(unquoted, line)) + end for line in lines)
    stream = io.StringIO()
    if writer == "csv":
        made = csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting)
        made.writerows([*([names] if names else []), *rows])
    elif writer == "pandas":
        frame_of("pandas", [str(n) for n in range(len(columns))], columns).to_csv(
            stream,
            sep=separator,
            header=names or False,
            index=False,
            lineterminator=end,
            quoting=quoting,
        )
    else:
        style = draw(st.sampled_from(["necessary", "always", "non_numeric"]))
        labels = names or [str(n) for n in range(len(columns))]
        return str(
            frame_of("polars", labels, columns).write_csv(
                separator=separator,
                include_header=names is not None,
                line_terminator=end,
                quote_style=style,
            )
        )
    return stream.getvalue()


def unquoted(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def frame_of(library: str, names: list[str], columns: list[list[Any]]) -> Any:
    if library == "pandas":
        import pandas

        return pandas.DataFrame(dict(zip(names, columns, strict=True)))
    import polars

    return polars.DataFrame(dict(zip(names, columns, strict=True)), strict=False)


@st.composite
def as_typed(draw: Draw, kind: str, names: tuple[str, ...], plain: bool) -> Written:
    table = draw(tables(plain=plain))
    names = names if table.ratings is not None else (*names[:2], names[3])
    names = names[: len(table.columns())]
    library = draw(st.sampled_from(["pandas", "polars"]))
    frame = frame_of(library, list(names), table.columns())
    stream = io.BytesIO()
    if library == "pandas":
        if kind == "parquet":
            frame.to_parquet(stream, row_group_size=draw(st.sampled_from([3, 100])))
        else:
            frame.to_feather(stream, compression=draw(st.sampled_from(["lz4", "uncompressed"])))
    elif kind == "parquet":
        compression = draw(st.sampled_from(["zstd", "snappy", "gzip", "uncompressed"]))
        frame.write_parquet(stream, compression=compression)
    else:
        write = draw(st.sampled_from([frame.write_ipc, frame.write_ipc_stream]))
        write(stream)
    event(f"{kind} by {library}")
    return Written(stream.getvalue(), table, {"shape": "long"}, names)


@st.composite
def as_json(draw: Draw, kind: str, names: tuple[str, ...], plain: bool) -> Written:
    table = draw(tables(plain=plain))
    names = names if table.ratings is not None else (*names[:2], names[3])
    names = names[: len(table.columns())]
    library = draw(st.sampled_from(["pandas", "polars"]))
    frame = frame_of(library, list(names), table.columns())
    if library == "pandas":
        lines = draw(st.booleans())
        text = frame.to_json(
            orient="records", lines=lines, date_format="iso", force_ascii=draw(st.booleans())
        )
    else:
        text = draw(st.sampled_from([frame.write_ndjson, frame.write_json]))()
    pack = draw(st.sampled_from(["", "", "gzip", "zstd"]))
    event(f"json by {library}, {pack or 'plain'}")
    return Written(PACK[pack](text.encode()), table, {"shape": "long"}, names)


# Reading it back


def read(file: Written, **described: Any) -> dict[tuple[object, object], int | None]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table"
        path.write_bytes(file.content)
        note(f"{file.content[:2000]!r} {described}")
        reader = InteractionFile(name="test", path=str(path), positive_rating=POSITIVE, **described)
        interactions = reader.load()
    users = interactions.user_ids.ids[interactions.users].tolist()
    items = interactions.item_ids.ids[interactions.items].tolist()
    times = interactions.timestamps
    listed = [None] * len(users) if times is None else times.tolist()
    return dict(zip(zip(users, items, strict=True), listed, strict=True))


def roles(file: Written) -> dict[str, Any]:
    names = list(file.names)
    return {
        "user_column": names[0],
        "item_column": names[1],
        "rating_column": names[2] if file.table.ratings is not None else None,
        "timestamp_column": names[-1] if file.table.times is not None else None,
    }


def hold(
    check: Callable[[Written], None], files: st.SearchStrategy[Written], *, full: bool
) -> None:
    """Try the check on many files."""
    drawn = settings(
        max_examples=FULL if full else SHORT,
        derandomize=not full,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    drawn(given(files)(check))()


@pytest.fixture
def full(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--full", default=False))


def test_a_described_table_is_read_as_it_was_written(full: bool) -> None:
    def check(file: Written) -> None:
        assert read(file, **file.described | roles(file)) == file.table.holds()

    hold(check, written(plain=False), full=full)


def test_a_table_by_itself_is_read_as_it_was_written_or_asked_about(full: bool) -> None:
    answered = []

    def check(file: Written) -> None:
        found, said = None, ""
        try:
            found = read(file)
        except DataError as error:
            said = str(error)
        note(said)
        answered.append(found is not None)
        assert "data." in said if found is None else found == file.table.holds()
        assert "can't be read" not in said

    hold(check, written(plain=True), full=full)
    assert sum(answered) > 0.9 * len(answered), "it asks too often"
