"""Each shape of a file that people have, read by its path alone or with the setting that its
question names; and each way a file may be wrong: read right, refused with row, value and remedy, or
left out and counted."""

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import re
import sqlite3
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsweep.data.interactions import Interactions
from recsweep.data.readers import InteractionFile
from recsweep.errors import DataError

Pair = tuple[object, object]

HEADER = ("user_id", "item_id", "rating", "time")
ROWS = [
    (user, 100 + item, rating, 1_500_000_000 + 3600 * (7 * user + item))
    for user in range(1, 13)
    for item in range(1, 11)
    if (rating := (user * 5 + item * 3) % 7) in range(1, 6)
]
LIKED: set[Pair] = {(user, item) for user, item, rating, _ in ROWS if rating >= 4}
KNOWN: set[Pair] = {(user, item) for user, item, _, _ in ROWS}


def read(path: Path | str | list[str], **settings: Any) -> Interactions:
    chosen = path if isinstance(path, list) else str(path)
    return InteractionFile(**{"name": "test", "path": chosen} | settings).load()


def pairs(interactions: Interactions) -> set[Pair]:
    """The positives by raw ids."""
    users = interactions.user_ids.ids[interactions.users].tolist()
    items = interactions.item_ids.ids[interactions.items].tolist()
    return set(zip(users, items, strict=True))


def refusal(path: Path, **settings: Any) -> str:
    """What the reader says of a file that it doesn't read."""
    with pytest.raises(DataError) as said:
        read(path, **settings)
    message = str(said.value)
    assert len(message) < 900, message
    return message


def text_of(
    rows: Iterable[Sequence[object]] = ROWS,
    header: Sequence[str] | None = HEADER,
    separator: str = ",",
    quoting: int = csv.QUOTE_MINIMAL,
    end: str = "\n",
) -> str:
    lines = [*([header] if header else []), *rows]
    if len(separator) > 1:
        return "".join(separator.join(map(str, line)) + end for line in lines)
    stream = io.StringIO()
    csv.writer(stream, delimiter=separator, quoting=quoting, lineterminator=end).writerows(lines)  # type: ignore[arg-type]
    return stream.getvalue()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """write(content, name): a new file of that content."""

    def write(content: str | bytes, name: str = "data.txt") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


Write = Callable[..., Path]


# One setting, the path: the dialect is found


@pytest.mark.parametrize("header", [HEADER, None], ids=["header", "no header"])
@pytest.mark.parametrize("separator", [",", "\t", ";", "|", "::", " ", "   "], ids=repr)
def test_the_separator_is_found(write: Write, separator: str, header: tuple[str, ...]) -> None:
    interactions = read(write(text_of(separator=separator, header=header)))
    assert pairs(interactions) == LIKED
    assert interactions.timestamps is not None
    assert (interactions.timestamps >= 1_500_000_000).all()


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"], ids=repr)
def test_quoted_fields_are_found(write: Write, separator: str) -> None:
    text = text_of(
        [(f'us{separator}er "{row[0]}"', *row[1:]) for row in ROWS],
        separator=separator,
        quoting=csv.QUOTE_NONNUMERIC,
    )
    assert pairs(read(write(text))) == {(f'us{separator}er "{u}"', i) for u, i in LIKED}


def arrow_bytes(stream: bool, compression: str | None = None) -> bytes:
    import pyarrow

    table = pyarrow.table(dict(zip(HEADER, zip(*ROWS, strict=True), strict=True)))
    sink = pyarrow.BufferOutputStream()
    options = pyarrow.ipc.IpcWriteOptions(compression=compression)
    new = pyarrow.ipc.new_stream if stream else pyarrow.ipc.new_file
    with new(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=17)
    return bytes(sink.getvalue())


def parquet_bytes() -> bytes:
    import pandas

    stream = io.BytesIO()
    pandas.DataFrame(ROWS, columns=list(HEADER)).to_parquet(stream)
    return stream.getvalue()


def zip_bytes(**members: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return stream.getvalue()


def zstd_bytes(content: bytes) -> bytes:
    import pyarrow

    sink = pyarrow.BufferOutputStream()
    with pyarrow.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


TEXT = text_of()
OBJECTS = [dict(zip(HEADER, row, strict=True)) for row in ROWS]
PACKED: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: gzip.compress(TEXT.encode()),
    "bz2": lambda: bz2.compress(TEXT.encode()),
    "xz": lambda: lzma.compress(TEXT.encode()),
    "zstd": lambda: zstd_bytes(TEXT.encode()),
    "zip": lambda: zip_bytes(ratings=TEXT),
    "zip of a folder": lambda: zip_bytes(data__ratings=TEXT, __MACOSX___ratings="\0\1"),
    "parquet": parquet_bytes,
    "arrow file": lambda: arrow_bytes(stream=False),
    "arrow stream": lambda: arrow_bytes(stream=True),
    "feather of lz4": lambda: arrow_bytes(stream=False, compression="lz4"),
    "json lines": lambda: "\n".join(map(json.dumps, OBJECTS)).encode(),
    "json array": lambda: json.dumps(OBJECTS).encode(),
    "json array, indented": lambda: json.dumps(OBJECTS, indent=2).encode(),
    "json lines, gzip": lambda: gzip.compress("\n".join(map(json.dumps, OBJECTS)).encode()),
    "utf-8 with a byte order mark": lambda: TEXT.encode("utf-8-sig"),
    "utf-16": lambda: TEXT.encode("utf-16"),
    "utf-16, big end first": lambda: b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "utf-16 without a mark": lambda: TEXT.encode("utf-16-le"),
    "utf-16, gzip": lambda: gzip.compress(TEXT.encode("utf-16")),
    "windows line ends": lambda: TEXT.replace("\n", "\r\n").encode(),
    "old mac line ends": lambda: TEXT.replace("\n", "\r").encode(),
    "blank lines": lambda: ("\n" + TEXT.replace("\n", "\n\n")).encode(),
}


