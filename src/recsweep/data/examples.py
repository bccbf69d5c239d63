"""What a model learns from: cells of a training part with the target 1 or 0."""

from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from recsweep.checks import check_integer
from recsweep.data.interactions import Part
from recsweep.errors import DataError
from recsweep.memory import check_memory

Drawn = tuple[np.ndarray, np.ndarray, np.ndarray]
"""users (n,) int32, items (n,) int32, targets (n,) float32: arrays of the caller's own."""


class Examples(Protocol):
    """What is learnt from, whichever model learns.

    Attributes:
        redrawn: Whether each epoch needs a draw of its own.
    """

    redrawn: ClassVar[bool]

    def draw(self, train: Part, rng: np.random.Generator) -> Drawn:
        """The examples of one epoch."""


@dataclass(frozen=True, kw_only=True)
class AllCells:
    """Every known cell: of a part that enumerates cells, those; of another, the grid of all items
    and all users who have a training positive, with the positives as 1. Of a user who has none, as
    one held out, nothing is known.

    Attributes:
        max_cells: More cells are refused: 12 bytes each.
    """

    max_cells: int
    redrawn: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_integer("examples.max_cells", self.max_cells, minimum=1)

    def draw(self, train: Part, rng: np.random.Generator) -> Drawn:
        """The same arrays each time: `rng` is not used.

        Raises:
            DataError: There are more than `max_cells` cells.
        """
        known_users = np.unique(train.users)
        cells = len(train) if train.enumerates_cells else len(known_users) * train.num_items
        if cells > self.max_cells:
            raise DataError(
                f"examples=all_cells trains on {cells:,} cells, and "
                f"examples.max_cells={self.max_cells:,}. Take examples=sampled, or a smaller block "
                "(data.num_users, data.num_items)."
            )
        check_memory(
            24 * cells,
            f"The {cells:,} cells of examples=all_cells",
            "Take examples=sampled, or a smaller block (data.num_users, data.num_items).",
        )
        if train.enumerates_cells:
            return train.users.copy(), train.items.copy(), train.targets.astype(np.float32)
        targets = train.positives[known_users].toarray()  # (len(known_users), num_items)
        users = np.repeat(known_users, train.num_items)
        items = np.tile(np.arange(train.num_items, dtype=np.int32), len(known_users))
        return users, items, targets.ravel()


@dataclass(frozen=True, kw_only=True)
class SampledNegatives:
    """The positives, and for each a few zeros of the same user, drawn uniformly with replacement.

    A zero is one that a part which enumerates cells lists, and otherwise any cell that is no
    training positive. A user without zeros gets no negatives.

    Attributes:
        num_negatives: Negatives for each positive.
    """

    num_negatives: int
    redrawn: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_integer("examples.num_negatives", self.num_negatives, minimum=1)

    def draw(self, train: Part, rng: np.random.Generator) -> Drawn:
        """The positives by user and item, then the negatives, by user."""
        positives = train.positives
        check_memory(
            40 * positives.nnz * self.num_negatives,
            f"Drawing examples.num_negatives={self.num_negatives} zeros for each of "
            f"{positives.nnz:,} positives",
            "Lower it.",
        )
        counts = np.diff(positives.indptr)
        users = np.repeat(np.arange(train.num_users, dtype=np.int32), counts)
        draw_zeros = _draw_listed_zeros if train.enumerates_cells else _draw_other_cells
        negative_users, negative_items = draw_zeros(
            train, np.repeat(users, self.num_negatives), rng
        )
        targets = np.zeros(len(users) + len(negative_users), dtype=np.float32)
        targets[: len(users)] = 1
        return (
            np.concatenate([users, negative_users]),
            np.concatenate([positives.indices, negative_items]).astype(np.int32, copy=False),
            targets,
        )


def _draw_listed_zeros(
    train: Part, users: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One zero of the part for each entry of `users` whose user has any: users and items, (n,)
    each."""
    zeros = np.flatnonzero(train.targets == 0)
    # as good as free where the part is sorted already
    zeros = zeros[np.argsort(train.users[zeros], kind="stable")]
    counts = np.bincount(train.users[zeros], minlength=train.num_users)
    first = np.cumsum(counts) - counts
    users = users[counts[users] > 0]
    return users, train.items[zeros[first[users] + rng.integers(counts[users])]]


def _draw_other_cells(
    train: Part, users: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One item that is no training positive for each entry of `users` whose user has any: users and
    items, (n,) each.

    Of a user's ascending positives p_0 < p_1 < …, p_j - j items that aren't positive stand before
    p_j. So the item of rank r among those that aren't is r + (how many j have p_j - j <= r), and as
    p_j - j never falls and stays below num_items, one search through the keys user * num_items +
    (p_j - j) counts them for all users at once.
    """
    positives = train.positives
    first, counts = positives.indptr[:-1], np.diff(positives.indptr)
    users = users[counts[users] < train.num_items]
    ranks = rng.integers(train.num_items - counts[users])  # (n,)
    owners = np.repeat(np.arange(train.num_users, dtype=np.int64), counts)
    keys = owners * train.num_items + positives.indices - (np.arange(len(owners)) - first[owners])
    passed = (
        np.searchsorted(keys, users.astype(np.int64) * train.num_items + ranks, side="right")
        - first[users]
    )
    return users, (ranks + passed).astype(np.int32)
