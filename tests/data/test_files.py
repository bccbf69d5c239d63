"""What lies under a path, and its bytes as a text that is read without loss."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import os
import pickle
import re
import sqlite3
import tarfile
import tempfile
import zipfile
from pathlib import Path

import duckdb
import numpy
import pandas
import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import feather, ipc

from recsweep.data import files
from recsweep.data.files import File, find, plain, sample, streams, unchanged
from recsweep.errors import ConfigError, DataError

ROWS = "user_id,item_id,rating\n1,10,5\n2,11,4\n"
TABLE = pandas.DataFrame({"user_id": [1, 2], "item_id": [10, 11], "rating": [5, 4]})


def zstd(data: bytes) -> bytes:
    return pyarrow.Codec("zstd").compress(data, asbytes=True)


def zipped(data: bytes, name: str = "ratings.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.mkdir("__MACOSX")
        archive.writestr(f"__MACOSX/._{name}", b"\0\5\26\7")
        archive.writestr("README.md", "no table")
        archive.writestr(f"data/{name}", data)
    return out.getvalue()


PACKS = {
    "plain": bytes,
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstd,
    "zip": zipped,
}


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only(path: Path | str, **settings) -> File:
    (file,) = find(str(path), **settings)
    return file


def read(path: Path, scratch: Path, **settings) -> str:
    """The whole text that DuckDB would be given."""
    scratch.mkdir(exist_ok=True)
    return plain(only(path, **settings), scratch).read_bytes().decode()


@pytest.fixture
def scratch(tmp_path) -> Path:
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


# Kinds and compression, by the bytes


@pytest.mark.parametrize("pack", PACKS)
def test_compression_shows_in_the_bytes_whatever_the_name(tmp_path, scratch, pack):
    file = only(write(tmp_path / "x.gz", PACKS[pack](ROWS.encode())))
    assert (file.kind, file.compression) == ("text", None if pack == "plain" else pack)
    assert file.encoding == "utf-8"
    assert sample(file) == ROWS
    assert plain(file, scratch).read_text() == ROWS


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize("kind", ["parquet", "feather", "stream", "json lines", "json array"])
def test_kind_shows_in_the_bytes(tmp_path, scratch, kind, pack):
    out = io.BytesIO()
    if kind == "parquet":
        TABLE.to_parquet(out)
    elif kind == "feather":
        feather.write_feather(TABLE, out)
    elif kind == "stream":
        table = pyarrow.Table.from_pandas(TABLE)
        with ipc.new_stream(out, table.schema) as writer:
            writer.write_table(table)
    else:
        out.write(TABLE.to_json(orient="records", lines=kind == "json lines").encode())
    file = only(write(tmp_path / "x.csv", PACKS[pack](out.getvalue())))
    expected = {"parquet": "parquet", "feather": "arrow", "stream": "arrow"}.get(kind, "json")
    assert file.kind == expected
    assert plain(file, scratch).read_bytes() == out.getvalue()


@pytest.mark.parametrize(
    ("text", "is_json"),
    [
        ('{"user": 1, "item": 2}\n{"user": 2}\n', True),
        ('\n {"user": 1}', True),
        ('{\n "user": 1,\n "item": {"id": 2}\n}\n', True),
        ('[{"user": 1}, {"user": 2}]', True),
        ('[\n  {"user": 1}\n]', True),
        ("[[1, 2, 5], [1, 3, 4]]", True),
        ('{"review": "' + "x" * 100_000 + '"}\n', True),
        ('[{"review": "' + "x" * 100_000 + '"}]\n', True),
        ('{"a": 1},5\n', False),
        ("[1] 2 3\n", False),
        ("{braces},item\n1,2\n", False),
        ('"user","item"\n', False),
    ],
)
def test_json_or_a_text_that_begins_as_one(tmp_path, text, is_json):
    assert only(write(tmp_path / "x", text)).kind == ("json" if is_json else "text")


def _sqlite() -> bytes:
    with sqlite3.connect(":memory:") as connection:
        connection.execute("create table ratings (user, item)")
        return connection.serialize()


def _bytes(writer) -> bytes:
    out = io.BytesIO()
    writer(out)
    return out.getvalue()


def _tar(out) -> None:
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("ratings.csv"))


def _archive(*names: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return out.getvalue()


FOREIGN = {
    "an Excel workbook. Save it as CSV and set data.path to that.": _archive(
        "[Content_Types].xml", "xl/workbook.xml"
    ),
    "an old Excel workbook": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500),
    "an OpenDocument file": _archive("mimetype", "content.xml"),
    "a MATLAB file": b"MATLAB 5.0 MAT-file, Platform: GLNXA64" + bytes(90),
    "a MATLAB file. Write it anew by `writematrix": b"MATLAB 7.3 MAT-file" + bytes(493),
    "an HDF5 file": b"\x89HDF\r\n\x1a\n" + bytes(90),
    "a NumPy array": _bytes(lambda out: numpy.save(out, numpy.eye(2))),
    "an archive of NumPy arrays": _bytes(lambda out: numpy.savez(out, a=numpy.eye(2))),
    "a file of PyTorch": _archive("ratings/data.pkl", "ratings/data/0"),
    "a file of R": b"RDX3\nX\n\0\0\0\x03",
    "an SQLite database": _sqlite(),
    "an ORC file": _bytes(TABLE.to_orc),
    "an Avro file": b"Obj\x01\x04\x14avro.codec",
    "a Feather file of version 1": b"FEA1" + bytes(60),
    "an encrypted Parquet file": b"PARE" + bytes(60),
    "a PDF": b"%PDF-1.7\n",
    "a 7z archive": b"7z\xbc\xaf\x27\x1c" + bytes(60),
    "a rar archive": b"Rar!\x1a\x07\x01\x00",
    "a tar archive": _bytes(_tar),
    "compressed twice": gzip.compress(gzip.compress(ROWS.encode())),
    "an HTML page": b"\n<!DOCTYPE html>\n<html><title>Sign in</title>",
    "an XML document": b'<?xml version="1.0"?>\n<ratings/>',
    "a pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid 4d7a\nsize 1\n",
    "a pointer of git-annex": b"/annex/objects/SHA256E-s1--4d7a.csv\n",
    "in blocks, as those of the Netflix Prize": b"1:\n1488844,3,2005-09-06\n822109,5,2005-05-13\n",
    "in Python's notation of dictionaries": b"{'reviewerID': 'A1', 'asin': 'B0'}\n",
    "a Matrix Market file": b"%%MatrixMarket matrix coordinate real general\n2 2 1\n1 1 5\n",
    "an ARFF file": b"% ratings\n@RELATION ratings\n@DATA\n1,2,5\n",
    "no text, and of no kind that is read": numpy.random.default_rng(0).bytes(5000),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_kind_that_is_not_read_is_named_with_the_way_out(tmp_path, what):
    path = write(tmp_path / "ratings.csv", FOREIGN[what])
    with pytest.raises(DataError) as caught:
        find(str(path))
    assert f"{path} is {what}" in str(caught.value)


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("held", [{"user": 1}, [1, 2], TABLE], ids=["dict", "list", "frame"])
def test_pickles_of_all_protocols_are_refused_unopened(tmp_path, held, protocol):
    path = write(tmp_path / "x.csv", pickle.dumps(held, protocol))
    with pytest.raises(DataError, match="is a pickle"):
        find(str(path))
    packed = write(tmp_path / "x.gz", gzip.compress(path.read_bytes()))
    with pytest.raises(DataError, match="is a pickle"):
        find(str(packed))


@pytest.mark.parametrize(
    "text",
    [
        "ORCID,item\n1,2\n",
        "customer\nu1\nu2\n",
        "PARENT,item\né,2\n",
        "user_id,DUCK\n1,2\n",
        "A\n2\n3\n",
        "BZhang,item\n1,2\n",
        "1:5,3\n",
        "PK,1\n",
    ],
)
def test_a_text_that_begins_as_another_kind_is_read(tmp_path, text):
    assert sample(only(write(tmp_path / "x", text))) == text


def test_the_command_of_the_netflix_blocks_works(tmp_path):
    path = write(
        tmp_path / "blocks.txt", "1:\n5,3,2005-09-06\n6,5,2005-05-13\n2:\n5,1,2005-09-07\n"
    )
    with pytest.raises(DataError) as caught:
        find(str(path))
    command = str(caught.value).split("`")[3]
    assert os.system(f"cd {tmp_path} && {command}") == 0
    rows = (tmp_path / "ratings.csv").read_text()
    assert rows == "1,5,3,2005-09-06\n1,6,5,2005-05-13\n2,5,1,2005-09-07\n"


def test_the_command_of_libsvm_works(tmp_path):
    path = write(tmp_path / "lists.txt", "1 10:5 11:3.5 \n2 10:4\n3 12:1 10:2\n")
    with pytest.raises(DataError, match="in the form of libsvm") as caught:
        find(str(path))
    command = str(caught.value).split("`")[3]
    assert os.system(f"cd {tmp_path} && {command}") == 0
    assert (tmp_path / "ratings.csv").read_text().split() == [
        *("1,10,5", "1,11,3.5", "2,10,4", "3,12,1", "3,10,2")
    ]


@pytest.mark.parametrize(
    ("pack", "damage"),
    [
        (pack, damage)
        for pack in PACKS
        for damage in ("cut", "cut at the end", "changed")
        if pack != "plain" and (pack, damage) != ("zstd", "changed")  # no checksum is written here
    ],
)
def test_broken_archives_are_named(tmp_path, scratch, pack, damage):
    noise = numpy.random.default_rng(0).integers(10**6, size=50_000)
    whole = PACKS[pack]("\n".join(map(str, noise)).encode())
    middle = len(whole) // 2
    broken = {
        "cut": whole[:middle],
        "cut at the end": whole[:-2],
        "changed": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
    }[damage]
    path = write(tmp_path / "x", broken)
    with pytest.raises(DataError, match=r"x(/data/ratings.csv)? can't be read: .*file is whole"):
        plain(only(path), scratch)


def test_an_archive_with_a_password_is_to_be_unpacked(tmp_path):
    content = bytearray(zipped(ROWS.encode()))
    for place in (content.rfind(b"PK\x03\x04") + 6, content.rfind(b"PK\x01\x02") + 8):
        content[place] |= 1
    with pytest.raises(DataError, match=r"can't be read: .*password.*\. Unpack it and set"):
        find(str(write(tmp_path / "x", bytes(content))))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a disk that is full")
def test_a_full_disk_is_told_as_that(tmp_path, scratch, monkeypatch):
    file = only(write(tmp_path / "x", gzip.compress(ROWS.encode())))
    monkeypatch.setattr(files, "_new_path", lambda _: Path("/dev/full"))
    with pytest.raises(DataError, match=r"can't be copied .*disk is full.*Free some.*TMPDIR"):
        plain(file, scratch)


def test_a_cut_parquet_file_is_named(tmp_path):
    TABLE.to_parquet(tmp_path / "x")
    path = write(tmp_path / "y", (tmp_path / "x").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"y can't be read: .*file is whole"):
        find(str(path))


@pytest.mark.parametrize(
    "content", [b"", b"\n\r\n ", gzip.compress(b"")], ids=["no byte", "blank lines", "gzip"]
)
def test_an_empty_file_is_named(tmp_path, content):
    with pytest.raises(DataError, match=r"x is empty\. Set data\.path to a file with one"):
        find(str(write(tmp_path / "x", content)))


# Encodings

WORDS = "user_id,item_id\né,日本\nü,1\n"


@pytest.mark.parametrize(
    ("data", "encoding"),
    [
        (WORDS.encode(), "utf-8"),
        (codecs.BOM_UTF8 + WORDS.encode(), "utf-8"),
        (WORDS.encode("utf-16"), "utf-16-le"),
        (codecs.BOM_UTF16_BE + WORDS.encode("utf-16-be"), "utf-16-be"),
        (WORDS.encode("utf-16-le"), "utf-16-le"),
        (WORDS.encode("utf-16-be"), "utf-16-be"),
        (WORDS.encode("utf-32"), "utf-32-le"),
    ],
    ids=["utf-8", "mark", "16", "16 big", "16 without mark", "16 big without mark", "32"],
)
@pytest.mark.parametrize("pack", ["plain", "gzip"])
def test_encodings_are_found(tmp_path, scratch, data, encoding, pack):
    file = only(write(tmp_path / "x", PACKS[pack](data)))
    assert file.encoding == encoding
    assert sample(file) == WORDS
    assert plain(file, scratch).read_text("utf-8-sig") == WORDS


def test_what_is_not_utf_8_is_latin_1_byte_for_byte(tmp_path, scratch):
    """Also in a file that is UTF-8 elsewhere, and first after what is looked at to find that."""
    mixed = "é,1\n".encode() + "é,2\n".encode("latin-1") + b"\x80,3\n\xe6\x97,4\n"
    expected = "é,1\né,2\n\x80,3\næ\x97,4\n"
    file = only(write(tmp_path / "x", mixed))
    assert file.encoding == "latin-1"
    assert only(write(tmp_path / "z", mixed + "ü,5\n".encode() * 9)).encoding == "utf-8"
    assert sample(file) == plain(file, scratch).read_text() == expected
    late = only(write(tmp_path / "y", b"a,0\n" * 300_000 + mixed))
    assert late.encoding == "utf-8"
    assert plain(late, scratch).read_text() == "a,0\n" * 300_000 + expected


@pytest.mark.parametrize("size", [1, 2, 3, 4, 1000])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marks_of_files_put_one_behind_the_other_are_no_part_of_an_id(
    tmp_path, scratch, monkeypatch, encoding, size
):
    monkeypatch.setattr(streams, "CHUNK_BYTES", size)
    path = write(tmp_path / "x", "a,1\n".encode(encoding) + "b,2\nc\ufeff,3\n".encode(encoding))
    assert plain(only(path), scratch).read_text() == "a,1\nb,2\nc\ufeff,3\n"
    assert sample(only(path)) == "a,1\nb,2\nc\ufeff,3\n"


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "cp1251", "utf-16", "UTF-8", "big5"])
def test_any_other_encoding_can_be_named(tmp_path, scratch, encoding):
    words = {"cp1252": "€,é\n", "shift_jis": "日本,1\n", "cp1251": "Ж,1\n", "big5": "日本,1\n"}
    text = words.get(encoding, WORDS)
    assert read(write(tmp_path / "x", text.encode(encoding)), scratch, encoding=encoding) == text


def test_a_file_that_is_not_of_the_named_encoding_is_named_with_the_line(tmp_path, scratch):
    lines = b"a,1\n" * 400_000
    path = write(tmp_path / "x", lines + "é,2\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"not of the encoding utf-8, as line 400,001 shows\. Set"):
        plain(only(path, encoding="utf-8"), scratch)
    path = write(tmp_path / "x", "a,1\n".encode("utf-16-le") + b"\n")
    with pytest.raises(DataError, match="not of the encoding utf-16-le, as line 2"):
        plain(only(path), scratch)


@pytest.mark.parametrize("encoding", ["base64", "rot13", "utf-9", "", "a\0b"])
def test_an_encoding_that_is_none(tmp_path, encoding):
    with pytest.raises(ConfigError, match=r"data\.encoding must be one that Python knows, as"):
        find(str(write(tmp_path / "x", ROWS)), encoding=encoding)


def test_a_nul_in_a_text_is_refused_with_its_line(tmp_path, scratch):
    path = write(tmp_path / "x", ROWS * 50_000 + "1,\0,5\n")
    with pytest.raises(DataError, match="holds a NUL character in line 150,001"):
        plain(only(path), scratch)
    with pytest.raises(DataError, match="holds a NUL character in line 1"):
        sample(only(write(tmp_path / "x", "a\0,1\nb,2\n")))


# Lines


@pytest.mark.parametrize("size", [1, 2, 3, 5, 1000])
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,1\nb,2\n", "a,1\nb,2\n"),
        ("a,1\r\nb,2\r\n", "a,1\r\nb,2\r\n"),
        ("a,1\rb,2\r", "a,1\nb,2\n"),
        ("a,1\rb,2", "a,1\nb,2"),
        ('"5" tall"\rb,2\r', '"5" tall"\nb,2\n'),
        ("a,1\r\nb,2\nc,3\r", "a,1\nb,2\nc,3\n"),
        ('a,"1\r2"\n"b\r\n",2\r\nc,"""\r"\rd,4\n', 'a,"1\r2"\n"b\r\n",2\nc,"""\r"\nd,4\n'),
        ('a,"1\n2"\r\nb,2\r\n', 'a,"1\n2"\nb,2\n'),
        ('é,1\r"é\r"\n', 'é,1\n"é\r"\n'),
    ],
)
def test_line_ends_become_one_outside_of_quotes(
    tmp_path, scratch, monkeypatch, text, expected, size
):
    if size == 1 and text.startswith("a,1\r\nb,2\nc"):
        size = 2
    monkeypatch.setattr(streams, "CHUNK_BYTES", size)
    path = write(tmp_path / "x", text)
    if "\n" in text.replace("\r\n", "") or "\n" not in text or size > 20:
        assert plain(only(path), scratch).read_bytes().decode() == expected
    assert sample(only(path)) == text.replace("\r\n", "\n").replace("\r", "\n")


