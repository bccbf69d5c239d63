"""From files of interactions to `Interactions`: found or told how they are written, read, cut to a
block, one row a pair, positives by rating."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from recsweep.checks import (
    LONGEST_NAME,
    as_said,
    check_choice,
    check_flag,
    check_integer,
    check_number,
    check_text,
    short,
)
from recsweep.data.download import SOURCES, fetch
from recsweep.data.files import File, find, unchanged
from recsweep.data.files.streams import known_encoding
from recsweep.data.forms import AUTO, SHAPES, Asked, Format, Found
from recsweep.data.interactions import IdMap, Interactions
from recsweep.errors import ConfigError, DataError

if TYPE_CHECKING:
    import numpy as np
    from duckdb import DuckDBPyConnection

logger = logging.getLogger(__name__)

SEPARATORS = {
    "tab": "\t",
    "\\t": "\t",
    "blank": " ",
    "blanks": " ",
    "space": " ",
    "comma": ",",
    "semicolon": ";",
    "pipe": "|",
}
"""Words for separators that are hard to write on a command line."""

REPEATS = ("latest", "first", "sum", "max")
"""What stands for several rows of a pair: the last or the first by time (without times, or at
equal ones, of the file), the sum of their ratings, the highest rating."""

PARTS = {"path": 0, "validation_path": 1, "test_path": 2}
"""Settings that name files, and the part of a split whose rows these hold."""


UNKNOWN_CANDIDATES = "of candidates whose user or item the data lacks"


class Table(NamedTuple):
    """What one path of the settings names.

    Attributes:
        part: The part of a split whose rows it holds.
        path: The path as it was named.
        files: What lies there.
    """

    part: int
    path: str
    files: list[File]

    @property
    def source(self) -> str:
        """Where it lies."""
        first, *others = self.files
        return str(Path(self.path).expanduser().absolute()) if others else str(first.path)


@dataclass(frozen=True, kw_only=True)
class InteractionFile:
    """Interactions in a file of nearly any form: what isn't told is found in it.

    The rows are cut to the block of the most active users and the most reviewed items. Of several
    rows of one pair one stands. What is left is positive by rating.

    Attributes:
        name: Name of the data in runs and reports; None for that of the file.
        path: A file, a folder or a glob of parts that continue each other, or several of these; or,
            where `dataset` is named, the folder that holds its file. None downloads `dataset`.
        validation_path: Rows of a split that is given; then `path` holds those to train on.
        test_path: Likewise.
        candidates_path: A table of users and items, from which `evaluation.candidates=given`
            chooses lists; None without.
        dataset: A published data set, as `foodcom` or `movielens_100k`; None for a file of one's
            own.
        separator: Text between the fields of a line, as `,`, `::` or `tab`; `blanks` for any run
            of spaces and tabs.
        columns: Names of the columns of a file without a header; None where the first line names
            them.
        user_column: Raw user ids: whole numbers, or any text.
        item_column: Raw item ids, likewise.
        rating_column: Numbers, or with `positive_values` words; None where every row is a positive.
        timestamp_column: Numbers or dates. Of several names the first one present is read, if any.
        shape: What a line holds: a pair (`long`), a user and their items (`lists`; a count and
            items, of a user a line: `counted_lists`), or a row of a matrix (`users_by_items`,
            `items_by_users`); `auto` is found.
        decimal: `.` or `,`.
        date_format: How dates are written, as `%d/%m/%Y`.
        encoding: Encoding of a text, as `utf-16`.
        on_bad_rows: `error`, or `skip`: rows that can't be read are left out and counted.
        positive_rating: The least rating of a positive; `auto` follows from the range of the
            ratings.
        positive_values: Values of the rating column that make a row a positive, as `transaction`;
            the latest row with one of them stands for a pair. None where ratings are numbers.
        unrated: The rating of a row without stars, which is left out, or a list of ratings that
            are; None where there is no such value.
        zeros: `rated` keeps the pairs that are rated below the threshold as known zeros, which
            split=random_rows shares out and nobody is recommended; None leaves them out. Such rows
            count for the block as any, and for `min_user_positives` do not.
        repeats: What stands for several rows of a pair: the last or the first by time (`latest`,
            `first`; without times, of the file), the `sum` of their ratings, the highest (`max`).
        sum_repeats: The same as repeats=sum, for plays and purchases.
        num_users: Number of users of the block, the most active of all rows (at a tie the lower
            id); None for all.
        num_items: Number of items, likewise.
        min_user_positives: Users with fewer positives are left out, and items with fewer than
            `min_item_positives`, in turn until none is left; None for all.
        min_item_positives: Likewise.
        user_features: File with a row a user: the id, and what is known of them; None without.
        item_features: Likewise, of items.
        ignore_features: Columns of these files that are left out.
        item_titles: File with the id and the title of items, to be shown beside ids.
        memory_gb: Memory that reading may take, in GB; more is kept on disk meanwhile. None for
            half of the machine's.
    """

    name: str | None = None
    path: str | Sequence[str] | None = None
    validation_path: str | Sequence[str] | None = None
    test_path: str | Sequence[str] | None = None
    candidates_path: str | None = None
    dataset: str | None = None
    separator: str = AUTO
    columns: Sequence[str] | str | None = AUTO
    user_column: str = AUTO
    item_column: str = AUTO
    rating_column: str | None = AUTO
    timestamp_column: str | Sequence[str] | None = AUTO
    shape: str = AUTO
    decimal: str = AUTO
    date_format: str = AUTO
    encoding: str = AUTO
    on_bad_rows: Literal["error", "skip"] = "error"
    positive_rating: float | str = AUTO
    positive_values: Sequence[str] | str | None = None
    unrated: float | Sequence[float] | None = None
    zeros: Literal["rated"] | None = None
    repeats: Literal["latest", "first", "sum", "max"] = "latest"
    sum_repeats: bool = False
    num_users: int | None = None
    num_items: int | None = None
    min_user_positives: int | None = None
    min_item_positives: int | None = None
    user_features: str | None = None
    item_features: str | None = None
    ignore_features: Sequence[str] = ()
    item_titles: str | None = None
    memory_gb: float | None = None

    def __post_init__(self) -> None:
        for setting in ("separator", "user_column", "item_column", "date_format"):
            _check_text(setting, getattr(self, setting))
        check_text("data.name", self.name, maximum=LONGEST_NAME, optional=True)
        if self.dataset is not None:
            check_choice("data.dataset", self.dataset, SOURCES)
        if self.path is None and self.dataset is None:
            raise ConfigError(
                "data.path is null, and no data set to download is named. Set data.path to your "
                "file."
            )
        for setting in (*PARTS, "timestamp_column"):
            if getattr(self, setting) is not None:
                _check_texts(setting, getattr(self, setting))
        if self.columns is not None and self.columns != AUTO:
            _check_texts("columns", self.columns)
        if self.ignore_features:
            _check_texts("ignore_features", self.ignore_features)
        for setting in ("candidates_path", "user_features", "item_features", "item_titles"):
            check_text(f"data.{setting}", getattr(self, setting), optional=True)
        check_choice("data.shape", self.shape, (AUTO, *SHAPES))
        check_choice("data.decimal", self.decimal, (AUTO, ".", ","))
        check_choice("data.on_bad_rows", self.on_bad_rows, ("error", "skip"))
        check_choice("data.repeats", self.repeats, REPEATS)
        check_flag("data.sum_repeats", self.sum_repeats)
        self._check_separator()
        _check_text("encoding", self.encoding)
        if self.encoding != AUTO:
            known_encoding(self.encoding)
        self._check_ratings()
        for setting in ("num_users", "num_items", "min_user_positives", "min_item_positives"):
            check_integer(f"data.{setting}", getattr(self, setting), minimum=1, optional=True)
        if self.memory_gb is not None:
            check_number("data.memory_gb", self.memory_gb, minimum=0.1)
        self._check_columns()

    def _check_separator(self) -> None:
        separator = SEPARATORS.get(self.separator, self.separator)
        if self.separator != AUTO and len(set(separator)) > 1:
            raise ConfigError(
                "data.separator must be one character, or one repeated as '::', or a word as tab, "
                f"not {as_said(self.separator)}."
            )

    def _check_ratings(self) -> None:
        if self.positive_rating != AUTO:
            check_number("data.positive_rating", self.positive_rating)
        self._check_unrated()
        if self.zeros is not None:
            self._check_zeros()
        if self.positive_values is not None:
            _values(self.positive_values)
            if self.rating_column is None:
                raise ConfigError(
                    "data.positive_values are values of the rating column, and "
                    "data.rating_column is null. Set it to the column that holds them."
                )

    def _check_unrated(self) -> None:
        if self.unrated is None:
            return
        listed = self.unrated if isinstance(self.unrated, list | tuple) else [self.unrated]
        for rating in listed:
            check_number("data.unrated", rating)
        if not listed:
            raise ConfigError(
                "data.unrated must be a rating, a list of some, as [3], or null, not an empty list."
            )

    def _check_zeros(self) -> None:
        if self.zeros != "rated":
            raise ConfigError(f"data.zeros must be rated or null, not {as_said(self.zeros)}.")
        for setting in ("validation_path", "test_path"):
            if getattr(self, setting) is not None:
                raise ConfigError(
                    f"data.zeros=rated is for data that split=random_rows shares out, and "
                    f"data.{setting} names a part of its own. Set one of them to null."
                )
        if self.rating_column is None and not self.sum_repeats and self.repeats != "sum":
            raise ConfigError(
                "data.zeros=rated takes low ratings for zeros, and data.rating_column is null. Set "
                "it to the column that holds them, or data.zeros=null."
            )

    def _check_columns(self) -> None:
        named = ("user_column", "item_column", "rating_column")
        settings = {name: getattr(self, name) for name in named}
        if self.rating_column is None:
            del settings["rating_column"]
        else:
            _check_text("rating_column", self.rating_column)
        if isinstance(self.timestamp_column, str):
            settings["timestamp_column"] = self.timestamp_column
        settings = {name: column for name, column in settings.items() if column != AUTO}
        if len(set(settings.values())) < len(settings):
            raise ConfigError(
                f"Each of data.{', data.'.join(settings)} must name a column of its own, not "
                f"{settings}."
            )
        if self.columns is not None and self.columns != AUTO:
            for setting, name in settings.items():
                check_choice(f"data.{setting}", name, _listed(self.columns))

    @property
    def asked(self) -> Asked:
        """What the settings say of the form of the files."""
        columns = self.columns
        return Asked(
            separator=SEPARATORS.get(self.separator, self.separator),
            columns=columns if columns is None or columns == AUTO else tuple(_listed(columns)),
            user_column=self.user_column,
            item_column=self.item_column,
            rating_column=self.rating_column,
            timestamp_column=self.timestamp_column,
            shape=self.shape,
            decimal=self.decimal,
            date_format=self.date_format,
            encoding=self.encoding,
            unrated=self._unrated,
            positive_values=_values(self.positive_values),
        )

    def tables(self) -> Iterator[Table]:
        """What the settings name, found."""
        member = SOURCES[self.dataset].member if self.dataset else None
        encoding = None if self.encoding == AUTO else self.encoding
        for setting, part in PARTS.items():
            paths = getattr(self, setting)
            if paths is None and setting == "path":
                paths = str(fetch(cast(str, self.dataset)))
            for path in () if paths is None else _listed(paths):
                try:
                    files = find(path, member=member, encoding=encoding)
                except DataError as error:  # which names the setting to change
                    raise DataError(str(error).replace("data.path", f"data.{setting}")) from error
                yield Table(part, path, files)

    def load(self) -> Interactions:
        """Read the files, downloading first where `path` is None.

        Raises:
            DataError: A file is missing, broken or of a form that can't be told for sure, a value
                can't be read, more users or items are asked for than exist, or nothing is positive.
        """
        from recsweep.data.door import opened
        from recsweep.data.door.candidates import read_candidates
        from recsweep.data.door.positives import Rules, positives_of
        from recsweep.data.feature_files import with_features

        tables = list(self.tables())
        files = [file for table in tables for file in table.files]
        name = self.name or _name_of(_listed(self.path or self.dataset or "")[0])
        with opened(self.memory_gb) as connection:
            with unchanged(files):
                dropped, found = self._read(connection, name, tables)
            if self._repeats == "sum" and not found.format.is_rated:  # each row counts once
                connection.execute("ALTER TABLE rows ADD COLUMN rating DOUBLE DEFAULT 1").fetchall()
            positive_rating, words = self._threshold(connection, name, found)
            if self.zeros and positive_rating is None:
                raise DataError(
                    f"data.zeros=rated takes low ratings for zeros, and {name} has no ratings: "
                    "each row is a positive. Set data.rating_column to the column that holds them, "
                    "or data.zeros=null."
                )
            rules = Rules(
                num_users=self.num_users,
                num_items=self.num_items,
                repeats=self._repeats,
                unrated=self.unrated_of(found),
                positive_rating=positive_rating,
                keep_zeros=self.zeros is not None,
                min_user_positives=self.min_user_positives,
                min_item_positives=self.min_item_positives,
            )
            positives = positives_of(connection, name, rules)
        user_ids, item_ids = IdMap(positives.user_ids, "user"), IdMap(positives.item_ids, "item")
        self._check_parts(positives.parts)
        if positives.zeros is not None and not len(positives.zeros.users):
            raise DataError(
                f"data.zeros=rated finds no rating below {positive_rating:g} in {name}. Raise "
                "data.positive_rating, or set data.zeros=null."
            )
        dropped |= positives.dropped
        candidates = None
        if self.candidates_path is not None:
            candidates, num_unknown = read_candidates(
                self.candidates_path,
                user_ids,
                item_ids,
                user_column=found.format.user,
                item_column=found.format.item,
                on_bad_rows=self.on_bad_rows,
                memory_gb=self.memory_gb,
            )
            if num_unknown:
                dropped[UNKNOWN_CANDIDATES] = num_unknown
        if self.positive_values is not None and (others := dropped.pop("rated below 1", 0)):
            dropped["of other values"] = others
        for reason, count in dropped.items():
            logger.info("%s: left out %s rows %s.", name, f"{count:,}", reason)
        interactions = Interactions(
            name=name,
            users=positives.users,
            items=positives.items,
            user_ids=user_ids,
            item_ids=item_ids,
            timestamps=positives.times,
            parts=positives.parts,
            candidates=candidates,
            zeros=positives.zeros,
            dropped=dropped,
            source=", ".join(table.source for table in tables),
            found=", ".join(filter(None, (found.in_words(), words))),
        )
        return with_features(
            interactions,
            user_features=self.user_features,
            item_features=self.item_features,
            ignore=_listed(self.ignore_features),
            item_titles=self.item_titles,
            user_column=found.format.user,
            item_column=found.format.item,
        )

    def _read(
        self, connection: "DuckDBPyConnection", name: str, tables: Sequence["Table"]
    ) -> tuple[dict[str, int], Found]:
        """Fill the table `rows`; the counts of rows left out, and the form found of the first
        table, which the others share."""
        from recsweep.data.door import read_rows
        from recsweep.data.forms.guess import guess

        asked, first = self.asked, cast(Found | None, None)
        dropped: dict[str, int] = {}
        is_given = any(table.part for table in tables)
        for table in tables:
            found = guess(table.files, asked)
            if first is None:
                first, asked = found, _as_the_first(asked, found.format)
                if found.notes:
                    logger.info("%s: found %s.", name, found.in_words())
            lost = read_rows(
                connection,
                table.files,
                found.format,
                positive_values=_values(self.positive_values),
                unrated=self.unrated_of(found),
                on_bad_rows=self.on_bad_rows,
                part=table.part if is_given else None,
            )
            for reason, count in lost.items():
                dropped[reason] = dropped.get(reason, 0) + count
        assert first is not None, "find gives a file at least"
        return dropped, first

    def _check_parts(self, parts: "np.ndarray | None") -> None:
        """Raise DataError where a file that was given for a part left nothing to it."""
        for setting, part in PARTS.items():
            if parts is not None and getattr(self, setting) is not None and part not in parts:
                raise DataError(
                    f"data.{setting}={short(str(getattr(self, setting)))} holds no positive that "
                    "the other settings leave. Lower data.positive_rating or what cuts the block, "
                    "or leave it away."
                )

    @property
    def _repeats(self) -> Literal["latest", "first", "sum", "max"]:
        if self.sum_repeats:
            return "sum"
        # who bought and looked at it again has bought it
        is_event = self.positive_values is not None and self.repeats == "latest"
        return "max" if is_event else self.repeats

    @property
    def _unrated(self) -> tuple[float, ...]:
        """The ratings that are said to be left out."""
        if self.unrated is None:
            return ()
        return tuple(self.unrated) if isinstance(self.unrated, Sequence) else (self.unrated,)

    def unrated_of(self, found: Found) -> tuple[float, ...]:
        """Ratings of rows that are left out of a table of this form."""
        return self._unrated or (() if found.unrated is None else (found.unrated,))

    def _threshold(
        self, connection: "DuckDBPyConnection", name: str, found: Found
    ) -> tuple[float | None, str]:
        """The least rating of a positive, None where every row is one; and the rule in words where
        it was found."""
        from recsweep.data.forms.guess import threshold

        form = found.format
        if not form.is_rated and (self._repeats != "sum" or self.positive_rating == AUTO):
            return None, ""
        if self.positive_values is not None:
            _, high, _ = _rating_range(connection, ())
            if high == 0:
                sought = as_said(list(_values(self.positive_values) or ()))
                raise DataError(
                    f"{name} has none of data.positive_values={sought} in column "
                    f"{as_said(form.rating)}. Set it to values that stand there."
                )
            return 1, ""
        if self.positive_rating != AUTO:
            return float(self.positive_rating), ""
        rating, words = threshold(*_rating_range(connection, self.unrated_of(found)), form.rating)
        words = f"a positive is {words}"
        logger.info("%s: %s.", name, words)
        return rating, words


def _rating_range(
    connection: "DuckDBPyConnection", unrated: Sequence[float]
) -> tuple[float, float, bool]:
    """The lowest and the highest rating, and whether all are whole numbers."""
    query = """
        SELECT coalesce(min(rating), 0), coalesce(max(rating), 0),
               coalesce(bool_and(rating = trunc(rating)), true)
        FROM rows WHERE NOT list_contains($unrated::DOUBLE[], rating)"""
    ((low, high, is_whole),) = connection.execute(query, {"unrated": [*unrated]}).fetchall()
    return low, high, is_whole


def _as_the_first(asked: Asked, form: Format) -> Asked:
    """What is asked of further tables: to be written as the first one is."""
    if form.kind != "text":
        return asked
    return replace(
        asked,
        separator=form.separator,
        columns=None if form.header else form.columns,
        user_column=form.user or asked.user_column,
        item_column=form.item or asked.item_column,
        rating_column=form.rating,
        timestamp_column=form.time,
        shape=form.shape,
        decimal=form.decimal,
        date_format=form.dates if "%" in form.dates else asked.date_format,
    )


def _name_of(path: str) -> str:
    """The name of a file without its endings, of a glob that of its folder."""
    named = [part for part in Path(path).parts if not set(part) & set("*?[]")]
    return Path(*named).name.split(".")[0][:LONGEST_NAME] or "file"


def _values(values: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """Values of a column as texts; YAML reads `true` and 1 as something else."""
    if values is None:
        return None
    listed = values if isinstance(values, list | tuple) else [values]
    if not listed or not all(isinstance(value, str | bool | int | float) for value in listed):
        raise ConfigError(
            "data.positive_values must be a value of the rating column or a list of them, as "
            f"[transaction,addtocart], not {as_said(values)}."
        )
    return tuple(str(value).lower() if isinstance(value, bool) else str(value) for value in listed)


def _listed(value: str | Sequence[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _check_text(setting: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"data.{setting} must be a text that isn't empty, not {value!r}.")


def _check_texts(setting: str, value: object) -> None:
    listed = _listed(value) if isinstance(value, str | Sequence) else []
    if not listed or not all(isinstance(text, str) and text for text in listed):
        raise ConfigError(f"data.{setting} must be a text or a list of texts, not {value!r}.")
