"""DuckDB reads: the same rows whatever their dress, in the order of the file, each fault with its
row."""

import csv
import gzip
from dataclasses import replace

import numpy as np
import pandas
import pyarrow
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc

from recsweep.data import door
from recsweep.data.door import values
from recsweep.data.files import File
from recsweep.data.forms import BLANKS, Format
from recsweep.errors import DataError

LONG = Format(
    kind="text",
    quote='"',
    columns=("user", "item", "rating", "time"),
    user="user",
    item="item",
    rating="rating",
    time="time",
)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    """A database, and the path of a file."""
    with door.opened(memory_gb=1) as connection:
        yield connection, tmp_path_factory.mktemp("door") / "a"


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return File(path, "text", encoding="utf-8")


def form(**changes):
    return Format(**{**LONG.__dict__, **changes})


def without(*roles, **changes):
    """The long form without some columns."""
    columns = tuple(name for name in LONG.columns if name not in roles)
    return form(**{"columns": columns, **dict.fromkeys(roles), **changes})


def read(file, format=LONG, **settings):
    """All rows, as tuples, and what was left out."""
    listed = file if isinstance(file, list) else [file]
    with door.opened(memory_gb=1) as connection:
        left_out = door.read_rows(connection, listed, format, **settings)
        return connection.execute("SELECT * FROM rows ORDER BY rowid").fetchall(), left_out


ROWS = [(1, 10, 5.0, 100), (1, 11, 3.5, 101), (2, 10, 4.0, 102)]
CSV = "user,item,rating,time\n1,10,5,100\n1,11,3.5,101\n2,10,4,102\n"


@pytest.mark.parametrize(
    ("dress", "changes"),
    [
        (lambda text: text, {}),
        (lambda text: text, {"quote": ""}),
        (lambda text: text.replace(",", "\t"), {"separator": "\t", "quote": ""}),
        (lambda text: text.replace(",", "|"), {"separator": "|"}),
        (lambda text: text.replace(",", "::"), {"separator": "::", "quote": ""}),
        (lambda text: text.replace(",", "::"), {"separator": "::"}),
        (lambda text: text.replace(",", " "), {"separator": BLANKS, "quote": ""}),
        (lambda text: text.replace(",", " \t "), {"separator": BLANKS, "quote": ""}),
        (lambda text: text.replace(",", ", "), {}),
        (lambda text: text.replace(",", ", "), {"quote": ""}),
        (lambda text: text.replace("\n", "\r\n"), {}),
        (lambda text: text.replace("\n", "\r"), {}),
        (lambda text: text.replace("\n", ",\n"), {}),
        (lambda text: "\n\n" + text.replace("\n", "\n\n  \n"), {}),
        (lambda text: "\ufeff" + text, {}),
        (lambda text: text.partition("\n")[2], {"header": False}),
        (lambda text: text.replace("3.5,", '"3.5",').replace(",10", ',"10"'), {}),
        (
            lambda text: text.replace(".", "#").replace(",", ";").replace("#", ","),
            {"separator": ";", "decimal": ","},
        ),
        (lambda text: text.removesuffix("\n"), {}),
    ],
)
def test_long_text_in_any_dress(tmp_path, dress, changes):
    assert read(write(tmp_path / "a", dress(CSV)), form(**changes)) == (ROWS, {})


def test_gzip(tmp_path):
    file = replace(write(tmp_path / "a", gzip.compress(CSV.encode())), compression="gzip")
    assert read(file) == (ROWS, {})


def test_columns_that_are_not_needed_may_hold_anything(tmp_path):
    text = 'review,item,user\n"Good, ""very""\n\nindeed",10,1\nx,11,2\n"",12,3\n'
    format = Format(
        kind="text", quote='"', columns=("review", "item", "user"), user="user", item="item"
    )
    assert read(write(tmp_path / "a", text), format) == ([(1, 10), (2, 11), (3, 12)], {})


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (["3", "7"], [3, 7]),
        (["007", "7"], ["007", "7"]),
        (["3.0", "7"], ["3.0", "7"]),
        (["999999999999999999", "7"], [999999999999999999, 7]),
        (["1234567890123456789", "7"], ["1234567890123456789", "7"]),
        (["18446744073709551616", "7"], ["18446744073709551616", "7"]),
        (["-0", "+7"], ["-0", "+7"]),
        (["1_000", "1000"], ["1_000", "1000"]),
        (["550e8400-e29b-41d4-a716-446655440000", "x"],) * 2,
        (["a ", "a"], ["a ", "a"]),
        (['" a"', "a"], [" a", "a"]),
        ([" a", "  a"], ["a", "a"]),
        (["٧", "7"], ["٧", "7"]),
        (["true", "1e3"], ["true", "1e3"]),
        (["007a", "NULL"], ["007a", "NULL"]),
        (["x" * 50_000, "y" * 2_000],) * 2,
        (["x" * 3_000_000, "y"],) * 2,
    ],
)
def test_ids_are_what_stands_in_the_file(tmp_path, ids, kept):
    text = "".join(f"{text},1\n" for text in ids)
    format = without("rating", "time", header=False)
    rows, left_out = read(write(tmp_path / "a", text), format)
    assert ([user for user, _ in rows], left_out) == (kept, {})


