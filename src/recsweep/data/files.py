"""What lies under a path: a file, the parts of a folder, a member of an archive; and its bytes as
text."""

import codecs
import csv
import errno
import glob
import json
import os
import re
import sys
import tempfile
import uuid
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from lzma import LZMAError
from pathlib import Path
from typing import IO, BinaryIO, Literal, NamedTuple, cast
from urllib.parse import unquote

from recsweep.causes import cause_of
from recsweep.checks import as_said, short
from recsweep.config import override
from recsweep.data import foreign
from recsweep.errors import ConfigError, DataError
from recsweep.mistakes import in_shell
from recsweep.terminal import printable

Kind = Literal["text", "json", "parquet", "arrow"]

PROGRESS_ABOVE_BYTES = 20_000_000
HEAD_BYTES = 65_536
"""Bytes at the start of a file that tell its kind."""

CHUNK_BYTES = 1_000_000
SHOWN_TABLES = 10
SHOWN_CHARACTERS = 600

PACKED = {
    "gzip": rb"\x1f\x8b\x08",
    "bz2": rb"BZh[1-9](?:1AY&SY|\x17\x72\x45\x38\x50\x90)",
    "xz": rb"\xfd7zXZ\x00",
    "zstd": rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18",
    "zip": rb"PK(?:\x03\x04|\x05\x06)",
}
"""How the bytes of what is compressed begin."""

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # which begins as UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
"""The marks of byte order that name an encoding."""

MARK = "\ufeff"
"""Such a mark as a character."""

BESIDE = re.compile(
    r"^[._]|\.crc$|^(?:readme|licen[cs]e|copying|changelog|notice)\b|\.(?:md|pdf|html?|ipynb|py)$",
    re.IGNORECASE,
)
"""Names of what lies beside the parts of a table, as Spark's `_SUCCESS`."""

PARTS_OF_A_SPLIT = {
    "data.path": ("train", "base"),
    "data.validation_path": ("valid", "val", "dev"),
    "data.test_path": ("test", "holdout"),
}
"""Words in the names of files that are not to be read as one table, by the setting of each."""

OF_A_SPLIT = re.compile(
    rf"(?<![a-z])({'|'.join(chain(*PARTS_OF_A_SPLIT.values()))})(?:ing|ation)?(?![a-z])"
)


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Decode what isn't UTF-8 as Latin-1: no byte is lost, so that two ids never become one."""
    undecoded = cast(UnicodeDecodeError, error)
    return undecoded.object[undecoded.start : undecoded.end].decode("latin-1"), undecoded.end


codecs.register_error("recsweep_latin_1", _as_latin_1)


@dataclass(frozen=True)
class File:
    """One part of a table, whose kind shows in its bytes, whatever its name.

    Attributes:
        path: The absolute path of the file that was named, or of a part.
        kind: `text`, `json`, `parquet` or `arrow`.
        compression: `gzip`, `bz2`, `xz`, `zstd` or `zip`; None where there is none.
        member: Name of the table in a zip archive; else None.
        encoding: Encoding of a text, as Python names it; None of what is no text.
        folders: Values of hive folders above it, as (`year`, `2020`); they are columns too.
        encoding_named: Whether the user named the encoding: then all has to be of it. Of one that
            was found, `utf-8` and `latin-1` both mean that what isn't UTF-8 is read as Latin-1, and
            say what more of it is.
    """

    path: Path
    kind: Kind
    compression: str | None = None
    member: str | None = None
    encoding: str | None = None
    folders: tuple[tuple[str, str], ...] = ()
    encoding_named: bool = False

    @property
    def name(self) -> str:
        """Its path in messages, which `find` takes; of a member that of the archive before it."""
        return str(self.path if self.member is None else self.path / self.member)


class _Part(NamedTuple):
    """What may be a part of a table, before its bytes are looked at."""

    path: Path
    member: str | None = None
    folders: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        return str(self.path if self.member is None else self.path / self.member)


