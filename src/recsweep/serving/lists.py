"""Ranked lists of many users, written to a CSV or Parquet file chunk by chunk."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recsweep.causes import cause_of
from recsweep.data.ids import WHOLE_NUMBER, RawId
from recsweep.errors import ConfigError, DataError
from recsweep.serving.service import RecommenderService

FORMULA = re.compile(r"(?!-?[0-9]+(\.[0-9]+)?$)[=+\-@\t\r\n＝＋－＠]", re.DOTALL)
"""The beginning of a cell that a spreadsheet takes for a formula, by OWASP's list ("CSV
Injection"); a number is none, whatever its sign."""

ROWS_PER_WRITE = 100_000
"""Rows that are collected, about, before they are written: small row groups make a Parquet file
large and slow."""


LONGEST_FILE_NAME = 200
"""Bytes, of the 255 that file systems take: a file that is not whole yet has a longer name."""


def check_rankings_path(path: Path, *, for_spreadsheets: bool = False) -> None:
    """Raise ConfigError for a kind of file that `write_rankings` doesn't know, or a folder that
    doesn't exist."""
    if path.suffix not in (".csv", ".parquet"):
        raise ConfigError(
            f"The lists are written as .csv or .parquet, and {path} is neither. Choose one of them."
        )
    if for_spreadsheets and path.suffix != ".csv":
        raise ConfigError(
            f"--for-spreadsheets is for lists that are written as .csv, and {path} is not. Leave "
            "it out: no spreadsheet reads a formula in Parquet."
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


def distinct_users(service: RecommenderService, user_ids: Iterable[RawId]) -> list[int] | list[str]:
    """Each user once, in the order in which they are first named.

    Ids are those of the data, and of unknown users those that were given: numbers where the data's
    are and all of them are, else text.
    """
    known = service.user_ids.ids.tolist()
    names: dict[str, None] = {}
    for raw in user_ids:
        index = service.user_ids.find(raw)
        names[str(raw if index is None else known[index])] = None
    numbers = [WHOLE_NUMBER.fullmatch(name) for name in names]
    if service.user_ids.ids.dtype.kind == "i" and all(numbers):
        return list(dict.fromkeys(int(number[1]) for number in numbers if number))
    return list(names)


def write_rankings(
    service: RecommenderService,
    user_ids: Sequence[RawId],
    k: int,
    path: Path,
    on_users: Callable[[int], None] = lambda done: None,
    *,
    for_spreadsheets: bool = False,
) -> Counter[str]:
    """Write the columns user_id, rank (from 1), item_id, score and fallback, best first, users in
    their order.

    The file has its name only once it is whole; an earlier one is replaced.

    Args:
        user_ids: Raw ids, as `distinct_users` gives them; who can't be ranked by the model gets the
            most popular items, and the reason in the column fallback.
        path: Ends in `.csv` or `.parquet`.
        on_users: Called after each chunk with how many users it held.
        for_spreadsheets: Whether an id that begins as a FORMULA gets a `'` in front, by which a
            spreadsheet shows it as text.

    Returns:
        How many users got the most popular items, by the reason.

    Raises:
        ConfigError: k or the path is impossible.
        DataError: The file can't be written.
    """
    import pyarrow

    check_rankings_path(path, for_spreadsheets=for_spreadsheets)
    item_ids = service.item_ids.ids
    if item_ids.dtype.kind != "i":
        item_ids = item_ids.astype(object)  # as which Arrow knows texts
    are_numbers = all(isinstance(raw, int) for raw in user_ids)
    ids = np.array(user_ids, np.int64) if are_numbers else np.array([*map(str, user_ids)], object)
    if for_spreadsheets:
        ids, item_ids = _quoted(ids), _quoted(item_ids)
    schema = pyarrow.schema(
        [
            ("user_id", pyarrow.int64() if are_numbers else pyarrow.string()),
            ("rank", pyarrow.int32()),
            ("item_id", pyarrow.int64() if item_ids.dtype.kind == "i" else pyarrow.string()),
            ("score", pyarrow.float32()),
            ("fallback", pyarrow.string()),
        ]
    )
    # Filled in place: small arrays kept from chunk to chunk would lie between the freed blocks of
    # scores, and the process would grow with the number of users.
    size = max(service.rows_at_once, ROWS_PER_WRITE // k)
    items, scores = np.empty((size, k), dtype=np.int32), np.empty((size, k), dtype=np.float32)
    fallbacks = np.empty(size, dtype=object)
    counts: Counter[str] = Counter()
    start = filled = 0

    def table() -> pyarrow.Table:
        rows, ranks = np.nonzero(items[:filled] >= 0)
        return pyarrow.table(
            [
                pyarrow.array(ids[start : start + filled][rows]),
                pyarrow.array(ranks.astype(np.int32) + 1),
                pyarrow.array(item_ids[items[rows, ranks]]),
                pyarrow.array(scores[rows, ranks]),
                pyarrow.array(fallbacks[rows], pyarrow.string()),
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
            items[place], scores[place], fallbacks[place] = chunk
            filled += num_users
            counts.update(filter(None, chunk[2]))
            on_users(num_users)
        if filled:
            write(table())
    return counts


def formulas(ids: Iterable[RawId]) -> list[RawId]:
    """The ids that a spreadsheet takes for formulas."""
    return [raw for raw in ids if isinstance(raw, str) and FORMULA.match(raw)]


def _quoted(ids: np.ndarray) -> np.ndarray:
    """The ids with a `'` in front of each formula."""
    if ids.dtype.kind == "i":
        return ids
    guarded = set(formulas(ids.tolist()))
    return np.array([f"'{raw}" if raw in guarded else raw for raw in ids.tolist()], dtype=object)


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
        raise DataError(f"{path} can't be written: {cause_of(error)}") from error
    finally:
        unfinished.unlink(missing_ok=True)