def test_a_later_file_may_hold_texts(tmp_path):
    first = write(tmp_path / "a", "user,item\n1,1\n2,1\n")
    second = write(tmp_path / "b", "item,user\n5,x\n")
    assert read([first, second], without("rating", "time"))[0] == [("1", 1), ("2", 1), ("x", 5)]
    rows = [("x", 5), ("1", 1), ("2", 1)]
    format = without("rating", "time", columns=("item", "user"))
    assert read([second, first], format)[0] == rows


def test_parts_must_have_the_same_columns(tmp_path):
    first = write(tmp_path / "a", "user,item\n1,1\n")
    second = write(tmp_path / "b", "user,product\n1,1\n")
    with pytest.raises(DataError, match=r"b has other columns than the file before it: 'user'"):
        read([first, second], without("rating", "time"))


def test_values_of_folders_are_columns(tmp_path):
    for name, user in (("a", 1), ("b", 2)):
        write(tmp_path / name, f"user\n{user}\n")
    parts = [
        File(tmp_path / name, "text", encoding="utf-8", folders=(("item", value),))
        for name, value in (("a", "x"), ("b", "y"))
    ]
    format = without("rating", "time", columns=("user", "item"))
    assert read(parts, format)[0] == [(1, "x"), (2, "y")]


# Faults


def bad(row, place=2, **changes):
    """A file of three rows, the second of which is bad."""
    return CSV.replace(CSV.splitlines()[place], row)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("1,11", r"begins with '1' has 2 fields, where the columns are 4, in row 2 of .*a \(rows "),
        (
            "1,11,3,4,5",
            "has 5 fields, where the columns are 4, in row 2 of .* Correct it, or set data",
        ),
        ('1,"11,3,4', "opens a quote that is never closed, in row 2 of"),
        (",11,3,4", "Column 'user' has no id, not '', in row 2 of .*on_bad_rows=skip"),
        ("1,  ,3,4", "Column 'item' has no id, not '', in row 2 of"),
        ("1,nan,3,4", "Column 'item' has no id, not 'nan', in row 2 of"),
        ("NULL,11,3,4", "Column 'user' has no id, not 'NULL', in row 2 of"),
        ("1,11,good,4", "Column 'rating' must hold a number in each row, not 'good', in row 2 of"),
        ("1,11,,4", "Column 'rating' must hold a number in each row, not '', in row 2 of"),
        ("1,11,nan,4", "Column 'rating' must hold a number in each row, not 'nan', in row 2 of"),
        ("1,11,inf,4", "Column 'rating' must hold a number in each row, not 'inf', in row 2 of"),
        ('1,11,"4,5",4', "Column 'rating' must hold a number in each row, not '4,5', in row 2"),
        ("1,11,1_0,4", "Column 'rating' must hold a number in each row, not '1_0', in row 2"),
        ("1,11,5,", "Column 'time' must be a number, as in the first row, not '', in row 2 of"),
        ("1,11,5,2017-08-18", "Column 'time' must be a number.*, not '2017-08-18', in row 2 of"),
        ("1,11,5,1e30", "Column 'time' must be a number.*, not '1e30', in row 2 of"),
    ],
)
def test_a_bad_row_is_refused_or_left_out(tmp_path, row, message):
    file = write(tmp_path / "a", bad(row))
    with pytest.raises(DataError, match=message):
        read(file)
    rows, left_out = read(file, on_bad_rows="skip")
    assert rows == [ROWS[0], ROWS[2]]
    assert list(left_out.values()) == [1]