def find(
    path: str | Sequence[str], *, member: str | None = None, encoding: str | None = None
) -> list[File]:
    """The parts under a path, a glob or several paths, in order.

    Args:
        path: A file, a folder of parts, a glob, or several of these; a table in a zip archive as
            `archive.zip/ratings.csv`.
        member: File that is sought in a folder or an archive; None for all parts of a folder, and
            the one table of an archive.
        encoding: Encoding of a text; None finds it.

    Raises:
        DataError: There is no such file, or it is of a kind that isn't read, with the conversion.
        ConfigError: There is no such encoding.
    """
    encoding = None if encoding is None else _known_encoding(encoding)
    files: list[File] = []
    for named in [path] if isinstance(path, str) else path:
        with _readable(named):  # a folder may be closed to this user
            files += _files(named, member, encoding)
    kinds = {file.kind: file.name for file in files}
    if len(kinds) > 1:
        found = ", ".join(f"{short(name)} is {kind}" for kind, name in kinds.items())
        raise DataError(
            f"The parts of a table must be of one kind: {found}. Set data.path to those of one."
        )
    return files


def sample(file: File, size: int = 1_000_000) -> str:
    """The first whole lines of a text, as Unicode with `\\n` as line end; `size` in characters. Of
    a line that is longer than that, its beginning.

    Raises:
        DataError: The file is broken, or not of its encoding.
    """
    text = ""
    with _readable(file.name), _opened(file) as stream:
        for piece in _decoded(stream, file):
            text += piece
            if len(text) > size + 1:
                text = _line_feeds(text)[:size]
                return text[: text.rfind("\n") + 1] or text
    return _line_feeds(text)


def plain(file: File, scratch: Path) -> Path:
    """A file that DuckDB reads by itself: the file as it is, or a copy of it in the folder
    `scratch` as uncompressed UTF-8 with `\\n` as line end (outside of quotes; between them what
    stands there stays).

    Raises:
        DataError: The file is broken, or not of its encoding.
    """
    if file.compression is None and (file.encoding is None or _is_plain(file)):
        return _linked(file.path, scratch)
    heeds_quotes = b"\n" in _head(file)
    copy = _new_path(scratch)
    with (
        _readable(file.name),
        _opened(file, f"Reading {file.path.name}") as stream,
        copy.open("wb") as out,
    ):
        if file.encoding is None:
            pieces: Iterator[bytes] = _chunks(stream)
        else:
            texts = _decoded(stream, file)
            # JSON has no line end that counts, and its own way to write a quote
            if file.kind == "text":
                texts = _with_line_feeds(texts, heeds_quotes)
            pieces = (text.encode() for text in texts)
        for piece in pieces:
            out.write(piece)
    return copy


@contextmanager
def unchanged(files: Iterable[File]) -> Iterator[None]:
    """Raise DataError at the end where one of the files was changed in the meantime."""
    paths = {file.path for file in files}
    before = {path: _stamp(path) for path in paths}
    fault = None
    try:
        yield
    except Exception as error:  # which half a file may be the cause of
        fault = error
    for path in paths:
        if _stamp(path) != before[path]:
            raise DataError(
                f"{path} changed while it was read. Wait until it is whole, or copy it, and run "
                "again."
            ) from fault
    if fault is not None:
        raise fault


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:  # it is gone
        return None
    return status.st_size, status.st_mtime_ns, status.st_ino


def existing(path: str | Path) -> Path | None:
    """The absolute path of a file or folder, `~` replaced; None where there is nothing, as under a
    name that no system allows."""
    try:
        absolute = Path(path).expanduser().absolute()
        return absolute if absolute.exists() else None
    except (OSError, RuntimeError, ValueError):  # a name too long; a `~` of nobody; a NUL
        return None


