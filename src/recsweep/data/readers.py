"""From a file of interactions to `Interactions`: read, cut to a block, one row a pair, positives by threshold."""

import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from recsweep.checks import check_choice, check_integer, check_number
from recsweep.data.download import SOURCES, fetch
from recsweep.data.interactions import IdMap, Interactions
from recsweep.data.tables import Table, readable
from recsweep.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

WHOLE_NUMBER = re.compile(r"(0|-?[1-9]\d{0,17})(\.0+)?")  # 18 digits always fit 64 bits; 007 is text, or it would be 7


@dataclass(frozen=True, kw_only=True)
class InteractionFile:
    """Interactions in CSV (plain, gzipped, in a zip) or Parquet files, one a row.

    The rows are cut to the block of the most active users and the most reviewed items. Of several rows of one pair
    the latest stands (without timestamps, or at equal ones, the last of the file). What is left is positive by rating.

    Attributes:
        name: What the data is called in runs and reports.
        path: A file, several that continue each other, or, where `dataset` is named, the folder that holds its file.
            None downloads `dataset`.
        dataset: A data set of `download.SOURCES`; None for a file of one's own.
        separator: Between the fields of a CSV line, as `,` or `::`.
        columns: Names of the columns of a CSV file without a header; None where the first line names them.
        user_column: Raw user ids: whole numbers, or any text.
        item_column: Raw item ids, likewise.
        rating_column: Numbers; None where every row is a positive.
        timestamp_column: Numbers, or dates as 2017-08-18. Of several names the first one present is read, if any.
        positive_rating: The least rating of a positive.
        unrated: The rating of a row without stars, which is left out; None where there is no such value.
        num_users: How many users the block has, the most active of all rows (at a tie the lower id); None: all.
        num_items: How many items, likewise.
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
        if len(set(self.separator)) > 1:
            raise ConfigError(f"data.separator must be one character, or one repeated as '::', not {self.separator!r}.")
        if self.dataset is not None:
            check_choice("data.dataset", self.dataset, SOURCES)
        if self.path is None and self.dataset is None:
            raise ConfigError("data.path is null, and no data set to download is named. Set data.path to your file.")
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
            raise ConfigError(f"Each of data.{', data.'.join(settings)} must name a column of its own, not {settings}.")
        for setting, name in settings.items():
            if self.columns is not None:
                check_choice(f"data.{setting}", name, tuple(self.columns))

    def load(self) -> Interactions:
        """Read the file, downloading it first where `path` is None.

        Raises:
            DataError: The file is missing, broken or of another shape, a value can't be read, more users or items are
                asked for than exist, or nothing is positive.
        """
        tables = self._tables()
        reader = _Reader(self)
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
            name=self.name, users=rows.users, items=rows.items, user_ids=IdMap(user_ids, "user"),
            item_ids=IdMap(item_ids, "item"), timestamps=rows.timestamps, dropped=dropped,
            source=", ".join(str(table.path) for table in tables),
        )

    def _tables(self) -> list[Table]:
        member = SOURCES[self.dataset].member if self.dataset else None
        paths = [str(fetch(self.dataset))] if self.path is None else _listed(self.path)
        columns = None if self.columns is None else tuple(self.columns)
        return [Table(_find_file(path, member), member, self.separator, columns) for path in paths]

    def _cut_block(self, rows: "_Rows", user_ids: np.ndarray, item_ids: np.ndarray, dropped: dict[str, int]):
        users = _most_frequent(rows.users, len(user_ids), self.num_users, "users")
        items = _most_frequent(rows.items, len(item_ids), self.num_items, "items")
        new_users, new_items = _places(users, len(user_ids)), _places(items, len(item_ids))
        inside = (new_users[rows.users] >= 0) & (new_items[rows.items] >= 0)
        kept = rows.only(inside, dropped, "outside the block")
        kept = kept._replace(users=new_users[kept.users], items=new_items[kept.items])
        return kept, user_ids[users], item_ids[items]

    def _positives(self, rows: "_Rows", dropped: dict[str, int]) -> "_Rows":
        if rows.ratings is None:
            positives = rows
        else:
            rated = rows if self.unrated is None else rows.only(rows.ratings != self.unrated, dropped, "without stars")
            liked = rated.ratings >= self.positive_rating
            positives = rated.only(liked, dropped, f"rated below {self.positive_rating:g}")
        if len(positives.users) == 0:
            raise DataError(f"{self.name} holds no positive: {self._ratings_found(rows)}. "
                            "Lower data.positive_rating, or enlarge data.num_users and data.num_items.")
        return positives

    def _ratings_found(self, rows: "_Rows") -> str:
        if len(rows.users) == 0:
            return f"no row lies in the block of {self.num_users} users x {self.num_items} items"
        low, high = rows.ratings.min(), rows.ratings.max()
        return f"a positive is rated at least {self.positive_rating:g}, and the ratings run from {low:g} to {high:g}"


class _Rows(NamedTuple):
    """Rows of the file as columns of one length; ratings and timestamps are None where the file has none."""

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray | None
    timestamps: np.ndarray | None

    def take(self, chosen: np.ndarray) -> "_Rows":
        return _Rows(*(None if column is None else column[chosen] for column in self))

    def only(self, kept: np.ndarray, dropped: dict[str, int], reason: str) -> "_Rows":
        """The rows where the mask `kept` is true; how many others there were goes to `dropped[reason]`."""
        if lost := int(len(kept) - kept.sum()):
            dropped[reason] = lost
        return self.take(kept)


class _Codes:
    """Numbers raw ids in the order they come, so that the text of each is held once, however many rows there are."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def add(self, ids: "Series") -> np.ndarray:  # noqa: F821 - pandas is imported where it is used
        """The codes of a batch of ids, (n,) int32."""
        import pandas

        places, texts = pandas.factorize(ids)
        codes = (self.known.setdefault(text, len(self.known)) for text in texts.tolist())
        return np.fromiter(codes, dtype=np.int32, count=len(texts))[places]

    def sorted_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids in ascending order, int64 where all are whole numbers, and the place of each code among them."""
        ids = np.array(list(self.known), dtype=str)
        if all(WHOLE_NUMBER.fullmatch(text) for text in self.known):
            ids = np.array([int(text.partition(".")[0]) for text in self.known], dtype=np.int64)
        ids, places = np.unique(ids, return_inverse=True)
        return ids, places.astype(np.int32)


class _Reader:
    """Collects the needed columns of one or more tables, batch by batch."""

    def __init__(self, settings: InteractionFile) -> None:
        self.settings = settings
        self.users, self.items = _Codes(), _Codes()
        self.batches: list[_Rows] = []
        self.timestamp_column: str | None = None
        self.dates: bool | None = None  # whether timestamps are written as dates; one kind for all files

    def read(self, table: Table) -> None:
        names = table.names()
        settings = self.settings
        for setting in ("user_column", "item_column", "rating_column"):
            if (name := getattr(settings, setting)) is not None:
                _check_present(table, names, setting, name)
        self._choose_timestamp(table, names)
        wanted = [settings.user_column, settings.item_column, settings.rating_column, self.timestamp_column]
        first_row = 1
        for batch in table.batches([name for name in wanted if name is not None]):
            where = _Where(table.path, first_row)
            self.batches.append(_Rows(
                self._ids(batch, settings.user_column, self.users, where),
                self._ids(batch, settings.item_column, self.items, where),
                None if settings.rating_column is None else _ratings(batch[settings.rating_column], where),
                None if self.timestamp_column is None else self._timestamps(batch[self.timestamp_column], where),
            ))
            first_row += len(batch)
        if first_row == 1:
            raise DataError(f"{table.path} has a header and no rows. Set data.path to a file with interactions.")

    def _choose_timestamp(self, table: Table, names: list[str]) -> None:
        setting = self.settings.timestamp_column
        if isinstance(setting, str):
            _check_present(table, names, "timestamp_column", setting)
        chosen = next((name for name in _listed(setting or ()) if name in names), None)
        if self.batches and chosen != self.timestamp_column:
            raise DataError(f"{table.path} has its timestamps in {chosen!r}, the file before it in "
                            f"{self.timestamp_column!r}. Set data.timestamp_column to one that both have, or null.")
        self.timestamp_column = chosen

    @staticmethod
    def _ids(batch: "DataFrame", column: str, codes: _Codes, where: "_Where") -> np.ndarray:  # noqa: F821
        missing = (batch[column] == "").to_numpy()
        where.refuse(missing, batch[column], "has no id", "Fill it in, or delete the row.")
        return codes.add(batch[column])

    def _timestamps(self, texts: "Series", where: "_Where") -> np.ndarray:  # noqa: F821
        import pandas

        numbers = pandas.to_numeric(texts, errors="coerce")
        if self.dates is None:
            self.dates = bool(numbers.isna().iloc[0])
        if self.dates:
            times = _dates(texts)
            bad = times.isna().to_numpy()
        else:
            times, bad = numbers, ~np.isfinite(numbers.to_numpy(dtype=np.float64))
        rule = "must be a date as 2017-08-18" if self.dates else "must be a number, as in the rows before"
        where.refuse(bad, texts, rule, "Correct it, or set data.timestamp_column=null.")
        return times.to_numpy().astype(np.int64)

    def finish(self) -> tuple[_Rows, np.ndarray, np.ndarray]:
        """All rows, with codes replaced by the places of the sorted user ids and item ids that come with them."""
        rows = _Rows(*(None if column[0] is None else np.concatenate(column)
                       for column in zip(*self.batches, strict=True)))
        user_ids, user_places = self.users.sorted_ids()
        item_ids, item_places = self.items.sorted_ids()
        return rows._replace(users=user_places[rows.users], items=item_places[rows.items]), user_ids, item_ids


class _Where(NamedTuple):
    """Where a batch lies: its file, and the number of its first row (from 1, without a header)."""

    path: Path
    first_row: int

    def refuse(self, bad: np.ndarray, texts: "Series", rule: str, remedy: str) -> None:  # noqa: F821
        """Raise DataError at the first row that is bad."""
        if bad.any():
            place = int(bad.argmax())
            raise DataError(f"Column {texts.name!r} {rule}, not {texts.iloc[place]!r}, in row "
                            f"{self.first_row + place:,} of {self.path} (rows counted without a header). {remedy}")


def _ratings(texts: "Series", where: _Where) -> np.ndarray:  # noqa: F821
    import pandas

    numbers = pandas.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    where.refuse(~np.isfinite(numbers), texts, "must hold a number in each row",
                 "Correct or delete the row, or set data.rating_column=null if every row is a positive "
                 "(data.columns=null if the first line is a header).")
    return numbers


def _dates(texts: "Series") -> "Series":  # noqa: F821
    """Microseconds-resolution times of ISO dates, also with slashes and without leading zeros; NaT where unreadable."""
    import pandas

    texts = texts.str.replace("/", "-", regex=False)
    times = pandas.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if times.isna().any():
        times = times.fillna(pandas.to_datetime(texts, format="%Y-%m-%d", errors="coerce", utc=True))
    return times.dt.tz_localize(None).astype("datetime64[us]")


def _latest_of_each_pair(rows: _Rows, num_items: int, dropped: dict[str, int]) -> _Rows:
    """One row for each pair, by user and item, so that the order of the file leaves no trace."""
    pairs = rows.users.astype(np.int64) * num_items + rows.items
    by_time = [] if rows.timestamps is None else [rows.timestamps]
    order = np.lexsort((*by_time, pairs))  # stable: at equal times the file's order stands
    last = np.ones(len(order), dtype=bool)
    last[:-1] = pairs[order][1:] != pairs[order][:-1]
    return rows.take(order).only(last, dropped, "repeated pairs")


def _most_frequent(codes: np.ndarray, num_known: int, num_wanted: int | None, kind: str) -> np.ndarray:
    """The codes that occur most often, ascending; at a tie the lower ones, which stand for the lower raw ids."""
    if num_wanted is None:
        return np.arange(num_known)
    if num_wanted > num_known:
        raise DataError(f"data.num_{kind}={num_wanted} asks for more {kind} than the {num_known:,} that the file "
                        f"holds. Set data.num_{kind} to at most {num_known}, or to null for all.")
    counts = np.bincount(codes, minlength=num_known)
    return np.sort(np.argsort(-counts, kind="stable")[:num_wanted])


def _places(chosen: np.ndarray, num_known: int) -> np.ndarray:
    """For each of `num_known` codes its place among the chosen ones, -1 where it isn't chosen."""
    places = np.full(num_known, -1, dtype=np.int32)
    places[chosen] = np.arange(len(chosen))
    return places


