"""A file of a table, its bytes unpacked, and its text: encodings and line ends."""

import codecs
import errno
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain
from lzma import LZMAError
from pathlib import Path
from typing import IO, BinaryIO, Literal, cast

from recsweep.causes import cause_of
from recsweep.checks import as_said
from recsweep.data.files import foreign
from recsweep.errors import ConfigError, DataError
from recsweep.logs import shows_progress
from recsweep.terminal import printable

Kind = Literal["text", "json", "parquet", "arrow"]

PROGRESS_ABOVE_BYTES = 20_000_000
HEAD_BYTES = 65_536
"""Bytes at the start of a file that tell its kind."""

CHUNK_BYTES = 1_000_000
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


def compression_of(head: bytes) -> str | None:
    return next((name for name, start in PACKED.items() if re.match(start, head)), None)


def encoding_of(head: bytes, name: str) -> str:
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


def known_encoding(encoding: str) -> str:
    """Python's name of an encoding of text."""
    try:
        "1".encode(encoding)  # one from bytes to bytes, as base64, is refused here
        return codecs.lookup(encoding).name
    except (LookupError, ValueError):
        raise ConfigError(
            "data.encoding must be one that Python knows, as utf-8, latin-1, cp1252, utf-16 or "
            f"shift_jis, not {as_said(encoding)}."
        ) from None


@contextmanager
def readable(name: str) -> Iterator[None]:
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


@contextmanager
def opened(file: File, label: str | None = None) -> Iterator[IO[bytes]]:
    """The bytes of a file, unpacked, with a bar of progress of this label where it is large."""
    with ExitStack() as stack:
        if file.compression == "zip":
            archive = stack.enter_context(zipfile.ZipFile(file.path))
            info = archive.getinfo(cast(str, file.member))
            stream: IO[bytes] = stack.enter_context(archive.open(info))
            size = info.file_size
        else:
            stream, size = stack.enter_context(file.path.open("rb")), file.path.stat().st_size
        if label and size > PROGRESS_ABOVE_BYTES and shows_progress():
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


def read(stream: IO[bytes], size: int) -> bytes:
    """The next `size` bytes; fewer only at the end."""
    read = b""
    while len(read) < size and (more := stream.read(size - len(read))):
        read += more
    return read


def head_of(file: File) -> bytes:
    with readable(file.name), opened(file) as stream:
        return read(stream, HEAD_BYTES)


def chunks(stream: IO[bytes]) -> Iterator[bytes]:
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def decoded(stream: IO[bytes], file: File) -> Iterator[str]:
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
    for chunk in chain(chunks(stream), [b""]):
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


def line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def with_line_feeds(texts: Iterable[str], heeds_quotes: bool) -> Iterator[str]:
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
            text = line_feeds(text)
        elif "\r" in text:
            fields = text.split('"')
            fields[is_quoted::2] = map(line_feeds, fields[is_quoted::2])
            text = '"'.join(fields)
        is_quoted ^= text.count('"') % 2 == 1
        yield text


def is_plain(file: File) -> bool:
    """Whether all of a file is UTF-8 without a NUL or a second mark of byte order, and all its
    lines end alike, in `\\n` or in `\\r\\n`."""
    if file.encoding != "utf-8":
        return False
    decoder = codecs.getincrementaldecoder("utf-8")()
    ends: set[bytes] = set()
    last = before = b""
    with readable(file.name), opened(file, f"Checking {file.path.name}") as stream:
        for chunk in chain(chunks(stream), [b""]):
            if not chunk.isascii() or decoder.getstate()[0]:
                try:
                    decoder.decode(chunk, final=not chunk)
                except UnicodeDecodeError:
                    return False
                # a mark at the very beginning is as it should be
                if (before + chunk).find(codecs.BOM_UTF8, not before) >= 0:
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
