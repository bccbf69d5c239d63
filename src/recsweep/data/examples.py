"""What a model learns from: cells of a training part with the target 1 or 0."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np

from recsweep.checks import check_integer
from recsweep.data.arrays import runs
from recsweep.data.interactions import Part
from recsweep.errors import DataError
from recsweep.memory import check_memory

EXAMPLES_AT_ONCE = 25_000_000
"""Examples of a block, about: with their order, 20 bytes each. Fewer stand in a single one."""

DRAWN_AT_ONCE = 1_000_000
"""Negatives that are drawn at once, which takes some 40 bytes each."""

Block = tuple[np.ndarray, np.ndarray, np.ndarray]
"""users (n,) int32, items and targets (n,) or, of lists, (n, length), int32 and float32: arrays of
the caller's own."""


class Examples(Protocol):
    """What is learnt from, whichever model learns.

    Attributes:
        redrawn: Whether each epoch needs a draw of its own.
        lists: Whether an example is a list: a positive, and after it zeros of the same user.
    """

    redrawn: ClassVar[bool]
    lists: ClassVar[bool]

    def num_examples(self, train: Part) -> int:
        """Number of examples of each epoch; nothing is drawn for it."""

    def draw(self, train: Part, rng: np.random.Generator) -> Iterator[Block]:
        """The examples of one epoch: in one block up to EXAMPLES_AT_ONCE, and otherwise in several
        of about that size, made one after another, so that an epoch never stands in memory whole.
        """


def _bytes_of_a_block(num_examples: int, largest: int) -> int:
    """What a block takes, with its order; `largest` examples can't be parted."""
    return 24 * min(num_examples, max(EXAMPLES_AT_ONCE, largest))


@dataclass(frozen=True, kw_only=True)
class AllCells:
    """Every known cell: of a part that enumerates cells, those; of another, the grid of all items
    and all users who have a training positive, with the positives as 1. Of a user who has none, as
    one held out, nothing is known.

    Attributes:
        max_cells: More cells are refused.
    """

    max_cells: int
    redrawn: ClassVar[bool] = False
    lists: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_integer("examples.max_cells", self.max_cells, minimum=1)

    def num_examples(self, train: Part) -> int:
        """Raises DataError where there are more than `max_cells`."""
        cells = len(train)
        if not train.enumerates_cells:
            cells = int(np.count_nonzero(np.diff(train.positives.indptr))) * train.num_items
        if cells > self.max_cells:
            raise DataError(
                f"examples=all_cells trains on {cells:,} cells, and "
                f"examples.max_cells={self.max_cells:,}. Take examples=sampled, or a smaller block "
                "(data.num_users, data.num_items)."
            )
        return cells

    def draw(self, train: Part, rng: np.random.Generator) -> Iterator[Block]:
        """One block is the same each time: by user and item in a grid, else in the order of the
        part. Several are at random: whole users of a grid, else single cells.

        Raises:
            DataError: There are more than `max_cells` cells.
        """
        cells = self.num_examples(train)
        check_memory(
            _bytes_of_a_block(cells, 1 if train.enumerates_cells else train.num_items),
            f"The {cells:,} cells of examples=all_cells",
            "Take examples=sampled, or a smaller block (data.num_users, data.num_items).",
        )
        return _listed_cells(train, rng) if train.enumerates_cells else _grid(train, rng)


