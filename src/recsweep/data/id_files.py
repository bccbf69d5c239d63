"""Files beside the interactions: titles of items, and lists of users."""

import io
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from recsweep.checks import short
from recsweep.data import records, typed
from recsweep.data.files import File, existing, find, refuse_endless, sample
from recsweep.data.formats import Format
from recsweep.data.ids import spelled
from recsweep.errors import DataError

ITEM_COLUMNS = ("item_id", "recipe_id", "movie_id", "movieid", "itemid", "id")
TITLE_COLUMNS = ("title", "name")
USER_COLUMNS = ("user_id", "userid", "user", "id")

SEPARATORS = ("\t", "::", "|", ",", ";")
"""What may stand between the fields of a line, tried in this order on the first line."""


def read_titles(path: Path, item_ids: Collection[int | str]) -> dict[str, str]:
    """Titles of the items asked for, by raw id as text; one that the file lacks is left out.

    Args:
        path: A table of any kind and encoding that interactions may be in; in text between its
            fields `,`, `;`, tab, `|` or `::`. Columns named as in ITEM_COLUMNS and TITLE_COLUMNS
            are read wherever they stand; else the first column holds ids and the second titles.
        item_ids: Raw ids of items.

    Raises:
        DataError: The file can't be read, has one column, or names none of the items.
    """
    from recsweep.data.door import read_texts

    wanted = {str(raw): str(raw) for raw in item_ids}
    by_spelling = {spelled(raw): raw for raw in wanted}
    files, form = _open(path)
    names = form.columns
    id_column, title_column = _find(names, ITEM_COLUMNS), _find(names, TITLE_COLUMNS)
    if id_column is None or title_column is None:
        if len(names) < 2:
            raise DataError(
                f"{path} has one column, {names[0]!r}. A file of titles needs two: id and title."
            )
        form = _without_header(form)
        id_column, title_column = form.columns[:2]
    texts = read_texts(files, form, [id_column, title_column])
    titles: dict[str, str] = {}
    for text, title in zip(texts[id_column], texts[title_column].str.strip(), strict=True):
        if item := wanted.get(text) or by_spelling.get(spelled(text)):
            titles[item] = title
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
    from recsweep.data.door import read_texts

    files, form = _open(path)
    column = _find(form.columns, USER_COLUMNS)
    if column is None:
        if len(form.columns) > 1:
            raise DataError(
                f"{path} has the columns {', '.join(form.columns[:5])}. Name that of the users "
                "`user_id`."
            )
        form = _without_header(form)
        column = form.columns[0]
    texts = read_texts(files, form, [column], distinct=True)[column]
    user_ids = [text for text in texts if text.strip()]
    if not user_ids:
        raise DataError(f"{path} holds no user id. Write one a line.")
    return user_ids


def _open(path: Path) -> tuple[list[File], Format]:
    """The file, and its form, if the first line of a text names the columns."""
    if (found := existing(path)) is None:
        raise DataError(f"There is no file {short(str(path))}. Name one that exists.")
    if not found.is_dir():
        refuse_endless(found)
    files = find(str(found))
    first = files[0]
    if first.kind != "text":
        return files, Format(kind=first.kind, columns=tuple(typed.first_rows(first, 1)[0]))
    text = sample(first).lstrip()
    line = text.partition("\n")[0]
    separator = next((text for text in SEPARATORS if text in line), ",")
    form = Format(kind="text", separator=separator, quote='"', header=False)
    fields = next(records.records(io.StringIO(text), form, 0)).fields
    names = tuple(field.strip() for field in fields)
    return files, replace(form, header=True, columns=names)


def _without_header(form: Format) -> Format:
    """The form of a text whose first line is a row as the others."""
    if form.kind != "text":
        return form
    names = tuple(f"column_{place + 1}" for place in range(len(form.columns)))
    return replace(form, header=False, columns=names)


def _find(names: Sequence[str], known: tuple[str, ...]) -> str | None:
    """The first column of the known names that the file has."""
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in known if name in by_name), None)
