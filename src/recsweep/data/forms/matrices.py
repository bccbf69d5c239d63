"""Tables with a row a user and a column an item, or the other way round."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

from recsweep.data.forms import AUTO, Shape, roles
from recsweep.data.forms.columns import Columns
from recsweep.data.forms.dialect import as_number, is_number
from recsweep.data.forms.questions import ask, said
from recsweep.data.forms.roles import Role


@dataclass(frozen=True)
class Matrix:
    """A table with a row a user, or an item, and a column for each of the others.

    Attributes:
        shape: `users_by_items` or `items_by_users`.
        ids: Column of the ids of the rows; None where the number of the line is the id.
        values: The columns of the others.
        unrated: The number that stands for no rating; None where there is none.
        count: Column that holds how many cells of its row are rated; None where there is none.
        is_guess: Whether nothing but custom says which way round it is.
    """

    shape: Shape
    ids: str | None
    values: tuple[str, ...]
    unrated: float | None
    count: str | None = None
    is_guess: bool = False


def matrix_of(table: Columns, header: bool) -> Matrix | None:
    """What a table is as a matrix; None where it holds one interaction a row."""
    asked = table.asked
    if asked.shape == "long" or (asked.shape == AUTO and not _looks_wide(table, header)):
        return None
    known = [
        (name, role)
        for role, setting in (("user", asked.user_column), ("item", asked.item_column))
        for name in ([] if setting == AUTO else [table.check_asked(f"{role}_column", setting)])
    ]
    named = [name for name in table.names if _holds_ids(name)] if header else []
    numeric = [name for name in table.names if _is_value(table, name) and name not in named]
    ids: str | None
    count = None
    if known:
        ids = known[0][0]
    elif header:
        rest = [name for name in table.names if name not in numeric]
        ids = min(named or rest, key=_surest, default=None)
    else:
        ids, count = _row_ids(table)
    if ids is None and header and _is_number_of_row(table, numeric[0]):
        ids = numeric[0]
    wanted = table.names if asked.shape != AUTO and not numeric else numeric
    values = tuple(name for name in wanted if name not in (ids, count))
    shape, is_guess = cast(Shape, asked.shape), False
    if shape == AUTO:
        role = known[0][1] if known else _row_role(ids, values)
        if role is None and header:
            ask(
                table.path,
                "is a matrix, whose rows may be the users or the items",
                [said("shape", "users_by_items"), said("shape", "items_by_users")],
            )
        shape, is_guess = ("items_by_users" if role == "item" else "users_by_items"), role is None
    return Matrix(shape, ids, values, _sentinel(table, values), count, is_guess)


def _looks_wide(table: Columns, header: bool) -> bool:
    """Whether most columns hold numbers of one range, and no two of them name users and items."""
    names, asked = table.names, table.asked
    if header:
        if AUTO not in (asked.user_column, asked.item_column) or asked.rating_column not in (
            AUTO,
            None,
        ):
            return False
        users = any(roles.rank(name, "user") is not None for name in names)
        items = any(roles.rank(name, "item") is not None for name in names)
        if users and items:
            return False
        if any(roles.rank(name, "rating") in (0, 1) for name in names) or (
            not (users or items) and any(roles.rank(name, "time") is not None for name in names)
        ):
            return False
        values = [name for name in names if not _holds_ids(name) and _is_value(table, name)]
        has_ids = len(values) < len(names) or _is_number_of_row(table, names[0])
        if len(values) < 3 or len(names) - len(values) > 2 or not has_ids:
            return False
        stems = Counter(_stem(name) for name in values)
        return stems.most_common(1)[0][1] >= 0.9 * len(values) or _is_even(table, values)
    values = names[1:]
    return (
        len(values) >= 4
        and all(_is_value(table, name) for name in values)
        and _is_even(table, values)
    )


def _is_even(table: Columns, values: Sequence[str]) -> bool:
    """Whether columns hold numbers as ratings are, and what stands for none."""
    numbers = {as_number(text) for name in values for text in table.values[name]}
    numbers -= {_sentinel(table, values)}
    return bool(numbers) and max(map(abs, numbers)) <= 10


def _is_value(table: Columns, name: str) -> bool:
    return all(map(is_number, table.values[name]))


def _holds_ids(name: str) -> bool:
    """Whether a column is named as one of users or items, and not as one of them, as `user_7`."""
    return re.search(r"\d$", name) is None and any(
        roles.rank(name, role) is not None for role in ("user", "item")
    )


def _surest(name: str) -> int:
    ranks = [rank for role in ("user", "item") if (rank := roles.rank(name, role)) is not None]
    return min(ranks, default=99)


def _stem(name: str) -> str:
    """A name without the number at its end."""
    return re.sub(r"[\W_]*\d+$", "", name)


def _is_number_of_row(table: Columns, name: str) -> bool:
    texts = table.values[name]
    return (
        name.startswith("column_") or name.startswith("Unnamed") or name == "__index_level_0__"
    ) and len(set(texts)) == len(texts)


def _row_ids(table: Columns) -> tuple[str | None, str | None]:
    """Columns of the ids of rows without names, and of the counts of their cells."""
    first, *others = table.names
    unrated = {*table.asked.unrated, _sentinel(table, others)}
    texts = [
        text
        for text in table.values[first]
        if not is_number(text) or as_number(text) not in unrated
    ]
    if not _is_value(table, first):
        return first, None
    if not all(text.isdigit() for text in texts):
        return None, None
    numbers = {as_number(text) for name in others for text in table.values[name]} - unrated
    if len({*texts}) == table.num_rows > 1:
        rows = [int(text) for text in texts]
        grow = all(after == before + 1 for before, after in pairwise(rows))
        if grow or not numbers or max(rows) > max(numbers) or min(rows) < min(numbers):
            return first, None
    is_count = not all(number.is_integer() for number in numbers) or (
        max(map(int, texts), default=0) > max(map(abs, numbers), default=0)
    )
    return None, first if is_count else None


def _row_role(ids: str | None, values: Sequence[str]) -> Role | None:
    """`user` or `item`, as which the rows of a matrix are named, or their columns are not."""
    stems = Counter(map(_stem, values)).most_common(1)
    other: dict[Role, Role] = {"user": "item", "item": "user"}
    for role in other:
        if ids is not None and roles.rank(ids, role) is not None:
            return role
    for role in other:
        if stems and (roles.rank(stems[0][0], role) is not None or roles.holds(stems[0][0], role)):
            return other[role]
    return next((role for role in other if ids is not None and roles.holds(ids, role)), None)


def _sentinel(table: Columns, values: Sequence[str]) -> float | None:
    """The number far from all others that stands for no rating; None where there is none."""
    numbers = {as_number(text) for name in values for text in table.values[name] if is_number(text)}
    for far in (99.0, 999.0, 9999.0, -99.0, -999.0, -1.0):
        rest = numbers - {far}
        if far in numbers and rest:
            reach = max(map(abs, rest))
            if abs(far) > 4 * reach or (far == -1 and min(rest) >= 0):
                return far
    return None