def _find_file(path: str, member: str | None) -> Path:
    """The absolute path of a file, or of `member` in a folder (or one folder further down)."""
    absolute = Path(path).expanduser().absolute()
    if not absolute.exists():
        raise DataError(f"There is no file {absolute}. Set data.path to the file with the interactions.")
    if not absolute.is_dir():
        return absolute
    found = [] if member is None else sorted(absolute.glob(member)) or sorted(absolute.glob(f"*/{member}"))
    if not found:
        sought = f" without a file {member}" if member else ""
        raise DataError(f"{absolute} is a folder{sought}. Set data.path to the file with the interactions.")
    return found[0]


def _check_present(table: Table, names: list[str], setting: str, name: str) -> None:
    if names.count(name) != 1:
        times = "no column" if name not in names else f"{names.count(name)} columns"
        raise DataError(f"{table.path} has {times} {name!r}: its columns are {', '.join(names)}. Set "
                        f"data.{setting}=... to one of them, or correct data.separator ({table.separator!r}) "
                        "or data.columns.")


def _listed(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _check_text(setting: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"data.{setting} must be a text that isn't empty, not {value!r}.")


def _check_texts(setting: str, value: object) -> None:
    listed = _listed(value) if isinstance(value, str | Sequence) else []
    if not listed or not all(isinstance(text, str) and text for text in listed):
        raise ConfigError(f"data.{setting} must be a text or a list of texts, not {value!r}.")
