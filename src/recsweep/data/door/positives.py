"""From the rows of a file to its positives: ids to dense indices, the block of the most active, one
row a pair, the threshold of ratings, and the filter of those with few positives.

What is counted in rows is the work of the database, which may spill to disk. It gives them back in
the order of their pairs, a batch at a time, and of each pair the last row stands.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from recsweep.data.arrays import Gathered
from recsweep.data.ids import WHOLE_NUMBER, text_array
from recsweep.data.interactions import Pairs
from recsweep.errors import DataError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

Columns = dict[str, np.ndarray]
"""Rows as columns of one length, by name."""

Repeats = Literal["latest", "first", "sum", "max"]

LAST_STANDS = {
    "latest": ("time", "place"),
    "first": ("time DESC", "place DESC"),
    "max": ("rating", "time", "place"),
}
"""The order of the rows of one pair, of which the last one stands; `place` is theirs in the
file."""

OF_RATED_ROWS = ("sum", "max")
"""Where rows without stars are left out before one row is made of a pair's."""

OUTSIDE, REPEATED, UNRATED = "outside the block", "repeated pairs", "without stars"

DTYPES = {"user": np.int32, "item": np.int32, "time": np.int64, "part": np.uint8}
"""What is kept of a positive."""

PARTS = ("training", "validation", "test")

ROWS_AT_ONCE = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What of the rows is a positive.

    Attributes:
        num_users: Number of users of the block, the most active of all rows (at a tie the lower
            id); None for all.
        num_items: Number of items, likewise.
        repeats: Which of several rows of one pair stands: the `latest` by time (without times, or
            at equal ones, the last of the file), the `first`, or the one with the `max` rating; or
            the `sum` of their ratings, at the latest of their times. Rows without ratings count 1
            each in a sum.
        unrated: Ratings of rows that are left out, as those without stars.
        positive_rating: The least rating of a positive; None where every row is one.
        keep_zeros: Whether the pairs that are rated lower are kept as known zeros.
        min_user_positives: Users with fewer positives are left out, and with them their ids and
            zeros; None keeps all. Repeated, with the items', until nobody is left out any more.
        min_item_positives: Items with fewer positives, likewise.
    """

    num_users: int | None = None
    num_items: int | None = None
    repeats: Repeats = "latest"
    unrated: Sequence[float] = ()
    positive_rating: float | None = None
    keep_zeros: bool = False
    min_user_positives: int | None = None
    min_item_positives: int | None = None


class Positives(NamedTuple):
    """Positives in the order of users and items.

    Attributes:
        users: (n,) int32, dense indices.
        items: (n,) int32.
        times: (n,) int64; None where the rows have none.
        parts: (n,) uint8: 0 training, 1 validation, 2 test; None where the rows don't say.
        zeros: Users and items of the known zeros, in the same order; None where none are kept.
        user_ids: Raw ids in ascending order: int64, or text where not all are whole numbers.
        item_ids: Likewise.
        dropped: Numbers of rows that were left out, by the reason in words.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray | None
    parts: np.ndarray | None
    zeros: Pairs | None
    user_ids: np.ndarray
    item_ids: np.ndarray
    dropped: dict[str, int]


def positives_of(connection: "DuckDBPyConnection", name: str, rules: Rules) -> Positives:
    """The positives among the table `rows`, which `recsweep.data.door` fills.

    Args:
        connection: An open database, in which small tables are left.
        name: Name of the data, for messages.
        rules: What is a positive.

    Raises:
        DataError: More users or items are asked for than exist, an id can't be kept, a pair stands
            in two parts, or nothing is positive.
    """
    if not (num_rows := _value(connection, "SELECT count(*) FROM rows")):
        raise DataError(
            f"{name} holds no interaction: no row of its files could be taken. Set data.path to a "
            "file with interactions, or data.on_bad_rows=error to see what is wrong with the first."
        )
    user_ids = _numbered(connection, "user", rules.num_users)
    item_ids = _numbered(connection, "item", rules.num_items)
    columns = _make_coded(connection)
    if "part" in columns:
        _refuse_pairs_of_two_parts(connection, name, user_ids, item_ids)
    dropped, stars = Counter[str](), "TRUE"
    if rules.unrated and rules.repeats in OF_RATED_ROWS and "rating" in columns:
        stars = f"rating NOT IN ({', '.join(map(repr, rules.unrated))})"
        dropped[UNRATED] = _value(connection, f"SELECT count(*) FROM coded WHERE NOT {stars}")
    dropped[OUTSIDE] = num_rows - dropped[UNRATED]

    found = {column: Gathered(DTYPES[column]) for column in DTYPES if column in columns}
    kept = ("user", "item") if rules.keep_zeros else ()
    zeros = {column: Gathered(DTYPES[column]) for column in kept}
    low, high = np.inf, -np.inf
    for rows in _one_a_pair(_sorted(connection, columns, rules.repeats, stars), dropped):
        dropped[OUTSIDE] -= len(rows["user"])
        if "rating" in rows:
            low, high = rows["rating"].min(initial=low), rows["rating"].max(initial=high)
            rows = _positive(rows, rules, dropped, zeros)
        for column, values in found.items():
            values.add(rows[column])
    dropped[OUTSIDE] -= dropped[REPEATED]
    if found["user"].length == 0:
        raise DataError(
            f"{name} holds no positive: {_ratings_found(rules, low, high)}. "
            "Lower data.positive_rating, or enlarge data.num_users and data.num_items."
        )
    positives = Positives(
        found["user"].whole(),
        found["item"].whole(),
        found["time"].whole() if "time" in found else None,
        found["part"].whole() if "part" in found else None,
        Pairs(zeros["user"].whole(), zeros["item"].whole()) if zeros else None,
        user_ids,
        item_ids,
        {},
    )
    if rules.min_user_positives or rules.min_item_positives:
        positives = _without_rare(positives, name, rules, dropped)
    return positives._replace(dropped={reason: count for reason, count in dropped.items() if count})