def refuse_endless(path: Path) -> None:
    """Raise DataError for what is no regular file: a pipe or a device may never end, or never
    begin."""
    if not path.is_file():
        raise DataError(
            f"{path} is no file but a pipe or a device. Write its content to a file first, and "
            "name that."
        )


# What is found


def _files(named: str, member: str | None, encoding: str | None) -> list[File]:
    """The parts under one path."""
    found = existing(named)
    if found is None:
        archive, inner = _archive_above(named)
        parts = [_Part(archive, inner)] if archive is not None else _matching(named)
        return _table(parts, encoding, named)
    if not found.is_dir():
        refuse_endless(found)
        return _table([_Part(found, member)], encoding, named)
    if member is None:
        return _table(_parts(found), encoding, named)
    for pattern in (member, f"*/{member}"):
        if files := sorted(found.glob(pattern)):
            refuse_endless(files[0])
            return _table([_Part(files[0])], encoding, named)
    raise DataError(
        f"{found} is a folder without a file {member}. Set data.path to the file with the "
        "interactions."
    )


def _archive_above(named: str) -> tuple[Path | None, str]:
    """The zip archive whose member is named, as `archive.zip/ratings.csv`, and the member."""
    path = Path(named)
    for folder in path.parents:
        archive = existing(folder)
        if archive is not None:
            is_archive = archive.is_file() and zipfile.is_zipfile(archive)
            return archive if is_archive else None, path.relative_to(folder).as_posix()
    return None, ""


def _matching(named: str) -> list[_Part]:
    """What a glob stands for, with the values of the hive folders below its fixed beginning."""
    try:
        pattern = Path(named).expanduser().absolute()
        matches = sorted(map(Path, glob.glob(str(pattern), recursive=True)), key=_natural)
    except (OSError, RuntimeError, ValueError):  # as in `existing`
        pattern, matches = Path(named).absolute(), []
    parts: list[_Part] = []
    if glob.has_magic(str(pattern)):
        fixed = next(place for place, part in enumerate(pattern.parts) if glob.has_magic(part))
        for match in matches:
            names = match.parts[fixed:]
            if any(BESIDE.search(name) for name in names):
                continue
            if match.is_dir() and "**" not in pattern.parts:
                folders = _values(names)
                inner = _parts(match)
                parts += [part._replace(folders=folders + part.folders) for part in inner]
            elif match.is_file() and match.stat().st_size:
                parts.append(_Part(match, folders=_values(names[:-1])))
    if not parts:
        raise DataError(
            f"There is no file {short(str(pattern))}. Set data.path to the file with the "
            "interactions."
        )
    return parts


def _parts(folder: Path) -> list[_Part]:
    """The files of a folder that hold anything, and those of the hive folders in it."""
    parts: list[_Part] = []
    entries = sorted(folder.iterdir(), key=_natural)
    foreign.refuse_folder([entry.name for entry in entries], str(folder))
    for entry in entries:
        if BESIDE.search(entry.name):
            continue
        if values := _values([entry.name]) if entry.is_dir() else ():
            parts += [part._replace(folders=values + part.folders) for part in _parts(entry)]
        elif entry.is_file() and entry.stat().st_size:
            parts.append(_Part(entry))
    return parts


def _natural(path: Path) -> list[tuple[int, str]]:
    """A key that sorts part-2 before part-10."""
    texts = re.split(r"(\d+)", str(path))
    return [(int(text) if text.isdecimal() else -1, text) for text in texts]


