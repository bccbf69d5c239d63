"""DuckDB reads: files of interactions become the table `rows`, each fault with its row.

A file is read in one quick pass that stops at the first thing that isn't as it should be. Only then
it is read again, carefully: each row with its number, so that a fault can be named or left out.
"""

import io
import itertools
import logging
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from recsweep.causes import FULL
from recsweep.checks import as_said
from recsweep.data import files as parts
from recsweep.data.door import records, values
from recsweep.data.door.sources import (
    SKIP,
    UNREADABLE,
    Blanks,
    Interactions,
    Source,
    Wanted,
    in_short,
    interactions_of,
    source_of,
)
from recsweep.data.door.values import BLANK, id_number, id_text, literal, quoted, rating_of, time_of
from recsweep.data.files import File
from recsweep.data.forms import Format
from recsweep.errors import DataError
from recsweep.memory import total_bytes
from recsweep.scratch import scratch_folder

if TYPE_CHECKING:
    import duckdb
    from pandas import DataFrame

logger = logging.getLogger(__name__)

LOGGED_ABOVE_BYTES = 20_000_000

EMPTY, NO_ID = "that are empty", "without an id"
NO_RATING, NO_TIME = "whose rating is no number", "whose time can't be read"
"""Why a row is left out, after `left out 3 rows`."""


@contextmanager
def opened(memory_gb: float | None = None) -> Iterator["duckdb.DuckDBPyConnection"]:
    """A database in a scratch folder, which is deleted in the end.

    Args:
        memory_gb: Memory that DuckDB may take before it writes to the disk; None for half of what
            this machine, or its container, has.

    Raises:
        DataError: What is done with it takes more memory or disk than there is.
    """
    import duckdb

    limit = total_bytes() / 2 if memory_gb is None else memory_gb * 1e9
    with scratch_folder() as folder:
        settings: dict[str, Any] = {
            "memory_limit": f"{max(1, round(limit / 1e6))}MB",
            "temp_directory": str(folder / "spill"),
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "python_enable_replacements": False,
        }
        try:
            with duckdb.connect(str(folder / "rows.duckdb"), config=settings) as connection:
                with suppress(duckdb.InvalidInputException):  # a notebook that could show no bar
                    connection.execute("SET enable_progress_bar = false")
                connection.execute("SET TimeZone = 'UTC'")
                yield connection
        except duckdb.Error as error:
            raise DataError(_in_words("The interactions", error)) from error


def read_rows(
    connection: "duckdb.DuckDBPyConnection",
    files: Sequence[File],
    format: Format,
    *,
    positive_values: Sequence[str] | None = None,
    unrated: Sequence[float] = (),
    on_bad_rows: Literal["error", "skip"] = "error",
    part: int | None = None,
) -> dict[str, int]:
    """Append the interactions of files to the table `rows`, in their order.

    Its columns are "user" and item (BIGINT where all are whole numbers of at most 18 digits, else
    VARCHAR, the text as it stands), and where the files have them rating DOUBLE, time BIGINT and
    part UTINYINT. A time that is a date is in microseconds, and so are all numbers as soon as one
    has a fraction.

    Args:
        connection: One of `opened`.
        files: Parts of one table.
        format: How their rows are written.
        positive_values: The texts in the column of ratings that stand for a positive, rated 1; all
            others are rated 0. None where ratings are numbers.
        unrated: Values of a matrix's cells that hold no rating, as blank ones.
        on_bad_rows: Whether a row that can't be read is an error, or is left out.
        part: Number of the part of a split that the files are.

    Returns:
        How many rows were left out, by reason.

    Raises:
        DataError: A file is broken, a row can't be read, or there is none.
    """
    import duckdb

    if format.shape == "counted_lists" and len(files) > 1:
        raise DataError(
            f"The users of {files[0].path} are the numbers of its lines, and {len(files)} files "
            "are read as one. Set data.path to one of them."
        )
    wanted = Wanted(format, positive_values, unrated, on_bad_rows, part)
    left_out: Counter[str] = Counter()
    before = _num_rows(connection)
    if (size := sum(file.path.stat().st_size for file in files)) > LOGGED_ABOVE_BYTES:
        more = f" and {len(files) - 1} more" if len(files) > 1 else ""
        logger.info("Reading %s%s, %s MB.", files[0].path, more, f"{size / 1e6:,.0f}")
    names: list[str] | None = None
    for file in files:
        with scratch_folder() as folder, _readable(file.path):
            source = source_of(connection, file, wanted, names, folder)
            names = names or source.names
            try:
                left_out.update(_read(connection, source, wanted))
            except duckdb.Error as error:
                if source.fault is not None:  # of which DuckDB tells the words alone
                    raise source.fault from error
                raise
    if _num_rows(connection) == before:
        raise DataError(_why_none(files[0], format, left_out))
    return dict(left_out)