@pytest.mark.parametrize("pack", PACKED)
def test_what_a_file_is_shows_in_its_bytes(write: Write, pack: str) -> None:
    interactions = read(write(PACKED[pack](), "no.name"))
    assert pairs(interactions) == LIKED
    assert interactions.user_ids.ids.dtype == np.int64
    assert interactions.timestamps is not None


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "latin-1"])
def test_an_encoding_is_found(write: Write, encoding: str) -> None:
    text = text_of([(f"Zoë {row[0]}", *row[1:]) for row in ROWS])
    assert pairs(read(write(text.encode(encoding)))) == {(f"Zoë {u}", i) for u, i in LIKED}


@pytest.mark.parametrize("encoding", ["cp1251", "shift_jis", "gb18030", "utf-32", "cp437"])
def test_an_encoding_is_named(write: Write, encoding: str) -> None:
    word = {"cp1251": "Юзер", "cp437": "Zoë"}.get(encoding, "日本")
    text = text_of([(f"{word} {row[0]}", *row[1:]) for row in ROWS])
    interactions = read(write(text.encode(encoding)), encoding=encoding)
    assert pairs(interactions) == {(f"{word} {u}", i) for u, i in LIKED}


def test_a_folder_of_parts_is_one_table(write: Write, tmp_path: Path) -> None:
    for number in (10, 9, 1):
        write(
            text_of(ROWS[number - 1 :: 10] if number < 10 else ROWS[9::10]),
            f"parts/part-{number}.csv",
        )
    for number in range(2, 9):
        write(text_of(ROWS[number - 1 :: 10]), f"parts/part-{number}.csv")
    write("", "parts/_SUCCESS")
    write("crc", "parts/.part-1.csv.crc")
    assert pairs(read(tmp_path / "parts")) == LIKED
    assert pairs(read(tmp_path / "parts" / "part-*.csv")) == LIKED


def test_parts_are_read_in_the_order_of_their_numbers(write: Write, tmp_path: Path) -> None:
    """Without times the last row of a pair stands, so the order of the parts decides."""
    for number in range(1, 13):
        rating = 1 if number == 12 else 5
        write(f"user_id,item_id,rating\n1,2,{rating}\n{number},3,5\n", f"p/part-{number}.csv")
    assert (1, 2) not in pairs(read(tmp_path / "p"))


def test_folders_of_hive_are_columns(write: Write, tmp_path: Path) -> None:
    for user in range(1, 13):
        rows = [row[1:] for row in ROWS if row[0] == user]
        write(text_of(rows, HEADER[1:]), f"hive/user_id={user}/part-0.csv")
    assert pairs(read(tmp_path / "hive")) == LIKED


# The columns are found


@pytest.mark.parametrize(
    "names",
    [
        ("user", "item", "rating", "timestamp"),
        ("userId", "movieId", "rating", "timestamp"),
        ("customer_id", "product_id", "stars", "date"),
        ("reviewerID", "asin", "overall", "unixReviewTime"),
        ("user_id:token", "item_id:token", "rating:float", "timestamp:float"),
        ("User-ID", "ISBN", "Book-Rating", "Date"),
        ("visitorid", "itemid", "score", "timestamp"),
        ("USER_ID", "ITEM_ID", "RATING", "TIMESTAMP"),
        ("user id", "item id", "rating", "timestamp"),
        ("user_id", "business_id", "stars", "date"),
        ("userID", "artistID", "rating", "time"),
    ],
    ids=lambda names: "-".join(names[:2]),
)
def test_columns_are_found_by_the_names_people_use(write: Write, names: tuple[str, ...]) -> None:
    separator = "\t" if ":" in names[0] else ","
    interactions = read(write(text_of(header=names, separator=separator)))
    assert pairs(interactions) == LIKED
    assert interactions.timestamps is not None
    turned = [(n, row[3], row[2], "x", row[1], row[0]) for n, row in enumerate(ROWS)]
    header = ("", names[3], names[2], "note", names[1], names[0])
    again = read(write(text_of(turned, header, separator)))
    assert again.digest == interactions.digest


