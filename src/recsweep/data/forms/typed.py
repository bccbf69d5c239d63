"""The first rows of a file that names its columns: Parquet, Arrow, JSON."""

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.data.files import File, plain, sample
from recsweep.errors import DataError
from recsweep.scratch import scratch_folder

if TYPE_CHECKING:
    import pyarrow


def first_rows(file: File, count: int = 1_000) -> tuple[list[str], list[list[str]]]:
    """Names of the columns, and the first rows as texts, empty where a value is missing."""
    if file.kind == "json":
        return _of_json(sample(file), file, count)
    if file.compression is None:
        return _of_batch(file.path, file.kind, count)
    with scratch_folder() as folder:
        return _of_batch(plain(file, folder), file.kind, count)


def _of_batch(path: Path, kind: str, count: int) -> tuple[list[str], list[list[str]]]:
    import pyarrow

    try:
        schema, batches = _batches(path, kind, count)
        taken: list[pyarrow.RecordBatch] = []
        for batch in batches:
            taken.append(batch.slice(0, count - sum(part.num_rows for part in taken)))
            if sum(part.num_rows for part in taken) >= count:
                break
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} can't be read: {error}. Check that the file is whole.") from error
    table = pyarrow.Table.from_batches(taken, schema)
    columns = [[_as_text(value) for value in column.to_pylist()] for column in table.columns]
    return schema.names, [list(row) for row in zip(*columns, strict=True)]


def _batches(
    path: Path, kind: str, count: int
) -> "tuple[pyarrow.Schema, Iterator[pyarrow.RecordBatch]]":
    from pyarrow import feather, ipc, parquet

    if kind == "parquet":
        file = parquet.ParquetFile(path)
        return file.schema_arrow, file.iter_batches(batch_size=count)
    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic == b"FEA1":
        table = feather.read_table(path)
        return table.schema, iter(table.to_batches())
    if magic == b"ARRO":
        reader = ipc.open_file(path)
        return reader.schema, map(reader.get_batch, range(reader.num_record_batches))
    stream = ipc.open_stream(path)
    return stream.schema, iter(stream)


def _of_json(text: str, file: File, count: int) -> tuple[list[str], list[list[str]]]:
    rows = list(islice(_objects(text), count))
    if not rows:
        raise DataError(
            f"{file.path} holds no JSON objects. Write one for each interaction, as "
            '{"user": 1, "item": 2}, a line or in one list.'
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    return names, [[_as_text(row.get(name)) for name in names] for row in rows]


def _objects(text: str) -> Iterator[dict[str, Any]]:
    """The objects of lines of JSON, or of the list that the text is, up to where it breaks off."""
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    place = 0
    while True:
        while place < len(text) and text[place] in " \t\r\n[,":
            place += 1
        try:
            found, place = decoder.raw_decode(text, place)
        except ValueError:  # the end, or an object that the beginning of a file breaks off
            return
        if isinstance(found, dict):
            yield found


def _as_text(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, default=str) if isinstance(value, list | dict) else str(value)