def first_rows(
    files: Sequence[File], format: Format, count: int = 5
) -> tuple[list[str], list[tuple[str, ...]]]:
    """The columns of a table and the texts of its first rows, as they stand. Of lists there are
    two: what a line begins with, and the rest of it."""
    file = files[0]
    if file.kind == "text":
        return _first_of_text(file, format, count)
    columns = list(format.columns)
    with opened() as connection, scratch_folder() as folder, _readable(file.path):
        source = source_of(connection, file, Wanted(format), None, folder)
        fields = ", ".join(
            f"coalesce({id_text(f'f{place}', source.types[name])}, '')"
            for place, name in enumerate(columns)
        )
        rows = connection.execute(
            f"SELECT {fields} FROM ({source.relation(source, columns, False)}) LIMIT {count}"
        ).fetchall()
    return columns, rows


def _first_of_text(
    file: File, format: Format, count: int
) -> tuple[list[str], list[tuple[str, ...]]]:
    lines = io.StringIO(parts.sample(file))
    if format.shape in ("lists", "counted_lists"):
        begins = "user" if format.shape == "lists" else "count"
        listed = (
            records.split(line, format.separator)
            for line in itertools.islice(lines, format.header, format.header + count)
        )
        between = format.separator
        return [begins, "items"], [(first, between.join(rest)) for first, *rest in listed]
    folders = dict(file.folders)
    width = len([name for name in format.columns if name not in folders])
    found = itertools.islice(records.records(lines, format, width), count)
    columns = [name for name in format.columns if name not in folders]
    rows = [(*record.fields, *folders.values()) for record in found]
    return [*columns, *folders], rows


def read_texts(
    files: Sequence[File], format: Format, columns: Sequence[str], distinct: bool = False
) -> "DataFrame":
    """Columns of a table as texts, an empty one where there is none; also of rows with a field too
    few or too many.

    Args:
        files: Parts of one table.
        format: How their rows are written, in the long shape.
        columns: Names of the columns.
        distinct: Whether of several equal rows the first alone is wanted.

    Raises:
        DataError: A file is broken.
    """
    wanted = Wanted(format, on_bad_rows="pad")
    names: list[str] | None = None
    with opened() as connection:
        connection.execute(
            f"CREATE TABLE texts ({', '.join(f'{quoted(name)} VARCHAR' for name in columns)})"
        )
        for file in files:
            with scratch_folder() as folder, _readable(file.path):
                source = source_of(connection, file, wanted, names, folder)
                names = names or source.names
                _insert_texts(connection, source, columns)
        if not distinct:
            return connection.execute("SELECT * FROM texts ORDER BY rowid").df()
        every = ", ".join(map(quoted, columns))
        return connection.execute(
            f"SELECT {every} FROM texts GROUP BY ALL ORDER BY min(rowid)"
        ).df()


def _insert_texts(
    connection: "duckdb.DuckDBPyConnection", source: Source, columns: Sequence[str]
) -> None:
    import duckdb

    for source.exact in (False, True):
        blanks = "kept" if source.exact else source.blanks
        texts = ", ".join(
            f"coalesce({_text_of(f'f{place}', source.types[name], blanks)}, '')"
            for place, name in enumerate(columns)
        )
        relation = source.relation(source, columns, source.exact)
        try:
            connection.execute(f"INSERT INTO texts SELECT {texts} FROM ({relation})")
            return
        except duckdb.InvalidInputException:
            if source.exact:
                raise