@pytest.mark.parametrize("short", [True, False])
def test_a_recbole_column_is_asked_by_either_name(write: Write, short: bool) -> None:
    header = ("who:token", "what:token", "rating:float", "timestamp:float")
    names = ("who", "what") if short else ("who:token", "what:token")
    path = write(text_of(header=header, separator="\t"), "data.inter")
    assert pairs(read(path, user_column=names[0], item_column=names[1])) == LIKED


def test_a_file_without_ratings_is_all_positive(write: Write) -> None:
    rows = [row[:2] for row in ROWS]
    for separator, header in ((",", HEADER[:2]), ("\t", None), (" ", None)):
        interactions = read(write(text_of(rows, header, separator)))
        assert pairs(interactions) == KNOWN


def test_days_and_months_of_the_calendar_are_no_times(write: Write) -> None:
    rows = [(u, i, u % 28 + 1, i % 12 + 1, 2009) for u, i in sorted(KNOWN)]
    path = write(text_of(rows, ("userID", "artistID", "day", "month", "year"), "\t"))
    interactions = read(path)
    assert pairs(interactions) == KNOWN
    assert interactions.timestamps is None


@pytest.mark.parametrize("mark", ["#", "%"])
def test_comments_before_the_rows_are_said(write: Write, mark: str) -> None:
    text = f"{mark} bip weighted\n{mark} 200 60 80\n" + text_of(header=None, separator=" ")
    assert f"grep -v '^{mark}'" in refusal(write(text))


@pytest.mark.parametrize("separator", [";", "\t"])
def test_a_decimal_comma_is_found(write: Write, separator: str) -> None:
    rows = [(*row[:2], f"{row[2] - 1},5", row[3]) for row in ROWS]
    interactions = read(write(text_of(rows, separator=separator)), positive_rating=3.5)
    assert pairs(interactions) == {(u, i) for u, i, rating, _ in ROWS if rating - 0.5 >= 3.5}


DATES = [
    "%Y-%m-%d",
    "%Y/%m/%d",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y-%m-%d %H:%M:%S.%f",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%m/%d/%Y %H:%M",
    "%Y%m%d",
    "%d-%b-%Y",
    "%a %b %d %H:%M:%S %Y",
    "%B %d, %Y",
]


@pytest.mark.parametrize("form", DATES)
def test_a_form_of_dates_is_found(write: Write, form: str) -> None:
    from datetime import UTC, datetime

    first = datetime(2017, 1, 5, tzinfo=UTC).timestamp()
    days = [first + 86_400 * 3 * n for n in range(len(ROWS))]
    texts = [datetime.fromtimestamp(day, UTC).strftime(form) for day in days]
    rows = [(*row[:2], 5, text) for row, text in zip(ROWS, texts, strict=True)]
    order = list(range(len(rows)))
    for settings in ({}, {"date_format": form}):
        if settings and form.startswith("%Y"):
            continue
        path = write(
            text_of(
                [rows[place] for place in reversed(order)], ("user_id", "item_id", "rating", "date")
            )
        )
        interactions = read(path, **settings)
        times = dict(zip(pairs_in_order(interactions), timestamps(interactions), strict=True))
        found = [times[row[0], row[1]] for row in rows]
        assert found == sorted(found)
        assert len(set(found)) == len(found)


def pairs_in_order(interactions: Interactions) -> list[Pair]:
    users = interactions.user_ids.ids[interactions.users].tolist()
    items = interactions.item_ids.ids[interactions.items].tolist()
    return list(zip(users, items, strict=True))


def timestamps(interactions: Interactions) -> list[int]:
    assert interactions.timestamps is not None
    return [int(time) for time in interactions.timestamps]


def test_days_and_months_that_nothing_tells_apart_are_a_question(write: Write) -> None:
    rows = [(*row[:3], f"0{n % 9 + 1}/0{n % 7 + 1}/2017") for n, row in enumerate(ROWS)]
    path = write(text_of(rows, ("user_id", "item_id", "rating", "date")))
    said = refusal(path, timestamp_column="date")
    assert "data.date_format=" in said
    interactions = read(path, timestamp_column="date", date_format="%d/%m/%Y")
    assert pairs(interactions) == LIKED


def test_fractions_of_seconds_keep_their_order(write: Write) -> None:
    text = "user_id,item_id,rating,time\n1,1,5,100.75\n1,1,1,100.5\n1,2,5,100.25\n2,2,5,100\n"
    interactions = read(write(text))
    assert pairs(interactions) == {(1, 1), (1, 2), (2, 2)}
    times = dict(zip(pairs_in_order(interactions), timestamps(interactions), strict=True))
    assert times[2, 2] < times[1, 2] < times[1, 1]


# A line is not an interaction

LISTS = "0 7 9 11\n1 8\n2\n5 9 7 7\n4 10 11 12 13 14\n"
OF_LISTS = {(0, 7), (0, 9), (0, 11), (1, 8), (5, 9), (5, 7)} | {(4, item) for item in range(10, 15)}