def _numbered(connection: "DuckDBPyConnection", kind: str, num_wanted: int | None) -> np.ndarray:
    """The ids of the block in ascending order: their places are the dense indices. Leaves the
    table `users` (or `items`) with the index, `code`, of each spelling that stands in `rows`."""
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE spellings AS
        SELECT spelling, spelling::VARCHAR AS text, number
        FROM (SELECT "{kind}" AS spelling, count(*) AS number FROM rows GROUP BY ALL)
        """
    )
    are_numbers = _value(
        connection,
        "SELECT bool_and(regexp_full_match(text, ?)) FROM spellings",
        WHOLE_NUMBER.pattern,
    )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE known AS
        SELECT spelling, {"split_part(text, '.', 1)::BIGINT" if are_numbers else "text"} AS id,
            number
        FROM spellings
        """
    )
    num_known = _value(connection, "SELECT count(DISTINCT id) FROM known")
    if num_wanted is not None and num_wanted > num_known:
        raise DataError(
            f"data.num_{kind}s={num_wanted} asks for more {kind}s than the {num_known:,} that the "
            f"file holds. Set data.num_{kind}s to at most {num_known}, or to null for all."
        )
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE block AS
        SELECT id, row_number() OVER (ORDER BY id) - 1 AS code
        FROM (
            SELECT id FROM known GROUP BY id ORDER BY sum(number) DESC, id
            LIMIT {num_known if num_wanted is None else num_wanted}
        );
        CREATE OR REPLACE TEMP TABLE {kind}s AS
        SELECT spelling, code::INTEGER AS code FROM known JOIN block USING (id)
        """
    )
    (ids,) = connection.sql("SELECT id FROM block ORDER BY code").to_arrow_table().columns
    return ids.to_numpy() if are_numbers else text_array(ids.to_pylist())


def _make_coded(connection: "DuckDBPyConnection") -> list[str]:
    """Make the view `coded`, of the rows of the block with dense indices, and with `place`, their
    order in the file. Returns the names of its other columns."""
    described = connection.execute("DESCRIBE rows").fetchall()
    others = [name for name, *_ in described if name not in ("user", "item")]
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP VIEW coded AS
        SELECT {", ".join(['users.code AS "user"', "items.code AS item", *others])},
            rows.rowid AS place
        FROM rows
        JOIN users ON rows."user" = users.spelling
        JOIN items ON rows.item = items.spelling
        """
    )
    return ["user", "item", *others]


def _refuse_pairs_of_two_parts(
    connection: "DuckDBPyConnection", name: str, user_ids: np.ndarray, item_ids: np.ndarray
) -> None:
    found = connection.execute(
        """
        SELECT "user", item, min(part), max(part) FROM coded
        GROUP BY ALL HAVING min(part) < max(part) ORDER BY ALL LIMIT 1
        """
    ).fetchall()
    for user, item, first, last in found:
        raise DataError(
            f"{name}: user {user_ids[user]} and item {item_ids[item]} stand together in the "
            f"{PARTS[first]} file and in the {PARTS[last]} file. A pair that is learned can't be "
            "asked for: delete it in one of them."
        )


