"""From a file of interactions to `Interactions`: read, cut to a block, one row a pair, positives by
threshold."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from recsweep.checks import (
    LONGEST_NAME,
    check_choice,
    check_integer,
    check_number,
    check_text,
    short,
)
from recsweep.data.download import SOURCES, fetch
from recsweep.data.interactions import IdMap, Interactions
from recsweep.data.rows import RowReader, Rows
from recsweep.data.tables import Table, existing, readable, refuse_endless
from recsweep.errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class InteractionFile:
    """Interactions in CSV (plain, gzipped, in a zip) or Parquet files, one a row.

    The rows are cut to the block of the most active users and the most reviewed items. Of several
    rows of one pair the latest stands (without timestamps, or at equal ones, the last of the file).
    What is left is positive by rating.

    Attributes:
        name: Name of the data in runs and reports.
        path: A file, several that continue each other, or, where `dataset` is named, the folder
            that holds its file. None downloads `dataset`.
        dataset: A data set of `download.SOURCES`; None for a file of one's own.
        separator: Text between the fields of a CSV line, as `,` or `::`.
        columns: Names of the columns of a CSV file without a header; None where the first line
            names them.
        user_column: Raw user ids: whole numbers, or any text, see `recsweep.data.ids`.
        item_column: Raw item ids, likewise.
        rating_column: Numbers; None where every row is a positive.
        timestamp_column: Numbers, or dates as 2017-08-18. Of several names the first one present is
            read, if any.
        positive_rating: The least rating of a positive.
        unrated: The rating of a row without stars, which is left out; None where there is no such
            value.
        num_users: Number of users of the block, the most active of all rows (at a tie the lower
            id); None for all.
        num_items: Number of items, likewise.
    """

    name: str
    path: str | Sequence[str] | None = None
    dataset: str | None = None
    separator: str
    columns: Sequence[str] | None = None
    user_column: str
    item_column: str
    rating_column: str | None = None
    timestamp_column: str | Sequence[str] | None = None
    positive_rating: float
    unrated: float | None = None
    num_users: int | None = None
    num_items: int | None = None

    def __post_init__(self) -> None:
        for setting in ("name", "separator", "user_column", "item_column"):
            _check_text(setting, getattr(self, setting))
        check_text("data.name", self.name, maximum=LONGEST_NAME)
        if len(set(self.separator)) > 1:
            raise ConfigError(
                "data.separator must be one character, or one repeated as '::', not "
                f"{self.separator!r}."
            )
        if self.dataset is not None:
            check_choice("data.dataset", self.dataset, SOURCES)
        if self.path is None and self.dataset is None:
            raise ConfigError(
                "data.path is null, and no data set to download is named. Set data.path to your "
                "file."
            )
        for setting in ("path", "columns", "timestamp_column"):
            if getattr(self, setting) is not None:
                _check_texts(setting, getattr(self, setting))
        check_number("data.positive_rating", self.positive_rating)
        if self.unrated is not None:
            check_number("data.unrated", self.unrated)
        check_integer("data.num_users", self.num_users, minimum=1, optional=True)
        check_integer("data.num_items", self.num_items, minimum=1, optional=True)
        self._check_columns()

    def _check_columns(self) -> None:
        settings = {"user_column": self.user_column, "item_column": self.item_column}
        if self.rating_column is not None:
            _check_text("rating_column", self.rating_column)
            settings["rating_column"] = self.rating_column
        if isinstance(self.timestamp_column, str):
            settings["timestamp_column"] = self.timestamp_column
        if len(set(settings.values())) < len(settings):
            raise ConfigError(
                f"Each of data.{', data.'.join(settings)} must name a column of its own, not "
                f"{settings}."
            )
        for setting, name in settings.items():
            if self.columns is not None:
                check_choice(f"data.{setting}", name, tuple(self.columns))

    def load(self) -> Interactions:
        """Read the file, downloading it first where `path` is None.

        Raises:
            DataError: The file is missing, broken or of another shape, a value can't be read, more
                users or items are asked for than exist, or nothing is positive.
        """
        tables = self._tables()
        reader = RowReader(
            user_column=self.user_column,
            item_column=self.item_column,
            rating_column=self.rating_column,
            timestamp_column=self.timestamp_column,
        )
        for table in tables:
            with readable(table.path):
                reader.read(table)
        rows, user_ids, item_ids = reader.finish()
        dropped: dict[str, int] = {}
        rows, user_ids, item_ids = self._cut_block(rows, user_ids, item_ids, dropped)
        rows = _latest_of_each_pair(rows, len(item_ids), dropped)
        rows = self._positives(rows, dropped)
        for reason, count in dropped.items():
            logger.info("%s: left out %s rows %s.", self.name, f"{count:,}", reason)
        return Interactions(
            name=self.name,
            users=rows.users,
            items=rows.items,
            user_ids=IdMap(user_ids, "user"),
            item_ids=IdMap(item_ids, "item"),
            timestamps=rows.timestamps,
            dropped=dropped,
            source=", ".join(str(table.path) for table in tables),
        )

    def _tables(self) -> list[Table]:
        member = SOURCES[self.dataset].member if self.dataset else None
        path = self.path if self.path is not None else str(fetch(cast(str, self.dataset)))
        columns = None if self.columns is None else tuple(self.columns)
        return [
            Table(_find_file(path, member), member, self.separator, columns)
            for path in _listed(path)
        ]

    def _cut_block(
        self, rows: Rows, user_ids: np.ndarray, item_ids: np.ndarray, dropped: dict[str, int]
    ) -> tuple[Rows, np.ndarray, np.ndarray]:
        users = _most_frequent(rows.users, len(user_ids), self.num_users, "users")
        items = _most_frequent(rows.items, len(item_ids), self.num_items, "items")
        new_users, new_items = _places(users, len(user_ids)), _places(items, len(item_ids))
        inside = (new_users[rows.users] >= 0) & (new_items[rows.items] >= 0)
        kept = rows.only(inside, dropped, "outside the block")
        kept = kept._replace(users=new_users[kept.users], items=new_items[kept.items])
        return kept, user_ids[users], item_ids[items]

    def _positives(self, rows: Rows, dropped: dict[str, int]) -> Rows:
        positives = rows
        if rows.ratings is not None and self.unrated is not None:
            rated = np.not_equal(rows.ratings, self.unrated)
            positives = positives.only(rated, dropped, "without stars")
        if positives.ratings is not None:
            liked = positives.ratings >= self.positive_rating
            positives = positives.only(liked, dropped, f"rated below {self.positive_rating:g}")
        if len(positives.users) == 0:
            raise DataError(
                f"{self.name} holds no positive: {self._ratings_found(rows)}. "
                "Lower data.positive_rating, or enlarge data.num_users and data.num_items."
            )
        return positives

    def _ratings_found(self, rows: Rows) -> str:
        if len(rows.users) == 0 or rows.ratings is None:
            return f"no row lies in the block of {self.num_users} users x {self.num_items} items"
        low, high = rows.ratings.min(), rows.ratings.max()
        return (
            f"a positive is rated at least {self.positive_rating:g}, and the ratings run from "
            f"{low:g} to {high:g}"
        )


def _latest_of_each_pair(rows: Rows, num_items: int, dropped: dict[str, int]) -> Rows:
    """One row for each pair, by user and item, so that the order of the file leaves no trace."""
    pairs = rows.users.astype(np.int64) * num_items + rows.items
    by_time = [] if rows.timestamps is None else [rows.timestamps]
    order = np.lexsort((*by_time, pairs))  # stable: at equal times the file's order stands
    last = np.ones(len(order), dtype=bool)
    last[:-1] = pairs[order][1:] != pairs[order][:-1]
    return rows.take(order).only(last, dropped, "repeated pairs")


def _most_frequent(
    codes: np.ndarray, num_known: int, num_wanted: int | None, kind: str
) -> np.ndarray:
    """The codes that occur most often, ascending; at a tie the lower ones, which stand for the
    lower raw ids."""
    if num_wanted is None:
        return np.arange(num_known)
    if num_wanted > num_known:
        raise DataError(
            f"data.num_{kind}={num_wanted} asks for more {kind} than the {num_known:,} that the "
            f"file holds. Set data.num_{kind} to at most {num_known}, or to null for all."
        )
    counts = np.bincount(codes, minlength=num_known)
    return np.sort(np.argsort(-counts, kind="stable")[:num_wanted])


def _places(chosen: np.ndarray, num_known: int) -> np.ndarray:
    """The place of each of `num_known` codes among the chosen ones, -1 where it isn't chosen."""
    places = np.full(num_known, -1, dtype=np.int32)
    places[chosen] = np.arange(len(chosen))
    return places


def _find_file(path: str, member: str | None) -> Path:
    """The absolute path of a file, or of `member` in a folder (or one folder further down)."""
    absolute = existing(path)
    if absolute is None:
        raise DataError(
            f"There is no file {short(str(Path(path).absolute()))}. Set data.path to the file with "
            "the interactions."
        )
    if not absolute.is_dir():
        refuse_endless(absolute)
        return absolute
    patterns = [] if member is None else [member, f"*/{member}"]
    files = [file for pattern in patterns for file in sorted(absolute.glob(pattern))]
    if not files:
        sought = f" without a file {member}" if member else ""
        raise DataError(
            f"{absolute} is a folder{sought}. Set data.path to the file with the interactions."
        )
    return files[0]


def _listed(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _check_text(setting: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"data.{setting} must be a text that isn't empty, not {value!r}.")


def _check_texts(setting: str, value: object) -> None:
    listed = _listed(value) if isinstance(value, str | Sequence) else []
    if not listed or not all(isinstance(text, str) and text for text in listed):
        raise ConfigError(f"data.{setting} must be a text or a list of texts, not {value!r}.")