FIELDS = st.text(st.characters(codec="cp1252", exclude_characters="\0\ufeff"), max_size=4)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(st.tuples(FIELDS, FIELDS, st.sampled_from(["\n", "\r\n", "\r"])), max_size=5),
    pack=st.sampled_from(list(PACKS)),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp1252"]),
    size=st.integers(1, 9),
)
def test_no_field_is_changed_on_the_way(rows, pack, encoding, size):
    out = io.StringIO(newline="")
    out.write("user_id,item_id\n")
    for user, item, end in rows:
        csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerow([user, item])
    named = encoding if encoding == "cp1252" else None
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(streams, "CHUNK_BYTES", size)
        path = write(Path(folder) / "x", PACKS[pack](out.getvalue().encode(encoding)))
        text = plain(only(path, encoding=named), Path(folder)).read_bytes().decode("utf-8-sig")
    read_rows = list(csv.reader(io.StringIO(text, newline="")))
    assert read_rows[1:] == [[user, item] for user, item, _ in rows]


def test_only_what_duckdb_cannot_read_is_copied(tmp_path, scratch):
    for name, content in {
        "lf": ROWS.encode(),
        "crlf": ROWS.replace("\n", "\r\n").encode(),
        "marked": codecs.BOM_UTF8 + ROWS.encode(),
        "no end": b"a,b",
    }.items():
        path = write(tmp_path / name, content)
        assert plain(only(path), scratch) == path
    assert not list(scratch.iterdir())