@pytest.mark.parametrize("separator", [" ", "\t", ","], ids=repr)
def test_lists_of_a_user_and_their_items(write: Write, separator: str) -> None:
    path = write(LISTS.replace(" ", separator))
    assert pairs(read(path)) == OF_LISTS
    assert pairs(read(path, shape="lists")) == OF_LISTS
    assert read(path, shape="lists").timestamps is None


def test_a_long_list_is_read_whole(write: Write) -> None:
    lines = [
        f"{user} {' '.join(map(str, range(user, 30_000 * (user == 3) + 40)))}" for user in range(9)
    ]
    interactions = read(write("\n".join(lines) + "\n"))
    assert len(interactions) == sum(len(line.split()) - 1 for line in lines)


def test_counted_lists_have_the_line_as_their_user(write: Write) -> None:
    text = "3 7 9 11\n1 8\n0\n2 9 7\n5 10 11 12 13 14\n"
    expected = {(0, 7), (0, 9), (0, 11), (1, 8), (3, 9), (3, 7)} | {(4, i) for i in range(10, 15)}
    assert pairs(read(write(text))) == expected
    assert pairs(read(write(text), shape="counted_lists")) == expected


def test_a_counted_list_of_another_length_is_refused(write: Write) -> None:
    said = refusal(write("3 7 9 11\n1 8\n4 9 7\n"), shape="counted_lists")
    assert "3" in said
    assert "data." in said


def matrix(blank: str, header: bool, ids: bool, turned: bool) -> tuple[str, set[Pair]]:
    """A matrix of 12 users x 10 items as CSV, and the pairs rated at least 4; rows are the items
    where it is `turned`."""
    known = {(user, item): rating for user, item, rating, _ in ROWS}
    users, items = [str(user) for user in range(1, 13)], [str(100 + item) for item in range(1, 11)]
    rows, columns = (items, users) if turned else (users, items)
    lines = [["title" if turned else "user_id", *columns]] if header else []
    for row in rows:
        cells = [known.get((int(c), int(row)) if turned else (int(row), int(c))) for c in columns]
        lines.append([row, *(blank if cell is None else str(cell) for cell in cells)])
    if not ids:
        lines = [line[1:] for line in lines]
    return text_of(lines, None), LIKED


@pytest.mark.parametrize(("blank", "unrated"), [("", None), ("nan", None), ("99", 99), ("0", 0)])
@pytest.mark.parametrize("turned", [False, True], ids=["users by items", "items by users"])
def test_a_matrix_either_way_round(
    write: Write, turned: bool, blank: str, unrated: int | None
) -> None:
    text, liked = matrix(blank, header=True, ids=True, turned=turned)
    shape = "items_by_users" if turned else "users_by_items"
    interactions = read(write(text), shape=shape, unrated=unrated)
    assert pairs(interactions) == liked
    assert (interactions.num_users, interactions.num_items) == (12, 10)
    assert len(interactions) + sum(interactions.dropped.values()) == len(ROWS)


def test_a_matrix_is_found(write: Write) -> None:
    for turned in (False, True):
        text, liked = matrix("", header=True, ids=True, turned=turned)
        named = text.replace("user_id", "User") if not turned else text
        assert pairs(read(write(named), shape="items_by_users" if turned else "auto")) == liked


def test_a_matrix_without_ids_numbers_its_rows(write: Write) -> None:
    text, liked = matrix("99", header=False, ids=False, turned=False)
    interactions = read(write(text), shape="users_by_items", unrated=99)
    assert len(interactions) == len(liked)
    assert interactions.user_ids.ids.tolist() == list(range(12))
    assert interactions.num_items == 10


# Files that are split already


def test_files_that_are_split_already(write: Write) -> None:
    train, validation, test = ROWS[::2], ROWS[1::4], ROWS[3::4]
    paths = [write(text_of(part), f"{n}.csv") for n, part in enumerate((train, validation, test))]
    interactions = read(paths[0], validation_path=str(paths[1]), test_path=str(paths[2]))
    assert pairs(interactions) == LIKED
    assert interactions.parts is not None
    for number, part in enumerate((train, validation, test)):
        chosen = [
            pair
            for pair, of in zip(pairs_in_order(interactions), interactions.parts, strict=True)
            if of == number
        ]
        assert set(chosen) == {(u, i) for u, i, rating, _ in part if rating >= 4}
    assert read(paths[0]).parts is None


def test_a_pair_in_two_parts_is_refused(write: Write) -> None:
    train, test = (
        write("user,item\n1,2\n1,3\n2,2\n", "a.csv"),
        write("user,item\n1,4\n1,2\n", "b.csv"),
    )
    said = refusal(train, test_path=str(test))
    assert "1" in said
    assert "2" in said


# What is a positive

EVENTS = """timestamp,visitorid,event,itemid
1,7,view,30
2,7,addtocart,30
3,8,view,31
4,8,transaction,31
5,9,view,31
"""


