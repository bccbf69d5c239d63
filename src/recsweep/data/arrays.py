"""Long arrays, gone through a piece at a time, and kept in memory or mapped from a file."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

import numpy as np

from recsweep.causes import cause_of
from recsweep.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

VALUES_AT_ONCE = 4_000_000
"""Values of a piece."""

MAPPED_FROM = 10_000_000
"""Values from which on an array lies in a file."""


def pieces(length: int) -> Iterator[slice]:
    """What VALUES_AT_ONCE cuts an array into, in order."""
    for start in range(0, length, VALUES_AT_ONCE):
        yield slice(start, min(start + VALUES_AT_ONCE, length))


def runs(sizes: np.ndarray, at_once: int) -> Iterator[slice]:
    """Runs of consecutive entries whose sizes add up to at most `at_once`, or of a single larger
    one."""
    ends = np.cumsum(sizes, dtype=np.int64)
    start = 0
    while start < len(sizes):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + at_once, side="right")))
        yield slice(start, stop)
        start = stop


def counted(values: np.ndarray, size: int) -> np.ndarray:
    """How often each of the numbers below `size` occurs, (size,) int64."""
    counts = np.zeros(size, dtype=np.int64)
    for piece in pieces(len(values)):
        counts += np.bincount(values[piece], minlength=size)
    return counts


def by_pair(users: np.ndarray, items: np.ndarray) -> np.ndarray | slice:
    """The order of the pairs by user and item, as an index; a slice, which copies nothing, where
    they stand in it."""
    if pairs_ascend(users, items):
        return slice(None)
    return np.lexsort((items, users))


def pairs_ascend(users: np.ndarray, items: np.ndarray) -> bool:
    """Whether each pair is greater than the one before it, by user and item."""
    for piece in pieces(len(users) - 1):
        following = slice(piece.start + 1, piece.stop + 1)
        same_user = users[piece] == users[following]
        greater = np.where(
            same_user, items[piece] < items[following], users[piece] < users[following]
        )
        if not greater.all():
            return False
    return True


class Gathered:
    """An array that arrives in pieces: held, and from MAPPED_FROM values on written to a file
    without a name, which is gone with the array, or with a process that is killed."""

    def __init__(self, dtype: "DTypeLike") -> None:
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._held: list[np.ndarray] = []
        self._file: IO[bytes] | None = None

    def add(self, values: np.ndarray) -> None:
        """Append values; raises DataError where the file can't be written."""
        self.length += len(values)
        self._held.append(values.astype(self.dtype, copy=False))
        if self._file is None and self.length >= MAPPED_FROM:
            with _writable(self.length):
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 (closed by `whole`)
        if self._file is not None:
            with _writable(self.length):
                for piece in self._held:
                    self._file.write(np.ascontiguousarray(piece).data)
            self._held.clear()

    def whole(self) -> np.ndarray:
        """The array, read-only, (length,)."""
        if self._file is None:
            array = np.concatenate([np.empty(0, self.dtype), *self._held])
            array.flags.writeable = False
            self._held.clear()
            return array
        with self._file as file, _writable(self.length):
            file.flush()
            return np.asarray(np.memmap(file, dtype=self.dtype, mode="r", shape=(self.length,)))


def joined(parts: Iterable[np.ndarray], dtype: "DTypeLike") -> np.ndarray:
    """Arrays one after another as a single one, see `Gathered`."""
    gathered = Gathered(dtype)
    for part in parts:
        gathered.add(part)
    return gathered.whole()


@contextmanager
def _writable(length: int) -> Iterator[None]:
    """Turn what the disk raises into a DataError."""
    try:
        yield
    except OSError as error:
        cause = cause_of(error)
        raise DataError(
            f"{length:,} values can't be written to {tempfile.gettempdir()}: {cause.reason}. "
            f"{cause.remedy}, or set TMPDIR to another folder."
        ) from error
