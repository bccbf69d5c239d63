"""DataFrames of interactions, kept as files beside the runs: what reads a file reads them."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

from recsweep.data.interactions import array_digest
from recsweep.data.tables import as_text
from recsweep.databases import home
from recsweep.errors import DataError


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
