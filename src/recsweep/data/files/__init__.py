"""What lies under a path: a file, the parts of a folder, a member of an archive; and its bytes as
text."""

import codecs
import csv
import glob
import json
import os
import re
import uuid
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import unquote

from recsweep.checks import short
from recsweep.config import override
from recsweep.data.files import foreign, streams
from recsweep.data.files.streams import File, Kind
from recsweep.errors import DataError
from recsweep.mistakes import in_shell

SHOWN_TABLES = 10
SHOWN_CHARACTERS = 600

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
    encoding = None if encoding is None else streams.known_encoding(encoding)
    files: list[File] = []
    for named in [path] if isinstance(path, str) else path:
        with streams.readable(named):  # a folder may be closed to this user
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
    with streams.readable(file.name), streams.opened(file) as stream:
        for piece in streams.decoded(stream, file):
            text += piece
            if len(text) > size + 1:
                text = streams.line_feeds(text)[:size]
                return text[: text.rfind("\n") + 1] or text
    return streams.line_feeds(text)


def plain(file: File, scratch: Path) -> Path:
    """A file that DuckDB reads by itself: the file as it is, or a copy of it in the folder
    `scratch` as uncompressed UTF-8 with `\\n` as line end (outside of quotes; between them what
    stands there stays).

    Raises:
        DataError: The file is broken, or not of its encoding.
    """
    if file.compression is None and (file.encoding is None or streams.is_plain(file)):
        return _linked(file.path, scratch)
    heeds_quotes = b"\n" in streams.head_of(file)
    copy = _new_path(scratch)
    with (
        streams.readable(file.name),
        streams.opened(file, f"Reading {file.path.name}") as stream,
        copy.open("wb") as out,
    ):
        if file.encoding is None:
            pieces: Iterator[bytes] = streams.chunks(stream)
        else:
            texts = streams.decoded(stream, file)
            # JSON has no line end that counts, and its own way to write a quote
            if file.kind == "text":
                texts = streams.with_line_feeds(texts, heeds_quotes)
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
        return sample(file, streams.HEAD_BYTES).strip().partition("\n")[0].strip()
    if file.kind == "json":
        first = re.search(r"\{", text := sample(file))
        try:
            record = json.JSONDecoder().raw_decode(text, first.start())[0] if first else {}
        except ValueError:  # longer than the sample
            record = {}
        return frozenset(record)
    with streams.readable(file.name), streams.opened(file) as stream:
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
    with streams.readable(part.name):
        with part.path.open("rb") as raw:
            compression = streams.compression_of(streams.read(raw, streams.HEAD_BYTES))
        member = _member(part) if compression == "zip" else None
        part = part._replace(member=member)
        packed = File(part.path, "text", compression, member, folders=part.folders)
        head = streams.head_of(packed)
    if compression is not None and streams.compression_of(head) is not None:
        raise DataError(f"{part.name} is compressed twice. {foreign.UNPACK}")
    if not head.strip():
        return None
    if head.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        kind: Kind = "parquet" if head.startswith(b"PAR1") else "arrow"
        _check_end(packed, kind)
        return File(part.path, kind, compression, member, folders=part.folders)
    foreign.refuse_bytes(head, part.name)
    found = encoding or streams.encoding_of(head, part.name)
    text = codecs.getincrementaldecoder(found)("replace").decode(head).removeprefix(streams.MARK)
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
        with streams.readable(file.name), file.path.open("rb") as stream:
            stream.seek(-4, os.SEEK_END)
            if stream.read() != b"PAR1":
                raise ValueError("Parquet magic bytes not found in footer")


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
