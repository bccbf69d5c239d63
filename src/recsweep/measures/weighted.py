"""The stuff of values under weights: a report's sums by user, and what leaving one user out
does to an order."""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from recsweep.measures.forms import Kept, quotient
from recsweep.measures.of_cells import ECE_BINS, Confusion, bins_of

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


class WeightedReport:
    """One report, with weights of its users.

    Args:
        report: Report of what was measured.
        users: (num_users,) ascending, the users that the rows of the weights belong to.
        weights: (num_users, n) float32, whole numbers; the first column is 1 for every user that
            counts.
    """

    def __init__(self, report: Kept, users: np.ndarray, weights: np.ndarray) -> None:
        self.report, self.users, self.weights = report, users, weights
        self._orders: dict[str, tuple[np.ndarray, np.ndarray]] | None = None
        self._gaps: np.ndarray | None = None

    @property
    def counted(self) -> np.ndarray:
        """(num_users,) 1 for the users who count at all, else 0."""
        return self.weights[:, 0]

    @property
    def cells(self) -> Mapping[str, np.ndarray]:
        """The cells that the report keeps."""
        assert self.report.cells is not None
        return self.report.cells

    @cached_property
    def _rows(self) -> np.ndarray:
        """(num_cells,) row of each cell's user among the weights."""
        return np.searchsorted(self.users, self.cells["users"])

    @cached_property
    def num_cells(self) -> np.ndarray:
        """(num_users,) number of each user's cells."""
        return self.sums(None)

    def sums(self, values: np.ndarray | None) -> np.ndarray:
        """(num_users,) float64: sum of one value a cell, or without values the number of cells."""
        return np.bincount(self._rows, values, minlength=len(self.users)).astype(np.float64)

    def of_users(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(num_users,) each: every user's value of what the report keeps by user, 0 without one,
        and whether there is one.
        """
        values = self.report.per_user[name].astype(np.float64)
        known = np.isfinite(values)
        part, whole = np.zeros(len(self.users)), np.zeros(len(self.users))
        places = np.searchsorted(self.users, self.report.users)
        part[places], whole[places] = np.where(known, values, 0), known
        return part, whole

    @cached_property
    def counts(self) -> dict[str, Confusion]:
        """`half` and `threshold` to each user's counts, (num_users,) float64 each."""
        return {at: Confusion(*self._counts(at)) for at in ("half", "threshold")}

    def _counts(self, at: str) -> np.ndarray:
        """(4, num_users) float64, in the order of COUNTS."""
        by_user = np.zeros((len(COUNTS), len(self.users)))
        counts = self.report.user_counts
        if self.report.cells is None:
            assert counts is not None
            place = np.searchsorted(self.users, counts["users"])
            by_user[:, place] = [counts[f"{name}_at_{at}"] for name in COUNTS]
            return by_user
        threshold = 0.5 if at == "half" else self.report.metrics["threshold"]
        predicted, positive = self.cells["probabilities"] >= threshold, self.cells["targets"] == 1
        place = np.array([[3, 1], [2, 0]])[positive.astype(int), predicted.astype(int)]  # of COUNTS
        of_users = np.bincount(place * len(self.users) + self._rows, minlength=by_user.size)
        return of_users.reshape(by_user.shape).astype(np.float64)

    def gaps(self) -> np.ndarray:
        """(num_users, ECE_BINS) float64: each user's sum of probability less target over the cells
        of each bin.

        Bins are those of `bins_of` of the cells of the users who count; the cells of others add
        nothing.
        """
        self.orders()
        assert self._gaps is not None
        return self._gaps

    def orders(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Average precision and ROC AUC by the definitions of `of_cells`: values (n,), influences
        (num_users,).

        The influences are of first order, the infinitesimal jackknife (L. Jaeckel, The
        infinitesimal jackknife, 1972).
        """
        # no cached_property: in Python 3.11 it lets one thread at a time compute
        if self._orders is None:
            steps = _Steps(self.cells, self._rows, len(self.users), self.counted > 0)
            self._gaps = self._gaps_of(steps)  # by the same order, which takes time to find
            self._orders = self._ordered(steps)
        return self._orders

    def _gaps_of(self, steps: "_Steps") -> np.ndarray:
        counts = self.counted[self._rows] > 0
        place = self._rows * ECE_BINS + steps.bins(ECE_BINS)
        gaps = self.cells["probabilities"].astype(np.float64) - self.cells["targets"]
        sums = np.bincount(place[counts], gaps[counts], len(self.users) * ECE_BINS)
        return sums.reshape(len(self.users), ECE_BINS)

    def _ordered(self, steps: "_Steps") -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Both need the ranking at the positives alone: how many cells of each resample lie at or
        above each."""
        segments, positives = steps.matrix(steps.kept), steps.matrix(steps.positive)
        tied = steps.matrix(steps.tied)
        values = {
            name: np.empty(self.weights.shape[1]) for name in ("average_precision", "roc_auc")
        }
        everything = self.num_cells @ self.weights.astype(np.float64)
        # filled again for every block: memory that is new each time takes longer than what is
        # written into it
        buffers = np.empty((2, steps.num_steps, _REPLICATES_AT_ONCE), dtype=np.float32)
        for start in range(0, self.weights.shape[1], _REPLICATES_AT_ONCE):
            block = slice(start, start + _REPLICATES_AT_ONCE)
            weights = np.ascontiguousarray(self.weights[:, block])
            here = positives @ weights  # (num_steps, block), exact: whole numbers < 2^24
            above = _cumulated(segments @ weights)
            true, precision = buffers[..., : weights.shape[1]]
            np.copyto(true, here)
            _cumulated(true)
            num_positives = true[-1].astype(np.float64)
            num_negatives = everything[block] - num_positives
            np.maximum(above, 1, out=precision)  # nothing above is 0 of 0, which counts as 0
            np.divide(true, precision, out=precision)
            sums = np.einsum("ij,ij->j", here, precision, dtype=np.float64)
            values["average_precision"][block] = sums / np.maximum(num_positives, 1)
            above -= true  # negatives at or above each step
            if tied.nnz:
                above -= (tied @ weights) / 2
            sums = np.einsum("ij,ij->j", here, above, dtype=np.float64)
            below = num_negatives - sums / np.maximum(num_positives, 1)
            values["roc_auc"][block] = quotient(below, num_negatives)
        return {name: (values[name], changes) for name, changes in steps.changes().items()}


_REPLICATES_AT_ONCE = 64  # the sums of a block then stay in a core's cache


class _Steps:
    """Cells from the most probable down, those of one probability a step; only steps with a
    positive are kept apart.

    Args:
        cells: The cells, as a report has them.
        rows: (num_cells,) the user of each cell.
        num_users: Number of users.
        counted: (num_users,) bool, whose cells `changes` and `bins` look at.
    """

    def __init__(
        self, cells: Mapping[str, np.ndarray], rows: np.ndarray, num_users: int, counted: np.ndarray
    ) -> None:
        order = np.argsort(-cells["probabilities"])  # cells of the same probability in any order
        descending = cells["probabilities"][order]
        self.rows = rows[order].astype(np.int32)
        self.positive: np.ndarray = cells["targets"][order] == 1
        # cells of one probability are one step
        step = np.cumsum(np.append(False, descending[1:] != descending[:-1]))
        self._order, self._step = order, step
        hits = np.bincount(step[self.positive], minlength=step[-1] + 1) > 0  # steps with a positive
        self.num_steps, self.num_users = int(hits.sum()), num_users
        # (num_cells,) place of its own step among those, else of the next one
        self.place: np.ndarray = (np.cumsum(hits) - hits)[step]
        # below the last positive nothing counts but how much there is
        self.kept: np.ndarray = np.less(self.place, self.num_steps)
        # negatives of the same probability as a positive
        self.tied: np.ndarray = hits[step] & ~self.positive
        self._counted = counted[self.rows]

    def matrix(self, chosen: np.ndarray) -> "csr_matrix":
        """(num_steps, num_users): how many of the chosen cells of each user lie in each step."""
        from scipy.sparse import csr_matrix

        ends = np.bincount(self.place[chosen], minlength=self.num_steps).cumsum()
        ones = np.ones(ends[-1] if len(ends) else 0, dtype=np.float32)
        return csr_matrix(
            (ones, self.rows[chosen], np.append(0, ends)), (self.num_steps, self.num_users)
        )

    def bins(self, number: int) -> np.ndarray:
        """(num_cells,) the bin of each cell by `bins_of`, in the order of the report; those of
        cells that do not count mean nothing."""
        sizes = np.bincount(self._step[self._counted], minlength=self._step[-1] + 1)
        bins = np.empty(len(self._order), dtype=np.int64)
        bins[self._order] = bins_of(sizes.cumsum(), number)[self._step]
        return bins

    def changes(self) -> dict[str, np.ndarray]:
        """(num_users,) what average precision and ROC AUC become without each user, less what they
        are; to first order.

        With h positives in a step, T positives and A cells at or above it, average precision is the
        sum S of h T / A over the steps, divided by the number of positives; a cell adds to A, and a
        positive to T, of its own step and of all below. ROC AUC is the number of pairs (positive
        above negative, a tie counting half) divided by that of all pairs. The two numerators are
        taken to first order in a user's weight, and what divides them as it is.
        """
        positive, negative = self.positive & self._counted, ~self.positive & self._counted
        kept, tied = self.kept & self._counted, self.tied & self._counted
        here, above, ties = (
            np.bincount(self.place[chosen], minlength=self.num_steps).astype(np.float64)
            for chosen in (positive, kept, tied)
        )
        true, above = here.cumsum(), above.cumsum()
        positives, negatives = self._of_users(positive), self._of_users(negative)
        precision = quotient(true, above)
        by_true, by_above = (
            quotient(values, above)[::-1].cumsum()[::-1] for values in (here, here * precision)
        )
        own = self._of_users(positive, precision + by_true) - self._of_users(kept, by_above)
        left = positives.sum() - positives
        of_precision = quotient(here @ precision - own, left) - quotient(
            here @ precision, positives.sum()
        )
        # negatives below each step, and half of its own
        below = negatives.sum() - (above - true) + ties / 2
        pairs = (
            self._of_users(positive, below)
            + self._of_users(negative & self.kept, true - here)
            + self._of_users(tied, here / 2)
            + positives.sum() * self._of_users(negative & ~self.kept)
        )
        auc = quotient(here @ below, positives.sum() * negatives.sum())
        # those within a user were taken off twice
        pairs_left = here @ below - pairs + auc * positives * negatives
        of_pairs = quotient(pairs_left, left * (negatives.sum() - negatives)) - auc
        return {"average_precision": of_precision, "roc_auc": of_pairs}

    def _of_users(self, chosen: np.ndarray, by_step: np.ndarray | None = None) -> np.ndarray:
        """(num_users,) number of the chosen cells, or the sum of what their steps have."""
        values = None if by_step is None else by_step[self.place[chosen]]
        return np.bincount(self.rows[chosen], values, minlength=self.num_users).astype(np.float64)


def _cumulated(counts: np.ndarray) -> np.ndarray:
    """Cumulative sums down the rows of (n, m) whole numbers, in place and in a third of the time of
    np.cumsum.

    That adds up one column after the other. Here the rows of every chunk are added at once, and
    then the chunks.
    """
    length = max(int(len(counts) ** 0.5), 1)
    whole = len(counts) // length * length
    chunks = counts[:whole].reshape(-1, length, counts.shape[1])  # (num_chunks, length, m)
    for place in range(1, length):
        chunks[:, place] += chunks[:, place - 1]
    chunks[1:] += np.cumsum(chunks[:-1, -1], axis=0)[:, None]
    for place in range(whole, len(counts)):
        counts[place] += counts[place - 1]
    return counts
