"""Files beside the interactions: titles of items, and lists of users."""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recsweep.checks import short
from recsweep.data.files import File, existing, find, sample
from recsweep.data.forms import Format
from recsweep.data.ids import spelled
from recsweep.errors import DataError

ITEM_COLUMNS = ("item_id", "recipe_id", "movie_id", "movieid", "itemid", "id")
TITLE_COLUMNS = ("title", "name")
USER_COLUMNS = ("user_id", "userid", "user", "id")

SEPARATORS = ("\t", "::", "|", ",", ";")
"""What parts the fields of a line, where there are several."""


def read_titles(path: Path, item_ids: Collection[int | str]) -> dict[str, str]:
    """Titles of the items asked for, by raw id as text; one that the file lacks is left out.

    Args:
        path: A table in a file. Columns named as in ITEM_COLUMNS and TITLE_COLUMNS are read
            wherever they stand; else the first column holds ids and the second titles.
        item_ids: Raw ids of the items.

    Raises:
        DataError: The file can't be read, has one column, or names none of the items.
    """
    from recsweep.data.door import read_texts

    wanted = {str(raw): str(raw) for raw in item_ids}
    by_spelling = {spelled(raw): raw for raw in wanted}
    titles: dict[str, str] = {}
    with _read(path):
        files, form = _table(path)
        names = form.columns
        if len(names) < 2:
            raise DataError(
                f"{path} has one column, {short(names[0])!r}. A file of titles needs two: id and "
                "title."
            )
        id_column, title_column = _find(names, ITEM_COLUMNS), _find(names, TITLE_COLUMNS)
        if id_column is None or title_column is None:
            form = _unnamed(form)
            id_column, title_column = form.columns[:2]
        texts = read_texts(files, form, [id_column, title_column], distinct=True)
    named = zip(texts[id_column], texts[title_column].str.strip(), strict=True)
    for text, title in named:
        if item := wanted.get(text) or by_spelling.get(spelled(text)):
            titles[item] = title
    if wanted and not titles:
        raise DataError(
            f"{path} has a title for none of the {len(wanted)} items, as {min(wanted)}: its "
            f"columns are {', '.join(map(short, names[:5]))}. Name the columns `id` and `title`."
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

    with _read(path):
        files, form = _table(path)
        column = _find(form.columns, USER_COLUMNS)
        if column is None:
            if len(form.columns) > 1:
                raise DataError(
                    f"{path} has the columns {', '.join(map(short, form.columns[:5]))}. Name that "
                    "of the users `user_id`."
                )
            form = _unnamed(form)
            (column,) = form.columns
        texts = read_texts(files, form, [column], distinct=True)
        user_ids = [text for text in texts[column] if text.strip()]
    if not user_ids:
        raise DataError(f"{path} holds no user id. Write one a line.")
    return user_ids


@contextmanager
def _read(path: Path) -> Iterator[None]:
    """Let what is said of a file name no setting of the interactions."""
    if existing(path) is None:
        raise DataError(f"There is no file {short(str(path))}. Name one that exists.")
    try:
        yield
    except DataError as error:
        said = str(error).replace("Set data.path to the file with the interactions", "Name a file")
        raise DataError(said.replace("set data.path to that", "name that")) from error


def _table(path: Path) -> tuple[list[File], Format]:
    """The file's parts and its form; a text whose first line has no separator is one column."""
    from recsweep.data.forms.guess import guess_table

    files = find(str(path))
    if files[0].kind == "text":
        first = next((line for line in sample(files[0]).split("\n") if line.strip()), None)
        if first is None:
            raise DataError(f"{path} is empty. Write one row a line.")
        if not any(separator in first for separator in SEPARATORS):
            name = first.strip().strip('"')
            return files, Format(kind="text", quote='"', header=True, columns=(name,))
    return files, guess_table(files)


def _unnamed(form: Format) -> Format:
    """The form of a text whose first line is a row as the others."""
    if form.kind != "text" or not form.header:
        return form
    names = (f"column_{place + 1}" for place in range(len(form.columns)))
    return replace(form, header=False, columns=tuple(names))


def _find(names: Sequence[str], known: tuple[str, ...]) -> str | None:
    """The first column of the known names that the file has."""
    by_name = {name.lower(): name for name in reversed(names)}
    return next((by_name[name] for name in known if name in by_name), None)