def test_events(write: Write) -> None:
    path = write(EVENTS)
    interactions = read(path, positive_values=["transaction", "addtocart"])
    assert pairs(interactions) == {(7, 30), (8, 31)}
    assert interactions.user_ids.ids.tolist() == [7, 8, 9]
    said = refusal(path)
    assert "data.positive_values=" in said
    assert "view" in said


@pytest.mark.parametrize(
    ("yes", "no"), [("true", "false"), ("True", "False"), ("yes", "no"), ("like", "dislike")]
)
def test_words_and_booleans(write: Write, yes: str, no: str) -> None:
    rows = [(u, i, yes if rating >= 4 else no) for u, i, rating, _ in ROWS]
    path = write(text_of(rows, ("user_id", "item_id", "rating")))
    interactions = read(path, rating_column="rating", positive_values=[yes])
    assert pairs(interactions) == LIKED
    assert interactions.num_users == len({u for u, _ in KNOWN})


def test_a_later_look_takes_no_purchase_back(write: Write) -> None:
    path = write("user,item,event,time\n1,1,view,1\n1,1,buy,2\n1,1,view,3\n1,2,view,4\n")
    interactions = read(path, positive_values=["buy"])
    assert pairs(interactions) == {(1, 1)}
    assert interactions.timestamps is not None
    assert interactions.timestamps.tolist() == [2]
    assert dict(interactions.dropped) == {"repeated pairs": 2, "of other values": 1}
    assert "holds no positive" in refusal(path, positive_values=["buy"], repeats="first")


def test_booleans_of_a_typed_file(tmp_path: Path) -> None:
    import pandas

    frame = pandas.DataFrame(ROWS, columns=list(HEADER))
    frame["liked"] = frame.pop("rating") >= 4
    frame.to_parquet(tmp_path / "b.parquet")
    settings = {"rating_column": "liked"}
    assert pairs(read(tmp_path / "b.parquet", **settings, positive_values=["true"])) == LIKED


PLAYS = "user,item,plays,time\n1,1,3,10\n1,1,4,20\n1,2,5,30\n1,2,1,40\n2,1,9,50\n2,1,2,45\n"


@pytest.mark.parametrize(
    ("repeats", "liked"),
    [("latest", {(2, 1)}), ("first", set()), ("sum", {(1, 1), (1, 2), (2, 1)}), ("max", {(2, 1)})],
)
def test_several_rows_of_a_pair(write: Write, repeats: str, liked: set[Pair]) -> None:
    path = write(PLAYS)
    settings = {"rating_column": "plays", "positive_rating": 6, "repeats": repeats}
    if not liked:
        assert "holds no positive" in refusal(path, **settings)
        return
    assert pairs(read(path, **settings)) == liked


def test_plays_are_summed(write: Write) -> None:
    interactions = read(write(PLAYS), rating_column="plays", positive_rating=7, sum_repeats=True)
    assert pairs(interactions) == {(1, 1), (2, 1)}


def test_plays_above_none_are_positive_by_themselves(write: Write) -> None:
    rows = [(user, item, 17 * rating * rating, time) for user, item, rating, time in ROWS]
    rows.append((1, 110, 0, 5))
    interactions = read(write(text_of(rows, ("user", "artist", "plays", "time"))))
    assert pairs(interactions) == KNOWN


@pytest.mark.parametrize(
    ("high", "positive"), [(1, 1), (5, 4), (10, 7), (100, 70)], ids=["0-1", "5", "10", "100"]
)
def test_the_threshold_is_found(write: Write, high: int, positive: int) -> None:
    rows = [(u, i, (u * 31 + i * 17) % (high + 1)) for u in range(1, 25) for i in range(1, 25)]
    interactions = read(write(text_of(rows, ("user", "item", "rating"))))
    assert pairs(interactions) == {(u, i) for u, i, rating in rows if rating >= positive}


def test_a_scale_of_no_known_kind_is_a_question(write: Write) -> None:
    rows = [(u, i, (u * 31 + i * 17) % 200 / 10 - 10) for u in range(1, 25) for i in range(1, 25)]
    path = write(text_of(rows, ("user", "item", "rating")))
    assert "data.positive_rating=" in refusal(path)
    assert pairs(read(path, positive_rating=5)) == {(u, i) for u, i, rating in rows if rating >= 5}


def test_few_positives_fall_out_until_nothing_changes(write: Write) -> None:
    rows: set[tuple[int, int]] = {(u, i) for u in range(6) for i in range(6)}
    # a chain: each falls out only once the one before it has
    rows |= {(10, 0), (10, 20), (11, 20), (11, 21), (12, 21), (12, 22), (13, 22)}
    path = write(text_of(sorted(rows), ("user", "item")))
    interactions = read(path, min_user_positives=2, min_item_positives=2)
    kept = set(rows)
    while True:
        users = [u for u, _ in kept]
        items = [i for _, i in kept]
        left = {(u, i) for u, i in kept if users.count(u) >= 2 and items.count(i) >= 2}
        if left == kept:
            break
        kept = left
    assert pairs(interactions) == kept
    assert interactions.user_ids.ids.tolist() == sorted({u for u, _ in kept})
    assert interactions.item_ids.ids.tolist() == sorted({i for _, i in kept})
    assert len(interactions) + sum(interactions.dropped.values()) == len(rows)


