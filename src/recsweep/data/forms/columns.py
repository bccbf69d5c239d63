"""Which columns of a table hold users, items, ratings and times: by their names, else by what is in
them."""

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from recsweep.checks import short
from recsweep.data.forms import AUTO, Asked, dates, roles
from recsweep.data.forms.dialect import as_number, is_number
from recsweep.data.forms.questions import SHOWN_NAMES, ask, cut, listed, said
from recsweep.data.forms.roles import Role
from recsweep.errors import DataError

MISSING = frozenset(["", "nan", "null", "na", "n/a", "none", r"\n", "-", "?"])
"""Lower-case texts that stand for no value."""

_NEEDED: tuple[Role, ...] = ("user", "item")
_OPTIONAL: tuple[Role, ...] = ("time", "rating")

_USUAL = ("user_id", "item_id", "rating", "timestamp")
"""The order in which most write columns without names; of more nobody could tell it."""

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
        self.num_rows = len(rows)
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
        for role in _NEEDED:
            if getattr(asked, f"{role}_column") == AUTO:
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
                and (roles.normal(name) != "day" or self.is_time(name, sure=False))
            ]
        else:
            names = [name for name in names if self._may_rate(name)]
            if self.asked.positive_values is not None:
                words = set(self.asked.positive_values)
                names = [name for name in names if words & set(self.values[name])] or names
                if len(names) == 1:
                    return names[0]
        best = roles.best(names, role)
        if role == "time" and not best:  # one column of dates, however it is named
            dated = [name for name in names if dates.forms(self.values[name][:200]) != ["number"]]
            best = dated if len(dated) == 1 else []
        if len(best) > 1:
            what = {"time": "times", "rating": "ratings"}[role]
            self._ask(role, best, f"has several columns that may hold the {what}: {listed(best)}")
        return best[0] if best else None

    def _may_rate(self, name: str) -> bool:
        texts = self.values[name]
        if self.asked.positive_values is not None:
            return len(set(texts)) <= _FEW
        return all(map(is_number, texts)) or (
            roles.rank(name, "rating") is not None and len(set(texts)) <= _FEW
        )

    def _by_place(self, found: dict[str, str | None]) -> None:
        """Users, items, ratings and times in the order in which most write them, where no column
        has a name."""
        rest = self.left(found)
        if len(rest) > len(_USUAL):
            raise DataError(
                f"{self.path} has no line that names its {len(self.names)} columns. Add "
                f"{said('columns', _USUAL)} to the command, "
                "with names in the order of the columns (behind the last name none is read), or "
                "data.shape=users_by_items for a matrix."
            )
        times = [name for name in rest if self.is_time(name, sure=name in rest[:2])]
        if len(times) > 1 and "time" not in found:
            self._ask("time", times, f"has several columns that look like times: {listed(times)}")
        if times and rest.index(times[0]) < 2:
            first = times[0]
            if all(map(is_number, self.values[first])):
                place = rest.index(first)
                others = ["user_id", "item_id", "rating"]
                self._ask_columns(
                    "its first columns hold numbers that grow as times do",
                    *others[:place],
                    "timestamp",
                    *others[place:],
                )
        if len(rest) > 3 and self._are_numbers_of_rows(rest[0]) and self._are_many(rest[2]):
            self._ask_columns(
                "its first column may hold the numbers of the rows, or the users",
                *("row", "user_id", "item_id", "rating"),
            )
        if "time" not in found:
            found["time"] = times[0] if times else None
        for role in ("user", "item"):
            if role not in found:
                rest = [name for name in self.left(found) if name not in times]
                if not rest:
                    self._ask_columns(f"no column is left for the {role}s", "item_id", "user_id")
                found[role] = rest[0]
        rest = [name for name in self.left(found) if name not in times]
        if "rating" not in found:
            rating = next((name for name in rest if self._looks_rated(name)), None)
            found["rating"] = rating
            item = found["item"]
            if rating is not None and item is not None and self._swapped(item, rating):
                self._ask_columns(
                    "its second column holds few different numbers, as ratings do",
                    *("user_id", "rating", "item_id", "timestamp"),
                )

    def is_time(self, name: str, *, sure: bool) -> bool:
        """Whether a column without a name holds times; `sure` where it may as well hold ids."""
        texts = self.values[name][:500]
        forms = dates.forms(texts)
        if forms != ["number"]:
            return bool(forms)
        numbers = [
            number
            for number in (as_number(text) for text in texts if is_number(text))
            if 3e8 < number < 3e9 or 3e11 < number < 3e12 or 3e14 < number < 3e15
        ]
        if len(numbers) < (1 - dates.BROKEN) * len(texts):
            return False
        grows = all(one <= two for one, two in pairwise(numbers))
        return not sure or (grows and len(set(numbers)) > max(3, len(numbers) // 2))

    def _are_numbers_of_rows(self, name: str) -> bool:
        texts = self.values[name]
        return (
            len(texts) >= 10
            and all(map(str.isdigit, texts))
            and all(int(after) == int(before) + 1 for before, after in pairwise(texts))
        )

    def _are_many(self, name: str) -> bool:
        """Whether a column holds many different values, as one of ids does, and no times."""
        texts = self.values[name]
        return len(set(texts)) > len(texts) / 4 and not self.is_time(name, sure=False)

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

    def _check_ids(self, role: Role, name: str | None) -> None:
        if name is None:
            return
        texts = self.values[name][:200]
        several = sum(map(_holds_several, texts))
        if several > len(texts) / 2:
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

    def _ask_columns(self, seen: str, *order: str) -> NoReturn:
        """Ask whether the columns are in this order, or in that in which most write them."""
        number = len(self.names)
        orders = [(*names, *self.names[len(names) :])[:number] for names in (_USUAL, order)]
        ask(
            self.path,
            f"has no line that names its columns, and {seen}",
            [said("columns", names) for names in orders],
        )


def _holds_several(text: str) -> bool:
    """Whether a text is a list of ids, and no number as 1,234."""
    is_list = re.fullmatch(r"\[.*\]|\{.*\}|\d+([ ,|;]+\d+)+", text) is not None
    return is_list and re.fullmatch(r"\d{1,3}(,\d{3})+", text) is None