def _why_none(file: File, format: Format, left_out: Counter[str]) -> str:
    if left_out:
        counted = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        return f"{file.path} has no row that can be read: {counted}. Correct it."
    header = "a header and " if format.kind == "text" and format.header else ""
    return f"{file.path} has {header}no rows. Set data.path to a file with interactions."


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn what DuckDB, Arrow and the disk raise about a file into a DataError that names it."""
    import duckdb
    import pyarrow

    try:
        yield
    except (duckdb.Error, pyarrow.ArrowException, OSError, EOFError) as error:
        raise DataError(_in_words(str(path), error)) from error


def _in_words(what: str, error: Exception) -> str:
    """An error as a sentence; of DuckDB's words the first line alone: the others quote the file."""
    import duckdb

    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    if "No space left" in said or "max_temp_directory_size" in said:
        return f"{what} can't be read: {FULL}"
    if isinstance(error, duckdb.OutOfMemoryException):
        return (
            f"{what} can't be read in the memory that is allowed. Raise data.memory_gb, or end "
            "other programs."
        )
    if isinstance(error, duckdb.Error):
        said = said.partition(": ")[2] or said
    return (
        f"{what} can't be read: {said.rstrip('.')}. Check that the file is whole, and "
        "data.separator."
    )


def _num_rows(connection: "duckdb.DuckDBPyConnection") -> int:
    return _one(connection, "SELECT count(*) FROM rows") if _types_of_rows(connection) else 0


def _types_of_rows(connection: "duckdb.DuckDBPyConnection") -> dict[str, str]:
    """The types of the columns of the table `rows`; none before it is made."""
    return dict(
        connection.execute(
            "SELECT column_name, data_type FROM duckdb_columns() WHERE table_name = 'rows'"
        ).fetchall()
    )


def _one(connection: "duckdb.DuckDBPyConnection", sql: str) -> Any:
    # all of it: a result that is left unfinished blocks the connection
    return connection.execute(sql).fetchall()[0][0]


# Into the table

FAULT = re.compile("recsweep:(user|item|rating|time)")
MICROSECONDS = 1_000_000


def _read(connection: "duckdb.DuckDBPyConnection", source: Source, wanted: Wanted) -> Counter[str]:
    found = interactions_of(source, wanted)
    if _insert(connection, found, wanted, source):
        return source.left_out
    return _read_carefully(connection, source, found, wanted)


def _insert(
    connection: "duckdb.DuckDBPyConnection",
    found: Interactions,
    wanted: Wanted,
    source: Source,
    settled: bool = False,
) -> bool:
    """Append interactions, ids as numbers where that loses nothing; or nothing, where something
    isn't as it should be and False is returned.

    Args:
        settled: Whether words for a missing id and the unit of the times are settled already.
    """
    import duckdb

    types = _types_of_rows(connection)
    texts = {role for role in ("user", "item") if types.get(role) == "VARCHAR"}
    scale = 1 if settled else _scale(connection)
    while True:
        try:
            return _append(connection, found, wanted, texts, scale, settled)
        except (duckdb.OutOfMemoryException, duckdb.IOException):
            raise
        except duckdb.Error as error:
            if source.fault is not None:
                raise
            said = FAULT.search(str(error))
            role = said[1] if said else None
        if role in ("user", "item") and role not in texts:
            texts.add(role)
        elif role == "time" and scale == 1 and not settled and _may_be_scaled(found, wanted):
            scale = MICROSECONDS
        else:
            return False