@pytest.mark.parametrize("name", ["a[1].csv", "a*.csv", "x.csv.gz", "year=2020/x.csv", "it's.csv"])
def test_a_name_that_says_something_to_duckdb_is_read_as_a_name(tmp_path, scratch, name):
    path = plain(only(write(tmp_path / name, ROWS)), scratch)
    rows = duckdb.read_csv(str(path)).fetchall()
    assert rows == [(1, 10, 5), (2, 11, 4)]


def test_a_sample_is_whole_lines_or_the_beginning_of_one(tmp_path):
    assert sample(only(write(tmp_path / "x", "ab\r\ncd\r\nef")), 7) == "ab\ncd\n"
    assert sample(only(write(tmp_path / "x", "ab\r\ncd\r\nef")), 100) == "ab\ncd\nef"
    assert sample(only(write(tmp_path / "x", "x" * 100)), 7) == "x" * 7


@pytest.mark.parametrize("pack", PACKS)
def test_a_large_file_is_read_behind_a_bar(tmp_path, scratch, monkeypatch, pack):
    monkeypatch.setattr(streams, "PROGRESS_ABOVE_BYTES", 10)
    monkeypatch.setattr("sys.stderr", terminal := io.StringIO())
    terminal.isatty = lambda: True
    file = only(write(tmp_path / "[x].csv", PACKS[pack](b"\xe9,1\n" * 1000)))
    assert plain(file, scratch).read_text() == "é,1\n" * 1000
    assert "Reading [x].csv" in terminal.getvalue()


