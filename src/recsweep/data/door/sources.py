"""Files as SQL of DuckDB, whatever their kind, and their rows, whatever their shape, as one
interaction each."""

import itertools
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from recsweep.checks import as_said
from recsweep.data import files as parts
from recsweep.data.door import records, values
from recsweep.data.door.values import literal, number_of, plain, plain_type, quoted
from recsweep.data.files import File
from recsweep.data.forms import BLANKS, Format
from recsweep.errors import DataError

if TYPE_CHECKING:
    import duckdb
    import pyarrow

ROWS_PER_BATCH = 50_000
CHARACTERS_PER_BATCH = 16_000_000
LONGEST_SHOWN = 60
COLUMNS_AT_ONCE = 500
"""Columns of a matrix that DuckDB is given at once."""

UNREADABLE = "that can't be read"
"""Why a row is left out, after `left out 3 rows`."""

SKIP = "set data.on_bad_rows=skip to leave such rows out"

OnBadRows = Literal["error", "skip", "pad"]
"""What becomes of a row that is none: it is an error, is left out, or has the fields that there are
and blank ones."""

Blanks = Literal["kept", "dropped", "refused"]


class Wanted(NamedTuple):
    """What `read_rows` is asked for."""

    format: Format
    positive_values: Sequence[str] | None = None
    unrated: Sequence[float] = ()
    on_bad_rows: OnBadRows = "error"
    part: int | None = None


@dataclass(kw_only=True)
class Source:
    """A file as SQL.

    Attributes:
        path: The file as it was named.
        types: DuckDB's names of the types of its columns, by name.
        relation: The SQL of a relation of some columns, each called by its place among them, as
            f0, f1, …, beside `empty`, whether a row holds nothing at all. Where it is to be
            careful, also "row" (the number of the row from 1, without a header): then a row
            that is no row is refused or counted.
        names: The header as it stands, which the parts of one table have in common.
        blanks: What becomes of a blank before an id in the quick pass: it stays, is dropped, or is
            left to the careful pass, since it may have stood inside of quotes.
        left_out: How many rows the relation has left out, by reason.
        fault: What stopped the relation.
        exact: Whether a careful relation is to be read field by field, since DuckDB stumbled.
        is_cells: Whether it is a matrix of which each row is a cell already.
    """

    path: Path
    types: dict[str, str]
    relation: Callable[["Source", Sequence[str], bool], str]
    names: list[str] | None = None
    blanks: Blanks = "kept"
    left_out: Counter[str] = field(default_factory=Counter)
    fault: DataError | None = None
    exact: bool = False
    is_cells: bool = False


def source_of(
    connection: "duckdb.DuckDBPyConnection",
    file: File,
    wanted: Wanted,
    names: list[str] | None,
    folder: Path,
) -> Source:
    path, format = parts.plain(file, folder), wanted.format
    folders = dict(file.folders)
    own = _own_columns(format, folders)
    if format.shape in ("lists", "counted_lists"):
        return _lists(connection, file, path, wanted)
    if file.kind == "text" and format.shape != "long":
        return _cells(connection, file, path, wanted, own, names)
    if file.kind == "text":
        source = _text(connection, file, path, wanted, own, names)
    elif file.kind == "json":
        source = _json(file, path, wanted, own)
    else:
        source = _typed(connection, file, path, own)
    if not folders:
        return source
    inner = source.relation

    def relation(source: Source, columns: Sequence[str], careful: bool) -> str:
        """Values of folders are columns too."""
        stored = [name for name in columns if name not in folders]
        fields = [
            f"{literal(folders[name])} AS f{place}"
            if name in folders
            else f"f{stored.index(name)} AS f{place}"
            for place, name in enumerate(columns)
        ]
        row = '"row", ' if careful else ""
        return f"SELECT {row}empty, {', '.join(fields)} FROM ({inner(source, stored, careful)})"

    types = source.types | dict.fromkeys(folders, "VARCHAR")
    return replace(source, types=types, relation=relation)


def _own_columns(format: Format, folders: dict[str, str]) -> list[str]:
    """The columns that stand in a file; those of its folders come after them."""
    return [name for name in format.columns if name not in folders]