def _append(
    connection: "duckdb.DuckDBPyConnection",
    found: Interactions,
    wanted: Wanted,
    texts: set[str],
    scale: int,
    settled: bool,
) -> bool:
    select = _select(found, wanted, texts, scale)
    types = _types_of_rows(connection)
    for role in texts:
        if types.get(role) == "BIGINT":
            connection.execute(f"ALTER TABLE rows ALTER {quoted(role)} TYPE VARCHAR")
    done, was_one = False, _scale(connection) == 1
    connection.execute("BEGIN")
    try:
        start = _num_rows(connection)
        if scale > 1:
            _scale_times(connection)
        connection.execute(f"{'INSERT INTO rows' if types else 'CREATE TABLE rows AS'} {select}")
        done = settled or not (
            any(
                _has_missing_words(connection, "rows", role, f"rowid >= {start}")
                for role in sorted(texts)
            )
            or (len(texts) == 2 and _repeats_header(connection, wanted, start))
        )
    finally:
        connection.execute("COMMIT" if done else "ROLLBACK")
        if not done and was_one:
            connection.execute("SET VARIABLE time_scale = 1")  # no part of a transaction
    return done


def _is_header(format: Format) -> str:
    """SQL of whether a row holds the names of the columns, as where files were put one behind the
    other."""
    if format.kind != "text" or format.user is None or format.item is None:
        return "false"
    return f'("user" = {literal(format.user)} AND item = {literal(format.item)})'


def _repeats_header(connection: "duckdb.DuckDBPyConnection", wanted: Wanted, start: int) -> bool:
    where = f"{_is_header(wanted.format)} AND rowid >= {start}"
    return bool(_one(connection, f"SELECT count(*) FROM rows WHERE {where}"))


def _select(found: Interactions, wanted: Wanted, texts: set[str], scale: int) -> str:
    """The columns of `rows`, where a value that isn't as it should be is an error of its role."""
    types, columns = found.types, []
    for role in ("user", "item"):
        trimmed = found.blanks == "dropped"
        if role in texts:
            value = id_text(quoted(role), types[role], trimmed)
            sound = f"trim({value}, {values.WHITE}) <> '' AND NOT contains({value}, chr(0))"
            if found.blanks == "refused":
                sound += f" AND ltrim({value}, {BLANK}) = {value}"
        else:
            value = id_number(quoted(role), types[role], trimmed)
            sound = f"{value} BETWEEN -{values.LARGEST_ID} AND {values.LARGEST_ID}"
        columns.append((role, value, sound))
    if "rating" in types:
        value = _rating(types, wanted)
        columns.append(("rating", value, f"isfinite({value})"))
    if "time" in types:
        value = time_of("time", types["time"], wanted.format.dates, scale)
        columns.append(("time", value, f"{value} IS NOT NULL"))
    fields = [
        f"CASE WHEN {sound} THEN {value} ELSE error('recsweep:{role}') END AS {quoted(role)}"
        for role, value, sound in columns
    ]
    if wanted.part is not None:
        fields.append(f"CAST({wanted.part} AS UTINYINT) AS part")
    return f"SELECT {', '.join(fields)} FROM ({found.sql(False)})"


def _rating(types: dict[str, str], wanted: Wanted) -> str:
    return rating_of("rating", types["rating"], wanted.positive_values, wanted.format.decimal)


def _scale(connection: "duckdb.DuckDBPyConnection") -> int:
    return _one(connection, "SELECT coalesce(getvariable('time_scale'), 1)")


def _scale_times(connection: "duckdb.DuckDBPyConnection") -> None:
    """From now on times that are numbers are kept in millionths, as those that are there already:
    one has a fraction."""
    if _scale(connection) == 1:
        if _types_of_rows(connection):
            connection.execute(f"UPDATE rows SET time = time * {MICROSECONDS}")
        connection.execute(f"SET VARIABLE time_scale = {MICROSECONDS}")


def _may_be_scaled(found: Interactions, wanted: Wanted) -> bool:
    type = found.types["time"]
    return not values.is_date(type) and (type != "VARCHAR" or wanted.format.dates == "number")