# Folders, globs, archives


def names(found: list[File]) -> list[str]:
    return [file.path.name for file in found]


def test_parts_of_spark_in_their_order(tmp_path):
    for part in (10, 2, 1):
        write(tmp_path / f"part-{part}.csv", ROWS)
    write(tmp_path / "part-3.csv", b"")
    write(tmp_path / "part-4.csv.gz", gzip.compress(b""))
    for beside in ("_SUCCESS", ".part-1.csv.crc", "_temporary/0.csv", ".hidden", "README.md"):
        write(tmp_path / beside, "x")
    expected = ["part-1.csv", "part-2.csv", "part-10.csv"]
    assert names(find(str(tmp_path))) == expected
    assert names(find(f"{tmp_path}/*")) == expected
    assert names(find(f"{tmp_path}/**/*.csv")) == expected
    listed = [f"{tmp_path}/part-10.csv", f"{tmp_path}/part-1.csv"]
    assert names(find(listed)) == ["part-10.csv", "part-1.csv"]


def test_hive_folders_give_columns(tmp_path):
    for year in (2020, 2019):
        write(tmp_path / f"year={year}" / "kind=a%2Fb" / "part-0.csv", ROWS)
    write(tmp_path / "year=__HIVE_DEFAULT_PARTITION__" / "kind=c" / "part-0.csv", ROWS)
    expected = [
        (("year", "2019"), ("kind", "a/b")),
        (("year", "2020"), ("kind", "a/b")),
        (("year", ""), ("kind", "c")),
    ]
    assert [file.folders for file in find(str(tmp_path))] == expected
    for pattern in ("year=*", "year=*/kind=*", "**/*.csv", "year=*/*/part-*"):
        assert [file.folders for file in find(f"{tmp_path}/{pattern}")] == expected
    assert only(tmp_path / "year=2020").folders == (("kind", "a/b"),)