def _text(
    connection: "duckdb.DuckDBPyConnection",
    file: File,
    path: Path,
    wanted: Wanted,
    own: list[str],
    names: list[str] | None,
) -> Source:
    format, found, skipped = wanted.format, None, 0
    if format.header:
        found, skipped = records.header(path, format)
        if names is not None and found != names:
            own = _in_order(file, own, names, found)

    def relation(source: Source, columns: Sequence[str], careful: bool) -> str:
        places = [own.index(name) for name in columns]
        if careful and (source.exact or format.separator == BLANKS):
            return _registered(
                connection, _batches_of_records(source, path, wanted, len(own), places)
            )
        row = 'row_number() OVER () AS "row", ' if careful else ""
        separator = " " if format.separator == BLANKS else format.separator
        types = ", ".join(f"c{place}: 'VARCHAR'" for place in range(len(own)))
        fields = ", ".join(f"c{place} AS f{number}" for number, place in enumerate(places))
        empty = " AND ".join(f"trim(coalesce(c{place}, '')) = ''" for place in range(len(own)))
        return (
            f"SELECT {row}{empty} AS empty, {fields} FROM read_csv({literal(str(path))}, "
            f"compression = 'none', auto_detect = false, delim = {literal(separator)}, "
            f"quote = '{format.quote}', escape = '{format.quote}', header = false, "
            f"skip = {skipped}, strict_mode = true, columns = {{{types}}})"
        )

    types = dict.fromkeys(own, "VARCHAR")
    return Source(
        path=file.path,
        types=types,
        relation=relation,
        names=found,
        blanks="refused" if format.quote else "dropped",
    )


def _in_order(file: File, own: list[str], names: list[str], found: list[str]) -> list[str]:
    """The columns in the order of a part whose header isn't that of the first."""
    if sorted(found) != sorted(names) or len(set(names)) < len(names) or len(own) != len(names):
        raise DataError(
            f"{file.path} has other columns than the file before it: {_some(found)}, not "
            f"{_some(names)}. Give data.path files of the same columns."
        )
    return [own[names.index(name)] for name in found]


def _some(names: Sequence[str]) -> str:
    """At most ten names of columns."""
    more = f" and {len(names) - 10:,} more" if len(names) > 10 else ""
    return ", ".join(as_said(name) for name in names[:10]) + more


def _batches_of_records(
    source: Source, path: Path, wanted: Wanted, width: int, places: list[int]
) -> "pyarrow.RecordBatchReader":
    def rows() -> Iterator[tuple[Any, ...]]:
        with records.open_text(path) as stream:
            for record in records.records(stream, wanted.format, width):
                fields = record.fields
                if record.fault is not None:
                    if wanted.on_bad_rows != "pad":
                        _refuse_or_count(source, wanted, record)
                        continue
                    fields = [*fields, *[""] * (width - len(fields))]
                empty = not any(map(str.strip, fields))
                yield record.row, empty, *(fields[place] for place in places)

    return _batches(source, rows(), len(places))


def _refuse_or_count(source: Source, wanted: Wanted, record: records.Record) -> None:
    if wanted.on_bad_rows == "error":
        shown = next((text for text in record.fields if text.strip()), "")
        source.fault = DataError(
            f"The row that begins with {in_short(shown)} {record.fault}, in row {record.row:,} of "
            f"{source.path} (rows counted without a header). Correct it, or {SKIP}."
        )
        raise source.fault
    source.left_out[UNREADABLE] += 1