# Never silently wrong

GOOD = "user_id,item_id,rating\n1,10,5\n2,11,4\n3,12,5\n"
BAD_ROWS = {
    "more fields": "4,13,5,9\n",
    "many more fields": "4,13,5,9,9,9,9,9\n",
    "fewer fields": "4,13\n",
    "one field": "4\n",
    "no user": ",13,5\n",
    "no item": "4,,5\n",
    "a user of nan": "nan,13,5\n",
    "a user of NULL": "NULL,13,5\n",
    "an item of None": "4,None,5\n",
    "an item of \\N": "4,\\N,5\n",
    "no rating": "4,13,\n",
    "a rating of nan": "4,13,nan\n",
    "an infinite rating": "4,13,inf\n",
    "a negative infinite rating": "4,13,-Infinity\n",
    "a huge rating": "4,13,1e400\n",
    "a rating of words": "4,13,good\n",
    "a rating of another program": "4,13,1_000\n",
    "a rating of sixteens": "4,13,0x10\n",
    "a rating of two": "4,13,4 5\n",
    "a header again": "user_id,item_id,rating\n",
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_ROWS)
@pytest.mark.parametrize("place", ["last", "middle"])
def test_a_bad_row_is_refused_or_counted(write: Write, bad: str, place: str) -> None:
    lines = GOOD.splitlines(keepends=True)
    lines.insert(4 if place == "last" else 2, BAD_ROWS[bad])
    row = 4 if place == "last" else 2
    path = write("".join(lines))
    settings = {"columns": None, "separator": ","}
    said = refusal(path, **settings)
    assert f"row {row} of {path}" in said.replace("Row", "row")
    assert "data.on_bad_rows=skip" in said
    interactions = read(path, **settings, on_bad_rows="skip")
    assert pairs(interactions) == {(1, 10), (2, 11), (3, 12)}
    assert sum(interactions.dropped.values()) == 1
    assert interactions.user_ids.ids.tolist() == [1, 2, 3]


def test_bad_rows_are_counted_by_reason(write: Write) -> None:
    path = write(GOOD + "".join(BAD_ROWS.values()))
    interactions = read(path, columns=None, separator=",", on_bad_rows="skip")
    assert pairs(interactions) == {(1, 10), (2, 11), (3, 12)}
    assert sum(interactions.dropped.values()) == len(BAD_ROWS)
    assert 2 <= len(interactions.dropped) <= 8


def test_a_file_of_bad_rows_alone_is_refused_even_when_they_may_be_skipped(write: Write) -> None:
    said = refusal(write("user_id,item_id,rating\n1,2,good\n1,3,bad\n"), on_bad_rows="skip",
                   rating_column="rating")  # fmt: skip
    assert "data." in said


@pytest.mark.parametrize("value", ["", "soon", "nan", "1e30", "2017-08-18"])
def test_a_bad_time_is_refused_or_counted(write: Write, value: str) -> None:
    path = write(f"user_id,item_id,rating,time\n1,10,5,100\n2,11,5,{value}\n3,12,5,102\n")
    said = refusal(path, timestamp_column="time")
    assert "row 2" in said
    interactions = read(path, timestamp_column="time", on_bad_rows="skip")
    assert pairs(interactions) == {(1, 10), (3, 12)}
    assert sum(interactions.dropped.values()) == 1


SPOILED = {
    "a word": "good", "none": "", "nan": "nan", "a dash": "-", "a question mark": "?",
    "infinity": "inf",
}  # fmt: skip


@pytest.mark.parametrize("value", SPOILED)
@pytest.mark.parametrize("form", ["number", "date"])
@pytest.mark.parametrize("header", [HEADER, None], ids=["header", "no header"])
def test_one_spoiled_cell_takes_no_column_away(
    write: Write, header: tuple[str, ...] | None, form: str, value: str
) -> None:
    """By itself the reader must not do without the times or the ratings since one is broken."""
    known = [list(map(str, row)) for row in ROWS]
    if form == "date":
        for place, row in enumerate(known):
            row[3] = f"2017-{place % 12 + 1:02}-{place % 28 + 1:02}"
    for column, place in ((2, 3), (3, 3), (3, len(known) - 1)):
        rows = [list(row) for row in known]
        rows[place][column] = value
        said = refusal(write(text_of(rows, header)))
        assert f"row {place + 1} of" in said.replace("Row", "row")


def test_bad_rows_below_known_names_make_no_lists(write: Write) -> None:
    said = refusal(write("user_id,item_id,rating\n1,2,5\n1,2,3,4,5,6\n"))
    assert "data." in said


def test_values_that_stand_nowhere_are_said(write: Write) -> None:
    said = refusal(write(EVENTS), positive_values=["buy"], rating_column="event")
    assert "none of data.positive_values=['buy'] in column 'event'" in said