def test_parts_without_a_header_are_parts(tmp_path):
    for part in range(3):
        write(tmp_path / f"part-{part}", f"{part}\t10\t5\n")
    assert len(find(str(tmp_path))) == 3


def test_tables_of_a_data_set_are_not_parts_of_one(tmp_path):
    for name, text in {
        "u.data": "1\t10\t5\t874965758\n",
        "u.item": "1|Toy Story (1995)|01-Jan-1995\n",
        "u.user": "1|24|M|technician|85711\n",
    }.items():
        write(tmp_path / name, text)
    with pytest.raises(DataError) as caught:
        find(str(tmp_path))
    assert f"{tmp_path} holds 3 tables that are not alike. Name one of them: " in str(caught.value)
    assert f"data.path={tmp_path}/u.data" in str(caught.value)
    for number in range(50):
        write(tmp_path / f"table {number}.csv", f"a{number},b\n1,2\n")
    with pytest.raises(DataError) as caught:
        find(str(tmp_path))
    assert len(str(caught.value)) < 1000
    assert "holds 53 tables" in str(caught.value)


@pytest.mark.parametrize("kind", ["parquet", "feather", "json"])
def test_parts_have_the_same_columns_in_any_kind(tmp_path, kind):
    def save(table: pandas.DataFrame, name: str) -> None:
        path = tmp_path / f"{name}.{kind}"
        table.to_json(path, orient="records", lines=True) if kind == "json" else getattr(
            table, f"to_{kind}"
        )(path)

    save(TABLE, "1")
    save(TABLE[["item_id", "rating", "user_id"]], "2")
    assert len(find(str(tmp_path))) == 2
    save(TABLE.set_axis(["business_id", "name", "stars"], axis=1), "3")
    with pytest.raises(DataError, match="3 tables that are not alike"):
        find(str(tmp_path))