def test_wholly_empty_rows_are_left_out_and_counted(tmp_path):
    text = bad(",,,").replace("4,102\n", "4,102\n,, ,\n,,,\n")
    assert read(write(tmp_path / "a", text)) == ([ROWS[0], ROWS[2]], {"that are empty": 3})


def test_rows_are_counted_without_header_and_blank_lines_and_with_bad_ones(tmp_path):
    text = 'a,user,item,rating,time\n\n"x\ny",1,10,5,1\n\n,,,,\nx,1,2\nx,1,11,oops,1\n'
    format = form(columns=("a", *LONG.columns))
    with pytest.raises(DataError, match=r"begins with 'x' has 3 fields, .*, in row 3 of"):
        read(write(tmp_path / "a", text), format)
    with pytest.raises(DataError, match=r"not 'oops', in row 3 of"):
        read(write(tmp_path / "a", text.replace("x,1,2\n", "")), format)


def test_a_quote_that_stands_alone_takes_one_row_with_it(tmp_path):
    rows = [f"{n},{n},5,1" for n in range(100)]
    rows[50] = '50,"50,5,1'
    rows[80] = '80,"80"x,5,"1'
    text = "user,item,rating,time\n" + "\n".join(rows) + "\n"
    kept, left_out = read(write(tmp_path / "a", text), on_bad_rows="skip")
    assert [row[0] for row in kept] == [n for n in range(100) if n not in (50, 80)]
    assert left_out == {"that can't be read": 2}


def test_words_that_stand_for_no_id_are_ids_among_texts(tmp_path, caplog):
    text = "user,item\na,1\nNA,2\nnull,3\n"
    rows, left_out = read(write(tmp_path / "a", text), without("rating", "time"))
    assert rows == [("a", 1), ("NA", 2), ("null", 3)]
    assert left_out == {}
    assert "2 rows have the user 'NA': it is read as an id" in caplog.text


def test_a_header_that_stands_again_is_no_row(tmp_path):
    text = "user,item\n1,2\nuser,item\n3,4\n"
    file, format = write(tmp_path / "a", text), without("rating", "time")
    with pytest.raises(DataError, match=r"names of the columns stand again in row 2 of"):
        read(file, format)
    assert read(file, format, on_bad_rows="skip") == ([(1, 2), (3, 4)], {"that can't be read": 1})


def test_words_and_blanks_among_numbers_are_left_out(tmp_path):
    text = "user,item,rating,time\n1,2,5,1\nNULL,2,5,1\n,2,5,1\nuser,item,rating,time\nx,1,y,1\n"
    rows, left_out = read(write(tmp_path / "a", text), on_bad_rows="skip")
    assert rows == [(1, 2, 5, 1)]
    assert left_out == {"without an id": 2, "that can't be read": 1, "whose rating is no number": 1}


def test_little_of_a_persons_text_is_shown(tmp_path):
    text = "user,item,rating,time\n1,2,5,1\n1,2," + "so good " * 100 + ",1\n"
    with pytest.raises(DataError, match=r"not '(so good ){7}so g…', in row 2"):
        read(write(tmp_path / "a", text))


def test_no_row_at_all(tmp_path):
    with pytest.raises(DataError, match=r"a has a header and no rows\. Set data.path"):
        read(write(tmp_path / "a", "user,item,rating,time\n"))
    with pytest.raises(DataError, match=r"no row that can be read: 1 whose rating is no number"):
        read(write(tmp_path / "a", "user,item,rating,time\n1,1,x,1\n"), on_bad_rows="skip")


# What a text may hold

CHARACTERS = st.characters(codec="utf-8", exclude_characters="\0")
IDS = st.one_of(
    st.text(CHARACTERS, min_size=1, max_size=12),
    st.text("a\"',;|: \t\r\n0", min_size=1, max_size=8),
    st.integers(-(10**20), 10**20).map(str),
)


