"""Interactions from a file or a DataFrame, and their parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsweep.config import build
from recsweep.data.interactions import Interactions, Split
from recsweep.data.split import split_by
from recsweep.notebook.settings import choice, composition, options_of
from recsweep.notebook.shown import html

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Interactions, and the settings of the command line by which they are read again.

    Attributes:
        interactions: The positives: which user liked which item.
        overrides: Settings, as `data=file` and `data.path=likes.csv`.
    """

    interactions: Interactions
    overrides: tuple[str, ...]

    def split(self, kind: str = "random_cells", **settings: Any) -> Split:
        """The parts train, validation and test.

        Args:
            kind: Option of `split=`, as `per_user_ratio`.
            settings: Settings of that option, as `seed=0`.

        Raises:
            ConfigError: There is no such option or setting.
            DataError: A part would be empty.
        """
        cfg = composition([*self.overrides, *choice("split", kind, settings)])
        return split_by(build(cfg, "split"), self.interactions)

    def __len__(self) -> int:
        return len(self.interactions)

    def to_frame(self) -> "DataFrame":
        """A row a positive, by raw ids."""
        return self.interactions.to_frame()

    def __repr__(self) -> str:
        data = self.interactions
        return (
            f"{data.name}: {data.num_users:,} users x {data.num_items:,} items, {len(data):,} "
            f"positives (density {100 * data.density:.2f} %)"
        )

    def _repr_html_(self) -> str:
        dropped = [
            f"{count:,} rows were left out: {reason}"
            for reason, count in self.interactions.dropped.items()
        ]
        return html(self.to_frame().head(), repr(self), *dropped)


def read_interactions(
    source: Any,
    *,
    user: str | None = None,
    item: str | None = None,
    rating: str | None = None,
    time: str | Sequence[str] | None = None,
    **settings: Any,
) -> Dataset:
    """Read which user liked which item.

    Args:
        source: A file of nearly any form, or several; a DataFrame of pandas or polars, which is
            kept as a file beside the runs; or the name of an option of `data=`, as
            `movielens_100k` or `synthetic`.
        user: Column of the users; None for that of the option, in a file or DataFrame it is found.
        item: Column of the items; None likewise.
        rating: Column of the ratings, `auto` to find it; None where every row of a file or
            DataFrame is a positive.
        time: Column of the times; None where there is none.
        settings: Other settings of `data=`, as `positive_rating=4` or `num_users=1000`.

    Raises:
        ConfigError: There is no such setting, or its value is impossible.
        DataError: The file is missing or broken, or a value in it can't be read.
    """
    named = {
        "user_column": user,
        "item_column": item,
        "rating_column": rating,
        "timestamp_column": time,
    }
    given = {name: column for name, column in named.items() if column is not None} | settings
    if isinstance(source, str) and source in options_of("data"):
        option = source
    else:
        option = "file"
        path = _path_of(source, given)
        names = {} if isinstance(source, str | Path | list | tuple) else {"name": "frame"}
        read = names | {"rating_column": rating, "timestamp_column": time}
        given = read | given | {"path": path}
    overrides = tuple(choice("data", option, given))
    return Dataset(build(composition(overrides), "data").load(), overrides)


def _path_of(source: Any, given: Mapping[str, Any]) -> str | list[str]:
    if isinstance(source, str | Path):
        return str(Path(source).expanduser().absolute())
    if isinstance(source, list | tuple):
        return [str(Path(path).expanduser().absolute()) for path in source]
    from recsweep.data.frames import stored_frame

    columns: set[str] | None = None
    if {"user_column", "item_column"} <= set(given):
        columns = {given["user_column"], given["item_column"]}
        for column in (given.get("rating_column"), given.get("timestamp_column")):
            columns |= {column} if isinstance(column, str) else set(column or ())
    return str(stored_frame(source, columns))