def test_parts_of_a_split_are_a_question(tmp_path):
    for name in ("train.csv", "test.csv", "candidates.csv"):
        write(tmp_path / name, ROWS)
    answer = f"data.path={tmp_path}/train.csv data.test_path={tmp_path}/test.csv split=given"
    with pytest.raises(DataError, match=re.escape(answer)):
        find(str(tmp_path))
    (tmp_path / "candidates.csv").unlink()
    (tmp_path / "test.csv").rename(tmp_path / "train2.csv")
    assert len(find(str(tmp_path))) == 2
    write(tmp_path / "train2.csv", "").rename(tmp_path / "latest.csv")
    assert len(find(str(tmp_path))) == 1


def test_parts_of_different_kinds_are_refused(tmp_path):
    write(tmp_path / "a.csv", ROWS)
    TABLE.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match="2 tables that are not alike"):
        find(str(tmp_path))
    with pytest.raises(DataError, match=r"must be of one kind: .*a\.csv is text, .*is parquet"):
        find([f"{tmp_path}/a.csv", f"{tmp_path}/b.parquet"])


def test_a_folder_without_a_table(tmp_path):
    with pytest.raises(DataError, match=r"is a folder\. Set data\.path to the file with the inter"):
        find(str(tmp_path))
    write(tmp_path / "ml-100k" / "u.data", ROWS)
    with pytest.raises(
        DataError, match=r"is a folder\. Set .*, as data\.path=.*/ml-100k/u\.data\."
    ):
        find(str(tmp_path))
    (tmp_path / "ratings" / "_delta_log").mkdir(parents=True)
    with pytest.raises(DataError, match=r"is a Delta table\. Write what it holds now as Parquet"):
        find(str(tmp_path / "ratings"))