def is_id(text):
    return text.strip(" \t\r\n") and text not in values.MISSING


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.tuples(IDS, IDS, st.text(CHARACTERS, max_size=12)), min_size=1, max_size=8),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    header=st.booleans(),
)
def test_what_csv_writes_is_read_back(database, rows, separator, end, header):
    connection, path = database
    assume(
        all(
            text.strip(" \t\r\n") and text not in values.MISSING for *ids, _ in rows for text in ids
        )
    )
    # where lines end in CR, one within a field is the break of a line as well
    assume(end != "\r" or not any("\r" in text for row in rows for text in row))
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(
            stream, delimiter=separator, lineterminator=end, quoting=csv.QUOTE_NONNUMERIC
        )
        writer.writerows([("user", "item", "review")] if header else [])
        writer.writerows(rows)
    format = form(
        columns=("user", "item", "review"),
        rating=None,
        time=None,
        separator=separator,
        header=header,
    )
    connection.execute("DROP TABLE IF EXISTS rows")
    left_out = door.read_rows(connection, [File(path, "text", encoding="utf-8")], format)
    found = connection.execute('SELECT "user", item FROM rows ORDER BY rowid').fetchall()
    assert [(str(user), str(item)) for user, item in found] == [row[:2] for row in rows]
    assert left_out == {}


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=st.lists(st.tuples(IDS, IDS, st.text(CHARACTERS, max_size=12)), min_size=1, max_size=8),
    separator=st.sampled_from([",", "\t", "::", BLANKS]),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_without_quotes_a_quote_is_a_character(database, rows, separator, end):
    connection, path = database
    for taken in ["\n", "\r", *(" \t" if separator == BLANKS else separator[0])]:
        rows = [tuple(text.replace(taken, "") for text in row) for row in rows]
    if separator == BLANKS:
        rows = [(user, item, review or "-") for user, item, review in rows]
    assume(all(is_id(text) for *ids, _ in rows for text in ids))
    path.write_bytes("".join(separator.join(row) + end for row in rows).encode())
    format = form(
        columns=("user", "item", "review"),
        rating=None,
        time=None,
        separator=separator,
        quote="",
        header=False,
    )
    connection.execute("DROP TABLE IF EXISTS rows")
    left_out = door.read_rows(connection, [File(path, "text", encoding="utf-8")], format)
    found = connection.execute('SELECT "user", item FROM rows ORDER BY rowid').fetchall()
    expected = [(user.lstrip(" \t"), item.lstrip(" \t")) for user, item, _ in rows]
    assert [(str(user), str(item)) for user, item in found] == expected
    assert left_out == {}


# Ratings and times


@pytest.mark.parametrize(
    ("texts", "decimal", "numbers"),
    [
        (["5", "+4.5", " .5", "1e1"], ".", [5, 4.5, 0.5, 10]),
        (["4,5", "1.234,5", "1.234.567", "-3"], ",", [4.5, 1234.5, 1234567, -3]),
    ],
)
def test_ratings(tmp_path, texts, decimal, numbers):
    text = "".join(f"1;1;{rating}\n" for rating in texts)
    format = without("time", header=False, separator=";", decimal=decimal)
    assert [rating for *_, rating in read(write(tmp_path / "a", text), format)[0]] == numbers


@pytest.mark.parametrize("text", ["1.5", "1,2,3", "1.23,5"])
def test_no_number_with_a_decimal_comma(tmp_path, text):
    with pytest.raises(DataError, match=f"must hold a number in each row, not {text!r}, in row 1"):
        read(
            write(tmp_path / "a", f"1;1;{text}\n"),
            without("time", header=False, separator=";", decimal=","),
        )


def test_values_that_are_positives(tmp_path):
    text = "1,1,view\n1,2,transaction\n2,1,addtocart\n2,2,\n"
    format = without("time", header=False)
    rows, _ = read(
        write(tmp_path / "a", text), format, positive_values=["transaction", "addtocart"]
    )
    assert [rating for *_, rating in rows] == [0, 1, 1, 0]
    text = "1,1,True\n1,2,false\n2,1,TRUE\n"
    rows, _ = read(write(tmp_path / "a", text), format, positive_values=["true"])
    assert [rating for *_, rating in rows] == [1, 0, 1]


DAY = 1_503_014_400_000_000


