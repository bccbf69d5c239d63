"""Tables on disk (CSV, also gzipped or inside a zip, and Parquet) as batches of text columns, a few
at a time."""

import codecs
import csv
import gzip
import io
import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from recsweep.data.frames import as_text
from recsweep.errors import DataError
from recsweep.terminal import printable

if TYPE_CHECKING:
    from pandas import DataFrame

ROWS_PER_BATCH = 100_000
PROGRESS_ABOVE_BYTES = 20_000_000


def _as_latin_1(error: UnicodeError) -> tuple[str, int]:
    """Decode what isn't UTF-8 as Latin-1: no byte is lost, so that two ids never become one."""
    undecoded = cast(UnicodeDecodeError, error)
    return undecoded.object[undecoded.start : undecoded.end].decode("latin-1"), undecoded.end


codecs.register_error("recsweep_latin_1", _as_latin_1)


@dataclass(frozen=True)
class Table:
    """A table of a file, whose kind shows in its first bytes, whatever its name.

    Attributes:
        path: The file.
        member: The table's file name where `path` is a zip archive.
        separator: Text between the fields of a CSV line: one character, or the same one repeated,
            as `::`.
        columns: Names of the columns of a CSV file without a header; None where its first line
            names them.
    """

    path: Path
    member: str | None
    separator: str
    columns: tuple[str, ...] | None

    @cached_property
    def _magic(self) -> bytes:
        with self.path.open("rb") as stream:
            return stream.read(4)

    @property
    def is_parquet(self) -> bool:
        return self._magic == b"PAR1"

    def names(self) -> list[str]:
        """The names of all columns.

        Raises:
            DataError: The file is empty, or is a zip archive without the table.
        """
        if self.is_parquet:
            from pyarrow import parquet

            return parquet.read_schema(self.path).names
        first = self._first_line()
        if not first:
            raise DataError(
                f"{self.path} is empty. Set data.path to a file with one interaction a line."
            )
        if self.columns is None:
            return [name.strip() for name in first]
        if len(first) < len(self.columns):
            raise DataError(
                f"{self.path} has {len(first)} fields in its first line, and data.columns names "
                f"{len(self.columns)} ({', '.join(self.columns)}). Correct data.columns or "
                "data.separator."
            )
        return list(self.columns)

    def _first_line(self) -> list[str] | None:
        with self._open_text(progress=False) as text:
            rows = csv.reader(text, delimiter=self.separator[0], skipinitialspace=True)
            first = next((row for row in rows if row), None)
        return first and first[:: len(self.separator)]

    def batches(self, wanted: Sequence[str]) -> Iterator["DataFrame"]:
        """Batches of rows with the `wanted` columns only, all as text; what is missing is an empty
        text."""
        return self._parquet_batches(wanted) if self.is_parquet else self._csv_batches(wanted)

    def _csv_batches(self, wanted: Sequence[str]) -> Iterator["DataFrame"]:
        import pandas

        # A repeated separator is read as one, with empty fields between: pandas' fast parser knows
        # single ones only.
        names = self.names()
        places = {names.index(name) * len(self.separator): name for name in wanted}
        with (
            self._open_text(progress=True) as text,
            pandas.read_csv(
                text,
                sep=self.separator[0],
                header=0 if self.columns is None else None,
                usecols=sorted(places),
                dtype=str,
                na_filter=False,
                skipinitialspace=True,
                chunksize=ROWS_PER_BATCH,
            ) as reader,
        ):
            for batch in reader:
                batch.columns = [places[place] for place in sorted(places)]
                yield batch.fillna("")

    def _parquet_batches(self, wanted: Sequence[str]) -> Iterator["DataFrame"]:
        import pandas
        from pyarrow import parquet

        with parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=ROWS_PER_BATCH, columns=list(wanted)):
                texts = {name: as_text(batch.column(name)) for name in wanted}
                yield pandas.DataFrame(texts, dtype=str)

    @contextmanager
    def _open_text(self, progress: bool) -> Iterator[io.TextIOWrapper]:
        with ExitStack() as stack:
            stream = stack.enter_context(self._open_bytes(progress))
            text = io.TextIOWrapper(stream, "utf-8-sig", errors="recsweep_latin_1", newline="")
            yield stack.enter_context(text)

    @contextmanager
    def _open_bytes(self, progress: bool) -> Iterator[IO[bytes]]:
        with ExitStack() as stack:
            if self._magic == b"PK\x03\x04":
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                member = self._find_member(archive)
                stream: IO[bytes] = stack.enter_context(archive.open(member))
                size = member.file_size
            else:
                stream, size = stack.enter_context(self.path.open("rb")), self.path.stat().st_size
            if progress and size > PROGRESS_ABOVE_BYTES and sys.stderr.isatty():
                stream = stack.enter_context(_with_bar(stream, size, f"Reading {self.path.name}"))
            if self._magic[:2] == b"\x1f\x8b":
                yield cast(IO[bytes], stack.enter_context(gzip.open(stream)))
            else:
                yield stream

    def _find_member(self, archive: zipfile.ZipFile) -> zipfile.ZipInfo:
        for info in archive.infolist():
            if self.member is not None and Path(info.filename).name == self.member:
                return info
        sought = f" without {self.member}" if self.member else ""
        raise DataError(
            f"{self.path} is a zip archive{sought}. "
            "Unpack it and set data.path to the file with the interactions."
        )


def existing(path: str | Path) -> Path | None:
    """The absolute path of a file or folder, `~` replaced; None where there is nothing, as under a
    name that no system allows."""
    try:
        absolute = Path(path).expanduser().absolute()
        return absolute if absolute.exists() else None
    except (OSError, RuntimeError):  # a name too long; a `~` of nobody
        return None


def refuse_endless(path: Path) -> None:
    """Raise DataError for what is no regular file: a pipe or a device may never end, or never
    begin."""
    if not path.is_file():
        raise DataError(
            f"{path} is no file but a pipe or a device. Write its content to a file first, and "
            "name that."
        )


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what the parsers raise about a broken file into a DataError that names it."""
    try:
        yield
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, csv.Error, ValueError) as error:
        # ParserError of pandas and ArrowInvalid are ValueErrors.
        raise DataError(
            f"{path} can't be read: {error}. Check that the file is whole, and data.separator."
        ) from error


def _with_bar(stream: IO[bytes], size: int, label: str) -> AbstractContextManager[IO[bytes]]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import wrap_file

    file, console = cast(BinaryIO, stream), Console(stderr=True)
    label = escape(printable(label))
    return wrap_file(file, size, description=label, console=console, transient=True)
