"""The needed columns of tables as arrays: ids as numbers, ratings and timestamps checked, each
fault with its row."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recsweep.checks import as_said
from recsweep.data.ids import id_array
from recsweep.data.tables import Table
from recsweep.errors import DataError

if TYPE_CHECKING:
    from pandas import Series


class Rows(NamedTuple):
    """Rows of the file as columns of one length; ratings and timestamps are None where the file has
    none."""

    users: np.ndarray
    items: np.ndarray
    ratings: np.ndarray | None
    timestamps: np.ndarray | None

    def take(self, chosen: np.ndarray) -> "Rows":
        return Rows(
            self.users[chosen],
            self.items[chosen],
            None if self.ratings is None else self.ratings[chosen],
            None if self.timestamps is None else self.timestamps[chosen],
        )

    def only(self, kept: np.ndarray, dropped: dict[str, int], reason: str) -> "Rows":
        """The rows where the mask `kept` is true; how many others there were goes to
        `dropped[reason]`."""
        if lost := int(len(kept) - kept.sum()):
            dropped[reason] = lost
        return self.take(kept)


class _Codes:
    """The numbers of raw ids in the order they come, so that the text of each is held once, however
    many rows there are."""

    def __init__(self) -> None:
        self.known: dict[str, int] = {}

    def add(self, ids: "Series") -> np.ndarray:
        """The codes of a batch of ids, (n,) int32."""
        import pandas

        places, texts = pandas.factorize(ids)
        codes = (self.known.setdefault(text, len(self.known)) for text in texts.tolist())
        return np.fromiter(codes, dtype=np.int32, count=len(texts))[places]

    def sorted_ids(self) -> tuple[np.ndarray, np.ndarray]:
        """The ids in ascending order, as `id_array` keeps them, and the place of each code among
        them."""
        ids, places = np.unique(id_array(self.known), return_inverse=True)
        return ids, places.astype(np.int32)


class RowReader:
    """A reader of the needed columns of one or more tables, batch by batch."""

    def __init__(
        self,
        *,
        user_column: str,
        item_column: str,
        rating_column: str | None,
        timestamp_column: str | Sequence[str] | None,
    ) -> None:
        self.columns = {
            "user_column": user_column,
            "item_column": item_column,
            "rating_column": rating_column,
        }
        self.timestamp_setting = timestamp_column
        self.users, self.items = _Codes(), _Codes()
        self.batches: list[Rows] = []
        self.timestamp_column: str | None = None
        self.dates: bool | None = None  # whether times are written as dates; one kind for all files

    def read(self, table: Table) -> None:
        """Add the rows of one table.

        Raises:
            DataError: A column is missing, a value can't be read, or there is no row.
        """
        names = table.names()
        for setting, name in self.columns.items():
            if name is not None:
                _check_present(table, names, setting, name)
        self._choose_timestamp(table, names)
        user, item, rating = self.columns.values()
        time = self.timestamp_column
        needed = [name for name in (user, item, rating, time) if name is not None]
        first_row = 1
        for batch in table.batches(needed):
            where = _Where(table.path, first_row)
            users = _codes(batch[user], self.users, where)
            items = _codes(batch[item], self.items, where)
            ratings = None if rating is None else _ratings(batch[rating], where)
            timestamps = None if time is None else self._timestamps(batch[time], where)
            self.batches.append(Rows(users, items, ratings, timestamps))
            first_row += len(batch)
        if first_row == 1:
            raise DataError(
                f"{table.path} has a header and no rows. Set data.path to a file with interactions."
            )

    def _choose_timestamp(self, table: Table, names: list[str]) -> None:
        setting = self.timestamp_setting
        if isinstance(setting, str):
            _check_present(table, names, "timestamp_column", setting)
            chosen: str | None = setting
        else:
            chosen = next((name for name in setting or () if name in names), None)
        if self.batches and chosen != self.timestamp_column:
            raise DataError(
                f"{table.path} has its timestamps in {chosen!r}, the file before it in "
                f"{self.timestamp_column!r}. Set data.timestamp_column to one that both have, or "
                "null."
            )
        self.timestamp_column = chosen

    def _timestamps(self, texts: "Series", where: "_Where") -> np.ndarray:
        import pandas

        numbers: Any = pandas.to_numeric(texts, errors="coerce")  # a Series, for all dtypes
        if self.dates is None:
            self.dates = bool(numbers.isna().iloc[0]) and texts.iloc[0] != ""
        if self.dates:
            times = _dates(texts)
            bad = times.isna().to_numpy()
        else:
            times, bad = numbers, ~(numbers.abs() < 2.0**63).to_numpy()  # true of NaN too
        kind = "a date as 2017-08-18" if self.dates else "a number"
        remedy = "Correct it, or set data.timestamp_column=null."
        where.refuse(bad, texts, f"must be {kind}, as in the first row", remedy)
        return times.to_numpy().astype(np.int64)

    def finish(self) -> tuple[Rows, np.ndarray, np.ndarray]:
        """All rows, with codes replaced by the places of the sorted user ids and item ids that come
        with them."""
        users, items, ratings, timestamps = zip(*self.batches, strict=True)
        rows = Rows(
            np.concatenate(users),
            np.concatenate(items),
            None if ratings[0] is None else np.concatenate(ratings),
            None if timestamps[0] is None else np.concatenate(timestamps),
        )
        user_ids, user_places = self.users.sorted_ids()
        item_ids, item_places = self.items.sorted_ids()
        rows = rows._replace(users=user_places[rows.users], items=item_places[rows.items])
        return rows, user_ids, item_ids


class _Where(NamedTuple):
    """The place of a batch: its file, and the number of its first row (from 1, without a
    header)."""

    path: Path
    first_row: int

    def refuse(self, bad: np.ndarray, texts: "Series", rule: str, remedy: str) -> None:
        """Raise DataError at the first row that is bad."""
        if bad.any():
            place = int(bad.argmax())
            raise DataError(
                f"Column {texts.name!r} {rule}, not {as_said(texts.iloc[place])}, in row "
                f"{self.first_row + place:,} of {self.path} (rows counted without a header). "
                f"{remedy}"
            )


def _codes(ids: "Series", codes: _Codes, where: _Where) -> np.ndarray:
    where.refuse((ids == "").to_numpy(), ids, "has no id", "Fill it in, or delete the row.")
    return codes.add(ids)


def _ratings(texts: "Series", where: _Where) -> np.ndarray:
    import pandas

    numbers: np.ndarray = pandas.to_numeric(texts, errors="coerce").to_numpy(dtype=np.float64)
    remedy = (
        "Correct or delete the row, or set data.rating_column=null if every row is a positive "
        "(data.columns=null if the first line is a header)."
    )
    where.refuse(~np.isfinite(numbers), texts, "must hold a number in each row", remedy)
    return numbers


def _dates(texts: "Series") -> "Series":
    """Times to the microsecond of ISO dates, also with slashes and without leading zeros; NaT where
    unreadable."""
    import pandas

    texts = texts.str.replace("/", "-", regex=False)
    times: Any = pandas.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)  # a Series
    if times.isna().any():
        unpadded = pandas.to_datetime(texts, format="%Y-%m-%d", errors="coerce", utc=True)
        times = times.fillna(unpadded)
    return times.dt.tz_localize(None).astype("datetime64[us]")


def _check_present(table: Table, names: list[str], setting: str, name: str) -> None:
    if names.count(name) != 1:
        times = "no column" if name not in names else f"{names.count(name)} columns"
        raise DataError(
            f"{table.path} has {times} {name!r}: its columns are {', '.join(names)}. Set "
            f"data.{setting}=... to one of them, or correct data.separator ({table.separator!r}) "
            "or data.columns."
        )