@pytest.mark.parametrize(
    ("texts", "dates", "times"),
    [
        (["1503014400000000001", "-1"], "number", [1503014400000000001, -1]),
        (["100.0", "101"], "number", [100, 101]),
        (["1e3", "2"], "number", [1000, 2]),
        (["100.25", "101"], "number", [100_250_000, 101_000_000]),
        (["1503014400123.5", "1"], "number", [1503014400123500000, 1_000_000]),
        (["2017-08-18", "2017/8/18"], "iso", [DAY, DAY]),
        (["2017-08-18 01:00", "2017-08-18T00:00:00.5Z"], "iso", [DAY + 36 * 10**8, DAY + 500_000]),
        (["2017-08-18T01:00:00+01:00", "2017-08-18 10:00:00 +1000"], "iso", [DAY, DAY]),
        (["20170818", "2017-08"], "iso", [DAY, DAY - 17 * 86400 * 10**6]),
        (["18/8/2017", "18/08/2017"], "%d/%m/%Y", [DAY, DAY]),
        (["Fri Aug 18 01:00:00 +0100 2017"], "%a %b %d %H:%M:%S %z %Y", [DAY]),
    ],
)
def test_times(tmp_path, texts, dates, times):
    text = "".join(f"1,1,{time}\n" for time in texts)
    format = without("rating", header=False, dates=dates)
    assert [time for *_, time in read(write(tmp_path / "a", text), format)[0]] == times


@pytest.mark.parametrize("text", ["", "yesterday", "epoch", "infinity", "2017-02-30", "18.08.2017"])
def test_no_date(tmp_path, text):
    format = without("rating", header=False, dates="iso")
    with pytest.raises(DataError, match=f"must be a date as 2017-08-18.*, not {text!r}, in row 2"):
        read(write(tmp_path / "a", f"1,1,2017-08-18\n1,2,{text}\n"), format)


def test_one_fraction_makes_all_times_finer_in_whichever_file(tmp_path):
    texts = ["1,1,100\n", "1,2,100.5\n", "1,3,101\n"]
    parts = [write(tmp_path / str(number), text) for number, text in enumerate(texts)]
    rows, _ = read(parts, without("rating", header=False))
    assert [time for *_, time in rows] == [100_000_000, 100_500_000, 101_000_000]
    bad = write(tmp_path / "bad", "1,1,100\n1,2,x\n1,3,7.5\n")
    with door.opened() as connection:
        for file in (parts[0], bad, parts[2]):
            door.read_rows(connection, [file], without("rating", header=False), on_bad_rows="skip")
        times = connection.execute("SELECT time FROM rows ORDER BY rowid").fetchall()
    assert times == [(100_000_000,), (100_000_000,), (7_500_000,), (101_000_000,)]


# Shapes


def test_lists(tmp_path):
    format = Format(kind="text", separator=BLANKS, header=False, shape="lists")
    file = write(tmp_path / "a", "0 5 7  5\n1\n\n2 9 \r\n")
    assert read(file, format) == ([(0, 5), (0, 7), (0, 5), (2, 9)], {})
    format = Format(kind="text", separator=",", header=False, shape="lists")
    file = write(tmp_path / "b", "u, a,b,\nv\nw,c d\n")
    assert read(file, format) == ([("u", "a"), ("u", "b"), ("w", "c d")], {})


def test_counted_lists(tmp_path):
    format = Format(kind="text", separator=BLANKS, header=False, shape="counted_lists")
    file = write(tmp_path / "a", "2 5 7\n0\n1 9\n")
    assert read(file, format) == ([(0, 5), (0, 7), (2, 9)], {})
    file = write(tmp_path / "b", "2 5 7\n2 3\n1 9\n")
    with pytest.raises(DataError, match=r"counts '2' items and lists 1, in row 2 of .* Correct"):
        read(file, format)
    rows, left_out = read(file, format, on_bad_rows="skip")
    assert (rows, left_out) == ([(0, 5), (0, 7), (2, 9)], {"that can't be read": 1})
    with pytest.raises(DataError, match=r"are the numbers of its lines, and 2 files are read as"):
        read([file, file], format)


WIDE = "who,a,b,c\nu,1,,99\nv,nan,2.5,3\nw,,99,NULL\n"


def wide(shape, **changes):
    format = Format(
        kind="text",
        quote='"',
        columns=("who", "a", "b", "c"),
        shape=shape,
        user="who" if shape == "users_by_items" else None,
        item="who" if shape == "items_by_users" else None,
        values=("a", "b", "c"),
    )
    return Format(**{**format.__dict__, **changes})


def test_matrices(tmp_path):
    file = write(tmp_path / "a", WIDE)
    rows, left_out = read(file, wide("users_by_items"), unrated=(99,))
    assert (rows, left_out) == ([("u", "a", 1), ("v", "b", 2.5), ("v", "c", 3)], {})
    rows, _ = read(file, wide("items_by_users"), unrated=(99,))
    assert rows == [("a", "u", 1), ("b", "v", 2.5), ("c", "v", 3)]
    rows, _ = read(file, wide("users_by_items"))
    assert ("u", "c", 99) in rows
    with pytest.raises(DataError, match=r"Column 'b' must hold a number in .*'x', in row 2 of"):
        read(write(tmp_path / "a", WIDE.replace("2.5", "x")), wide("users_by_items"))


