"""Features: what is known of users or items beside the interactions, and how a row of such a table
becomes numbers."""

import ast
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Self, get_args

import numpy as np

from recsweep.checks import as_said, meant, short
from recsweep.data.ids import spelled
from recsweep.data.interactions import Part, array_digest, frozen
from recsweep.errors import DataError

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Kind = Literal["category", "list", "number"]

NUM_BINS = 10

MAX_TOLD = 20
"""Columns that one line tells of."""

MISSING = {"", "nan", "null", r"\n"}
"""Texts in lower case that stand for no value."""

MISSING_NUMBERS = MISSING | {"na", "n/a", "none", "-", "?"}
"""Likewise in a column in which all else are numbers: elsewhere they may be categories."""


@dataclass(frozen=True)
class Field:
    """One column of features, and how a value of it becomes numbers.

    Attributes:
        name: Name of the column.
        kind: `category`; `list`, of categories; or `number`, which falls into a bin.
        categories: The categories in ascending order; of numbers none.
        edges: The greatest number of each bin but the last, ascending; of categories none.
        separator: Text between the categories of a list.
    """

    name: str
    kind: Kind
    categories: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    separator: str = "|"

    @property
    def size(self) -> int:
        """Number of its columns in the matrix of a `FeatureTable`."""
        return len(self.edges) + 1 if self.kind == "number" else len(self.categories)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {category: place for place, category in enumerate(self.categories)}

    def encoded(self, values: Sequence[object]) -> "csr_matrix":
        """(len(values), size) float32: 1 at the category or the bin, 1/k at each of k categories of
        a list, nothing for a value that is missing or unknown.

        Raises:
            DataError: A value that should be a number is none.
        """
        from scipy.sparse import csr_matrix

        if self.kind == "number":
            return self.binned(np.array([self._number(value) for value in values], dtype=float))
        indices: list[int] = []
        shares: list[float] = []
        starts = [0]
        for value in values:
            named = self.named(value)
            known = [place for name in named if (place := self._places.get(name)) is not None]
            indices += known
            shares += [1 / (len(named) or 1)] * len(known)
            starts.append(len(indices))
        parts = np.array(shares, dtype=np.float32), indices, starts
        matrix = csr_matrix(parts, (len(values), self.size))
        matrix.sort_indices()
        return matrix

    def binned(self, numbers: np.ndarray) -> "csr_matrix":
        """(len(numbers), size) float32 with a 1 at the bin of each number, nothing for nan."""
        from scipy.sparse import csr_matrix

        present = np.isfinite(numbers)
        bins = np.searchsorted(np.array(self.edges), numbers[present], side="left")
        starts = np.concatenate([[0], np.cumsum(present)])
        ones = np.ones(len(bins), dtype=np.float32)
        return csr_matrix((ones, bins, starts), (len(numbers), self.size))

    def named(self, value: object) -> list[str]:
        """The categories that a value names, each once."""
        if self.kind == "list":
            return listed(value, self.separator)
        if isinstance(value, bool | np.bool_):  # `true` or `True`, as the file has it
            words = str(value), str(value).lower(), str(value).upper()
            return [next((word for word in words if word in self._places), words[0])]
        return [] if value is None else [category(value)]

    def _number(self, value: object) -> float:
        if value is None or (isinstance(value, str) and value.strip().lower() in MISSING_NUMBERS):
            return np.nan
        try:
            number = float(value)  # type: ignore[arg-type]  # what is none raises
        except (TypeError, ValueError):
            number = np.inf
        if np.isinf(number):
            raise DataError(f"The feature {self.name!r} must be a number, not {as_said(value)}.")
        return number


def category(value: object) -> str:
    """The name of a category, by which 3, 3.0, `3` and `3.0` are the same one."""
    return str(value).strip() if (spelling := spelled(value)) is None else spelling


def listed(value: object, separator: str) -> list[str]:
    """The categories of a list, each once: a text of them, also as `["a", "b"]`, or the list
    itself."""
    if isinstance(value, str):
        value = _literal(value) if is_bracketed(value) else value.split(separator)
    if value is None or not isinstance(value, Collection):
        return []
    names = (category(each) for each in value)
    return list(dict.fromkeys(name for name in names if name.lower() not in MISSING))