def _listed_cells(train: Part, rng: np.random.Generator) -> Iterator[Block]:
    if len(train) <= EXAMPLES_AT_ONCE:
        yield train.users.copy(), train.items.copy(), train.targets.astype(np.float32)
        return
    num_blocks = -(-len(train) // EXAMPLES_AT_ONCE)
    block_of = rng.integers(num_blocks, size=len(train), dtype=np.uint16)
    for block in range(num_blocks):
        chosen = block_of == block
        yield train.users[chosen], train.items[chosen], train.targets[chosen].astype(np.float32)


def _grid(train: Part, rng: np.random.Generator) -> Iterator[Block]:
    counts = np.diff(train.positives.indptr)
    for users in _blocks_of_users(np.where(counts > 0, train.num_items, 0), rng):
        targets = train.positives[users].toarray()  # (len(users), num_items)
        items = np.tile(np.arange(train.num_items, dtype=np.int32), len(users))
        yield np.repeat(users, train.num_items), items, targets.ravel()
        del items, targets  # before the next block is made


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
    lists: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_integer("examples.num_negatives", self.num_negatives, minimum=1)

    def num_examples(self, train: Part) -> int:
        sizes, _ = self._sizes(train)
        return int(sizes.sum())

    def draw(self, train: Part, rng: np.random.Generator) -> Iterator[Block]:
        """In each block the positives by user and item, then the negatives, by user. Where there
        are several, each positive is in one at random, with its negatives: as if all were shuffled
        at once."""
        num_examples = self.num_examples(train)
        check_memory(
            _bytes_of_a_block(num_examples, 1 + self.num_negatives) + 40 * self.num_negatives,
            f"Drawing examples.num_negatives={self.num_negatives} zeros for each of "
            f"{train.positives.nnz:,} positives",
            "Lower it.",
        )
        return self._blocks(train, rng, -(-num_examples // EXAMPLES_AT_ONCE))

    def _sizes(self, train: Part) -> tuple[np.ndarray, np.ndarray]:
        """The number of each user's examples, and whether there are zeros, (num_users,) each."""
        positives, zeros = _counts(train)
        return positives * np.where(zeros > 0, 1 + self.num_negatives, 1), zeros > 0

    def _blocks(self, train: Part, rng: np.random.Generator, number: int) -> Iterator[Block]:
        listed = _listed_zeros(train) if train.enumerates_cells else None
        for chosen in _shared_out(train, rng, number):
            yield self._block(train, rng, listed, chosen)

    def _block(
        self, train: Part, rng: np.random.Generator, listed: "Zeros | None", chosen: np.ndarray
    ) -> Block:
        """The examples of the training positives where the mask `chosen`, (nnz,), is true."""
        _, has_zeros = self._sizes(train)
        num_positives = int(np.count_nonzero(chosen))
        most = num_positives * (1 + self.num_negatives)
        users, items = np.empty(most, dtype=np.int32), np.empty(most, dtype=np.int32)
        positive, negative = 0, num_positives  # where the next ones go
        for owners, liked, zeros_of in _chosen_runs(train, chosen, self.num_negatives, listed):
            end = positive + len(owners)
            users[positive:end], items[positive:end] = owners, liked
            positive = end
            asked = np.repeat(owners[has_zeros[owners]], self.num_negatives)
            end = negative + len(asked)
            users[negative:end], items[negative:end] = asked, zeros_of(asked, rng)
            negative = end
        targets = np.zeros(negative, dtype=np.float32)
        targets[:num_positives] = 1
        return users[:negative], items[:negative], targets


@dataclass(frozen=True, kw_only=True)
class Listwise:
    """A list for each positive: itself, and a few zeros of the same user, drawn uniformly with
    replacement.

    What a zero is says `SampledNegatives`. A user without zeros has no lists.

    Attributes:
        num_negatives: Zeros of each list.
    """

    num_negatives: int
    redrawn: ClassVar[bool] = True
    lists: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_integer("examples.num_negatives", self.num_negatives, minimum=1)

    def num_examples(self, train: Part) -> int:
        """Number of lists. Raises DataError where nobody has both a positive and a zero."""
        positives, zeros = _counts(train)
        number = int(positives[zeros > 0].sum())
        if not number:
            raise DataError(
                "examples=listwise sets positives against zeros of the same user, and no user of "
                "the training part has both. Take examples=all_cells, or data with both."
            )
        return number

    def draw(self, train: Part, rng: np.random.Generator) -> Iterator[Block]:
        """The lists by user and item of the positive, in column 0; where there are several blocks,
        each list is in one at random."""
        size = 1 + self.num_negatives
        entries = self.num_examples(train) * size
        check_memory(
            _bytes_of_a_block(entries, size) + 40 * self.num_negatives,
            f"Drawing lists with examples.num_negatives={self.num_negatives} zeros for each of "
            f"{train.positives.nnz:,} positives",
            "Lower it.",
        )
        return self._blocks(train, rng, -(-entries // EXAMPLES_AT_ONCE))

    def _blocks(self, train: Part, rng: np.random.Generator, number: int) -> Iterator[Block]:
        listed = _listed_zeros(train) if train.enumerates_cells else None
        _, zeros = _counts(train)
        for chosen in _shared_out(train, rng, number):
            chosen &= np.repeat(zeros > 0, np.diff(train.positives.indptr))
            num_lists = int(np.count_nonzero(chosen))
            users = np.empty(num_lists, dtype=np.int32)
            items = np.empty((num_lists, 1 + self.num_negatives), dtype=np.int32)
            start = 0
            for owners, liked, zeros_of in _chosen_runs(train, chosen, self.num_negatives, listed):
                end = start + len(owners)
                users[start:end], items[start:end, 0] = owners, liked
                drawn = zeros_of(np.repeat(owners, self.num_negatives), rng)
                items[start:end, 1:] = drawn.reshape(-1, self.num_negatives)
                start = end
            targets = np.zeros(items.shape, dtype=np.float32)
            targets[:, 0] = 1
            yield users, items, targets
            del users, items, targets  # before the next block is made


def _counts(train: Part) -> tuple[np.ndarray, np.ndarray]:
    """The number of each user's positives, and of the zeros to draw from, (num_users,) each."""
    positives = np.diff(train.positives.indptr).astype(np.int64)
    zeros = train.num_items - positives
    if train.enumerates_cells:
        zeros = np.bincount(train.users[train.targets == 0], minlength=train.num_users)
    return positives, zeros


def _shared_out(train: Part, rng: np.random.Generator, number: int) -> Iterator[np.ndarray]:
    """Masks (nnz,) of the training positives of each block; of one block or none all of them."""
    if number <= 1:
        yield np.ones(train.positives.nnz, dtype=bool)
        return
    kind = np.min_scalar_type(number)
    block_of = rng.integers(number, size=train.positives.nnz, dtype=kind)
    for block in range(number):
        yield block_of == block


def _chosen_runs(
    train: Part, chosen: np.ndarray, num_negatives: int, listed: "Zeros | None"
) -> "Iterator[tuple[np.ndarray, np.ndarray, Zeros]]":
    """The chosen training positives in runs of users, so that about DRAWN_AT_ONCE zeros are drawn
    for each: users (n,), items (n,), and what draws zeros of those users.

    Args:
        chosen: Mask (nnz,) of the training positives.
        num_negatives: Zeros that are drawn for each.
        listed: What draws from the zeros that the part lists; None where it lists none.
    """
    matrix, num_chosen = train.positives, int(np.count_nonzero(chosen))
    at_once = DRAWN_AT_ONCE // num_negatives * len(chosen) // max(1, num_chosen)
    for run in runs(np.diff(matrix.indptr), max(1, at_once)):
        starts = matrix.indptr[run.start : run.stop + 1]
        here = slice(starts[0], starts[-1])
        owners = np.repeat(np.arange(run.start, run.stop, dtype=np.int32), np.diff(starts))
        liked = matrix.indices[here]
        zeros_of = listed or _other_cells(liked, starts, run.start, train.num_items)
        yield owners[chosen[here]], liked[chosen[here]], zeros_of


Zeros = Callable[[np.ndarray, np.random.Generator], np.ndarray]
"""Draws one zero of each user, (n,) -> items (n,); each user has some."""


def _listed_zeros(train: Part) -> Zeros:
    """Draws among the zeros that the part lists."""
    zeros = np.flatnonzero(train.targets == 0)
    # as good as free where the part is sorted already
    zeros = zeros[np.argsort(train.users[zeros], kind="stable")]
    counts = np.bincount(train.users[zeros], minlength=train.num_users)
    first = np.cumsum(counts) - counts
    return lambda users, rng: train.items[zeros[first[users] + rng.integers(counts[users])]]


def _other_cells(items: np.ndarray, starts: np.ndarray, first: int, num_items: int) -> Zeros:
    """Draws among the items that are no training positive.

    Of a user's ascending positives p_0 < p_1 < …, p_j - j items that aren't positive stand before
    p_j. So the item of rank r among those that aren't is r + (how many j have p_j - j <= r), and as
    p_j - j never falls and stays below num_items, one search through the keys place * num_items +
    (p_j - j) counts them for all users at once.

    Args:
        items: The positives of m users that follow each other.
        starts: Where each one's begin among those of all users, and where the last one's end,
            (m + 1,).
        first: Index of the first user, whose place is 0.
    """
    counts, starts = np.diff(starts), starts[:-1] - starts[0]
    keys = np.repeat(np.arange(len(counts), dtype=np.int64) * num_items + starts, counts)
    keys += items
    keys -= np.arange(len(keys))

    def zeros_of(users: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        places = users.astype(np.int64) - first
        ranks = rng.integers(num_items - counts[places])  # (n,)
        passed = np.searchsorted(keys, places * num_items + ranks, side="right") - starts[places]
        return ranks + passed

    return zeros_of


def _blocks_of_users(sizes: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """The users who have examples, ascending, each in one block; who is in which of several is
    drawn.

    Args:
        sizes: Number of examples of each user, (num_users,).
    """
    users = np.flatnonzero(sizes).astype(np.int32)
    if sizes.sum() <= EXAMPLES_AT_ONCE:
        yield users
        return
    users = rng.permutation(users)
    for run in runs(sizes[users], EXAMPLES_AT_ONCE):
        yield np.sort(users[run])