def test_a_matrix_without_ids_of_its_rows(tmp_path):
    format = wide("users_by_items", user=None, columns=("n", "1", "2"), values=("1", "2"))
    format = Format(**{**format.__dict__, "header": False, "decimal": ",", "separator": "\t"})
    file = write(tmp_path / "a", "2\t-7,82\t8,79\n1\t99\t-0,29\n")
    rows = [(0, 1, -7.82), (0, 2, 8.79), (1, 2, -0.29)]
    assert read(file, format, unrated=(99,))[0] == rows


@pytest.mark.parametrize("kind", ["text", "parquet"])
def test_a_matrix_of_thousands_of_columns(tmp_path, kind):
    names = [f"i{number}" for number in range(1_200)]
    cells = dict(zip(names, [None, 5.0] * 600, strict=True))
    table = pandas.DataFrame([{"who": "u", **cells}, {"who": "v", **cells}])
    save = table.to_parquet if kind == "parquet" else table.to_csv
    save(tmp_path / "a", index=False)
    format = wide("users_by_items", kind=kind, columns=("who", *names), values=tuple(names))
    rows, _ = read(File(tmp_path / "a", kind, encoding="utf-8" if kind == "text" else None), format)
    assert len(rows) == 1_200
    assert set(rows) == {(user, name, 5) for user in "uv" for name in names[1::2]}


# Typed files


def frame(**changes):
    columns = {"user": [1, 1, 2], "item": [10, 11, 10], "rating": [5, 3.5, 4]}
    return pandas.DataFrame({**columns, "time": [100, 101, 102], "review": "x"}).assign(**changes)


def as_parquet(path, table):
    table.to_parquet(path, row_group_size=2)
    return File(path, "parquet")


def as_feather(path, table):
    table.to_feather(path)
    return File(path, "arrow")


def as_old_feather(path, table):
    with pytest.warns(DeprecationWarning, match="Feather V1"):
        feather.write_feather(table, path, version=1)
    return File(path, "arrow")


def as_stream(path, table):
    table = pyarrow.Table.from_pandas(table)
    with ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return File(path, "arrow")


def as_json_lines(path, table):
    table.to_json(path, orient="records", lines=True)
    return File(path, "json")


def as_json_list(path, table):
    table.to_json(path, orient="records")
    return File(path, "json")


TYPED = [as_parquet, as_feather, as_old_feather, as_stream, as_json_lines, as_json_list]


def typed(file, *roles, **changes):
    """The long form of a typed file without some roles."""
    columns = ("user", "item", "rating", "time", "review")
    return form(**{"kind": file.kind, "columns": columns, **dict.fromkeys(roles), **changes})


@pytest.mark.parametrize("write", TYPED)
def test_long_typed_files(tmp_path, write):
    file = write(tmp_path / "a", frame())
    assert read(file, typed(file)) == (ROWS, {})


@pytest.mark.parametrize("write", [as_parquet, as_feather, as_stream])
@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (np.array([1, 2, 3], "int8"), [1, 2, 3]),
        (np.array([1, 2, 2**64 - 1], "uint64"), ["1", "2", "18446744073709551615"]),
        (np.array([1, 2, 10**18]), ["1", "2", "1000000000000000000"]),
        ([1.0, 2.0, 1e16], [1, 2, 10**16]),
        ([1.0, 2.5, 1e19], ["1", "2.5", "1e+19"]),
        (np.array([0.1, 1e-5, 1234567.9]), ["0.1", "1e-05", "1234567.9"]),
        ([True, False, True], ["true", "false", "true"]),
        (["007", "NA", "x " * 5_000], ["007", "NA", "x " * 5_000]),
        (pandas.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        ([b"x", b"y", b"z"], ["x", "y", "z"]),
    ],
)
def test_typed_ids(tmp_path, write, ids, kept):
    file = write(tmp_path / "a", frame(user=ids))
    assert [user for user, *_ in read(file, typed(file))[0]] == kept