def is_bracketed(text: str) -> bool:
    return text[:1] == "[" and text[-1:] == "]"


def _literal(text: str) -> Sequence[object]:
    """The list that a text in brackets writes as JSON or Python do, or without quotes."""
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return [part.strip().strip("'") for part in _PART.findall(text[1:-1])]


_PART = re.compile(r"\s*(?:'(?:[^'\\]|\\.)*'|[^,]+)")
"""One of a list as DuckDB writes it: in quotes where it holds a comma or a bracket."""


class Described(NamedTuple):
    """A column of a table of features, for people.

    Attributes:
        column: Its name.
        kind: `category`, `list`, `number` or `left out`.
        values: How many different values it has, or the reason why it is left out.
        example: A category, or the range of the numbers.
    """

    column: str
    kind: str
    values: str
    example: str


@dataclass(frozen=True)
class FeatureTable:
    """The features of the users, or of the items, of one data set.

    What is a category is found in the rows of all of them: that tells nothing of who likes what.
    The bins of numbers are quantiles: those of a table as it is read are of all rows, and a fit
    gets the ones of its training part, see `of_training`, so that nothing of the entities that are
    held out is in a model. For that the numbers themselves are kept.

    Attributes:
        entity: `user` or `item`.
        fields: The columns, in the order of the file.
        matrix: (num_entities, sum of the sizes of the fields) float32 csr matrix, see
            `Field.encoded`; an entity without a row has no entry.
        numbers: (num_entities, number of fields of that kind) float64 as they were read, nan where
            one is missing.
        left_out: Other columns of the file, and why each is left out.
        unknown_rows: Rows of entities that the data lack, which were left out.
        without_row: Entities of the data that the file lacks.
    """

    entity: str
    fields: tuple[Field, ...]
    matrix: "csr_matrix"
    numbers: np.ndarray
    left_out: Mapping[str, str]
    unknown_rows: int = 0
    without_row: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "numbers", frozen(self.numbers, np.float64))
        for part in (self.matrix.data, self.matrix.indices, self.matrix.indptr):
            part.flags.writeable = False

    def __len__(self) -> int:
        return self.matrix.shape[0]

    @cached_property
    def digest(self) -> str:
        """A name of the content."""
        fields = json.dumps([asdict(each) for each in self.fields], sort_keys=True)
        matrix = self.matrix
        return array_digest(
            [
                fields,
                matrix.data,
                matrix.indices.astype(np.int64),
                matrix.indptr.astype(np.int64),
                self.numbers,
            ]
        )

    def of_training(self, trained: np.ndarray) -> "FeatureTable":
        """The table with the bins of some entities: quantiles of their numbers.

        Args:
            trained: (num_entities,) bool: those with a positive in the training part.
        """
        from scipy.sparse import hstack

        blocks, fields, start = [], [], 0
        columns = iter(self.numbers.T)
        for old in self.fields:
            block, new = self.matrix[:, start : start + old.size], old
            start += old.size
            if old.kind == "number":
                numbers = next(columns)
                new = replace(old, edges=bin_edges(numbers[trained]))
                block = new.binned(numbers)
            blocks.append(block)
            fields.append(new)
        return replace(self, fields=tuple(fields), matrix=hstack(blocks, "csr"))

    def encode(self, rows: Sequence[Mapping[str, object]]) -> "csr_matrix":
        """Entities that the data lack, by their values of the columns: (len(rows), width of
        `matrix`) float32. A column that a row lacks is a missing value.

        Raises:
            DataError: A row has a column that the file of features lacks, or no number where one
                should be.
        """
        from scipy.sparse import hstack

        known = [each.name for each in self.fields]
        for name in {name for row in rows for name in row}:
            if name not in known and name not in self.left_out:
                raise DataError(
                    f"There is no feature {short(str(name))} of {self.entity}s. "
                    f"{meant(str(name), known[:10])}"
                )
        blocks = [each.encoded([row.get(each.name) for row in rows]) for each in self.fields]
        return hstack(blocks, "csr")

    def described(self) -> list[Described]:
        """Each column and what it was taken for."""
        columns = iter(self.numbers.T)
        rows = []
        for each in self.fields:
            if each.kind == "number":
                present = (numbers := next(columns))[np.isfinite(numbers)]
                example = f"{present.min():g} to {present.max():g}" if len(present) else ""
                rows.append(Described(each.name, each.kind, f"{each.size} bins", example))
            else:
                some = each.categories[0] if each.categories else ""
                values = f"{each.size:,} categor{'y' if each.size == 1 else 'ies'}"
                rows.append(Described(each.name, each.kind, values, some))
        rows += [Described(name, "left out", why, "") for name, why in self.left_out.items()]
        return rows

    def in_words(self) -> str:
        """All of it in one line; of many columns the first ones."""
        kept = [
            f"{row.column} ({row.kind}, {row.values})"
            for row in self.described()
            if row.column not in self.left_out
        ]
        text = _first_of(kept)
        if self.left_out:
            reasons = [f"{name} ({why})" for name, why in self.left_out.items()]
            text += f"; left out {_first_of(reasons)}"
        if self.unknown_rows:
            rows = "row" if self.unknown_rows == 1 else "rows"
            text += f"; {self.unknown_rows:,} {rows} of {self.entity}s that the data lack left out"
        if self.without_row:
            text += f"; {self.without_row:,} of {len(self):,} {self.entity}s have no row"
        return text

    @property
    def settings(self) -> dict[str, Any]:
        """What of it JSON can hold; with `arrays` it is what `restore` needs."""
        return {
            "entity": self.entity,
            "fields": [asdict(each) for each in self.fields],
            "left_out": dict(self.left_out),
            "unknown_rows": self.unknown_rows,
            "without_row": self.without_row,
        }

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """Its arrays by name."""
        matrix = self.matrix
        return {
            "data": matrix.data,
            "indices": matrix.indices.astype(np.int32),
            "indptr": matrix.indptr.astype(np.int64),
            "numbers": self.numbers,
        }

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Self:
        """The table of these `settings` and `arrays`. ValueError, TypeError or KeyError where they
        don't go together."""
        from scipy.sparse import csr_matrix

        fields = tuple(
            Field(
                str(each["name"]),
                each["kind"],
                tuple(map(str, each["categories"])),
                tuple(map(float, each["edges"])),
                str(each["separator"]),
            )
            for each in settings["fields"]
        )
        if strange := {each.kind for each in fields}.difference(get_args(Kind)):
            raise ValueError(f"the features are of kind {strange}")
        shape = len(arrays["indptr"]) - 1, sum(each.size for each in fields)
        matrix = csr_matrix((arrays["data"], arrays["indices"], arrays["indptr"]), shape)
        matrix.check_format(full_check=True)  # else an index is read as memory elsewhere
        num_numbers = sum(each.kind == "number" for each in fields)
        if arrays["numbers"].shape != (shape[0], num_numbers):
            raise ValueError(f"the features hold numbers of {arrays['numbers'].shape}")
        return cls(**{**settings, "fields": fields}, matrix=matrix, numbers=arrays["numbers"])


def _first_of(words: Sequence[str]) -> str:
    more = [f"{len(words) - MAX_TOLD:,} more"] if len(words) > MAX_TOLD else []
    return ", ".join([*words[:MAX_TOLD], *more])


def bin_edges(numbers: np.ndarray) -> tuple[float, ...]:
    """The greatest number of each bin but the last, where each holds about as many: none is empty,
    and equal numbers are in one."""
    present = numbers[np.isfinite(numbers)]
    if not len(present):
        return ()
    shares = np.arange(1, NUM_BINS) / NUM_BINS
    edges = np.unique(np.quantile(present, shares, method="inverted_cdf"))
    return tuple(edges[edges < present.max()].tolist())


def training_features(
    tables: tuple[FeatureTable | None, FeatureTable | None], train: Part
) -> tuple[FeatureTable | None, FeatureTable | None]:
    """The features of users and of items as a fit gets them: with the bins of those that have a
    positive in the training part."""
    users, items = tables
    chosen = train.targets == 1
    if users is not None:
        likes = np.bincount(train.users[chosen], minlength=train.num_users)
        users = users.of_training(likes > 0)
    if items is not None:
        likes = np.bincount(train.items[chosen], minlength=train.num_items)
        items = items.of_training(likes > 0)
    return users, items
