"""Ways to compute a measure: plain, of each user's own cells, and under weights of the users."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np

from recsweep.measures.of_cells import (
    Cells,
    CellsByUser,
    Confusion,
    RankedCells,
    expected_calibration_error,
)
from recsweep.measures.of_lists import Lists

if TYPE_CHECKING:
    from recsweep.measures.weighted import WeightedReport

Needs = Literal["cells", "user cells", "lists", "user lists", "training"]
"""What a value is computed from: cells or lists, of all users together or of each of them."""


class Kept(Protocol):
    """What a report keeps of an evaluation, as far as values under weights are made of it."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """Plain names to values, the chosen threshold among them."""

    @property
    def users(self) -> np.ndarray:
        """(m,) users of `per_user`, ascending."""

    @property
    def per_user(self) -> Mapping[str, np.ndarray]:
        """Plain names to one value a user, (m,) each."""

    @property
    def cells(self) -> Mapping[str, np.ndarray] | None:
        """Users, targets and probabilities of all cells; None where they are not kept."""

    @property
    def user_counts(self) -> Mapping[str, np.ndarray] | None:
        """Users and their confusion counts, in place of too many cells."""


class Weighted(Protocol):
    """A measure of one report as a function of how often each user counts."""

    def values(self, weights: np.ndarray) -> np.ndarray:
        """(n,) float64: the measure under each column of the weights (num_users, n)."""

    def influences(self, counted: np.ndarray) -> np.ndarray:
        """(num_users,) float64: what the measure becomes without each user, less what it is.

        Args:
            counted: (num_users,) 1 for the users who count at all, else 0.
        """


class Form(ABC):
    """A way to compute a measure."""

    needs: ClassVar[Needs]

    @property
    def of_each_user(self) -> "EachUser | None":
        """The same of each user's own cells, for a mean over users; None where there is none."""
        return None

    @abstractmethod
    def is_kept(self, name: str, report: Kept) -> bool:
        """Whether a report keeps what values under weights are made of."""

    @abstractmethod
    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        """The measure under weights, of a report that keeps what it takes."""


class OfCells(Form):
    """A value of all cells together."""

    needs: ClassVar[Needs] = "cells"

    @abstractmethod
    def value(self, cells: Cells) -> float:
        """The value; nan where it is undefined."""

    def is_kept(self, name: str, report: Kept) -> bool:
        return report.cells is not None


@dataclass(frozen=True)
class Share(OfCells):
    """A quotient of confusion counts at a threshold; 0/0 is 0.

    Attributes:
        at: Name of the threshold.
        of: Function from the counts to the two numbers.
        each_user: Whether there is one of each user's own cells.
    """

    at: Literal["half", "threshold"]
    of: Callable[[Confusion], tuple[Any, Any]]
    each_user: bool = True

    def value(self, cells: Cells) -> float:
        part, whole = self.of(cells.counts[self.at])
        return part / whole if whole else 0.0

    @property
    def of_each_user(self) -> "EachUser | None":
        return EachUser(self._of_each) if self.each_user else None

    def _of_each(self, cells: Cells) -> np.ndarray:
        part, whole = self.of(cells.counts_by_user[self.at])
        return part / np.maximum(whole, 1)

    def is_kept(self, name: str, report: Kept) -> bool:
        return report.cells is not None or report.user_counts is not None

    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        return Quotient(*self.of(report.counts[self.at]))


@dataclass(frozen=True)
class MeanLoss(OfCells):
    """A mean over the cells.

    Attributes:
        mean: Function from targets and probabilities, (n,) each, to the mean.
        losses: Function from the same, probabilities as float64, to what each cell loses.
    """

    mean: Callable[[np.ndarray, np.ndarray], float]
    losses: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def value(self, cells: Cells) -> float:
        return self.mean(cells.targets, cells.probabilities)

    @property
    def of_each_user(self) -> "EachUser":
        return EachUser(self._of_each)

    def _of_each(self, cells: Cells) -> np.ndarray:
        own = cells.by_user
        return own.sums(self.losses(own.targets, own.doubles)) / own.num_cells

    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        losses = self.losses(
            report.cells["targets"], report.cells["probabilities"].astype(np.float64)
        )
        return Quotient(report.sums(losses), report.num_cells)


@dataclass(frozen=True)
class Order(OfCells):
    """A value of the order of the cells, from the most probable down.

    Attributes:
        key: Its name among the values that `WeightedReport.orders` computes together.
        plain: Function from the ranked cells to the value.
        per_user: Function from each user's own cells to (m,) values.
    """

    key: Literal["average_precision", "roc_auc"]
    plain: Callable[[RankedCells], float]
    per_user: Callable[[CellsByUser], np.ndarray]

    def value(self, cells: Cells) -> float:
        return self.plain(cells.ranked)

    @property
    def of_each_user(self) -> "EachUser":
        return EachUser(lambda cells: self.per_user(cells.by_user))

    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        return Known(*report.orders()[self.key])


