"""Interactions: which user liked which item, as frozen arrays of dense indices with the map back to
raw ids."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from recsweep.data.arrays import by_pair, counted, joined, pairs_ascend, pieces
from recsweep.data.ids import WHOLE_NUMBER, spelled
from recsweep.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from pandas import DataFrame
    from scipy.sparse import csr_matrix

    from recsweep.data.features import FeatureTable


def frozen(values: np.ndarray, dtype: "DTypeLike | None" = None) -> np.ndarray:
    """A read-only, contiguous view of `values`, copied only where `dtype` asks for it."""
    array = np.ascontiguousarray(values, dtype=dtype).view()
    array.flags.writeable = False
    return array


@dataclass(frozen=True)
class IdMap:
    """Raw ids in ascending order; an id's place is its dense index.

    Attributes:
        ids: (n,) int64, or texts of any length (numpy's StringDType) where not every id is a whole
            number; sorted, each once.
        kind: Kind of what the ids name, for messages: `user` or `item`.
    """

    ids: np.ndarray
    kind: str

    def __post_init__(self) -> None:
        is_text = self.ids.dtype.kind == "U"
        object.__setattr__(
            self, "ids", frozen(self.ids, np.dtypes.StringDType() if is_text else None)
        )

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def _index(self) -> dict[int | str, int]:
        return {raw: index for index, raw in enumerate(self.ids.tolist())}

    @cached_property
    def _by_spelling(self) -> dict[object, int | None]:
        """The dense index by `spelled` of the ids of text that are spelled otherwise than they
        stand; None where several share one."""
        found: dict[object, int | None] = {}
        for raw, index in self._index.items():
            text = str(raw)
            if text.endswith("0") or text != text.strip():  # any other is its own spelling
                spelling = spelled(raw)
                found[spelling] = None if spelling in found else index
        return found

    def find(self, raw: object) -> int | None:
        """The dense index of a raw id, or None where the id is unknown. Of numbers 7, 7.0, `7` and
        `7.0` name the same id; of texts one that stands as it is asked for goes first."""
        spelling = spelled(raw)
        if self.ids.dtype.kind in "iu":
            number = WHOLE_NUMBER.fullmatch(spelling or "")
            return self._index.get(int(number[1])) if number else None
        for text in (raw, spelling):
            if isinstance(text, str) and (index := self._index.get(text)) is not None:
                return index
        return self._by_spelling.get(spelling)

    def indices(self, raw_ids: Iterable[int | str]) -> np.ndarray:
        """Dense indices of raw ids, (n,) int32.

        Raises:
            DataError: One of the ids is unknown.
        """
        raw_ids = list(raw_ids)
        indices = {raw: self.find(raw) for raw in dict.fromkeys(raw_ids)}
        if unknown := [raw for raw, index in indices.items() if index is None]:
            listed = ", ".join(map(repr, unknown[:5])) + (", …" if len(unknown) > 5 else "")
            raise DataError(
                f"Unknown {self.kind} id {listed}: the {len(self):,} known ids run "
                f"from {self.ids[0]!s} to {self.ids[-1]!s}. Ask for one that the data holds."
            )
        return np.fromiter((indices[raw] for raw in raw_ids), dtype=np.int32, count=len(raw_ids))


def array_digest(arrays: Sequence[np.ndarray | str]) -> str:
    """The first 16 hex digits of the SHA-256 of arrays (shape, kind and little-endian bytes) and
    words, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        if isinstance(array, str):
            digest.update(array.encode())
        elif array.dtype.kind in "iufb":
            digest.update(f"{array.dtype.kind}{array.dtype.itemsize}{array.shape}".encode())
            flat, little_endian = array.reshape(-1), array.dtype.newbyteorder("<")
            for piece in pieces(len(flat)):
                digest.update(np.ascontiguousarray(flat[piece], dtype=little_endian).data)
        else:
            digest.update(f"text{array.shape}".encode())
            for piece in pieces(len(array)):
                texts = "\0".join(map(str, array[piece].tolist()))
                digest.update(("\0" * (piece.start > 0) + texts).encode())
    return digest.hexdigest()[:16]


class Pairs(NamedTuple):
    """Cells of the matrix: dense indices of users and items, (n,) int32 each."""

    users: np.ndarray
    items: np.ndarray


@dataclass(frozen=True)
class Interactions:
    """The positives of a data set: a user liked an item. Each pair stands once; every other cell is
    a zero.

    Attributes:
        name: Name of the data in runs and reports, as `foodcom`.
        users: (n,) int32, dense user indices.
        items: (n,) int32, dense item indices.
        user_ids: Raw user ids, (num_users,); a user of the chosen block may have no positive.
        item_ids: Raw item ids, (num_items,).
        timestamps: (n,) int64 in any unit that grows with time, or None where the file has none.
        dropped: Numbers of rows that were left out on the way, by the reason in words, as `rated
            below 4` -> 1234.
        probabilities: (num_users, num_items) float32, the true probability of each cell, where the
            data is synthetic.
        source: Source of the data: a path or the generator's settings.
        found: What was found of the form of a file rather than said, in words.
        user_features: What else is known of the users; None where nothing is.
        item_features: What else is known of the items, likewise.
        item_titles: Names of items for people, by raw id as text. They are no part of the digest,
            as no number hangs on them.
        parts: (n,) uint8, the part that the data itself has each positive in: 0 training, 1
            validation, 2 test. None where it has none.
        candidates: Users and items, (c,) int32 each: pairs of which an evaluation can choose a
            user's list. None where none are given.
        zeros: Pairs that are known to be no positives, as they are rated low; each stands once.
            None where nothing is known of other cells.
    """

    name: str
    users: np.ndarray
    items: np.ndarray
    user_ids: IdMap
    item_ids: IdMap
    timestamps: np.ndarray | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)
    probabilities: np.ndarray | None = None
    source: str = ""
    found: str = ""
    user_features: "FeatureTable | None" = None
    item_features: "FeatureTable | None" = None
    item_titles: Mapping[str, str] = field(default_factory=dict)
    parts: np.ndarray | None = None
    candidates: tuple[np.ndarray, np.ndarray] | None = None
    zeros: Pairs | None = None

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.int32))
        if self.candidates is not None:
            users, items = (frozen(array, np.int32) for array in self.candidates)
            object.__setattr__(self, "candidates", (users, items))
        if self.timestamps is not None:
            object.__setattr__(self, "timestamps", frozen(self.timestamps, np.int64))
        if self.parts is not None:
            object.__setattr__(self, "parts", frozen(self.parts, np.uint8))
        if self.zeros is not None:
            users, items = (frozen(each, np.int32) for each in self.zeros)
            object.__setattr__(self, "zeros", Pairs(users, items))
        if self.probabilities is not None:
            object.__setattr__(self, "probabilities", frozen(self.probabilities, np.float32))
        for name in ("dropped", "item_titles"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __len__(self) -> int:
        return len(self.users)

    @property
    def num_users(self) -> int:
        return len(self.user_ids)

    @property
    def num_items(self) -> int:
        return len(self.item_ids)

    @property
    def density(self) -> float:
        """Share of the cells that are positive."""
        return len(self) / (self.num_users * self.num_items)

    @cached_property
    def digest(self) -> str:
        """A name of the content: raw ids, positives, times, parts, known zeros, candidates and
        features, whatever the order of the rows."""
        data = self.ordered
        others: list[np.ndarray | str] = [
            array for array in (data.timestamps, data.parts) if array is not None
        ]
        if data.zeros is not None:
            others += ["zeros", *data.zeros]
        if self.candidates is not None:
            order = by_pair(*self.candidates)
            others += ["candidates", *(array[order] for array in self.candidates)]
        features = [
            f"{table.entity} features {table.digest}"
            for table in (self.user_features, self.item_features)
            if table is not None
        ]
        pairs = [data.users, data.items, *others]
        return array_digest([self.user_ids.ids, self.item_ids.ids, *pairs, *features])

    @cached_property
    def ordered(self) -> "Interactions":
        """The same by user and item: itself where they stand so, as all that were read do."""
        zeros = self.zeros
        if zeros is not None and not isinstance(order := by_pair(*zeros), slice):
            return replace(self, zeros=Pairs(zeros.users[order], zeros.items[order])).ordered
        order = by_pair(self.users, self.items)
        if isinstance(order, slice):
            return self
        ordered = {
            name: array[order]
            for name in ("users", "items", "timestamps", "parts")
            if (array := getattr(self, name)) is not None
        }
        return replace(self, **ordered)

    def to_frame(self) -> "DataFrame":
        """One row for each positive, by raw ids, with its time where there is one."""
        from pandas import DataFrame

        times = {} if self.timestamps is None else {"time": self.timestamps}
        return DataFrame(
            {"user": self.user_ids.ids[self.users], "item": self.item_ids.ids[self.items], **times}
        )


@dataclass(frozen=True)
class Part:
    """One part of a split: known cells of the user-item matrix.

    Attributes:
        users: (n,) int32.
        items: (n,) int32.
        targets: (n,) uint8: 1 for a positive, 0 for a zero.
        num_users: Height of the whole matrix, not of this part.
        num_items: Width of the whole matrix.
        enumerates_cells: Whether zeros are listed like positives, so that the cells of the part are
            known. Where it is False the part lists positives only.
    """

    users: np.ndarray
    items: np.ndarray
    targets: np.ndarray
    num_users: int
    num_items: int
    enumerates_cells: bool

    def __post_init__(self) -> None:
        for name, dtype in (("users", np.int32), ("items", np.int32), ("targets", np.uint8)):
            object.__setattr__(self, name, frozen(getattr(self, name), dtype))

    def __len__(self) -> int:
        return len(self.users)

    @cached_property
    def positives(self) -> "csr_matrix":
        """(num_users, num_items) sparse float32 matrix with a 1 at each positive, items ascending
        within a user."""
        users, items = self.users, self.items
        if self.num_positives < len(self):
            chosen = self.targets == 1
            users, items = users[chosen], items[chosen]
        return self._matrix(users, items, np.float32)

    @cached_property
    def cells(self) -> "csr_matrix":
        """(num_users, num_items) sparse bool matrix with an entry at each cell that the part lists,
        zeros too."""
        return self._matrix(self.users, self.items, np.bool_)

    def _matrix(self, users: np.ndarray, items: np.ndarray, dtype: type) -> "csr_matrix":
        """A matrix with a 1 at each pair, on top of `items` itself where the pairs ascend."""
        from scipy.sparse import csr_matrix

        n, shape = len(users), (self.num_users, self.num_items)
        if not pairs_ascend(users, items):
            matrix = csr_matrix((np.ones(n, dtype), (users, items)), shape)
            matrix.sort_indices()
            return matrix
        ones = joined((np.ones(each.stop - each.start, dtype) for each in pieces(n)), dtype)
        starts = np.zeros(self.num_users + 1, dtype=np.int64)
        np.cumsum(counted(users, self.num_users), out=starts[1:])
        fits = n <= np.iinfo(items.dtype).max
        return csr_matrix((ones, items, starts.astype(items.dtype if fits else np.int64)), shape)

    @cached_property
    def num_positives(self) -> int:
        return int(self.targets.sum(dtype=np.int64))


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of one data set.

    Attributes:
        train: The part that models learn from.
        validation: The part that chooses epochs, thresholds and settings; empty where nothing is to
            be chosen.
        test: The part that is evaluated on purpose only.
        kind: Name of the rule that made the parts, as `random_cells`.
        seed: The seed of the rule, None where that draws no test part.
        histories: Positives that held-out users give at evaluation: neither trained on nor asked
            for. None unless whole users were held out.
        item_histories: Positives that are known of held-out items at evaluation, likewise. None
            unless whole items were held out.
        candidates: (num_users, num_items) bool, the items that are given for a user's list to be
            chosen from; None where none are. They are no part of the digest.
    """

    train: Part
    validation: Part
    test: Part
    kind: str
    seed: int | None
    histories: Part | None = None
    item_histories: Part | None = None
    candidates: "csr_matrix | None" = None

    @property
    def num_users(self) -> int:
        return self.train.num_users

    @property
    def num_items(self) -> int:
        return self.train.num_items

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation part."""
        return len(self.validation) > 0

    @cached_property
    def digest(self) -> str:
        """A name of the parts' content, whatever the order of their cells."""
        content: list[np.ndarray | str] = [self.kind]
        for part in (self.train, self.validation, self.test, self.histories, self.item_histories):
            if part is not None:
                order = by_pair(part.users, part.items)
                content += [part.users[order], part.items[order], part.targets[order]]
        return array_digest(content)

    def to_frame(self) -> "DataFrame":
        """Sizes of the parts, one row each. Zeros are counted where the part lists them."""
        from pandas import DataFrame

        parts = {
            name: part
            for name in ("train", "validation", "test", "histories", "item_histories")
            if (part := getattr(self, name)) is not None
        }
        rows = [
            {
                "positives": part.num_positives,
                "zeros": len(part) - part.num_positives,
                "users": np.count_nonzero(counted(part.users, part.num_users)),
                "items": np.count_nonzero(counted(part.items, part.num_items)),
            }
            for part in parts.values()
        ]
        return DataFrame(rows, index=list(parts))

    def __repr__(self) -> str:
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        sizes = ", ".join(f"{name} {part.num_positives:,}" for name, part in parts.items())
        seed = "" if self.seed is None else f" with seed {self.seed}"
        return f"{self.kind}{seed}, positives: {sizes}"

    def _repr_html_(self) -> str:
        return self.to_frame().to_html()
