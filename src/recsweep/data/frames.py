"""DataFrames of interactions, kept as files beside the runs: what reads a file reads them."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.data.interactions import array_digest
from recsweep.databases import home
from recsweep.errors import DataError

if TYPE_CHECKING:
    import pyarrow


def stored_frame(frame: Any, columns: Collection[str] | None) -> Path:
    """A Parquet file of some columns of a DataFrame, under a name that follows from its content.

    Args:
        frame: A DataFrame of pandas or polars, or any other table that Arrow can read.
        columns: Columns to keep; None for all, and all where the frame lacks one, which is for the
            reader to tell.

    Raises:
        DataError: Arrow can't read the frame, or the file can't be written.
    """
    import pyarrow
    from pyarrow import parquet

    try:
        table = pyarrow.table(frame)
    except (pyarrow.ArrowException, TypeError, ValueError) as error:
        raise DataError(
            f"The DataFrame can't be read: {str(error).splitlines()[0]}. Give each column "
            "values of one type, and names that are texts."
        ) from error
    wanted = names = table.column_names
    if columns is not None and set(columns) <= set(names):
        wanted = [name for name in names if name in columns]
    table = table.select(wanted).replace_schema_metadata(None).combine_chunks()
    texts = (
        as_text(column.combine_chunks()).to_numpy(zero_copy_only=False) for column in table.columns
    )
    path = home() / "data" / f"{array_digest([*wanted, *texts])}.parquet"
    if not path.exists():
        scratch = path.with_suffix(f".{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, scratch)
            scratch.replace(path)  # a file under its name is whole
        except OSError as error:
            raise DataError(
                f"The DataFrame can't be written to {path}: {error.strerror}. Make the folder "
                "writable, or choose another with RECSWEEP_HOME=/path."
            ) from error
    return path


def as_text(column: "pyarrow.Array") -> "pyarrow.Array":
    """Text of an Arrow column of any plain type; null and NaN become an empty text."""
    import pyarrow
    from pyarrow import compute

    if pyarrow.types.is_float16(column.type):  # which Arrow can't compute with
        column = compute.cast(column, pyarrow.float32())
    texts = compute.cast(column, pyarrow.string())
    if pyarrow.types.is_floating(column.type):
        # each whole number as 7, and not 7.0 or 1e+16, whatever else the batch holds
        is_whole = compute.and_(
            compute.equal(column, compute.trunc(column)), compute.less(compute.abs(column), 2.0**63)
        )
        whole = compute.cast(compute.if_else(is_whole, column, None), pyarrow.int64())
        texts = compute.if_else(compute.is_nan(column), None, texts)
        texts = compute.coalesce(compute.cast(whole, pyarrow.string()), texts)
    return compute.fill_null(texts, "")