def _values(names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names and values of hive folders, as of `year=2020`."""
    values = [name.split("=", 1) for name in names if "=" in name.strip("=")]
    empty = "__HIVE_DEFAULT_PARTITION__"
    return tuple((unquote(key), "" if text == empty else unquote(text)) for key, text in values)


def _table(parts: Sequence[_Part], encoding: str | None, named: str) -> list[File]:
    """The parts as files of one table.

    Raises:
        DataError: There is none, or they are not parts of one.
    """
    files = [file for part in parts if (file := _file(part, encoding))]
    if not files and parts:
        raise DataError(
            f"{parts[0].name} is empty. Set data.path to a file with one interaction a line."
        )
    if not files:
        folder = Path(named).expanduser().absolute()
        below = [_Part(path) for path in sorted(folder.glob("*/*"), key=_natural)]
        below = [
            part for part in below if part.path.is_file() and not BESIDE.search(part.path.name)
        ]
        remedy = f", as {_commands(below)}" if below else ""
        raise DataError(
            f"{folder} is a folder. Set data.path to the file with the interactions{remedy}."
        )
    if len(files) > 1:
        _check_alike(files, named)
    return files


def _check_alike(files: Sequence[File], named: str) -> None:
    """Raise DataError where files are tables of their own, and not parts of one."""
    place = short(str(Path(named).expanduser().absolute()))
    if len({file.kind for file in files}) > 1 or not _are_alike([_form(file) for file in files]):
        raise DataError(
            f"{place} holds {len(files)} tables that are not alike. Name one of them: "
            f"{_commands(files)}."
        )
    words = [OF_A_SPLIT.findall(_below(file, named).lower())[-1:] for file in files]
    if any(word != words[0] for word in words):
        settings: dict[str, str] = {}
        for setting, part in PARTS_OF_A_SPLIT.items():
            if named_so := [
                file for file, word in zip(files, words, strict=True) if word and word[0] in part
            ]:
                settings[setting] = _command(setting, named_so[0].name)
        raise DataError(
            f"{place} holds parts of a split. Name the file of each, as "
            f"{' '.join(settings.values())} split=given, or all that are to be one, as "
            "data.path=[...]."
        )


def _below(file: File, named: str) -> str:
    """The part's name, without the folders above what was named."""
    above = existing(named)
    return file.path.name if above is None else os.path.relpath(file.path, above)


def _form(file: File) -> object:
    """What tells whether two files are parts of one table: the names of the columns, or the first
    line."""
    if file.kind == "text":
        return sample(file, HEAD_BYTES).strip().partition("\n")[0].strip()
    if file.kind == "json":
        first = re.search(r"\{", text := sample(file))
        try:
            record = json.JSONDecoder().raw_decode(text, first.start())[0] if first else {}
        except ValueError:  # longer than the sample
            record = {}
        return frozenset(record)
    with _readable(file.name), _opened(file) as stream:
        import pyarrow
        from pyarrow import ipc, parquet

        source = pyarrow.BufferReader(stream.read()) if file.compression else stream
        if file.kind == "parquet":
            return frozenset(parquet.read_schema(source).names)
        is_file = source.read(6) == b"ARROW1"
        source.seek(0)
        opened = (ipc.open_file if is_file else ipc.open_stream)(source)
        return frozenset(opened.schema.names)


def _are_alike(forms: Sequence[object]) -> bool:
    if len(set(forms)) == 1:
        return True
    if isinstance(forms[0], str):
        rows = [_fields(cast(str, line)) for line in forms]
        return all(rows) and len(set(rows)) == 1
    # records leave out what they have no value for
    most = max(cast(Sequence[frozenset], forms), key=len)
    return all(len(cast(frozenset, form) & most) * 2 > len(most) for form in forms)


def _fields(line: str) -> tuple[str, int] | None:
    """Separator and number of the fields of a line with numbers; None of a header. Of lists, whose
    lines differ, one."""
    separator = next((text for text in ("\t", "::", "|", ";", ",") if text in line), " ")
    try:
        fields = next(csv.reader([line], delimiter=separator[0]), [])
    except csv.Error:
        return None
    if not any(re.fullmatch(r"\s*-?\d+(?:[.,]\d+)?\s*", field) for field in fields):
        return None
    return separator, 1 if separator == " " else len(fields)


def _commands(tables: Sequence[File] | Sequence[_Part]) -> str:
    """The setting that names each table."""
    said: list[str] = []
    for table in tables[:SHOWN_TABLES]:
        command = _command("data.path", table.name)
        if said and sum(map(len, said)) + len(command) > SHOWN_CHARACTERS:
            break
        said.append(command)
    more = len(tables) - len(said)
    return ", ".join(said) + (f" and {more:,} more" if more else "")


def _command(setting: str, value: str) -> str:
    word = override(setting, value)
    return word if re.fullmatch(r"[\w./=-]+", word, re.ASCII) else in_shell(word)


# What a file is


def _file(part: _Part, encoding: str | None) -> File | None:
    """What the bytes say that a part is; None where it is empty."""
    with _readable(part.name):
        with part.path.open("rb") as raw:
            compression = _compression(_read(raw, HEAD_BYTES))
        member = _member(part) if compression == "zip" else None
        part = part._replace(member=member)
        packed = File(part.path, "text", compression, member, folders=part.folders)
        head = _head(packed)
    if compression is not None and _compression(head) is not None:
        raise DataError(f"{part.name} is compressed twice. {foreign.UNPACK}")
    if not head.strip():
        return None
    if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        kind: Kind = "parquet" if head.startswith(b"PAR1") else "arrow"
        _check_end(packed, kind)
        return File(part.path, kind, compression, member, folders=part.folders)
    foreign.refuse_bytes(head, part.name)
    found = encoding or _encoding(head, part.name)
    text = codecs.getincrementaldecoder(found)("replace").decode(head).removeprefix(MARK)
    foreign.refuse_text(text, part.name)
    return File(
        part.path,
        "json" if _is_json(text) else "text",
        compression,
        member,
        found,
        part.folders,
        encoding_named=encoding is not None,
    )


def _compression(head: bytes) -> str | None:
    return next((name for name, start in PACKED.items() if re.match(start, head)), None)


def _member(part: _Part) -> str:
    """The name in a zip archive of the table that is sought, or of the only one."""
    with zipfile.ZipFile(part.path) as archive:
        infos = [info for info in archive.infolist() if not info.is_dir()]
    names = [info.filename for info in infos]
    for name in names:
        if part.member is not None and part.member in (name, Path(name).name):
            return name
    foreign.refuse_archive(names, str(part.path))
    tables = [
        _Part(part.path, info.filename)
        for info in infos
        # all names of the path: macOS adds `__MACOSX/._ratings.csv`
        if info.file_size and not any(map(BESIDE.search, Path(info.filename).parts))
    ]
    if part.member is None and len(tables) == 1:
        return cast(str, tables[0].member)
    if part.member is None and tables:
        raise DataError(
            f"{part.path} is a zip archive of {len(tables)} tables. Name one of them: "
            f"{_commands(tables)}."
        )
    sought = "" if part.member is None else f" {part.member}"
    raise DataError(
        f"{part.path} is a zip archive without{sought or ' a table'}. Unpack it and set data.path "
        "to the file with the interactions."
    )


def _check_end(file: File, kind: Kind) -> None:
    """Raise DataError where a file of Parquet was cut off."""
    if kind == "parquet" and file.compression is None:
        with _readable(file.name), file.path.open("rb") as stream:
            stream.seek(-4, os.SEEK_END)
            if stream.read() != b"PAR1":
                raise ValueError("Parquet magic bytes not found in footer")


def _encoding(head: bytes, name: str) -> str:
    """The encoding of a text, by its mark, the places of NUL, and whether it is UTF-8."""
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return encoding
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) / 8 and not even:
        return "utf-16-le"
    if even > len(head) / 8 and not odd:
        return "utf-16-be"
    text = codecs.getincrementaldecoder("utf-8")("replace").decode(head)
    other = text.count("\ufffd")
    if other and (even or odd):
        raise DataError(
            f"{name} is no text, and of no kind that is read (text, JSON, Parquet, Arrow). Write "
            "its rows as CSV and set data.path to that."
        )
    return "latin-1" if 2 * other > len(re.findall(r"[^\0-\x7f]", text)) else "utf-8"


