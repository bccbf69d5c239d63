"""Ranked lists of many users, written to a CSV or Parquet file chunk by chunk."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recsweep.errors import ConfigError, DataError
from recsweep.serving.service import UNKNOWN_USER, RecommenderService

ROWS_PER_WRITE = 100_000
"""Rows that are collected, about, before they are written: small row groups make a Parquet file
large and slow."""


LONGEST_FILE_NAME = 200
"""Bytes, of the 255 that file systems take: a file that is not whole yet has a longer name."""


def check_rankings_path(path: Path) -> None:
    """Raise ConfigError for a kind of file that `write_rankings` doesn't know, or a folder that
    doesn't exist."""
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(
            f"The lists are written as .csv or .parquet, and {path} is neither. Choose one of them."
        )
    if len(os.fsencode(path.name)) > LONGEST_FILE_NAME:
        raise ConfigError(
            f"The name of the file of lists must have at most {LONGEST_FILE_NAME} bytes, not "
            f"{len(os.fsencode(path.name)):,}. Shorten it."
        )
    if not path.parent.is_dir():
        raise ConfigError(
            f"There is no folder {path.parent} to write {path.name} to. Make it, or choose another."
        )


def write_rankings(
    service: RecommenderService,
    user_ids: Sequence[int | str],
    k: int,
    path: Path,
    on_users: Callable[[int], None] = lambda done: None,
) -> int:
    """Write the columns user_id, rank (from 1), item_id, score and fallback, best first, users in
    their order.

    Ids are whole numbers where all are. The file has its name only once it is whole; an earlier one
    is replaced.

    Args:
        user_ids: Raw ids; an unknown one gets the most popular items, and the reason in the column
            fallback.
        path: Ends in `.csv` or `.parquet`.
        on_users: Called after each chunk with how many users it held.

    Returns:
        How many of the users are unknown.

    Raises:
        ConfigError: k or the path is impossible.
        DataError: The file can't be written.
    """
    import pyarrow

    check_rankings_path(path)
    ids = _plain(user_ids)
    schema = pyarrow.schema(
        [
            (
                "user_id",
                pyarrow.from_numpy_dtype(ids.dtype) if ids.dtype.kind == "i" else pyarrow.string(),
            ),
            ("rank", pyarrow.int32()),
            (
                "item_id",
                pyarrow.int64() if service.item_ids.ids.dtype.kind == "i" else pyarrow.string(),
            ),
            ("score", pyarrow.float32()),
            ("fallback", pyarrow.string()),
        ]
    )
    # Filled in place: small arrays kept from chunk to chunk would lie between the freed blocks of
    # scores, and the process would grow with the number of users.
    size = max(service.rows_at_once, ROWS_PER_WRITE // k)
    items, scores = np.empty((size, k), dtype=np.int32), np.empty((size, k), dtype=np.float32)
    known = np.empty(size, dtype=bool)
    unknown = start = filled = 0

    def table() -> pyarrow.Table:
        rows, ranks = np.nonzero(items[:filled] >= 0)
        return pyarrow.table(
            [
                pyarrow.array(ids[start : start + filled][rows]),
                pyarrow.array(ranks.astype(np.int32) + 1),
                pyarrow.array(service.item_ids.ids[items[rows, ranks]]),
                pyarrow.array(scores[rows, ranks]),
                pyarrow.array(
                    np.full(len(rows), UNKNOWN_USER, dtype=object),
                    pyarrow.string(),
                    mask=known[rows],
                ),
            ],
            schema,
        )

    with _new_file(path, schema) as write:
        for chunk in service.rank_users(user_ids, k):
            num_users = len(chunk[0])
            if filled + num_users > size:
                write(table())
                start, filled = start + filled, 0
            place = slice(filled, filled + num_users)
            items[place], scores[place], known[place] = chunk
            filled += num_users
            unknown += int(np.count_nonzero(~chunk[2]))
            on_users(num_users)
        if filled:
            write(table())
    return unknown


def _plain(user_ids: Sequence[int | str]) -> np.ndarray:
    """The ids as int64 where all are whole numbers that fit, else as text."""
    if all(re.fullmatch(r"-?[0-9]{1,18}", str(raw)) for raw in user_ids):
        return np.array([int(raw) for raw in user_ids], dtype=np.int64)
    return np.array([str(raw) for raw in user_ids], dtype=object)


@contextmanager
def _new_file(path: Path, schema: Any) -> Iterator[Callable[[Any], None]]:
    """A function that writes a table to a file that gets its name in the end; where anything fails,
    there is no file."""
    from pyarrow import ArrowException, csv, parquet

    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        kind = csv.CSVWriter if path.suffix == ".csv" else parquet.ParquetWriter
        with kind(unfinished, schema) as writer:
            yield writer.write if path.suffix == ".csv" else writer.write_table
        unfinished.replace(path)
    except (OSError, ArrowException) as error:
        raise DataError(
            f"{path} can't be written: {error}. Is the folder writable, and the disk full?"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