def in_short(text: str) -> str:
    """A value of a file in a sentence: no more of a person's text than tells which one it is."""
    return as_said(text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…")


def _batches(
    source: Source, rows: Iterable[tuple[Any, ...]], num_fields: int
) -> "pyarrow.RecordBatchReader":
    """Rows (number, whether empty, texts) as batches of bounded size."""
    import pyarrow

    kinds = [("row", pyarrow.int64()), ("empty", pyarrow.bool_())]
    kinds += [(f"f{place}", pyarrow.large_string()) for place in range(num_fields)]
    schema = pyarrow.schema(kinds)

    def batches() -> Iterator["pyarrow.RecordBatch"]:
        source.left_out.clear()
        batch: list[tuple[Any, ...]] = []
        size = 0
        for row in rows:
            batch.append(row)
            size += sum(map(len, row[2:]))
            if len(batch) == ROWS_PER_BATCH or size > CHARACTERS_PER_BATCH:
                yield as_batch(batch)
                batch, size = [], 0
        if batch:
            yield as_batch(batch)

    def as_batch(batch: list[tuple[Any, ...]]) -> "pyarrow.RecordBatch":
        columns = [
            pyarrow.array(column, kind)
            for column, kind in zip(zip(*batch, strict=True), schema.types, strict=True)
        ]
        return pyarrow.RecordBatch.from_arrays(columns, schema=schema)

    return pyarrow.RecordBatchReader.from_batches(schema, batches())


def _registered(
    connection: "duckdb.DuckDBPyConnection", reader: "pyarrow.RecordBatchReader"
) -> str:
    connection.execute(
        "SELECT 1"
    ).fetchall()  # nothing registers before the last result is at its end
    connection.register("batches", reader)
    return "SELECT * FROM batches"


def _lists(
    connection: "duckdb.DuckDBPyConnection", file: File, path: Path, wanted: Wanted
) -> Source:
    """Lines as one text each; of counted lists those without the right count are no rows."""
    format = wanted.format

    def rows(source: Source) -> Iterator[tuple[Any, ...]]:
        lines = itertools.islice(records.lines(path), format.header, None)
        for row, line in enumerate(lines, 1):
            fault = None
            if format.shape == "counted_lists" and line.strip():
                fields = records.split(line, format.separator)
                if fields[0] != str(len(fields) - 1):
                    fault = f"counts {in_short(fields[0])} items and lists {len(fields) - 1}"
            if fault is None:
                yield row, not line.strip(), line
            else:
                _refuse_or_count(source, wanted, records.Record(row, [line], fault))

    def relation(source: Source, columns: Sequence[str], careful: bool) -> str:
        return _registered(connection, _batches(source, rows(source), 1))

    return Source(path=file.path, types={}, relation=relation)


def _cells(
    connection: "duckdb.DuckDBPyConnection",
    file: File,
    path: Path,
    wanted: Wanted,
    own: list[str],
    names: list[str] | None,
) -> Source:
    """The cells of a matrix of text that hold a value: the ids of their row and column, and the
    value. DuckDB takes no rows of thousands of columns."""
    format = wanted.format
    found = records.header(path, format)[0] if format.header else None
    if found is not None and names is not None and found != names:
        raise DataError(
            f"{file.path} has other columns than the file before it. Give data.path one file."
        )
    id_column = format.user if format.shape == "users_by_items" else format.item
    places = [(own.index(name), name) for name in format.values]

    def is_value(text: str) -> bool:
        text = text.strip()
        if not text or text in values.MISSING:
            return False
        if format.decimal == ",":
            text = text.replace(".", "").replace(",", ".")
        try:
            return not wanted.unrated or float(text) not in wanted.unrated
        except ValueError:  # which is refused later
            return True

    def rows(source: Source) -> Iterator[tuple[Any, ...]]:
        known = cache(is_value)
        with records.open_text(path) as stream:
            for record in records.records(stream, format, len(own)):
                if record.fault is not None:
                    _refuse_or_count(source, wanted, record)
                    continue
                fields = record.fields
                id = str(record.row - 1) if id_column is None else fields[own.index(id_column)]
                for place, name in places:
                    if (text := fields[place]) and known(text):
                        yield record.row, False, id, name, text

    def relation(source: Source, columns: Sequence[str], careful: bool) -> str:
        return _registered(connection, _batches(source, rows(source), 3))

    return Source(path=file.path, types={}, relation=relation, names=found, is_cells=True)


def _json(file: File, path: Path, wanted: Wanted, own: list[str]) -> Source:
    def relation(source: Source, columns: Sequence[str], careful: bool) -> str:
        types = ", ".join(f"{quoted(name)}: 'VARCHAR'" for name in columns)
        fields = ", ".join(f"{quoted(name)} AS f{place}" for place, name in enumerate(columns))
        row = 'row_number() OVER () AS "row", ' if careful else ""
        lenient = wanted.on_bad_rows == "skip" and careful
        return (
            f"SELECT {row}false AS empty, {fields} FROM read_json({literal(str(path))}, "
            f"columns = {{{types}}}, format = 'auto', ignore_errors = {lenient})"
        )

    return Source(path=file.path, types=dict.fromkeys(own, "VARCHAR"), relation=relation)


def _typed(
    connection: "duckdb.DuckDBPyConnection", file: File, path: Path, own: list[str]
) -> Source:
    """Parquet and Arrow; also Parquet whose names differ in case alone, which SQL can't."""
    from pyarrow import parquet

    if file.kind == "parquet":
        schema = parquet.read_schema(path)
    else:
        schema = _arrow_batches(path, None).schema
    if missing := [name for name in own if name not in schema.names]:
        raise DataError(
            f"{file.path} has no column {as_said(missing[0])}: its columns are "
            f"{_some(schema.names)}. Give data.path files of the same columns."
        )
    by_duckdb = file.kind == "parquet" and len({name.lower() for name in schema.names}) == len(
        schema.names
    )
    scan = f"read_parquet({literal(str(path))}, hive_partitioning = false)"

    def relation(source: Source, columns: Sequence[str], careful: bool) -> str:
        row = 'row_number() OVER () AS "row", ' if careful else ""
        if by_duckdb:
            fields = ", ".join(f"{quoted(name)} AS f{place}" for place, name in enumerate(columns))
            return f"SELECT {row}false AS empty, {fields} FROM {scan}"
        if file.kind == "parquet":
            batches = parquet.ParquetFile(path).iter_batches(columns=list(columns))
        else:
            batches = _arrow_batches(path, columns)
        found = _registered(connection, _renamed(batches, schema, columns))
        return f"SELECT {row}false AS empty, * FROM ({found})"

    if by_duckdb:
        described = connection.execute(f"DESCRIBE SELECT * FROM {scan}").fetchall()
        types = {name: type for name, type, *_ in described}
    else:
        found = _registered(connection, _renamed([], schema, schema.names))
        described = connection.execute(f"DESCRIBE {found}").fetchall()
        types = {name: type for name, (_, type, *_) in zip(schema.names, described, strict=True)}
    return Source(path=file.path, types=types, relation=relation)


def _renamed(
    batches: Iterable["pyarrow.RecordBatch"], schema: "pyarrow.Schema", columns: Sequence[str]
) -> "pyarrow.RecordBatchReader":
    """Some columns, called f0, f1, …"""
    import pyarrow

    kinds = [schema.field(name).type for name in columns]
    kinds = [pyarrow.float32() if kind == pyarrow.float16() else kind for kind in kinds]
    schema = pyarrow.schema([(f"f{number}", kind) for number, kind in enumerate(kinds)])

    def renamed() -> Iterator["pyarrow.RecordBatch"]:
        for batch in batches:
            arrays = [
                batch.column(name).cast(kind) for name, kind in zip(columns, kinds, strict=True)
            ]
            yield pyarrow.RecordBatch.from_arrays(arrays, schema=schema)

    return pyarrow.RecordBatchReader.from_batches(schema, renamed())


def _arrow_batches(path: Path, columns: Sequence[str] | None) -> "pyarrow.RecordBatchReader":
    """The batches of an Arrow file, of a stream, or of the first version of Feather."""
    import pyarrow
    from pyarrow import feather, ipc

    with path.open("rb") as stream:
        magic = stream.read(4)
    if magic == b"FEA1":
        chosen = None if columns is None else list(columns)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is a newer version
            return feather.read_table(path, columns=chosen).to_reader()
    mapped = pyarrow.memory_map(str(path))
    if magic != b"ARRO":
        return ipc.open_stream(mapped)
    file = ipc.open_file(mapped)
    numbers = range(file.num_record_batches)
    return pyarrow.RecordBatchReader.from_batches(file.schema, map(file.get_batch, numbers))


# Rows of any shape as one interaction each


@dataclass(frozen=True)
class Interactions:
    """Interactions as SQL.

    Attributes:
        sql: Gives the SQL of a relation of `empty`, "user", item, and rating and time where there
            are; where it is to be careful also "row".
        types: DuckDB's names of the types of these four.
        blanks: As of the source.
    """

    sql: Callable[[bool], str]
    types: dict[str, str]
    blanks: Blanks = "kept"


def interactions_of(source: Source, wanted: Wanted) -> Interactions:
    format = wanted.format
    if format.shape == "long":
        return _long(source, format)
    if format.shape in ("lists", "counted_lists"):
        return _of_lists(source, format)
    return _of_matrix(source, wanted)


def _long(source: Source, format: Format) -> Interactions:
    columns = {
        role: name
        for role, name in (
            ("user", format.user),
            ("item", format.item),
            ("rating", format.rating),
            ("time", format.time),
        )
        if name is not None
    }

    def sql(careful: bool) -> str:
        row = '"row", ' if careful else ""
        fields = ", ".join(
            f"{plain(f'f{place}', source.types[name])} AS {quoted(role)}"
            for place, (role, name) in enumerate(columns.items())
        )
        relation = source.relation(source, list(columns.values()), careful)
        return f"SELECT {row}empty, {fields} FROM ({relation})"

    types = {role: plain_type(source.types[name]) for role, name in columns.items()}
    return Interactions(sql, types, source.blanks)


def _of_lists(source: Source, format: Format) -> Interactions:
    separator = format.separator
    split = (
        f"string_split_regex(trim(f0, {values.BLANK}), '[ \t]+')"
        if separator == BLANKS
        else f"string_split(f0, {literal(separator)})"
    )
    user = "texts[1]" if format.shape == "lists" else 'CAST("row" - 1 AS VARCHAR)'

    def sql(careful: bool) -> str:
        # blank texts are no items: a separator at the end of a line, or one too many
        return (
            f'SELECT "row", false AS empty, {user} AS "user", ltrim(item, {values.BLANK}) AS item '
            f'FROM (SELECT "row", texts, unnest(texts[2:]) AS item FROM (SELECT "row", {split} AS '
            f"texts FROM ({source.relation(source, [], careful)}) WHERE NOT empty)) "
            f"WHERE trim(item, {values.BLANK}) <> ''"
        )

    return Interactions(sql, {"user": "VARCHAR", "item": "VARCHAR"})


def _of_matrix(source: Source, wanted: Wanted) -> Interactions:
    """One row for each cell of a typed matrix that holds a value."""
    format = wanted.format
    by_users = format.shape == "users_by_items"
    id_column = format.user if by_users else format.item
    ids, others = ("user", "item") if by_users else ("item", "user")
    no_value = ", ".join(map(literal, ("", *values.MISSING)))
    rated = f"trim(rating) NOT IN ({no_value})"
    number = number_of("rating", "VARCHAR", format.decimal)
    for value in wanted.unrated:
        rated += f" AND {number} IS DISTINCT FROM {value!r}::DOUBLE"

    def sql(careful: bool) -> str:
        if source.is_cells:
            return (
                f'SELECT "row", empty, f0 AS {quoted(ids)}, f1 AS {quoted(others)}, f2 AS rating '
                f"FROM ({source.relation(source, [], careful)})"
            )
        groups = (
            format.values[start : start + COLUMNS_AT_ONCE]
            for start in range(0, len(format.values), COLUMNS_AT_ONCE)
        )
        return " UNION ALL ".join(of_columns(list(group), careful) for group in groups)

    def of_columns(names: list[str], careful: bool) -> str:
        row = '"row", ' if careful or id_column is None else ""
        if id_column is None:
            known, columns = 'CAST("row" - 1 AS VARCHAR)', names
        else:
            known = plain(f"f{len(names)}", source.types[id_column])
            columns = [*names, id_column]
        cells = ", ".join(f"CAST(f{place} AS VARCHAR)" for place in range(len(names)))
        relation = source.relation(source, columns, bool(row))
        return (
            f"SELECT {row}false AS empty, {quoted(ids)}, {quoted(others)}, rating FROM "
            f"(SELECT {row}{known} AS {quoted(ids)}, unnest([{', '.join(map(literal, names))}]) AS "
            f"{quoted(others)}, unnest([{cells}]) AS rating FROM ({relation})) WHERE {rated}"
        )

    types = {others: "VARCHAR", "rating": "VARCHAR"}
    is_text = id_column is None or source.is_cells
    types[ids] = "VARCHAR" if is_text else plain_type(source.types[str(id_column)])
    return Interactions(sql, types)
