"""Files of features: read as texts, and each column taken for what it holds."""

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from recsweep.checks import meant, short
from recsweep.data.features import (
    MISSING,
    MISSING_NUMBERS,
    Described,
    FeatureTable,
    Field,
    Kind,
    bin_edges,
    category,
    is_bracketed,
    listed,
)
from recsweep.data.files import existing, find
from recsweep.data.id_files import read_titles
from recsweep.data.ids import WHOLE_NUMBER, id_array
from recsweep.data.interactions import IdMap, Interactions
from recsweep.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

MAX_CODES = 50
"""Whole numbers of at most so many different values are categories."""

MAX_CATEGORIES = 1000
"""A column of more categories is left out: they are names, as titles are."""

IGNORED = "ignored"
"""The reason why a column of `data.ignore_features` is left out."""

NUMBER = re.compile(r"[+-]?(?!0\d)(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
"""A number; `007` is a code."""

THOUSANDS = re.compile(r"[+-]?\d{1,3}(,\d{3})+")

RECBOLE_TYPES = ("token", "token_seq", "float", "float_seq")
"""What may stand after a `:` in RecBole's names of columns."""


def with_features(
    interactions: Interactions,
    *,
    user_features: str | None = None,
    item_features: str | None = None,
    ignore: Collection[str] = (),
    item_titles: str | None = None,
    user_column: str | None = None,
    item_column: str | None = None,
) -> Interactions:
    """The interactions with what files say of their users and items beside them.

    Args:
        user_features: File of features of users, see `read_features`.
        item_features: File of features of items, likewise.
        ignore: Columns to leave out of both.
        item_titles: File of the names of items, see `read_titles`.
        user_column: Name of the column of the user ids in the interactions, which a file of
            features may have too.
        item_column: Name of the column of the item ids, likewise.

    Raises:
        DataError: A file can't be read, or is of other users or items.
        ConfigError: A column to leave out is in none of them.
    """
    users, items, titles = None, None, interactions.item_titles
    if user_features is not None:
        ids = interactions.user_ids
        users = read_features(user_features, ids, id_column=user_column, ignore=ignore)
    if item_features is not None:
        ids = interactions.item_ids
        items = read_features(item_features, ids, id_column=item_column, ignore=ignore)
    check_ignored(ignore, [users, items])
    if item_titles is not None:
        raw_ids = interactions.item_ids.ids.tolist()
        found = read_titles(_found(item_titles, "item_titles"), raw_ids)
        titles = {raw: short(title) for raw, title in found.items() if title}
        logger.info(
            "Titles of %s of %s items from %s.",
            f"{len(titles):,}",
            f"{len(raw_ids):,}",
            item_titles,
        )
    return replace(interactions, user_features=users, item_features=items, item_titles=titles)


def read_features(
    path: str, ids: IdMap, *, id_column: str | None = None, ignore: Collection[str] = ()
) -> FeatureTable:
    """The features that a file holds for the entities of a data set, see `feature_table`.

    Args:
        path: A table in a file. Its first line names the columns, unless it begins with one of the
            ids; then they are `column_1`, `column_2` and so on.
        ids: Raw ids of the entities.
        id_column: Column of the raw ids; the first where there is none of that name.
        ignore: Columns to leave out.

    Raises:
        DataError: The file can't be read, an id stands in two rows, no row is of an entity of the
            data, or no column is left.
    """
    columns, id_column = _texts_of(path, ids.kind, id_column, ids)
    table = feature_table(columns, ids, source=path, id_column=id_column, ignore=ignore)
    unasked = any(why != IGNORED for why in table.left_out.values())
    level = logging.WARNING if unasked else logging.INFO
    logger.log(level, "Features of %ss from %s: %s.", ids.kind, path, table.in_words())
    return table


def described_features(
    path: str, kind: str, *, id_column: str | None = None, ignore: Collection[str] = ()
) -> list[Described]:
    """What the columns of a file of features are taken for.

    Args:
        path: See `read_features`.
        kind: `user` or `item`.
        id_column: Column of the raw ids; the first where there is none of that name.
        ignore: Columns to leave out.
    """
    columns, id_column = _texts_of(path, kind, id_column)
    ids = IdMap(np.unique(id_array({*columns[id_column]})), kind)
    table = feature_table(columns, ids, source=path, id_column=id_column, ignore=ignore)
    return table.described()


def _texts_of(
    path: str, kind: str, id_column: str | None, ids: IdMap | None = None
) -> tuple[dict[str, list[str]], str]:
    """The columns of a file as texts, by their names, and which of them holds the ids. A first line
    that begins with one of `ids` names no columns."""
    from recsweep.data.door import read_texts
    from recsweep.data.forms.guess import guess_table

    setting = f"{kind}_features"
    try:
        files = find(str(_found(path, setting)))
        form = guess_table(files)
        named = [name for name in form.columns if id_column in (name, _bare(name))]
        if form.header and ids and not named and ids.find(form.columns[0]) is not None:
            numbered = (f"column_{place + 1}" for place in range(len(form.columns)))
            form = replace(form, header=False, columns=tuple(numbered))
        # what a table without names has as `column_2` isn't what another one has
        id_column = named[0] if form.header and named else form.columns[0]
        name, uses = Counter(form.columns).most_common(1)[0]
        if uses > 1:
            raise DataError(f"{path} has two columns {short(name)!r}. Name one of them otherwise.")
        texts = read_texts(files, form, form.columns)
    except DataError as error:
        # the door speaks of files of interactions
        words = str(error).replace("data.path", f"data.{setting}")
        words = words.replace("with one interaction a line", f"with one {kind} a line")
        words = words.replace("the file with the interactions", f"the file with the {kind}s")
        raise DataError(words) from error
    return {name: texts[name].tolist() for name in form.columns}, id_column


def _found(path: str, setting: str) -> Path:
    if (found := existing(path)) is None:
        raise DataError(
            f"There is no file {short(path)}. Set data.{setting} to one that exists, or to null."
        )
    return found


def feature_table(
    columns: Mapping[str, Sequence[str]],
    ids: IdMap,
    *,
    source: str,
    id_column: str | None = None,
    ignore: Collection[str] = (),
) -> FeatureTable:
    """The features that a table of texts holds for the entities of a data set.

    Text is a category, and a list of categories where `|` stands in it (or all are written as
    `["a", "b"]`); whole numbers of few different values are categories too, and others fall into
    bins of equally many entities, also those that all have a decimal comma. A column whose
    categories are too many, or never the same for two rows, is left out. What a column is, all rows
    tell; its categories are those of the entities. RecBole's names with a
    type, as `class:token_seq`, are read as `class`; a `token_seq` is a list by blanks.

    Args:
        columns: Texts of each column, by name.
        ids: Raw ids of the entities.
        source: Name of the file, for messages.
        id_column: Column of the raw ids; the first where there is none of that name.
        ignore: Columns to leave out.

    Raises:
        DataError: An id stands in two rows, no row is of an entity of the data, or no column is
            left.
    """
    from scipy.sparse import csr_matrix, hstack

    named = {_bare(name): (name, _type_of(name)) for name in columns}
    bare = "" if id_column is None else _bare(id_column)
    id_name = bare if bare in named else next(iter(named), "")
    if len(named) < 2:
        raise DataError(
            f"{source} has one column, {id_name!r}. A file of features needs the column of the "
            f"{ids.kind} ids and one for each feature."
        )
    rows, unknown_rows = _rows_of(columns[named.pop(id_name)[0]], ids, source, id_name)
    has_row = rows >= 0
    fields, blocks, numbers, left_out = [], [], [], {}
    for name, (column, column_type) in named.items():
        if name in ignore:
            left_out[name] = IGNORED
            continue
        texts = [text.strip() for text in columns[column]]
        counts = Counter(texts)
        as_numbers = _numbers(counts)
        found = _field(name, counts, as_numbers, column_type)
        if isinstance(found, str):
            left_out[name] = found
            continue
        of_entity = [texts[row] if row >= 0 else "" for row in rows.tolist()]
        codes = {text: code for code, text in enumerate(dict.fromkeys(of_entity))}
        places = np.fromiter(map(codes.__getitem__, of_entity), np.int64, len(of_entity))
        if found.kind == "number":
            values = np.array([as_numbers.get(text, np.nan) for text in codes])[places]
            found = replace(found, edges=bin_edges(values))
            block = found.binned(values)
        else:
            own = {each for text in codes for each in found.named(text)}
            found = replace(found, categories=tuple(filter(own.__contains__, found.categories)))
            block = found.encoded(list(codes))[places]
        if block.nnz == 0:
            left_out[name] = f"no value of any of the {ids.kind}s"
            continue
        if found.kind == "number":
            numbers.append(values)
        blocks.append(block)
        fields.append(found)
    if not fields:
        reasons = ", ".join(f"{name} ({why})" for name, why in list(left_out.items())[:10])
        raise DataError(
            f"{source} has no column that can be used as a feature: {reasons}. Add one, or set "
            f"data.{ids.kind}_features=null."
        )
    return FeatureTable(
        ids.kind,
        tuple(fields),
        csr_matrix(hstack(blocks, "csr")),
        np.stack(numbers, axis=1) if numbers else np.empty((len(ids), 0)),
        left_out,
        unknown_rows,
        int((~has_row).sum()),
    )


def _rows_of(texts: Sequence[str], ids: IdMap, source: str, id_name: str) -> tuple[np.ndarray, int]:
    """The row of each entity, -1 where there is none, and the number of other rows."""
    rows = np.full(len(ids), -1, dtype=np.int64)
    unknown: dict[str, int] = {}
    for row, text in enumerate(texts):
        place = ids.find(text)
        before = unknown.setdefault(text, row) if place is None else rows[place]
        if 0 <= before < row:
            raise DataError(
                f"{source} has two rows of one {ids.kind}, {short(text)!r} in column {id_name!r}: "
                f"rows {before + 1} and {row + 1} (counted without a header). Keep one of them."
            )
        if place is not None:
            rows[place] = row
    if len(ids) and not (rows >= 0).any():
        raise DataError(
            f"{source} has a row for none of the {len(ids):,} {ids.kind}s of the data, as "
            f"{ids.ids[0]!s}: its {ids.kind} ids were looked for in column {id_name!r}. Put that "
            f"column first, or name it as data.{ids.kind}_column."
        )
    return rows, len(unknown)


def _bare(name: str) -> str:
    """A column's name without RecBole's type."""
    return name.rpartition(":")[0] if _type_of(name) else name


def _type_of(name: str) -> str:
    """RecBole's type in a column's name; empty where there is none."""
    bare, _, column_type = name.rpartition(":")
    return column_type if bare and column_type in RECBOLE_TYPES else ""


def _field(
    name: str, counts: Mapping[str, int], as_numbers: Mapping[str, float], column_type: str
) -> Field | str:
    """What a column is by all rows of the file, or the reason why it is left out.

    Args:
        counts: Number of rows by text.
        as_numbers: The texts as numbers, where all are.
    """
    present = [text for text in counts if text.lower() not in MISSING_NUMBERS]
    if present and not column_type.endswith("_seq") and as_numbers:
        whole = [found for text in present if (found := WHOLE_NUMBER.fullmatch(text))]
        codes = sorted({int(each[1]) for each in whole})
        are_codes = len(whole) == len(present) and len(codes) <= MAX_CODES
        repeated = sum(counts[text] for text in present) > len(codes)
        if are_codes and repeated and column_type != "float":
            return Field(name, "category", tuple(map(str, codes)))
        return Field(name, "number")
    present = [text for text in counts if text.lower() not in MISSING]
    if not present:
        return "no value"
    is_list = any("|" in text for text in present) or all(map(is_bracketed, present))
    separator = " " if column_type.endswith("_seq") else "|"
    kind: Kind = "list" if is_list or separator == " " else "category"
    uses: Counter[str] = Counter()
    for text in present:
        for each in listed(text, separator) if kind == "list" else [category(text)]:
            uses[each] += counts[text]
    if len(uses) > MAX_CATEGORIES:
        return f"{len(uses):,} categories, more than {MAX_CATEGORIES:,}"
    if max(uses.values(), default=0) < 2:
        return "no category stands in two rows"
    return Field(name, kind, tuple(sorted(uses)), separator=separator)


def _numbers(texts: Iterable[str]) -> dict[str, float]:
    """The number that each text writes, nan for one that stands for no value; empty where another
    text is among them."""
    texts = list(texts)
    for decimal in (".", ","):
        numbers = {}
        for text in texts:
            if text.lower() in MISSING_NUMBERS:
                numbers[text] = np.nan
                continue
            plain = text if decimal == "." else text.replace(".", "").replace(",", ".")
            # 1,234 may be meant as a thousand
            if not NUMBER.fullmatch(plain) or (decimal == "," and THOUSANDS.fullmatch(text)):
                break
            numbers[text] = float(plain)
            if np.isinf(numbers[text]):
                break
        else:
            return numbers
    return {}


def check_ignored(ignore: Collection[str], tables: Collection[FeatureTable | None]) -> None:
    """Raise ConfigError where a column that is to be ignored is in none of the files."""
    found = [table for table in tables if table is not None]
    if ignore and not found:
        raise ConfigError(
            f"data.ignore_features={[*ignore][:10]} are columns of data.user_features and "
            "data.item_features, and both are null. Name such a file, or ignore nothing."
        )
    known = {name for table in found for name in table.left_out}
    for name in ignore:
        if name not in known:
            names = [each.name for table in found for each in table.fields]
            raise ConfigError(
                f"data.ignore_features names {short(name)!r}, and no file of features has such a "
                f"column. {meant(name, names[:10])}"
            )