def test_ids_of_json_are_not_rounded(tmp_path):
    ids = ["18446744073709551616", '"007"', "3", "1234567890123456789012"]
    lines = [f'{{"user": {text}, "item": 1}}\n' for text in ids]
    (tmp_path / "a").write_text("".join(lines))
    format = form(kind="json", columns=("user", "item"), rating=None, time=None)
    rows, _ = read(File(tmp_path / "a", "json"), format)
    assert [user for user, _ in rows] == [text.strip('"') for text in ids]


@pytest.mark.parametrize("write", [as_parquet, as_stream])
def test_typed_times(tmp_path, write):
    days = pandas.DatetimeIndex(
        ["2017-08-18T00:00:00.0", "2017-08-18T00:00:01.5", "1969-12-31T00:00:00.0"]
    )
    expected = [DAY, DAY + 1_500_000, -86400 * 10**6]
    for times in (days, days.tz_localize("UTC"), days.astype("datetime64[ns]")):
        file = write(tmp_path / "a", frame(time=times))
        assert [time for *_, time in read(file, typed(file, dates="iso"))[0]] == expected
    file = write(tmp_path / "a", frame(time=[1.0, 2.0, 3.0]))
    assert [time for *_, time in read(file, typed(file))[0]] == [1, 2, 3]
    file = write(tmp_path / "a", frame(time=[1.0, 2.5, 3.0]))
    assert [time for *_, time in read(file, typed(file))[0]] == [10**6, 25 * 10**5, 3 * 10**6]


@pytest.mark.parametrize("write", TYPED)
def test_faults_of_typed_files(tmp_path, write):
    file = write(tmp_path / "a", frame(user=["a", None, "b"]))
    with pytest.raises(DataError, match=r"Column 'user' has no id, not '', in row 2 of"):
        read(file, typed(file))
    rows, left_out = read(file, typed(file), on_bad_rows="skip")
    assert ([user for user, *_ in rows], left_out) == (["a", "b"], {"without an id": 1})
    file = write(tmp_path / "b", frame(rating=[1, float("nan"), 2]))
    with pytest.raises(DataError, match=r"'rating' must hold a number.*, not '(nan)?', in"):
        read(file, typed(file))


def test_a_nul_in_an_id_is_refused(tmp_path):
    file = as_parquet(tmp_path / "a", frame(user=["a", "a\0", "b"]))
    with pytest.raises(DataError, match=r"'user' must not hold a NUL character, not 'a.x00'"):
        read(file, typed(file))
    assert read(file, typed(file), on_bad_rows="skip")[1] == {"that can't be read": 1}


def test_booleans_are_ratings_and_columns_may_differ_in_case_alone(tmp_path):
    table = frame(rating=[True, False, True], User=["x", "y", "z"])
    table.to_parquet(tmp_path / "a")
    file = File(tmp_path / "a", "parquet")
    columns = ("user", "item", "rating", "time", "review", "User")
    rows, _ = read(file, typed(file, columns=columns))
    assert [row[:3] for row in rows] == [(1, 10, 1), (1, 11, 0), (2, 10, 1)]
    rows, _ = read(file, typed(file, columns=columns, user="User"))
    assert [user for user, *_ in rows] == ["x", "y", "z"]


def test_parts_of_parquet_with_their_columns_in_another_order(tmp_path):
    first = as_parquet(tmp_path / "a", frame())
    second = as_parquet(tmp_path / "b", frame()[["time", "rating", "item", "user", "review"]])
    assert read([first, second], typed(first))[0] == ROWS + ROWS
    third = as_parquet(tmp_path / "c", frame().rename(columns={"user": "person"}))
    with pytest.raises(DataError, match=r"c has no column 'user': its columns are 'person'"):
        read([first, third], typed(first))


def test_a_matrix_in_parquet(tmp_path):
    table = pandas.DataFrame({"who": [1, 2], "a": [5.0, None], "b": [99.0, 3.0]})
    file = as_parquet(tmp_path / "a", table)
    format = wide("users_by_items", kind="parquet", columns=("who", "a", "b"), values=("a", "b"))
    assert read(file, format, unrated=(99,))[0] == [(1, "a", 5), (2, "b", 3)]


@pytest.mark.parametrize("kind", ["parquet", "arrow", "json"])
def test_broken_files_are_named(tmp_path, kind):
    (tmp_path / "a").write_bytes(b'PAR1{"user": 1, "item": ' + bytes(range(256)))
    with pytest.raises(DataError, match=r"a can't be read: .*Check that the file is whole"):
        read(File(tmp_path / "a", kind), form(kind=kind))