def _known_encoding(encoding: str) -> str:
    """Python's name of an encoding of text."""
    try:
        "1".encode(encoding)  # one from bytes to bytes, as base64, is refused here
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise ConfigError(
            "data.encoding must be one that Python knows, as utf-8, latin-1, cp1252, utf-16 or "
            f"shift_jis, not {as_said(encoding)}."
        ) from None


def _is_json(text: str) -> bool:
    """Whether a text is JSON: records in lines, or in one array."""
    start = re.match(r"\s*(\[\s*(?=[\[{])|(?=[\[{]))", text)
    if start is None:
        return False
    try:
        end = json.JSONDecoder().raw_decode(text, start.end())[1]
    except ValueError:  # longer than what is seen of it, or broken, which DuckDB tells
        return re.match(r'\{\s*"(?:[^"\\]|\\.)*"\s*:', text[start.end() :]) is not None
    following = r"\s*[\],]" if start[1] else r"[ \t]*(?:[\r\n{[]|$)"
    return re.match(following, text[end:]) is not None


# Bytes and texts


@contextmanager
def _readable(name: str) -> Iterator[None]:
    """Turn what is raised about a broken file into a DataError that names it."""
    try:
        yield
    except (RuntimeError, NotImplementedError) as error:  # of zip: a password, an odd compression
        raise DataError(f"{name} can't be read: {error}. {foreign.UNPACK}") from error
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, LZMAError, ValueError) as error:
        # ArrowInvalid is a ValueError
        number = getattr(error, "errno", None)
        if number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise DataError(
                f"{name} can't be copied to {tempfile.gettempdir()} to be read: {cause_of(error)} "
                "Or set TMPDIR to a folder with room."
            ) from error
        denied = number in (errno.EACCES, errno.EPERM)
        remedy = "Give this user the right to read it" if denied else "Check that the file is whole"
        raise DataError(f"{name} can't be read: {error}. {remedy}.") from error