def test_a_missing_file_of_a_split_is_said_by_its_setting(write: Write, tmp_path: Path) -> None:
    said = refusal(write(text_of()), test_path=str(tmp_path / "gone.csv"))
    assert "gone.csv" in said
    assert "data.test_path" in said


def test_a_header_one_name_short(write: Write) -> None:
    """R's write.table names its columns and not the numbers of its rows."""
    lines = [f'"{n}" {row[0]} {row[1]} {row[2]}' for n, row in enumerate(ROWS, start=1)]
    text = "\n".join(['"user" "item" "rating"', *lines]) + "\n"
    assert pairs(read(write(text))) == LIKED
    assert pairs(read(write(text.replace(" ", ",")))) == LIKED


def test_a_separator_at_the_end_of_each_line(write: Write) -> None:
    for end in (",\n", ",\r\n"):
        assert pairs(read(write(text_of(end=end)))) == LIKED
    rows = text_of(end=",\n").replace("time,\n", "time\n", 1)
    assert pairs(read(write(rows))) == LIKED


def test_wholly_empty_rows_are_left_out_and_counted(write: Write) -> None:
    text = text_of() + ",,,\n" * 20
    interactions = read(write(text))
    assert pairs(interactions) == LIKED
    assert len(interactions) + sum(interactions.dropped.values()) == len(ROWS) + 20


@pytest.mark.parametrize("separator", ["\t", "::", "|"])
def test_a_quote_inside_a_field_is_a_character(write: Write, separator: str) -> None:
    names = {1: '5" disc', 2: '"Heroes', 3: 'Say "no"', 4: '12"', 5: '"'}
    rows = [(row[0], names.get(row[1] - 100, row[1]), *row[2:]) for row in ROWS]
    lines = [separator.join(map(str, line)) for line in [HEADER, *rows]]
    expected = {(user, names.get(item - 100, str(item))) for user, item in LIKED}  # type: ignore[operator, call-overload]
    assert pairs(read(write("\n".join(lines) + "\n"))) == expected


def test_an_open_quote_is_refused_with_its_row(write: Write) -> None:
    lines = ["user_id,item_id,rating", *(f'"u{n}","i{n}",5' for n in range(50))]
    lines[31] = '"u30","i30,5'
    said = refusal(write("\n".join(lines) + "\n"))
    assert re.search(r"row 3[01] ", said, re.IGNORECASE)


UUID = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
IDS: dict[str, tuple[Sequence[str], type]] = {
    "leading zeros": (("007", "07", "7"), str),
    "19 digits": (("9007199254740993123", "9007199254740993124", "1"), str),
    "above 2^53": (("9007199254740993", "9007199254740992", "9007199254740994"), int),
    "above 2^64": (("18446744073709551616", "18446744073709551617", "5"), str),
    "signs": (("+7", "7", "-7"), str),
    "exponents": (("1e3", "1000", "1E3"), str),
    "exponents alone": (("1e3", "1e4", "1E3"), str),
    "fractions": (("1.5", "1.50", "2"), str),
    "hexadecimal": (("0x10", "16", "0X10"), str),
    "underscores": (("1_000", "1000", "100_0"), str),
    "upper and lower case": (("Ann", "ann", "ANN"), str),
    "accents": (("é", "e\u0301", "e"), str),
    "blanks at the end": (("a", "a ", "a  "), str),
    "dates": (("2020-01-02", "2020-1-2", "2020/01/02"), str),
    "booleans": (("true", "True", "TRUE"), str),
    "infinity": (("inf", "Infinity", "x"), str),
    "words for nothing among words": (("NA", "nan", "null"), str),
    "uuid": ((UUID, UUID.upper(), "x"), str),
}  # fmt: skip


@pytest.mark.parametrize("kind", IDS)
def test_ids_never_become_one(write: Write, tmp_path: Path, kind: str) -> None:
    texts, as_kept = IDS[kind]
    ids = [*texts, *(["word"] if kind.startswith("words") else [])]
    rows = [(text, n, 5) for n, text in enumerate(ids) for _ in range(2)]
    expected = {(as_kept(text), n) for n, text in enumerate(ids)}
    header = ("user_id", "item_id", "rating")
    assert pairs(read(write(text_of(rows, header)))) == expected
    assert pairs(read(write(text_of(rows, header, "\t")))) == expected
    lines = [json.dumps(dict(zip(header, row, strict=True))) for row in rows]
    assert pairs(read(write("\n".join(lines)))) == expected
    import pandas

    pandas.DataFrame(rows, columns=list(header)).to_parquet(tmp_path / "i.parquet")
    assert pairs(read(tmp_path / "i.parquet")) == expected


def test_whole_numbers_of_any_spelling_are_one_id_where_all_are_numbers(write: Write) -> None:
    path = write("user_id,item_id,rating\n3,1,5\n3.0,2,5\n4,3,5\n")
    assert pairs(read(path)) == {(3, 1), (3, 2), (4, 3)}


