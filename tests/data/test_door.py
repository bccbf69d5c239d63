"""DuckDB reads: the same rows whatever their dress, in the order of the file, each fault with its
row."""

import gzip

import pytest

from recsweep.data import door, files
from recsweep.data.files import File
from recsweep.data.formats import BLANKS, Format
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


@pytest.fixture(autouse=True)
def plain_files(monkeypatch):
    monkeypatch.setattr(files, "plain", lambda file, folder: file.path)


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
    assert read(write(tmp_path / "a", gzip.compress(CSV.encode()))) == (ROWS, {})


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
    with pytest.raises(DataError, match="b has other columns than the file before it: 'user', 'pr"):
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
        ("1,11", r"Row 2 of .*a \(rows counted without a header\), which begins with '1', has 2 f"),
        (
            "1,11,3,4,5",
            "Row 2 of .* has 5 fields, where the columns are 4. Correct it, or set data",
        ),
        ('1,"11,3,4', "Row 2 of .* opens a quote that is never closed"),
        (",11,3,4", "Column 'user' has no id, not '', in row 2 of .*on_bad_rows=skip"),
        ("1,  ,3,4", "Column 'item' has no id, not '', in row 2 of"),
        ("1,nan,3,4", "Column 'item' has no id, not 'nan', in row 2 of"),
        ("NULL,11,3,4", "Column 'user' has no id, not 'NULL', in row 2 of"),
        ("1,a\0b,3,4", "Column 'item' must not hold a NUL character, not 'a.x00b', in row 2 of"),
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