def _linked(path: Path, scratch: Path) -> Path:
    """The path, or a link to it where its name says something to DuckDB: a glob, a hive folder, a
    compression."""
    if re.fullmatch(r"[\w/. ,@+-]*(?<!\.gz)(?<!\.zst)", str(path)):
        return path
    link = _new_path(scratch)
    link.symlink_to(path)
    return link


def _new_path(scratch: Path) -> Path:
    return scratch / uuid.uuid4().hex


@contextmanager
def _opened(file: File, label: str | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked, with a bar of progress of this label where it is large."""
    with ExitStack() as stack:
        if file.compression == "zip":
            archive = stack.enter_context(zipfile.ZipFile(file.path))
            info = archive.getinfo(cast(str, file.member))
            stream: IO[bytes] = stack.enter_context(archive.open(info))
            size = info.file_size
        else:
            stream, size = stack.enter_context(file.path.open("rb")), file.path.stat().st_size
        if label and size > PROGRESS_ABOVE_BYTES and sys.stderr.isatty():
            stream = stack.enter_context(_with_bar(stream, size, label))
        yield stack.enter_context(_unpacked(stream, file.compression))


def _unpacked(stream: IO[bytes], compression: str | None) -> AbstractContextManager[IO[bytes]]:
    if compression == "gzip":
        import gzip

        return cast(IO[bytes], gzip.open(stream))
    if compression == "bz2":
        import bz2

        return cast(IO[bytes], bz2.open(stream))
    if compression == "xz":
        import lzma

        return cast(IO[bytes], lzma.open(stream))
    if compression == "zstd":
        import pyarrow

        return pyarrow.CompressedInputStream(stream, "zstd")
    return nullcontext(stream)


def _with_bar(stream: IO[bytes], size: int, label: str) -> AbstractContextManager[IO[bytes]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import wrap_file

    file, console = cast(BinaryIO, stream), Console(stderr=True)
    label = escape(printable(label))
    return wrap_file(file, size, description=label, console=console, transient=True)


def _read(stream: IO[bytes], size: int) -> bytes:
    """The next `size` bytes; fewer only at the end."""
    read = b""
    while len(read) < size and (more := stream.read(size - len(read))):
        read += more
    return read


def _head(file: File) -> bytes:
    with _readable(file.name), _opened(file) as stream:
        return _read(stream, HEAD_BYTES)


def _chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def _decoded(stream: IO[bytes], file: File) -> Iterator[str]:
    """Pieces of the text of a stream, without marks of byte order: files that were put one behind
    the other hold several.

    Raises:
        DataError: A byte is not of the encoding that the user named, or a NUL stands in the text.
    """
    encoding = cast(str, file.encoding)
    is_mixed = encoding in ("utf-8", "latin-1") and not file.encoding_named
    decoder = codecs.getincrementaldecoder("utf-8" if is_mixed else encoding)(
        "recsweep_latin_1" if is_mixed else "strict"
    )
    line, last = 1, "\n"
    for chunk in chain(_chunks(stream), [b""]):
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            line += error.object[: error.start].decode(encoding, "replace").count("\n")
            raise DataError(
                f"{file.name} is not of the encoding {encoding}, as line {line:,} shows. Set "
                "data.encoding to the one it is of, or to auto."
            ) from None
        if MARK in text:
            text = re.sub(f"(?<=[\r\n]){MARK}", "", last + text)[1:]
        last = text[-1:] or last
        if (place := text.find("\0")) >= 0:
            line += text.count("\n", 0, place)
            raise DataError(
                f"{file.name} holds a NUL character in line {line:,}. Write the file again without "
                "it, or set data.encoding if it is of another, as utf-16."
            )
        line += text.count("\n")
        if text:
            yield text


def _line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _with_line_feeds(texts: Iterable[str], heeds_quotes: bool) -> Iterator[str]:
    """The pieces of a text with `\\n` for each line end outside of quotes; between them, where an
    id may hold one, all stays. Where lines end in `\\r` alone, there is nothing to be told apart,
    and quotes need not be heeded."""
    held, is_quoted = "", False
    for text in chain(texts, [""]):
        is_last = not text
        text = held + text
        held = "\r" if text.endswith("\r") and not is_last else ""
        text = text.removesuffix(held)
        if not heeds_quotes:
            text = _line_feeds(text)
        elif "\r" in text:
            fields = text.split('"')
            fields[is_quoted::2] = map(_line_feeds, fields[is_quoted::2])
            text = '"'.join(fields)
        is_quoted ^= text.count('"') % 2 == 1
        yield text


def _is_plain(file: File) -> bool:
    """Whether all of a file is UTF-8 without a NUL or a second mark of byte order, and all its
    lines end alike, in `\\n` or in `\\r\\n`."""
    if file.encoding != "utf-8":
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    ends: set[bytes] = set()
    last = before = b""
    with _readable(file.name), _opened(file, f"Checking {file.path.name}") as stream:
        for chunk in chain(_chunks(stream), [b""]):
            if not chunk.isascii() or decoder.getstate()[0]:
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError:
                    return False
                around = before + chunk
                if (
                    around.find(codecs.BOM_UTF8, not before) >= 0
                ):  # the first one is as it should be
                    return False
            before = (before + chunk[-2:])[-2:]
            if b"\0" in chunk:
                return False
            whole = last + chunk
            last = b"\r" if whole.endswith(b"\r") and chunk else b""
            whole = whole.removesuffix(last)
            if b"\r" not in whole:
                ends |= {b"\n"} if b"\n" in whole else set()
                continue
            both = whole.count(b"\r\n")
            ends |= {b"\r\n"} if both else set()
            ends |= {end for end in (b"\n", b"\r") if whole.count(end) > both}
    return ends <= {b"\n"} or ends <= {b"\r\n"} or file.kind == "json"