def _has_missing_words(
    connection: "duckdb.DuckDBPyConnection", table: str, role: str, where: str
) -> bool:
    """Whether a column of ids holds words that stand for no value: where all others are numbers.
    A column of other texts keeps them as ids, with a warning."""
    words = f"{quoted(role)} IN ({', '.join(map(literal, values.MISSING))})"
    number = f"regexp_full_match({quoted(role)}, '[+-]?[0-9]+([.][0-9]+)?')"
    some = connection.execute(
        f"SELECT min({quoted(role)}), count(*) FROM {table} WHERE {words} AND {where}"
    ).fetchall()[0]
    if some[1] == 0:
        return False
    others, numbers = connection.execute(
        f"SELECT count(*), count(*) FILTER ({number}) FROM {table} "
        f"WHERE NOT {words} AND trim({quoted(role)}, {values.WHITE}) <> '' AND {where}"
    ).fetchall()[0]
    if numbers and others == numbers:
        return True
    logger.warning(
        "%s rows have the %s %r: it is read as an id like any other. Delete them, if it stands for "
        "none.",
        f"{some[1]:,}",
        role,
        some[0],
    )
    return False


# Carefully


def _read_carefully(
    connection: "duckdb.DuckDBPyConnection", source: Source, found: Interactions, wanted: Wanted
) -> Counter[str]:
    """Append what can be read, and count the rest, or raise DataError at the first bad row."""
    import duckdb

    types = found.types
    try:
        _stage(connection, source, found, wanted)
    except duckdb.InvalidInputException:
        if source.fault is not None or source.exact:
            raise
        source.exact = True
        _stage(connection, source, found, wanted)
    if "time" in types:
        _settle_times(connection, found, wanted)
    reason = _reason(connection, types, wanted.format)
    counts = dict(
        connection.execute(
            f"SELECT {reason} AS reason, count(*) FROM staged WHERE reason IS NOT NULL GROUP BY ALL"
        ).fetchall()
    )
    if wanted.on_bad_rows == "error" and set(counts) - {EMPTY}:
        raise _first_fault(connection, source, types, wanted, reason)
    kept = {
        role: type for role, type in (("rating", "DOUBLE"), ("time", "BIGINT")) if role in types
    }
    kept = {"user": "VARCHAR", "item": "VARCHAR", **kept}
    columns = ", ".join(map(quoted, kept))
    sql = f"SELECT {columns} FROM staged WHERE {reason} IS NULL"
    sound = Interactions(lambda careful: sql, kept)
    if not _insert(connection, sound, wanted._replace(positive_values=None), source, settled=True):
        raise AssertionError("a row that was found to be sound isn't")
    connection.execute("DROP TABLE staged")
    return source.left_out + Counter(counts)


def _stage(
    connection: "duckdb.DuckDBPyConnection", source: Source, found: Interactions, wanted: Wanted
) -> None:
    """Make a table of all rows with their numbers, texts, and values where these can be read."""
    types = found.types
    blanks = "kept" if source.exact else found.blanks
    fields = [
        f"{_text_of(quoted(role), types[role], blanks)} AS {quoted(role)}"
        for role in ("user", "item")
    ]
    if "rating" in types:
        fields.append("CAST(rating AS VARCHAR) AS rating_text")
        fields.append(f"{_rating(types, wanted)} AS rating")
    if "time" in types:
        fields.append("CAST(time AS VARCHAR) AS time_text")
        for name, scale in (("time", 1), ("fine_time", MICROSECONDS)):
            time = time_of("time", types["time"], wanted.format.dates, scale)
            fields.append(f"{time} AS {name}")
    connection.execute(
        f'CREATE OR REPLACE TEMP TABLE staged AS SELECT "row", empty, {", ".join(fields)} '
        f"FROM ({found.sql(True)})"
    )


def _text_of(sql: str, type: str, blanks: Blanks) -> str:
    """The text of an id or a name, with a blank before it treated as a source says."""
    text = id_text(sql, type, blanks == "dropped")
    if blanks != "refused":
        return text
    sound = f"{text} IS NULL OR ltrim({text}, {BLANK}) = {text}"
    return f"CASE WHEN {sound} THEN {text} ELSE error('a blank') END"


