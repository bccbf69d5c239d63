"""What lies under a path: a file, the parts of a folder, a member of an archive; and its bytes as
text."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Kind = Literal["text", "json", "parquet", "arrow"]


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
    """

    path: Path
    kind: Kind
    compression: str | None = None
    member: str | None = None
    encoding: str | None = None
    folders: tuple[tuple[str, str], ...] = ()


def find(
    path: str | Sequence[str], *, member: str | None = None, encoding: str | None = None
) -> list[File]:
    """The parts under a path, a glob or several paths, in order.

    Args:
        path: A file, a folder of parts, a glob, or several of these.
        member: File that is sought in a folder or an archive; None for all parts of a folder, and
            the one table of an archive.
        encoding: Encoding of a text; None finds it.

    Raises:
        DataError: There is no such file, or it is of a kind that isn't read, with the conversion.
    """
    raise NotImplementedError


def sample(file: File, size: int = 1_000_000) -> str:
    """The first whole lines of a text, as Unicode with `\\n` as line end; `size` in characters."""
    raise NotImplementedError


def plain(file: File, scratch: Path) -> Path:
    """A file that DuckDB reads by itself: the file as it is, or a copy of it in the folder
    `scratch` as uncompressed UTF-8 with `\\n` as line end.

    Raises:
        DataError: The file is broken, or not of its encoding.
    """
    raise NotImplementedError


@contextmanager
def unchanged(files: Sequence[File]) -> Iterator[None]:
    """Raise DataError where one of the files is another after the block than before it."""
    raise NotImplementedError
    yield