def test_a_member_is_sought_in_a_folder_one_further_down_and_in_an_archive(tmp_path):
    inner = write(tmp_path / "folder" / "ml" / "u.data", ROWS)
    assert only(tmp_path / "folder", member="u.data").path == inner
    assert only(tmp_path / "folder" / "ml", member="u.data").path == inner
    assert only(inner, member="u.data").path == inner
    with pytest.raises(DataError, match=r"is a folder without a file u\.item"):
        find(str(tmp_path), member="u.item")
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        archive.writestr("ml/u.data", ROWS)
        archive.writestr("ml/u.item", ROWS)
    assert only(tmp_path / "x", member="u.data").member == "ml/u.data"
    with pytest.raises(DataError, match=r"is a zip archive without u\.user\. Unpack it"):
        find(str(tmp_path / "x"), member="u.user")


def test_one_of_several_tables_of_an_archive_is_named_behind_it(tmp_path, scratch):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml/movies.csv", "id,title\n")
        archive.writestr("ml/my ratings.csv", ROWS)
    with pytest.raises(DataError) as caught:
        find(str(path))
    assert "is a zip archive of 2 tables. Name one of them: " in str(caught.value)
    assert f"data.path='{path}/ml/my ratings.csv'" in str(caught.value)
    for name in ("ml/my ratings.csv", "my ratings.csv"):
        file = only(path / name)
        assert file.name == f"{path}/ml/my ratings.csv"
        assert plain(file, scratch).read_text() == ROWS
    with pytest.raises(DataError, match=r"is a zip archive without gone\.csv"):
        find(str(path / "gone.csv"))
    with pytest.raises(DataError, match="is a zip archive without a table"):
        find(str(write(tmp_path / "y.zip", _archive("README.txt"))))


@pytest.mark.parametrize("name", ["gone.csv", "gone*.csv", "gone/x", "~nobodyhere/x", "x" * 5000])
def test_a_path_of_nothing(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"There is no file .*Set data\.path to the file with"):
        find(name)


def test_a_file_of_ones_home_and_pipes(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    path = write(tmp_path / "ratings.csv", ROWS)
    assert only("~/ratings.csv").path == path
    assert only("~/rat*.csv").path == path
    os.mkfifo(tmp_path / "pipe")
    for endless in (tmp_path / "pipe", "/dev/zero", "/dev/null"):
        with pytest.raises(DataError, match="is no file but a pipe or a device"):
            find(str(endless))


# Changes while it is read


@pytest.mark.parametrize("change", ["append", "replace", "delete"])
def test_a_file_that_changes_while_it_is_read(tmp_path, change):
    path = write(tmp_path / "x", ROWS)

    def read_while_it_changes() -> None:
        with unchanged(find(str(path))):
            if change == "append":
                path.write_text(ROWS + "3,4,5\n")
            elif change == "replace":
                os.replace(write(tmp_path / "y", ROWS), path)
            else:
                path.unlink()
                raise ValueError("a row that isn't whole")

    with pytest.raises(DataError, match=r"x changed while it was read\. Wait until it is whole"):
        read_while_it_changes()


def test_a_fault_of_a_file_that_stays_is_told_as_it_is(tmp_path):
    path = write(tmp_path / "x", ROWS)
    with unchanged(find(str(path))):
        pass
    with pytest.raises(DataError, match="a fault"), unchanged(find(str(path))):
        raise DataError("a fault")


def test_records_of_json_may_leave_fields_out(tmp_path):
    write(tmp_path / "1.jsonl", json.dumps({"user": 1, "item": 2, "text": "x"}))
    write(tmp_path / "2.jsonl", json.dumps({"user": 1, "item": 2}))
    assert len(find(str(tmp_path))) == 2
