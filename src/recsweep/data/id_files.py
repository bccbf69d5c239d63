"""Files beside the interactions: titles of items, and lists of users."""

from collections.abc import Collection
from pathlib import Path

from recsweep.checks import short
from recsweep.data.ids import spelled
from recsweep.data.tables import Table, existing, readable, refuse_endless
from recsweep.errors import DataError

ITEM_COLUMNS = ("item_id", "recipe_id", "movie_id", "movieid", "itemid", "id")
TITLE_COLUMNS = ("title", "name")
USER_COLUMNS = ("user_id", "userid", "user", "id")

SEPARATORS = ("\t", "::", "|", ",", ";")
"""What may stand between the fields of a line, tried in this order on the first line."""


def read_titles(path: Path, item_ids: Collection[int | str]) -> dict[str, str]:
    """Titles of the items asked for, by raw id as text; one that the file lacks is left out.

    Args:
        path: CSV (`,`, `;`, tab, `|` or `::`; plain, gzipped or in a zip) or Parquet. Columns named
            as in ITEM_COLUMNS and TITLE_COLUMNS are read wherever they stand; else the first column
            holds ids and the second titles.
        item_ids: The file is read until all of them are found.

    Raises:
        DataError: The file can't be read, has one column, or names none of the items.
    """
    wanted = {str(raw): str(raw) for raw in item_ids}
    by_spelling = {spelled(raw): raw for raw in wanted}
    titles: dict[str, str] = {}
    with readable(path):
        table, names = _open(path)
        id_column, title_column = _find(names, ITEM_COLUMNS), _find(names, TITLE_COLUMNS)
        if id_column is None or title_column is None:
            if len(names) < 2:
                raise DataError(
                    f"{path} has one column, {names[0]!r}. A file of titles needs two: id and "
                    "title."
                )
            id_column, title_column = names[0], names[1]
            if not table.is_parquet:
                id_column, title_column = "id", "title"
                table = Table(path, None, table.separator, (id_column, title_column))
        for batch in table.batches([id_column, title_column]):
            named = zip(batch[id_column], batch[title_column].str.strip(), strict=True)
            for text, title in named:
                if item := wanted.get(text) or by_spelling.get(spelled(text)):
                    titles[item] = title
            if len(titles) == len(wanted):
                break
    if wanted and not titles:
        raise DataError(
            f"{path} has a title for none of the {len(wanted)} items, as {min(wanted)}: its "
            f"columns are {', '.join(names[:5])}. Name the columns `id` and `title`."
        )
    return titles


def read_user_ids(path: Path) -> list[str]:
    """The different user ids of a file as text, in the order in which they come first: one a line,
    or a column named as in USER_COLUMNS, as that of a file of interactions.

    Raises:
        DataError: The file can't be read, holds no id, or has several columns and none of such a
            name.
    """
    with readable(path):
        table, names = _open(path)
        column = _find(names, USER_COLUMNS)
        if column is None:
            if len(names) > 1:
                raise DataError(
                    f"{path} has the columns {', '.join(names[:5])}. Name that of the users "
                    "`user_id`."
                )
            column = names[0]
            if not table.is_parquet:
                table = Table(path, None, table.separator, (column,))
        user_ids: dict[str, None] = {}
        for batch in table.batches([column]):
            user_ids |= dict.fromkeys(text for text in batch[column].unique() if text.strip())
    if not user_ids:
        raise DataError(f"{path} holds no user id. Write one a line.")
    return list(user_ids)


def _open(path: Path) -> tuple[Table, list[str]]:
    """The file's table, and the fields of its first line."""
    if (found := existing(path)) is None:
        raise DataError(f"There is no file {short(str(path))}. Name one that exists.")
    refuse_endless(found)
    table = Table(path, None, "\x1f", None)  # no text holds that: the first line as a whole
    if not table.is_parquet:
        line = table.names()[0]
        separator = next((text for text in SEPARATORS if text in line), ",")
        table = Table(path, None, separator, None)
    return table, table.names()


def _find(names: list[str], known: tuple[str, ...]) -> str | None:
    """The first column of the known names that the file has."""
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in known if name in by_name), None)