@pytest.mark.parametrize("number", [2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_large_typed_numbers_stay_exact(write: Write, tmp_path: Path, number: int) -> None:
    import pandas

    ids = [number, number - 1, 1]
    kept = {str(n) for n in ids} if number >= 10**18 else set(ids)
    frame = pandas.DataFrame({"user_id": np.array(ids, "uint64"), "item_id": [1, 2, 3]})
    frame.to_parquet(tmp_path / "n.parquet")
    objects = [{"user_id": n, "item_id": place} for place, n in enumerate(ids)]
    for path in (
        tmp_path / "n.parquet",
        write("\n".join(map(json.dumps, objects))),
        write(json.dumps(objects), "n.json"),
    ):
        assert set(read(path).user_ids.ids.tolist()) == kept


def test_numbers_of_json_beyond_64_bits_stay_exact(write: Write) -> None:
    lines = [f'{{"user_id": {2**64 + n}, "item_id": {n}, "rating": 5}}' for n in range(4)]
    ids = read(write("\n".join(lines))).user_ids.ids.tolist()
    assert ids == [str(2**64 + n) for n in range(4)]


def test_a_header_taken_for_a_row_and_a_row_for_a_header(write: Write) -> None:
    path = write(text_of())
    said = refusal(path, columns=list(HEADER))
    assert "data.columns=null" in said
    headless = write(text_of(header=None))
    said = refusal(headless, columns=None, user_column="user_id")
    assert "data.columns" in said


def test_words_as_first_row_are_no_header_where_the_names_are_given(write: Write) -> None:
    rows = [(f"u{u}", f"i{i}") for u, i in sorted(KNOWN)]
    path = write(text_of(rows, None))
    interactions = read(path, columns=["user", "item"])
    assert len(interactions) == len(rows)


def test_columns_that_are_named_make_a_long_file(write: Write) -> None:
    """However much it looks like a matrix."""
    header = ("user", "item", *(f"feature_{n}" for n in range(30)))
    rows = [(u, i, *((u * n + i) % 5 for n in range(30))) for u, i in sorted(KNOWN)]
    path = write(text_of(rows, header))
    settings = {"user_column": "user", "item_column": "item", "rating_column": None}
    assert pairs(read(path, **settings)) == KNOWN


def test_an_error_shows_at_most_ten_names_and_no_text_of_a_person(write: Write) -> None:
    header = [*(f"column_{n}" for n in range(400)), "review"]
    secret = "My doctor told me on Friday that I am ill, and so I bake"
    rows = [[*(str(n) for n in range(400)), secret] for _ in range(5)]
    path = write(text_of(rows, header))
    for settings in (
        {},
        {"user_column": "nobody"},
        {"item_column": "column_4", "user_column": "column_3", "rating_column": "review"},
    ):
        said = refusal(path, **settings)
        assert said.count("column_") <= 12
        assert secret[:20] not in said


def test_a_long_value_is_shown_short(write: Write) -> None:
    path = write(f"user_id,item_id,rating\n1,2,5\n1,3,{'very good ' * 500}\n")
    assert "very good " * 7 not in refusal(path, rating_column="rating")


def sqlite_bytes(folder: Path) -> bytes:
    with sqlite3.connect(folder / "x.db") as connection:
        connection.execute("CREATE TABLE ratings (user, item)")
    return (folder / "x.db").read_bytes()


def numpy_bytes() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.arange(6))
    return stream.getvalue()


LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n"
KINDS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "excel": (lambda _: zip_bytes(xl__workbook="<x/>", xl__worksheets__sheet1="<x/>"), "Excel"),
    "old excel": (lambda _: b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "Excel"),
    "pickle": (lambda _: pickle.dumps(OBJECTS), "pickle"),
    "old pickle": (lambda _: pickle.dumps(OBJECTS, protocol=0), "pickle"),
    "hdf5": (lambda _: b"\x89HDF\r\n\x1a\n" + bytes(600), "HDF5"),
    "matlab": (lambda _: b"MATLAB 5.0 MAT-file, ".ljust(124) + b"\0\1IM" + bytes(99), "MATLAB"),
    "numpy": (lambda _: numpy_bytes(), "NumPy"),
    "sqlite": (sqlite_bytes, "SQLite"),
    "pdf": (lambda _: b"%PDF-1.7\n" + bytes(99), "PDF"),
    "web page": (lambda _: b"<!DOCTYPE html>\n<html>Log in</html>\n", "page"),
    "netflix": (lambda _: b"1:\n14,3,2005-09-06\n82,5,2005-05-13\n2:\n8,4,2005-10-19\n", "Netflix"),
    "git lfs": (lambda _: LFS_POINTER, "Git LFS"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_is_not_read_is_named_with_the_conversion(
    write: Write, tmp_path: Path, kind: str
) -> None:
    made, word = KINDS[kind]
    said = refusal(write(made(tmp_path), "ratings.csv"))
    assert word.lower() in said.lower()
    assert "data.path" in said or "git lfs pull" in said