@dataclass(frozen=True)
class CalibrationError(OfCells):
    """The expected calibration error of all cells.

    Under weights of the users the bins stay those of the cells of all users who count: what varies
    is what falls into a bin. Of the few cells of one user bins of equal mass would say nothing, so
    there is no form of each user.
    """

    def value(self, cells: Cells) -> float:
        return expected_calibration_error(cells.ranked)

    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        return Gaps(report.gaps(), report.num_cells)


class _OfUsers(Form):
    """What a report keeps one value a user of; the measure is the mean of those that are there."""

    def is_kept(self, name: str, report: Kept) -> bool:
        return name in report.per_user

    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        return Quotient(*report.of_users(name))


@dataclass(frozen=True)
class EachUser(_OfUsers):
    """The mean over users of a measure of each user's own cells.

    Attributes:
        values: Function from the cells to (m,), one value a user with cells; nan where a user has
            none.
    """

    needs: ClassVar[Needs] = "user cells"
    values: Callable[[Cells], np.ndarray]


@dataclass(frozen=True)
class EachList(_OfUsers):
    """The mean over users of a value of each user's list.

    Attributes:
        values: Function from the lists to (n,); nan where a user has no value.
    """

    needs: ClassVar[Needs] = "user lists"
    values: Callable[[Lists], np.ndarray]


def of_hits(values: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> EachList:
    """The form of a function of hits (n, k) and of the number of each user's positives (n,)."""

    @wraps(values)
    def of_lists(lists: Lists) -> np.ndarray:
        return values(lists.hits, lists.num_positives)

    return EachList(of_lists)


@dataclass(frozen=True)
class AllLists(Form):
    """A value of all lists together. A report does not keep the lists: there is none under weights.

    Attributes:
        value: Function from the lists to the value.
    """

    needs: ClassVar[Needs] = "lists"
    value: Callable[[Lists], float]

    def is_kept(self, name: str, report: Kept) -> bool:
        return False

    def weighted(self, name: str, report: "WeightedReport") -> Weighted:
        raise NotImplementedError(f"A report keeps nothing that {name} could be resampled from.")


@dataclass(frozen=True)
class Quotient:
    """A quotient of two sums over users; 0/0 is 0.

    Attributes:
        part: (num_users,) what each user adds to the upper sum.
        whole: (num_users,) what each user adds to the lower one.
    """

    part: np.ndarray
    whole: np.ndarray

    def values(self, weights: np.ndarray) -> np.ndarray:
        doubles = weights.astype(np.float64, copy=False)
        return quotient(self.part @ doubles, self.whole @ doubles)

    def influences(self, counted: np.ndarray) -> np.ndarray:
        """The influences, which are exact."""
        part, whole = self.part * counted, self.whole * counted
        without = quotient(part.sum() - part, whole.sum() - whole)
        return without - quotient(part.sum(keepdims=True), whole.sum(keepdims=True))


@dataclass(frozen=True)
class Gaps:
    """A sum over bins of |what is predicted less what is observed|, divided by a sum over users.

    Attributes:
        gaps: (num_users, num_bins) what each user adds to the difference in each bin.
        whole: (num_users,) what each user adds to the divisor.
    """

    gaps: np.ndarray
    whole: np.ndarray

    def values(self, weights: np.ndarray) -> np.ndarray:
        doubles = weights.astype(np.float64, copy=False)
        return quotient(np.abs(self.gaps.T @ doubles).sum(axis=0), self.whole @ doubles)

    def influences(self, counted: np.ndarray) -> np.ndarray:
        """The influences, which are exact as long as the bins stay."""
        gaps, whole = self.gaps * counted[:, None], self.whole * counted
        without = quotient(np.abs(gaps.sum(axis=0) - gaps).sum(axis=1), whole.sum() - whole)
        return without - quotient(
            np.abs(gaps.sum(axis=0)).sum(keepdims=True), whole.sum(keepdims=True)
        )


@dataclass(frozen=True)
class Known:
    """Values and influences that were computed with the report's own weights."""

    known: np.ndarray
    changes: np.ndarray

    def values(self, weights: np.ndarray) -> np.ndarray:
        return self.known

    def influences(self, counted: np.ndarray) -> np.ndarray:
        return self.changes


def quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """The quotient of two sums; 0/0 is 0, as in the measures."""
    part = np.asarray(part, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0)
