"""Which columns of a table hold users, items, ratings and times: by their names, else by what is in
them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from recsweep.checks import short
from recsweep.data import dates, roles
from recsweep.data.dialect import is_number
from recsweep.data.formats import AUTO, Asked
from recsweep.data.questions import SHOWN_NAMES, ask, cut, listed, said
from recsweep.data.roles import Role
from recsweep.errors import DataError

MISSING = frozenset(["", "nan", "null", "na", "n/a", "none", r"\n", "-", "?"])
"""Lower-case texts that stand for no value."""

_NEEDED: tuple[Role, ...] = ("user", "item")
_OPTIONAL: tuple[Role, ...] = ("time", "rating")

_FEW = 100
"""A column with at most so many different numbers may hold ratings."""


class Columns:
    """The columns of a table with the first values of each, and which role each of them has."""

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        rows: Sequence[Sequence[str]],
        asked: Asked,
        *,
        named: bool,
        separator: str | None = None,
    ) -> None:
        self.path = path
        self.names = list(names)
        self.asked = asked
        self.named = named
        self.separator = separator
        self.values = {
            name: [
                text for row in rows if (text := row[place].strip()) and text.lower() not in MISSING
            ]
            for place, name in enumerate(names)
        }
        self.empty = {name for name, texts in self.values.items() if not texts and rows}

    def check_asked(self, setting: str, name: str) -> str:
        """The column that a setting names, by its bare or its whole name."""
        if self.names.count(name) == 1:
            return name
        typed = [each for each in self.names if each == roles.bare(name)]
        if len(typed) == 1:
            return typed[0]
        number = self.names.count(name)
        times = "no column" if number == 0 else f"{number} columns"
        sign = "" if self.separator is None else f" or correct data.separator ({self.separator!r})"
        raise DataError(
            f"{self.path} has {times} {short(name)!r}: its columns are "
            f"{listed(self.names, near=name)}. Set data.{setting}=... to one of them,"
            f"{sign} or data.columns."
        )

    def roles(self) -> dict[str, str | None]:
        """Column of each of user, item, rating and time."""
        asked = self.asked
        found: dict[str, str | None] = {}
        for role, setting in (
            ("user", "user_column"),
            ("item", "item_column"),
            ("rating", "rating_column"),
        ):
            said = getattr(asked, setting)
            if said != AUTO:
                found[role] = None if said is None else self.check_asked(setting, said)
        times = asked.timestamp_column
        if isinstance(times, str):
            if times != AUTO:
                found["time"] = self.check_asked("timestamp_column", times)
        else:
            found["time"] = next((name for name in times or () if name in self.names), None)
        if self.named:
            self._by_name(found)
        else:
            self._by_place(found)
        for role in ("user", "item"):
            self._check_ids(role, found[role])
        return found

    def left(self, found: dict[str, str | None]) -> list[str]:
        taken = set(found.values())
        return [name for name in self.names if name not in taken and name not in self.empty]

    def _by_name(self, found: dict[str, str | None]) -> None:
        for role in _NEEDED:
            if role not in found:
                best = roles.best(self.left(found), role)
                if len(best) > 1:
                    self._ask(
                        role, best, f"has several columns that may hold the {role}s: {listed(best)}"
                    )
                if best:
                    found[role] = best[0]
        for role in _OPTIONAL:
            if role not in found:
                found[role] = self._by_name_or_none(role, found)
        for role in ("user", "item"):
            if role not in found:
                rest = self.left(found)
                other = {"user": "item", "item": "user"}[role]
                if found.get(other) is not None:
                    self._refuse_features(other, found[other])
                if found.get(other) is None or len(rest) != 1:
                    self._ask(
                        role,
                        rest,
                        f"doesn't tell which column holds the {role}s: its columns are "
                        f"{listed(self.names)}",
                    )
                found[role] = rest[0]

    def _refuse_features(self, role: str, name: str | None) -> None:
        """Say so where a table looks as one that describes the users, or the items."""
        texts = self.values[name or ""]
        if len(self.names) > 2 and len(set(texts)) == len(texts):
            raise DataError(
                f"{self.path} has one row for each of the {role}s in {cut(name or '')}, and no "
                f"column that names the {'items' if role == 'user' else 'users'}. Set "
                f"data.{role}_features to it where it describes the {role}s, and data.path to a "
                "file with the interactions."
            )

    def _by_name_or_none(self, role: Role, found: dict[str, str | None]) -> str | None:
        names = self.left(found)
        if role == "time":
            names = [
                name
                for name in names
                if dates.forms(self.values[name][:200])
                and (roles.rank(name, "time") is not None or self.is_time(name, sure=False))
            ]
        else:
            names = [name for name in names if self._may_rate(name)]
        best = roles.best(names, role)
        if len(best) > 1:
            what = {"time": "times", "rating": "ratings"}[role]
            self._ask(role, best, f"has several columns that may hold the {what}: {listed(best)}")
        return best[0] if best else None

    def _may_rate(self, name: str) -> bool:
        texts = self.values[name]
        return all(map(is_number, texts)) or (
            roles.rank(name, "rating") is not None and len(set(texts)) <= _FEW
        )

    def _by_place(self, found: dict[str, str | None]) -> None:
        """Users, items, ratings and times in the order in which most write them, where no column
        has a name."""
        rest = self.left(found)
        if len(self.names) > SHOWN_NAMES and self.asked.columns == AUTO:
            raise DataError(
                f"{self.path} has no line that names its {len(self.names)} columns. Name them, as "
                f"{said('columns', ['user_id', 'item_id', 'rating', 'timestamp'])}, those behind "
                "the last name aren't read; or set data.shape=users_by_items for a matrix."
            )
        times = [name for name in rest if self.is_time(name, sure=name in rest[:2])]
        if len(times) > 1 and "time" not in found:
            self._ask("time", times, f"has several columns that look like times: {listed(times)}")
        if times and rest.index(times[0]) < 2:
            first = times[0]
            if all(map(is_number, self.values[first])):
                self._ask_columns("its first columns hold numbers that grow as times do")
        if "time" not in found:
            found["time"] = times[0] if times else None
        for role in ("user", "item"):
            if role not in found:
                rest = [name for name in self.left(found) if name not in times]
                if not rest:
                    self._ask_columns(f"no column is left for the {role}s")
                found[role] = rest[0]
        rest = [name for name in self.left(found) if name not in times]
        if "rating" not in found:
            rating = next((name for name in rest if self._looks_rated(name)), None)
            found["rating"] = rating
            item = found["item"]
            if rating is not None and item is not None and self._swapped(item, rating):
                self._ask_columns("its second column holds few different numbers, as ratings do")

    def is_time(self, name: str, *, sure: bool) -> bool:
        """Whether a column without a name holds times; `sure` where it may as well hold ids."""
        texts = self.values[name][:500]
        forms = dates.forms(texts)
        if forms != ["number"]:
            return bool(forms)
        numbers = [float(text.replace(",", ".")) for text in texts]
        is_epoch = all(
            3e8 < number < 3e9 or 3e11 < number < 3e12 or 3e14 < number < 3e15 for number in numbers
        )
        if not is_epoch:
            return False
        grows = all(one <= two for one, two in pairwise(numbers))
        return not sure or (grows and len(set(numbers)) > max(3, len(numbers) // 2))

    def _looks_rated(self, name: str) -> bool:
        texts = self.values[name]
        if all(map(is_number, texts)):
            return True
        return len(texts) >= 4 * len(set(texts)) and len(set(texts)) <= SHOWN_NAMES

    def _swapped(self, item: str, rating: str) -> bool:
        items, ratings = self.values[item], self.values[rating]
        return (
            len(items) >= 50
            and all(map(is_number, items))
            and 3 <= len(set(items)) <= 11
            and all(abs(float(text.replace(",", "."))) <= 10 for text in items)
            and len(set(ratings)) > 50
        )

    def _check_ids(self, role: str, name: str | None) -> None:
        if name is None:
            return
        texts = self.values[name][:200]
        several = sum(
            re.fullmatch(r"\[.*\]|\{.*\}|\d+([ ,|;]+\d+)+", text) is not None for text in texts
        )
        if texts and several > len(texts) / 2:
            raise DataError(
                f"{self.path} holds several ids in one cell of column {cut(name)}. Write one "
                "row for each of them, or lines of a user and the items as `user item item`, or "
                f"set data.{role}_column to another column."
            )

    def _ask(self, role: str, names: Sequence[str], seen: str) -> NoReturn:
        setting = {"time": "timestamp_column"}.get(role, f"{role}_column")
        settings = [said(setting, name) for name in names[:SHOWN_NAMES]]
        if role in ("rating", "time"):
            settings.append(said(setting, None))
        ask(self.path, seen, settings)

    def _ask_columns(self, seen: str) -> NoReturn:
        usual = ["user_id", "item_id", "rating", "timestamp"]
        names = usual[: len(self.names)] + [
            f"column_{place + 1}" for place in range(4, len(self.names))
        ]
        orders = [names, [names[1], names[0], *names[2:]]]
        if len(names) > 2:
            orders.append([names[0], names[2], names[1], *names[3:]])
        ask(
            self.path,
            f"has no line that names its columns, and {seen}",
            [said("columns", order) for order in orders if len(order) <= SHOWN_NAMES],
        )
