"""Values as SQL of DuckDB, by the type of their column: ids, ratings, times; NULL where a text
can't be one."""

from collections.abc import Sequence

MISSING = ("nan", "NaN", "NULL", "null", "None", "NA", "N/A", r"\N")
"""Words that stand for no value, where all else in a column of ids is a number; in a cell of a
matrix always."""


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


BLANK = "' ' || chr(9)"
WHITE = "' ' || chr(9) || chr(10) || chr(13)"
"""What is trimmed from a text: within a line, and anywhere."""

INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
FLOATS = ("FLOAT", "DOUBLE")
ISO_OTHERS = ("%Y%m%d", "%Y-%m", "%Y-%m-%d %H", "%Y-%m-%d %H:%M:%S %z")
"""ISO dates that DuckDB's casts don't take."""

LARGEST_ID = 10**18 - 1
"""18 digits always fit 64 bits; see `recsweep.data.ids`."""


def is_date(type: str) -> bool:
    return type.startswith(("TIMESTAMP", "DATE"))


def plain(sql: str, type: str) -> str:
    """Text of what Arrow and Parquet write as a category, or as bytes."""
    if type == "BLOB":
        return f"decode({sql})"
    return f"CAST({sql} AS VARCHAR)" if type.startswith("ENUM") else sql


def plain_type(type: str) -> str:
    return "VARCHAR" if type == "BLOB" or type.startswith("ENUM") else type


def id_text(sql: str, type: str, trimmed: bool = False) -> str:
    """The text of an id: of a float that is whole as `7`, whatever else its column holds."""
    if type == "VARCHAR":
        return f"ltrim({sql}, {BLANK})" if trimmed else sql
    if type in FLOATS:
        whole = f"{sql} = trunc({sql}) AND abs({sql}) < 9223372036854775808"
        return (
            f"CASE WHEN isnan({sql}) THEN NULL WHEN {whole} THEN CAST(CAST({sql} AS BIGINT) AS "
            f"VARCHAR) ELSE CAST({sql} AS VARCHAR) END"
        )
    return f"CAST({sql} AS VARCHAR)"


def id_number(sql: str, type: str, trimmed: bool = False) -> str:
    """The number that an id is, without loss of its text."""
    if type in INTEGERS:
        return f"CAST({sql} AS BIGINT)"
    text = id_text(sql, type, trimmed)
    return f"CASE WHEN CAST(TRY_CAST({text} AS BIGINT) AS VARCHAR) = {text} THEN {_big(text)} END"


def _big(text: str) -> str:
    return f"TRY_CAST({text} AS BIGINT)"


def number_of(sql: str, type: str, decimal: str = ".") -> str:
    if type != "VARCHAR":
        return f"TRY_CAST({sql} AS DOUBLE)"
    text = sql
    if decimal == ",":
        thousands = r"\s*[+-]?\d{1,3}(\.\d{3})+(,\d*)?\s*"
        text = (
            f"CASE WHEN NOT contains({sql}, '.') OR regexp_full_match({sql}, "
            f"{literal(thousands)}) THEN replace(replace({sql}, '.', ''), ',', '.') END"
        )
    number = f"TRY_CAST({text} AS DOUBLE)"
    # DuckDB takes 1_000 for a number
    return f"CASE WHEN isfinite({number}) AND NOT contains({sql}, '_') THEN {number} END"


def rating_of(sql: str, type: str, positive_values: Sequence[str] | None, decimal: str) -> str:
    if positive_values is None:
        return number_of(sql, type, decimal)
    text = f"trim({id_text(sql, type)})"
    values = [value.strip() for value in positive_values]
    if {value.lower() for value in values} & {"true", "false"}:
        values, text = [value.lower() for value in values], f"lower({text})"
    listed = ", ".join(map(literal, values))
    return f"CASE WHEN {text} IN ({listed}) THEN 1::DOUBLE ELSE 0::DOUBLE END"


def time_of(sql: str, type: str, dates: str, scale: int) -> str:
    """A time as a whole number; of numbers that of `scale` parts of each."""
    if is_date(type):
        return f"epoch_us(CAST({sql} AS TIMESTAMP))"
    if type == "VARCHAR" and dates == "iso":
        text = f"replace(replace(trim({sql}), '/', '-'), ',', '.')"
        # of a TIMESTAMP DuckDB drops the zone; and it takes `infinity` and `epoch` for times
        read = f"TRY_CAST({text} AS TIMESTAMPTZ)"
        others = f"try_strptime({text}, [{', '.join(map(literal, ISO_OTHERS))}])"
        is_day = f"{text} >= '0' AND {text} < ':'"
        return f"CASE WHEN {is_day} THEN epoch_us(coalesce({read}, {others})) END"
    if type == "VARCHAR" and dates != "number":
        return f"epoch_us(try_strptime({sql}, {literal(dates)}))"
    if scale > 1:
        return f"TRY_CAST(TRY_CAST({sql} AS DECIMAL(28, 6)) * {scale} AS BIGINT)"
    if type in INTEGERS:
        return f"CAST({sql} AS BIGINT)"
    if type == "VARCHAR":  # of 1.5 BIGINT were 2
        plain = f"NOT contains({sql}, '.') AND NOT contains({sql}, '_')"
        whole = f"TRY_CAST(regexp_extract({sql}, '^(.*)\\.0*\\s*$', 1) AS BIGINT)"
        return f"CASE WHEN {plain} THEN {_big(sql)} ELSE {whole} END"
    return f"CASE WHEN {sql} = trunc({sql}) THEN TRY_CAST({sql} AS BIGINT) END"