def test_a_line_of_json_that_is_none(tmp_path):
    lines = ['{"user": 1, "item": 2}', '{"user": 1, "it', '{"user": 3, "item": 4}']
    (tmp_path / "a").write_text("\n".join(lines))
    file = File(tmp_path / "a", "json")
    format = typed(file, "rating", "time", columns=("user", "item"))
    with pytest.raises(DataError, match=r"a can't be read: "):
        read(file, format)
    assert read(file, format, on_bad_rows="skip") == ([(1, 2), (3, 4)], {"without an id": 1})


# Size, order, parts


def test_order_and_counts_hold_for_long_quoted_rows(tmp_path):
    number = 60_000
    with (tmp_path / "a").open("w", newline="") as stream:
        stream.write("user,review,item\r\n")
        for row in range(number):
            review = f'"{row}, ""so"" good\n{"yum " * (row % 40)}"' if row % 3 else "short"
            stream.write(f"{row * 7919 % 50_021},{review},{row}\r\n")
    format = form(columns=("user", "review", "item"), rating=None, time=None)
    rows, _ = read(File(tmp_path / "a", "text", encoding="utf-8"), format)
    assert rows == [(row * 7919 % 50_021, row) for row in range(number)]


def test_parts_of_a_split_are_numbered(tmp_path):
    file = write(tmp_path / "a", "1,2\n")
    with door.opened() as connection:
        for part in (0, 2):
            door.read_rows(connection, [file], without("rating", "time", header=False), part=part)
        rows = connection.execute("SELECT * FROM rows ORDER BY rowid").fetchall()
    assert rows == [(1, 2, 0), (1, 2, 2)]


def test_too_little_memory_is_said(tmp_path):
    table = pandas.DataFrame({"user": np.arange(2_000), "item": "x" * 10_000})
    file = as_parquet(tmp_path / "a", table)
    with (
        pytest.raises(DataError, match=r"Raise data\.memory_gb"),
        door.opened(memory_gb=0.01) as connection,
    ):
        door.read_rows(connection, [file], typed(file, "rating", "time", columns=("user", "item")))


# Texts


def test_texts_of_a_table_are_read_also_of_rows_of_another_length(tmp_path):
    text = 'id,title,year\n1," Heat, the film",1995\n2,Alien\n3,"Good, Bad",1,x\n,,\n1,Again,2\n'
    format = form(columns=("id", "title", "year"), user=None, item=None, rating=None, time=None)
    file = write(tmp_path / "a", text)
    found = door.read_texts([file], format, ["title", "id"])
    titles = [" Heat, the film", "Alien", "Good, Bad", "", "Again"]
    assert found["title"].tolist() == titles
    assert found["id"].tolist() == ["1", "2", "3", "", "1"]
    found = door.read_texts([file], format, ["id"], distinct=True)
    assert found["id"].tolist() == ["1", "2", "3", ""]


@pytest.mark.parametrize("write", TYPED)
def test_texts_of_a_typed_table(tmp_path, write):
    file = write(tmp_path / "a", frame(user=["a", None, "b"]))
    found = door.read_texts([file, file], typed(file), ["user", "review"], distinct=True)
    assert found["user"].tolist() == ["a", "", "b"]
    assert found["review"].tolist() == ["x", "x", "x"]


def test_first_rows(tmp_path):
    file = write(tmp_path / "a", CSV)
    columns, rows = door.first_rows([file], LONG, 2)
    assert columns == list(LONG.columns)
    assert rows == [("1", "10", "5", "100"), ("1", "11", "3.5", "101")]
    lists = Format(kind="text", separator=BLANKS, header=False, shape="lists")
    file = write(tmp_path / "b", "0 5 7\n1\n2 9\n")
    assert door.first_rows([file], lists, 2) == (["user", "items"], [("0", "5 7"), ("1", "")])
    file = as_parquet(tmp_path / "c", frame())
    assert door.first_rows([file], typed(file), 1)[1] == [("1", "10", "5", "100", "x")]


def test_first_rows_of_a_folder_show_its_values(tmp_path):
    write(tmp_path / "a", "user\n1\n")
    file = File(tmp_path / "a", "text", encoding="utf-8", folders=(("item", "x"),))
    found = door.first_rows([file], without("rating", "time"))
    assert found == (["user", "item"], [("1", "x")])