def _settle_times(
    connection: "duckdb.DuckDBPyConnection", found: Interactions, wanted: Wanted
) -> None:
    if not _may_be_scaled(found, wanted):
        return
    if _one(connection, "SELECT count(*) FROM staged WHERE time IS NULL AND fine_time IS NOT NULL"):
        _scale_times(connection)
    if _scale(connection) > 1:
        connection.execute("UPDATE staged SET time = fine_time")


def _reason(connection: "duckdb.DuckDBPyConnection", types: dict[str, str], format: Format) -> str:
    """SQL of why a staged row is left out; NULL where it isn't."""
    no_id = " OR ".join(
        f"{column} IS NULL OR trim({column}, {values.WHITE}) = ''" for column in ('"user"', "item")
    )
    has_nul = 'contains("user", chr(0)) OR contains(item, chr(0))'
    cases = [("empty", EMPTY), (no_id, NO_ID)]
    cases.append((f"{has_nul} OR {_is_header(format)}", UNREADABLE))
    if "rating" in types:
        cases.append(("rating IS NULL OR NOT isfinite(rating)", NO_RATING))
    if "time" in types:
        cases.append(("time IS NULL", NO_TIME))
    whens = " ".join(f"WHEN {case} THEN {literal(reason)}" for case, reason in cases)
    missing = ", ".join(map(literal, values.MISSING))
    words = " ".join(
        f"WHEN {quoted(role)} IN ({missing}) THEN {literal(NO_ID)}"
        for role in ("user", "item")
        if _has_missing_words(connection, "staged", role, f"(CASE {whens} END) IS NULL")
    )
    return f"(CASE {whens} {words} END)"


def _first_fault(
    connection: "duckdb.DuckDBPyConnection",
    source: Source,
    types: dict[str, str],
    wanted: Wanted,
    reason: str,
) -> DataError:
    format = wanted.format
    texts = [
        "coalesce(\"user\", '')",
        "coalesce(item, '')",
        "coalesce(rating_text, '')" if "rating" in types else "''",
        "coalesce(time_text, '')" if "time" in types else "''",
    ]
    row, why, user, item, rating, time = connection.execute(
        f'SELECT "row", {reason} AS reason, {", ".join(texts)} FROM staged '
        f'WHERE reason IS NOT NULL AND reason <> {literal(EMPTY)} ORDER BY "row" LIMIT 1'
    ).fetchall()[0]
    place = f"in row {row:,} of {source.path} (rows counted without a header)"
    if why == NO_ID:
        no_user = not user.strip() or (item.strip() and user in values.MISSING)
        column, text = (format.user, user) if no_user else (format.item, item)
        rule, remedy = "has no id", f"Fill it in, delete the row, or {SKIP}."
    elif why == UNREADABLE and "\0" not in user + item:
        return DataError(f"The names of the columns stand again {place}. Delete it, or {SKIP}.")
    elif why == UNREADABLE:
        column, text = (format.user, user) if "\0" in user else (format.item, item)
        rule, remedy = "must not hold a NUL character", f"Delete it there, or {SKIP}."
    elif why == NO_RATING:
        column = format.rating or (item if format.shape == "users_by_items" else user)
        text, rule = rating, "must hold a number in each row"
        remedy = (
            f"Correct or delete the row, {SKIP}, or set data.rating_column=null if every row is a "
            "positive (data.columns=null if the first line is a header)."
        )
    else:
        column, text = format.time, time
        kind = {"number": "a number", "iso": "a date as 2017-08-18"}
        rule = f"must be {kind.get(format.dates, f'a date as {format.dates}')}, as in the first row"
        remedy = f"Correct it, {SKIP}, or set data.timestamp_column=null."
    column = column or ("user" if text == user else "item")  # of lists and matrices
    return DataError(f"Column {as_said(column)} {rule}, not {in_short(text)}, {place}. {remedy}")
