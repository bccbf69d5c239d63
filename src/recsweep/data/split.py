"""Rules that share the cells of a data set out to train, validation and test."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np

from recsweep.checks import check_choice, check_integer, check_number, short
from recsweep.data.arrays import VALUES_AT_ONCE, by_pair, counted, joined, pieces, runs
from recsweep.data.interactions import Interactions, Part, Split
from recsweep.errors import ConfigError, DataError

TRAIN, VALIDATION, TEST, HISTORY = range(4)  # labels of the part that a cell falls into


class Splitter(Protocol):
    """A rule by which interactions are parted into training, validation and test."""

    def split(self, interactions: Interactions) -> Split:
        """Part them."""


def split_by(splitter: Splitter, interactions: Interactions) -> Split:
    """The interactions parted by a rule, with the candidates that are given beside them."""
    from scipy.sparse import csr_matrix

    split = splitter.split(interactions)
    if interactions.candidates is None:
        return split
    ones = np.ones(len(interactions.candidates[0]), dtype=np.bool_)
    shape = (split.num_users, split.num_items)
    return replace(split, candidates=csr_matrix((ones, interactions.candidates), shape))


@dataclass(frozen=True, kw_only=True)
class RandomCells:
    """Every cell of the matrix in one part at random; positives and zeros are shared out
    separately.

    A part gets the nearest whole number to its share, halves upwards; train gets the rest.

    Attributes:
        validation: Share of the cells, below 1; 0 for no validation part.
        test: Share of the cells, between 0 and 1.
        seed: Fixes the parts.
        max_cells: Larger matrices are refused: each cell is listed, 9 bytes and several times that
            on the way.
    """

    validation: float
    test: float
    seed: int
    max_cells: int

    def __post_init__(self) -> None:
        _check_shares(self.validation, self.test)
        check_integer("split.seed", self.seed, minimum=0)
        check_integer("split.max_cells", self.max_cells, minimum=1)

    def split(self, interactions: Interactions) -> Split:
        """Parts that enumerate their cells, by user and item.

        Raises:
            DataError: The matrix has more than `max_cells` cells, or a part gets no positive.
        """
        interactions = _unparted(interactions, "random_cells")
        shape = (interactions.num_users, interactions.num_items)
        if (cells := shape[0] * shape[1]) > self.max_cells:
            raise DataError(
                f"split=random_cells lists each cell, at most split.max_cells={self.max_cells:,}, "
                f"and {shape[0]:,} users x {shape[1]:,} items are {cells:,}. Take a smaller block "
                "(data.num_users, data.num_items), or split=per_user_ratio examples=sampled."
            )
        rng = np.random.default_rng(self.seed)
        targets = np.zeros(cells, dtype=np.uint8)
        targets[interactions.users.astype(np.int64) * shape[1] + interactions.items] = 1
        labels = np.full(cells, TRAIN, dtype=np.uint8)
        for target in (1, 0):
            shuffled = rng.permutation(np.flatnonzero(targets == target))
            num_validation = int(_rounded(self.validation, len(shuffled)))
            num_test = int(_rounded(self.test, len(shuffled)))
            labels[shuffled[:num_validation]] = VALIDATION
            labels[shuffled[num_validation : num_validation + num_test]] = TEST
        parts = []
        for label in (TRAIN, VALIDATION, TEST):
            chosen = np.flatnonzero(labels == label)
            users, items = chosen // shape[1], chosen % shape[1]
            parts.append(Part(users, items, targets[chosen], *shape, enumerates_cells=True))
        _refuse_empty(parts, len(interactions), {"validation": self.validation, "test": self.test})
        train, validation, test = parts
        return Split(train, validation, test, kind="random_cells", seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class RandomRows:
    """The pairs that are rated, positives and known zeros alike, in one part each at random: all
    other cells stay unknown.

    A part gets the nearest whole number to its share, halves upwards; train gets the rest.

    Attributes:
        validation: Share of the rated pairs, below 1; 0 for no validation part.
        test: Share of the rated pairs, below 1.
        seed: Fixes the parts.
    """

    validation: float
    test: float
    seed: int

    def __post_init__(self) -> None:
        _check_shares(self.validation, self.test)
        check_integer("split.seed", self.seed, minimum=0)

    def split(self, interactions: Interactions) -> Split:
        """Parts that enumerate their cells, by user and item.

        Raises:
            DataError: There are no known zeros, or a part gets no positive.
        """
        interactions = _unparted(interactions, "random_rows")
        if (zeros := interactions.zeros) is None:
            raise DataError(
                f"split=random_rows shares out positives and known zeros, and {interactions.name} "
                "has no known zeros. Set data.zeros=rated, which takes low ratings for them, or "
                "take split=random_cells."
            )
        users = np.concatenate([interactions.users, zeros.users])
        items = np.concatenate([interactions.items, zeros.items])
        targets = np.zeros(len(users), dtype=np.uint8)
        targets[: len(interactions)] = 1
        order = by_pair(users, items)
        users, items, targets = users[order], items[order], targets[order]
        n = len(users)
        num_validation, num_test = int(_rounded(self.validation, n)), int(_rounded(self.test, n))
        shuffled = np.random.default_rng(self.seed).permutation(n)
        labels = np.full(n, TRAIN, dtype=np.uint8)
        labels[shuffled[:num_validation]] = VALIDATION
        labels[shuffled[num_validation : num_validation + num_test]] = TEST
        shape = interactions.num_users, interactions.num_items
        parts = []
        for label in (TRAIN, VALIDATION, TEST):
            chosen = labels == label
            cells = users[chosen], items[chosen], targets[chosen]
            parts.append(Part(*cells, *shape, enumerates_cells=True))
        _refuse_empty(parts, len(interactions), {"validation": self.validation, "test": self.test})
        train, validation, test = parts
        return Split(train, validation, test, kind="random_rows", seed=self.seed)


@dataclass(frozen=True, kw_only=True)
class LeaveLastOut:
    """Each user's last positive for the test, the one before it for validation, all others for
    train.

    Of a user's positives at one time the one with the higher item index counts as the later. Users
    with fewer than three positives stay whole in train.
    """

    def split(self, interactions: Interactions) -> Split:
        """Parts that list positives only.

        Raises:
            DataError: There are no timestamps, or no user has three positives.
        """
        interactions = _unparted(interactions, "leave_last_out")
        times = _timestamps(interactions, "leave_last_out")
        counts = counted(interactions.users, interactions.num_users)
        labels = np.full(len(times), TRAIN, dtype=np.uint8)
        for users, rows in _whole_users(counts):
            sizes = counts[users][counts[users] > 0]
            labels[rows] = _last_two(times[rows], sizes)
        if (busiest := counts.max(initial=0)) < 3:
            raise DataError(
                "split=leave_last_out needs users with at least three positives, and the busiest "
                f"of {interactions.num_users:,} has {busiest}. Take a denser block or "
                "split=random_cells."
            )
        train, validation, test = _positive_parts(interactions, labels, 3)
        return Split(train, validation, test, kind="leave_last_out", seed=None)


@dataclass(frozen=True, kw_only=True)
class Temporal:
    """The earliest positives of all users for train, the later ones for validation, the latest for
    the test.

    A cut lies between two different timestamps, never among equal ones: at the place nearest to the
    share asked for (the earlier one where two are equally near), first the test's cut, then
    validation's before it.

    Attributes:
        validation: Share of the positives, below 1; 0 for no validation part.
        test: Share of the positives, between 0 and 1.
    """

    validation: float
    test: float

    def __post_init__(self) -> None:
        _check_shares(self.validation, self.test)

    def split(self, interactions: Interactions) -> Split:
        """Parts that list positives only.

        Raises:
            DataError: There are no timestamps, fewer different ones than parts, or a share rounds
                to nothing.
        """
        interactions = _unparted(interactions, "temporal")
        times = _timestamps(interactions, "temporal")
        n = len(times)
        num_validation, num_test = int(_rounded(self.validation, n)), int(_rounded(self.test, n))
        _refuse_none(num_validation, "validation", self.validation, n)
        _refuse_none(num_test, "test", self.test, n)
        in_order = np.sort(times)
        # ascending places where a later time begins
        boundaries = np.flatnonzero(in_order[1:] != in_order[:-1]) + 1
        parts, least = (3, "three") if self.validation else (2, "two")
        if len(boundaries) < parts - 1:
            raise DataError(
                f"split=temporal needs at least {least} different timestamps, and the data has "
                f"{len(boundaries) + 1}. Set data.timestamp_column to a finer one, or take another "
                "split."
            )
        test_from = _nearest(boundaries[parts - 2 :], n - num_test)
        labels = np.full(n, TRAIN, dtype=np.uint8)
        if self.validation:
            earlier = boundaries[boundaries < test_from]
            validation_from = _nearest(earlier, n - num_test - num_validation)
            labels[times >= in_order[validation_from]] = VALIDATION
        labels[times >= in_order[test_from]] = TEST
        train, validation, test = _positive_parts(interactions, labels, 3)
        return Split(train, validation, test, kind="temporal", seed=None)


@dataclass(frozen=True, kw_only=True)
class PerUserRatio:
    """Random shares of each user's positives.

    Of n positives the test gets the nearest whole number to test * n, halves upwards, then
    validation likewise; one positive at least stays in train. So a user with few positives may have
    nothing in validation or test. With rounding=down it is the whole number below, and one at
    least, as RecBole has it: half a positive a user fewer, which moves NDCG of a small test part.

    Attributes:
        validation: Share of a user's positives, below 1; 0 for no validation part.
        test: Share of a user's positives, between 0 and 1.
        seed: Fixes the parts.
        rounding: `nearest` or `down`.
    """

    validation: float
    test: float
    seed: int
    rounding: str = "nearest"

    def __post_init__(self) -> None:
        _check_shares(self.validation, self.test)
        check_integer("split.seed", self.seed, minimum=0)
        check_choice("split.rounding", self.rounding, ("nearest", "down"))

    def split(self, interactions: Interactions) -> Split:
        """Parts that list positives only.

        Raises:
            DataError: No user has enough positives for validation or for the test.
        """
        interactions = _unparted(interactions, "per_user_ratio")
        ranks = _random_ranks(interactions.users, np.random.default_rng(self.seed))
        counts = counted(interactions.users, interactions.num_users)
        num_test = np.minimum(self._rounded(self.test, counts), np.maximum(counts - 1, 0))
        num_validation = np.minimum(
            self._rounded(self.validation, counts), np.maximum(counts - 1 - num_test, 0)
        )
        labels = np.full(len(ranks), TRAIN, dtype=np.uint8)
        for piece in pieces(len(ranks)):
            rank, user = ranks[piece], interactions.users[piece]
            labels[piece][rank < (num_test + num_validation)[user]] = VALIDATION
            labels[piece][rank < num_test[user]] = TEST
        parts = _positive_parts(interactions, labels, 3)
        shares = {"validation": self.validation, "test": self.test}
        busiest = int(counts.max(initial=0))
        _refuse_empty(parts, busiest, shares, "positives of the busiest user")
        train, validation, test = parts
        return Split(train, validation, test, kind="per_user_ratio", seed=self.seed)

    def _rounded(self, share: float, counts: np.ndarray) -> np.ndarray:
        if self.rounding == "nearest":
            return _rounded(share, counts)
        return np.maximum(np.floor(share * counts + 1e-9).astype(np.int64), share > 0)


@dataclass(frozen=True, kw_only=True)
class NewUsers:
    """Users held out whole: they give some positives at evaluation and are asked for the others.

    Held out is a share of the users with at least two positives, to the nearest whole number,
    halves upwards. Half of them are validation's users, half the test's (which gets the odd one).
    Of a held-out user's n positives the nearest whole number to history * n is given, at least 1
    and at most n - 1; none is in train. With a history of 0 nothing is given: a model ranks for
    them all alike, unless it knows their features.

    Attributes:
        users: Share of users held out, between 0 and 1.
        history: Share of a held-out user's positives that is given, below 1.
        seed: Fixes the users and what they give.
    """

    users: float
    history: float
    seed: int

    def __post_init__(self) -> None:
        check_number("split.users", self.users, above=0, below=1)
        check_number("split.history", self.history, minimum=0, below=1)
        check_integer("split.seed", self.seed, minimum=0)

    def split(self, interactions: Interactions) -> Split:
        """Parts that list positives only; `histories` holds what the held-out users of both parts
        give.

        Raises:
            DataError: Too few users to hold two out, or none left for train.
        """
        interactions = _unparted(interactions, "new_users")
        labels = _held_out_labels(interactions, "users", self.users, self.history, self.seed)
        train, validation, test, histories = _positive_parts(interactions, labels, 4)
        return Split(train, validation, test, kind="new_users", seed=self.seed, histories=histories)


@dataclass(frozen=True, kw_only=True)
class NewItems:
    """Items held out whole: some users who like them are given at evaluation, and the others are
    asked for.

    The rule is that of NewUsers with users and items exchanged. In an evaluation the candidates are
    the part's own new items. With a history of 0 a model that knows no features of them has nothing
    to tell them apart by: it ranks them by their ids, which is not always chance (low ids of
    MovieLens are popular films).

    Attributes:
        items: Share of items held out, between 0 and 1.
        history: Share of a held-out item's positives that is given, below 1.
        seed: Fixes the items and what is given.
    """

    items: float
    history: float
    seed: int

    def __post_init__(self) -> None:
        check_number("split.items", self.items, above=0, below=1)
        check_number("split.history", self.history, minimum=0, below=1)
        check_integer("split.seed", self.seed, minimum=0)

    def split(self, interactions: Interactions) -> Split:
        """Parts that list positives only; `item_histories` holds what the held-out items of both
        parts are given.

        Raises:
            DataError: Too few items to hold two out, or none left for train.
        """
        interactions = _unparted(interactions, "new_items")
        labels = _held_out_labels(interactions, "items", self.items, self.history, self.seed)
        train, validation, test, histories = _positive_parts(interactions, labels, 4)
        return Split(
            train, validation, test, kind="new_items", seed=self.seed, item_histories=histories
        )


@dataclass(frozen=True, kw_only=True)
class Given:
    """The parts that the data itself comes in, see `Interactions.parts`.

    Where it has none for validation, that one is drawn from the training part: of a user's n
    positives there the nearest whole number to validation * n, halves upwards; one at least stays.

    Attributes:
        validation: Share of a user's training positives, below 1; 0 for no validation part.
        seed: Fixes which of them; of data with a validation part it fixes nothing.
    """

    validation: float
    seed: int

    def __post_init__(self) -> None:
        check_number("split.validation", self.validation, minimum=0, below=1)
        check_integer("split.seed", self.seed, minimum=0)

    def split(self, interactions: Interactions) -> Split:
        """Parts that list positives only. The split has no seed: its test part is the same of each.

        Raises:
            DataError: The data has no parts, one of them has no positive, or a pair is in two.
        """
        if interactions.parts is None:
            raise DataError(
                f"split=given takes the parts that the data comes in, and {interactions.name} has "
                "none. Set data.test_path, or take another split, as split=per_user_ratio."
            )
        interactions = interactions.ordered
        _refuse_shared_pairs(interactions)
        labels = cast(np.ndarray, interactions.parts)
        for label, setting in ((TRAIN, "path"), (TEST, "test_path")):
            if not (labels == label).any():
                raise DataError(
                    f"split=given needs positives in the training and in the test part, and "
                    f"data.{setting} of {interactions.name} gives none. Set it to another file, or "
                    "lower data.positive_rating."
                )
        if self.validation and not (labels == VALIDATION).any():
            labels = self._with_validation(interactions.users, labels, interactions.num_users)
        train, validation, test = _positive_parts(interactions, labels, 3)
        return Split(train, validation, test, kind="given", seed=None)

    def _with_validation(self, users: np.ndarray, labels: np.ndarray, num_users: int) -> np.ndarray:
        in_train = np.flatnonzero(labels == TRAIN)
        owners = users[in_train]
        counts = counted(owners, num_users)
        wanted = np.minimum(_rounded(self.validation, counts), np.maximum(counts - 1, 0))
        ranks = _random_ranks(owners, np.random.default_rng(self.seed))
        labels = labels.copy()
        labels[in_train[ranks < wanted[owners]]] = VALIDATION
        total, of_what = int(counts.max()), "training positives of the busiest user"
        _refuse_none(int(wanted.sum()), "validation", self.validation, total, of_what)
        return labels


def _refuse_shared_pairs(interactions: Interactions) -> None:
    """Raise DataError where a pair stands twice: in two parts, as each part has it once."""
    users, items = interactions.users, interactions.items
    same = (users[1:] == users[:-1]) & (items[1:] == items[:-1])
    if same.any():
        row = int(same.argmax())
        names = {TRAIN: "train", VALIDATION: "validation", TEST: "test"}
        one, other = (names[int(part)] for part in cast(np.ndarray, interactions.parts)[row:][:2])
        user, item = (
            short(str(ids.ids[index]))
            for ids, index in (
                (interactions.user_ids, users[row]),
                (interactions.item_ids, items[row]),
            )
        )
        raise DataError(
            f"A pair may be in one part alone, and {np.count_nonzero(same):,} of "
            f"{interactions.name} are in two, the first of them user {user} and item {item} in "
            f"{one} and {other}. Take them out of one of the files (data.path, "
            "data.validation_path, data.test_path)."
        )


def _held_out_labels(
    interactions: Interactions, kind: str, share: float, history: float, seed: int
) -> np.ndarray:
    """The label of each positive, (n,), where a share of the users or of the items (`kind`) is held
    out."""
    rng = np.random.default_rng(seed)
    held_kind = getattr(interactions, kind)
    size = {"users": interactions.num_users, "items": interactions.num_items}[kind]
    counts = counted(held_kind, size)
    eligible = np.flatnonzero(counts >= 2)
    num_held = int(_rounded(share, len(eligible)))
    if num_held < 2:
        raise DataError(
            f"split.{kind}={share:g} of {len(eligible):,} {kind} with at least two positives holds "
            f"out {num_held}, and validation and test need one each. Raise split.{kind} or enlarge "
            "the data."
        )
    held = rng.permutation(eligible)[:num_held]
    part_of = np.full(size, TRAIN, dtype=np.uint8)
    part_of[held[: num_held // 2]] = VALIDATION
    part_of[held[num_held // 2 :]] = TEST
    num_given = np.zeros_like(counts)
    if history > 0:
        num_given = np.clip(_rounded(history, counts), 1, np.maximum(counts - 1, 1))
    labels = part_of[held_kind]
    given = _random_ranks(held_kind, rng) < num_given[held_kind]
    labels[(labels != TRAIN) & given] = HISTORY
    if not (labels == TRAIN).any():
        raise DataError(
            f"split.{kind}={share:g} holds out all {num_held:,} {kind} with positives, so that "
            f"none is left for train. Lower split.{kind} or enlarge the data."
        )
    return labels


def _check_shares(validation: float, test: float) -> None:
    check_number("split.validation", validation, minimum=0, below=1)
    check_number("split.test", test, above=0, below=1)
    if validation + test >= 1:
        raise ConfigError(
            f"split.validation + split.test must stay below 1, to leave something for train, "
            f"not {validation:g} + {test:g}."
        )


def _rounded(share: float, numbers: int | np.ndarray) -> np.ndarray:
    """The nearest whole numbers to share * numbers, halves upwards also where a float falls just
    short of the half."""
    return np.floor(share * np.asarray(numbers) + 0.5 + 1e-9).astype(np.int64)


def _nearest(boundaries: np.ndarray, wanted: int) -> int:
    return int(boundaries[np.abs(boundaries - wanted).argmin()])


def _timestamps(interactions: Interactions, kind: str) -> np.ndarray:
    if interactions.timestamps is None:
        raise DataError(
            f"split={kind} needs timestamps, and {interactions.name} has none. "
            "Set data.timestamp_column, or take split=per_user_ratio."
        )
    return interactions.timestamps


def _unparted(interactions: Interactions, kind: str) -> Interactions:
    """The positives by user and item, so that the order of the rows leaves no trace in what is
    drawn; raises DataError where the data has parts of its own."""
    if interactions.parts is not None:
        raise DataError(
            f"{interactions.name} comes in parts, and split={kind} would mix them. Take "
            "split=given, or data.validation_path=null data.test_path=null to part data.path alone."
        )
    return interactions.ordered


def _whole_users(counts: np.ndarray) -> Iterator[tuple[slice, slice]]:
    """Runs of users, and of their rows where positives stand by user; `counts` has the number of
    each user's."""
    ends = np.cumsum(counts)
    for users in runs(counts, VALUES_AT_ONCE):
        yield users, slice(int(ends[users.start] - counts[users.start]), int(ends[users.stop - 1]))


