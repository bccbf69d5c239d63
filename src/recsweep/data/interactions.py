"""Interactions: which user liked which item, as frozen arrays of dense indices with the map back to
raw ids."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from recsweep.data.ids import WHOLE_NUMBER, spelled
from recsweep.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike
    from pandas import DataFrame
    from scipy.sparse import csr_matrix


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
            little_endian = array.dtype.newbyteorder("<")
            digest.update(np.ascontiguousarray(array, dtype=little_endian).tobytes())
        else:
            digest.update(f"text{array.shape}".encode())
            digest.update("\0".join(map(str, array.tolist())).encode())
    return digest.hexdigest()[:16]


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

    def __post_init__(self) -> None:
        for name in ("users", "items"):
            object.__setattr__(self, name, frozen(getattr(self, name), np.int32))
        if self.timestamps is not None:
            object.__setattr__(self, "timestamps", frozen(self.timestamps, np.int64))
        if self.probabilities is not None:
            object.__setattr__(self, "probabilities", frozen(self.probabilities, np.float32))
        object.__setattr__(self, "dropped", MappingProxyType(dict(self.dropped)))

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
        """A name of the content: raw ids, positives, timestamps, whatever the order of the rows."""
        order = np.lexsort((self.items, self.users))
        times = [] if self.timestamps is None else [self.timestamps[order]]
        return array_digest(
            [self.user_ids.ids, self.item_ids.ids, self.users[order], self.items[order], *times]
        )

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
        from scipy.sparse import csr_matrix

        chosen = self.targets == 1
        users, items = self.users[chosen], self.items[chosen]
        ones = np.ones(len(users), dtype=np.float32)
        matrix = csr_matrix((ones, (users, items)), shape=(self.num_users, self.num_items))
        matrix.sort_indices()
        return matrix

    @cached_property
    def cells(self) -> "csr_matrix":
        """(num_users, num_items) sparse bool matrix with an entry at each cell that the part lists,
        zeros too."""
        from scipy.sparse import csr_matrix

        known = np.ones(len(self), dtype=bool)
        return csr_matrix((known, (self.users, self.items)), shape=(self.num_users, self.num_items))

    @cached_property
    def num_positives(self) -> int:
        return int(self.targets.sum(dtype=np.int64))


@dataclass(frozen=True)
class Split:
    """Three disjoint parts of one data set.

    Attributes:
        train: The part that models learn from.
        validation: The part that chooses epochs, thresholds and settings.
        test: The part that is evaluated on purpose only.
        kind: Name of the rule that made the parts, as `random_cells`.
        seed: The seed of the rule, None where it draws nothing.
        histories: Positives that held-out users give at evaluation: neither trained on nor asked
            for. None unless whole users were held out.
        item_histories: Positives that are known of held-out items at evaluation, likewise. None
            unless whole items were held out.
    """

    train: Part
    validation: Part
    test: Part
    kind: str
    seed: int | None
    histories: Part | None = None
    item_histories: Part | None = None

    @property
    def num_users(self) -> int:
        return self.train.num_users

    @property
    def num_items(self) -> int:
        return self.train.num_items

    @cached_property
    def digest(self) -> str:
        """A name of the parts' content, whatever the order of their cells."""
        pieces: list[np.ndarray | str] = [self.kind]
        for part in (self.train, self.validation, self.test, self.histories, self.item_histories):
            if part is not None:
                order = np.lexsort((part.items, part.users))
                pieces += [part.users[order], part.items[order], part.targets[order]]
        return array_digest(pieces)

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
                "users": len(np.unique(part.users)),
                "items": len(np.unique(part.items)),
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