def _sorted(
    connection: "DuckDBPyConnection", columns: list[str], repeats: Repeats, stars: str
) -> Iterator[Columns]:
    """The rows of the block in the order of users and items, in which of the rows of one pair the
    last one stands."""
    if repeats == "sum":
        sums = {
            "rating": "sum(rating)" if "rating" in columns else "count(*)::DOUBLE",
            **{name: f"max({name})" for name in columns if name in ("time", "part")},
            REPEATED: "count(*) - 1",
        }
        values = ", ".join(f'{value} AS "{name}"' for name, value in sums.items())
        query = f"""
            SELECT "user", item, {values} FROM coded WHERE {stars}
            GROUP BY "user", item ORDER BY "user", item
            """
    else:
        order = [key for key in LAST_STANDS[repeats] if key.split()[0] in (*columns, "place")]
        query = f"""
            SELECT {", ".join(f'"{name}"' for name in columns)} FROM coded WHERE {stars}
            ORDER BY "user", item, {", ".join(order)}
            """
    for batch in connection.sql(query).to_arrow_reader(ROWS_AT_ONCE):
        yield {name: batch.column(name).to_numpy() for name in batch.schema.names}


def _one_a_pair(batches: Iterator[Columns], dropped: Counter[str]) -> Iterator[Columns]:
    """The last row of each pair."""
    held: Columns = {}  # the last row of a batch: the next one may go on with its pair
    for batch in batches:
        dropped[REPEATED] += int(batch.pop(REPEATED, np.zeros(1)).sum())
        rows = {n: np.concatenate([held[n], batch[n]]) for n in batch} if held else batch
        users, items = rows["user"], rows["item"]
        is_last = (users[1:] != users[:-1]) | (items[1:] != items[:-1])
        yield _only(
            {name: values[:-1] for name, values in rows.items()}, is_last, dropped, REPEATED
        )
        held = {name: values[-1:] for name, values in rows.items()}
    if held:
        yield held


def _positive(
    rows: Columns, rules: Rules, dropped: Counter[str], zeros: dict[str, Gathered]
) -> Columns:
    """The rows that are positives. The others go to `zeros`, where those are kept."""
    if rules.unrated and rules.repeats not in OF_RATED_ROWS:
        rows = _only(rows, ~np.isin(rows["rating"], rules.unrated), dropped, UNRATED)
    if rules.positive_rating is not None:
        liked = rows["rating"] >= rules.positive_rating
        for column, values in zeros.items():
            values.add(rows[column][~liked])
        reason = f"rated below {rules.positive_rating:g}"
        rows = _only(rows, liked, Counter() if zeros else dropped, reason)
    return rows


def _only(rows: Columns, kept: np.ndarray, dropped: Counter[str], reason: str) -> Columns:
    """The rows where the mask `kept` is true; how many others there were goes to
    `dropped[reason]`."""
    dropped[reason] += len(kept) - int(np.count_nonzero(kept))
    return {name: values[kept] for name, values in rows.items()}


def _ratings_found(rules: Rules, low: float, high: float) -> str:
    if rules.positive_rating is None or low > high:
        return f"no row lies in the block of {rules.num_users} users x {rules.num_items} items"
    return (
        f"a positive is rated at least {rules.positive_rating:g}, and the ratings run from {low:g} "
        f"to {high:g}"
    )


def _without_rare(found: Positives, name: str, rules: Rules, dropped: Counter[str]) -> Positives:
    """The positives of users and items that have enough of them."""
    least = rules.min_user_positives or 0, rules.min_item_positives or 0
    users, items = found.users, found.items
    kept = np.ones(len(users), dtype=bool)
    while True:
        enough_users = np.bincount(users[kept], minlength=len(found.user_ids)) >= least[0]
        enough_items = np.bincount(items[kept], minlength=len(found.item_ids)) >= least[1]
        still = kept & enough_users[users] & enough_items[items]
        if np.array_equal(still, kept):
            break
        kept = still
    reason = " or ".join(
        f"{kind} with fewer than {number} positives"
        for kind, number in zip(("users", "items"), least, strict=True)
        if number
    )
    if not kept.any():
        raise DataError(
            f"{name} holds no positive but of {reason}. Lower data.min_user_positives or "
            "data.min_item_positives."
        )
    dropped[f"of {reason}"] = len(kept) - int(np.count_nonzero(kept))
    new_users, new_items = (
        np.cumsum(enough, dtype=np.int32) - 1 for enough in (enough_users, enough_items)
    )
    zeros = found.zeros
    if zeros is not None:
        of_kept = enough_users[zeros.users] & enough_items[zeros.items]
        dropped[f"of {reason}"] += len(of_kept) - int(np.count_nonzero(of_kept))
        zeros = Pairs(new_users[zeros.users[of_kept]], new_items[zeros.items[of_kept]])
    return Positives(
        new_users[users[kept]],
        new_items[items[kept]],
        None if found.times is None else found.times[kept],
        None if found.parts is None else found.parts[kept],
        zeros,
        found.user_ids[enough_users],
        found.item_ids[enough_items],
        {},
    )


def _value(connection: "DuckDBPyConnection", query: str, *parameters: Any) -> Any:
    """The one value that a query finds."""
    ((value,),) = connection.execute(query, list(parameters)).fetchall()
    return value