def _last_two(times: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The label of each positive of some users, (n,) uint8, by user and item: TEST for the last of
    each who has three, VALIDATION for the one before it.

    Args:
        sizes: Number of each user's positives, at least 1.
    """
    first = np.cumsum(sizes) - sizes
    labels, rows = np.full(len(times), TRAIN, dtype=np.uint8), np.arange(len(times))
    times = times.copy()
    for label in (TEST, VALIDATION) if len(sizes) else ():
        latest = np.repeat(np.maximum.reduceat(times, first), sizes)
        there = (times == latest) & (labels == TRAIN)
        last = np.maximum.reduceat(np.where(there, rows, -1), first)[sizes >= 3]
        labels[last], times[last] = label, np.iinfo(times.dtype).min
    return labels


def _random_ranks(owners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The rank of each positive, from 0, in a random order of those of its owner, a user or an
    item, (n,)."""
    n = len(owners)
    ranks: np.ndarray = np.arange(n, dtype=np.int32 if n <= np.iinfo(np.int32).max else np.int64)
    rng.shuffle(ranks)  # what decides the order, until its piece is ranked
    counts = counted(owners, int(owners.max(initial=-1)) + 1)
    first = np.cumsum(counts) - counts
    in_runs = n > 0 and bool((owners[1:] >= owners[:-1]).all())
    for rows in [rows for _, rows in _whole_users(counts)] if in_runs else [slice(0, n)]:
        owner = owners[rows]
        keys = owner.astype(np.int64) << 32
        keys += ranks[rows]
        order = np.argsort(keys)
        ranks[rows][order] = np.arange(rows.start, rows.stop) - first[owner[order]]
    return ranks


def _positive_parts(interactions: Interactions, labels: np.ndarray, num_parts: int) -> list[Part]:
    """The positives of each label; the interactions stand by user and item."""
    return [_positive_part(interactions, labels, label) for label in range(num_parts)]


def _positive_part(interactions: Interactions, labels: np.ndarray, label: int) -> Part:
    size = int(np.count_nonzero(labels == label))
    users, items = (
        joined((array[each][labels[each] == label] for each in pieces(len(array))), np.int32)
        for array in (interactions.users, interactions.items)
    )
    ones = np.ones(size, dtype=np.uint8)
    shape = interactions.num_users, interactions.num_items
    return Part(users, items, ones, *shape, enumerates_cells=False)


def _refuse_none(
    count: int, name: str, share: float, total: int, of_what: str = "positives"
) -> None:
    if count == 0 and share > 0:
        raise DataError(
            f"split.{name}={share:g} of {total:,} {of_what} rounds to nothing, and each part needs "
            f"a positive. Raise split.{name} or enlarge the data."
        )


def _refuse_empty(
    parts: list[Part], total: int, shares: dict[str, float], of_what: str = "positives"
) -> None:
    """Raise DataError where a part has no positive; `total` positives were to be shared out."""
    for label, name in ((VALIDATION, "validation"), (TEST, "test")):
        _refuse_none(parts[label].num_positives, name, shares[name], total, of_what)
    if parts[TRAIN].num_positives == 0:
        raise DataError(
            f"split.validation + split.test take all of {total:,} {of_what}, and train needs one "
            "too. Lower them or enlarge the data."
        )
