"""Files of candidates: the items that are given for each user's list to be chosen from."""

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from recsweep.checks import short
from recsweep.data.door import opened, read_rows
from recsweep.data.files import existing, find, unchanged
from recsweep.data.forms.guess import guess_table
from recsweep.data.forms.roles import bare
from recsweep.data.interactions import IdMap
from recsweep.errors import DataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def read_candidates(
    path: str,
    user_ids: IdMap,
    item_ids: IdMap,
    *,
    user_column: str | None = None,
    item_column: str | None = None,
    on_bad_rows: Literal["error", "skip"] = "error",
    memory_gb: float | None = None,
) -> tuple[tuple[np.ndarray, np.ndarray], int]:
    """The pairs of user and item that a table in a file lists, each once.

    Args:
        user_column: Column of the raw user ids; the first where there is none of that name.
        item_column: Column of the raw item ids; else the second.
        on_bad_rows: See `InteractionFile`, as `memory_gb`.

    Returns:
        Users and items, (c,) int32 each, and the number of pairs whose user or item the data lacks:
        no model has a score for them.

    Raises:
        DataError: The file can't be read, has one column, or no pair of the data.
    """
    if existing(path) is None:
        raise DataError(
            f"There is no file {short(path)}. Set data.candidates_path to one that exists, or to "
            "null."
        )
    try:
        files = find(path)
        form = guess_table(files)
        if len(form.columns) < 2:
            raise DataError(
                f"{path} has one column, {short(form.columns[0])!r}. A file of candidates needs "
                "two: user and item."
            )
        by_name = {bare(name): name for name in reversed(form.columns)}
        user = by_name.get(bare(user_column or ""), form.columns[0])
        item = by_name.get(bare(item_column or ""), form.columns[1])
        if user == item:
            raise DataError(
                f"{path} has the columns {', '.join(map(short, form.columns[:5]))}: "
                f"{short(user)!r} would hold the users and the items. Name them as in the file of "
                "interactions, or put the users first and the items second."
            )
        with opened(memory_gb) as connection:
            lists = replace(form, user=user, item=item)
            with unchanged(files):
                read_rows(connection, files, lists, on_bad_rows=on_bad_rows)
            users, items, num_unknown = _known_pairs(connection, user_ids, item_ids)
    except DataError as error:
        # the door speaks of files of interactions
        words = str(error).replace("data.path", "data.candidates_path")
        words = words.replace("with one interaction a line", "with one pair a line")
        raise DataError(words.replace("with interactions", "of candidates")) from error
    if not len(users):
        raise DataError(
            f"{path} has no candidate among the {len(user_ids):,} users and {len(item_ids):,} "
            f"items of the data: its users were looked for in column {short(user)!r}, its items "
            f"in {short(item)!r}. Set data.candidates_path to the file that belongs to the data."
        )
    return (users, items), num_unknown


def _known_pairs(
    connection: "DuckDBPyConnection", user_ids: IdMap, item_ids: IdMap
) -> tuple[np.ndarray, np.ndarray, int]:
    """The pairs in the table `rows` as dense indices, by user and item, and how many there are
    beside."""
    import pyarrow as pa

    for kind, ids in (("user", user_ids), ("item", item_ids)):
        (spellings,) = connection.sql(f'SELECT DISTINCT "{kind}" FROM rows').to_arrow_table()
        codes = [ids.find(raw) for raw in spellings.to_pylist()]
        known = pa.table([spellings, pa.array(codes, pa.int32())], ["spelling", "code"])
        connection.register(f"{kind}_codes", known)
    coded = connection.sql(
        """
        SELECT DISTINCT user_codes.code AS "user", item_codes.code AS item
        FROM rows
        JOIN user_codes ON rows."user" = user_codes.spelling
        JOIN item_codes ON rows.item = item_codes.spelling
        WHERE user_codes.code IS NOT NULL AND item_codes.code IS NOT NULL
        ORDER BY ALL
        """
    ).to_arrow_table()
    ((num_pairs,),) = connection.execute(
        'SELECT count(*) FROM (SELECT DISTINCT "user", item FROM rows)'
    ).fetchall()
    users, items = (column.to_numpy() for column in coded.columns)
    return users, items, num_pairs - len(users)
