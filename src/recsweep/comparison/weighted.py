"""The measures of a report under weights of its users, and what leaving one user out does to them."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from recsweep.evaluation import EvaluationReport
from recsweep.measures.plain import LOG_LOSS_CLIP

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")


def kind_of(measure: str, report: EvaluationReport) -> str | None:
    """How a measure is computed under weights of the users; None where it can't be.

    `per_user` is a mean over users; the others are pooled over cells: `order`, `loss` and `confusion`.
    """
    if measure in report.per_user:
        return "per_user"
    if measure in ("average_precision", "roc_auc"):
        return None if report.cells is None else "order"
    if measure in ("mse", "log_loss"):
        return None if report.cells is None else "loss"
    name, _, at = measure.rpartition("_at_")
    if name in ("f1", "precision", "recall", "accuracy", "share_predicted_positive") and at in ("half", "threshold"):
        return None if report.cells is None and report.user_counts is None else "confusion"
    return None


class WeightedMeasures:
    """One report's sums by user, and its measures under weights of the users.

    Args:
        report: What was measured.
        users: (num_users,) ascending, the users that the rows of the weights belong to.
        weights: (num_users, n) float32, whole numbers; the first column is 1 for every user that counts.
    """

    def __init__(self, report: EvaluationReport, users: np.ndarray, weights: np.ndarray) -> None:
        self._report, self._users, self._weights = report, users, weights
        self._of_order: dict[str, tuple[np.ndarray, np.ndarray]] | None = None

    def values(self, measure: str) -> np.ndarray:
        """(n,) float64: the measure under each column of the weights."""
        kind = kind_of(measure, self._report)
        if kind == "order":
            return self._order(measure)[0]
        part, whole = self._sums(kind, measure)
        weights = self._weights.astype(np.float64)
        return _quotient(part @ weights, whole @ weights)

    def influences(self, measure: str) -> np.ndarray:
        """(num_users,) float64: what the measure becomes without each user, less what it is.

        Exact for quotients of sums over users. For average precision and ROC AUC it is the first-order term, the
        infinitesimal jackknife (L. Jaeckel, The infinitesimal jackknife, 1972).
        """
        kind = kind_of(measure, self._report)
        if kind == "order":
            return self._order(measure)[1]
        counted = self._weights[:, 0]
        part, whole = (sums * counted for sums in self._sums(kind, measure))
        without = _quotient(part.sum() - part, whole.sum() - whole)
        return without - _quotient(part.sum(keepdims=True), whole.sum(keepdims=True))

    @cached_property
    def _rows(self) -> np.ndarray:
        """(num_cells,) row of each cell's user among the weights."""
        return np.searchsorted(self._users, self._report.cells["users"])

    @cached_property
    def _cells_of(self) -> np.ndarray:
        """(num_users,) number of cells."""
        return np.bincount(self._rows, minlength=len(self._users)).astype(np.float64)

    def _sums(self, kind: str, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Two sums by user, (num_users,) float64 each, whose quotient the measure is."""
        if kind == "per_user":
            return self._of_users(measure)
        if kind == "loss":
            return np.bincount(self._rows, self._losses(measure), minlength=len(self._users)), self._cells_of
        name, _, at = measure.rpartition("_at_")
        tp, fp, fn, tn = self._counts[at]
        return {
            "f1": (2 * tp, 2 * tp + fp + fn), "precision": (tp, tp + fp), "recall": (tp, tp + fn),
            "accuracy": (tp + tn, tp + fp + fn + tn), "share_predicted_positive": (tp + fp, tp + fp + fn + tn),
        }[name]

    def _of_users(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        """Each user's value and whether there is one."""
        values = self._report.per_user[measure].astype(np.float64)
        there = np.isfinite(values)
        part, whole = np.zeros(len(self._users)), np.zeros(len(self._users))
        places = np.searchsorted(self._users, self._report.users)
        part[places], whole[places] = np.where(there, values, 0), there
        return part, whole

    def _losses(self, measure: str) -> np.ndarray:
        targets, probabilities = self._report.cells["targets"], self._report.cells["probabilities"].astype(np.float64)
        if measure == "mse":
            return (probabilities - targets) ** 2
        clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
        return -np.log(np.where(targets == 1, clipped, 1 - clipped))

    @cached_property
    def _counts(self) -> dict[str, np.ndarray]:
        """`half` and `threshold` to each user's COUNTS, (4, num_users) float64."""
        report, found = self._report, {}
        for at in ("half", "threshold"):
            by_user = np.zeros((len(COUNTS), len(self._users)))
            if report.cells is None:
                place = np.searchsorted(self._users, report.user_counts["users"])
                by_user[:, place] = [report.user_counts[f"{name}_at_{at}"] for name in COUNTS]
            else:
                threshold = 0.5 if at == "half" else report.metrics["threshold"]
                predicted, positive = report.cells["probabilities"] >= threshold, report.cells["targets"] == 1
                place = np.array([[3, 1], [2, 0]])[positive.astype(int), predicted.astype(int)]  # of COUNTS
                counts = np.bincount(place * len(self._users) + self._rows, minlength=by_user.size)
                by_user[:] = counts.reshape(by_user.shape)
            found[at] = by_user
        return found

    def _order(self, measure: str) -> tuple[np.ndarray, np.ndarray]:
        if self._of_order is None:  # no cached_property: in Python 3.11 it lets one thread at a time compute
            self._of_order = self._orders()
        return self._of_order[measure]

    def _orders(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Average precision and ROC AUC by the definitions of `measures.plain`: values (n,), influences (num_users,).

        Both need the ranking at the positives alone: how many cells of each resample lie at or above each of them.
        """
        steps = _Steps(self._report.cells, self._rows, len(self._users), self._weights[:, 0] > 0)
        segments, positives = steps.matrix(steps.kept), steps.matrix(steps.positive)
        tied = steps.matrix(steps.tied)
        values = {name: np.empty(self._weights.shape[1]) for name in ("average_precision", "roc_auc")}
        everything = self._cells_of @ self._weights.astype(np.float64)
        for start in range(0, self._weights.shape[1], _REPLICATES_AT_ONCE):
            block = slice(start, start + _REPLICATES_AT_ONCE)
            weights = np.ascontiguousarray(self._weights[:, block])
            above, here = segments @ weights, positives @ weights  # (num_steps, block), exact: whole numbers < 2^24
            above, true = _cumulated(above), _cumulated(here.copy())
            num_positives = true[-1].astype(np.float64)
            num_negatives = everything[block] - num_positives
            precision = true / np.maximum(above, 1)  # nothing above is 0 of 0, which counts as 0
            values["average_precision"][block] = np.einsum("ij,ij->j", here, precision, dtype=np.float64)
            values["average_precision"][block] /= np.maximum(num_positives, 1)
            above -= true  # negatives at or above each step
            if tied.nnz:
                above -= (tied @ weights) / 2
            below = num_negatives - np.einsum("ij,ij->j", here, above, dtype=np.float64) / np.maximum(num_positives, 1)
            values["roc_auc"][block] = _quotient(below, num_negatives)
        return {name: (values[name], changes) for name, changes in steps.changes().items()}


_REPLICATES_AT_ONCE = 64  # the sums of a block then stay in a core's cache


class _Steps:
    """Cells from the most probable down, those of one probability a step; only steps with a positive are kept apart.

    Args:
        cells: As a report has them.
        rows: (num_cells,) the user of each cell.
        num_users: How many there are.
        counted: (num_users,) bool, whose cells `changes` looks at.
    """

    def __init__(self, cells: dict[str, np.ndarray], rows: np.ndarray, num_users: int, counted: np.ndarray) -> None:
        order = np.argsort(-cells["probabilities"])  # cells of the same probability in any order
        descending = cells["probabilities"][order]
        self.rows, self.positive = rows[order].astype(np.int32), cells["targets"][order] == 1
        step = np.cumsum(np.append(False, descending[1:] != descending[:-1]))  # cells of one probability are one step
        hits = np.bincount(step[self.positive], minlength=step[-1] + 1) > 0  # steps with a positive
        self.num_steps, self.num_users = int(hits.sum()), num_users
        self.place = (np.cumsum(hits) - hits)[step]  # (num_cells,) of its own step among those, else of the next one
        self.kept = self.place < self.num_steps  # below the last positive nothing counts but how much there is
        self.tied = hits[step] & ~self.positive  # negatives of the same probability as a positive
        self._counted = counted[self.rows]

    def matrix(self, chosen: np.ndarray) -> "csr_matrix":
        """(num_steps, num_users): how many of the chosen cells of each user lie in each step."""
        from scipy.sparse import csr_matrix

        ends = np.bincount(self.place[chosen], minlength=self.num_steps).cumsum()
        ones = np.ones(ends[-1] if len(ends) else 0, dtype=np.float32)
        return csr_matrix((ones, self.rows[chosen], np.append(0, ends)), (self.num_steps, self.num_users))

    def changes(self) -> dict[str, np.ndarray]:
        """(num_users,) what average precision and ROC AUC become without each user, less what they are; to first order.

        With h positives in a step, T positives and A cells at or above it, average precision is the sum S of h T / A
        over the steps, divided by the number of positives; a cell adds to A, and a positive to T, of its own step and
        of all below. ROC AUC is the number of pairs (positive above negative, a tie counting half) divided by that of
        all pairs. The two numerators are taken to first order in a user's weight, and what divides them as it is.
        """
        positive, negative = self.positive & self._counted, ~self.positive & self._counted
        kept, tied = self.kept & self._counted, self.tied & self._counted
        here, above, ties = (np.bincount(self.place[chosen], minlength=self.num_steps).astype(np.float64)
                             for chosen in (positive, kept, tied))
        true, above = here.cumsum(), above.cumsum()
        positives, negatives = self._of_users(positive), self._of_users(negative)
        precision = _quotient(true, above)
        by_true, by_above = (_quotient(each, above)[::-1].cumsum()[::-1] for each in (here, here * precision))
        own = self._of_users(positive, precision + by_true) - self._of_users(kept, by_above)
        left = positives.sum() - positives
        of_precision = _quotient(here @ precision - own, left) - _quotient(here @ precision, positives.sum())
        below = negatives.sum() - (above - true) + ties / 2  # negatives below each step, and half of its own
        pairs = (self._of_users(positive, below) + self._of_users(negative & self.kept, true - here)
                 + self._of_users(tied, here / 2) + positives.sum() * self._of_users(negative & ~self.kept))
        auc = _quotient(here @ below, positives.sum() * negatives.sum())
        pairs_left = here @ below - pairs + auc * positives * negatives  # those within a user were taken off twice
        of_pairs = _quotient(pairs_left, left * (negatives.sum() - negatives)) - auc
        return {"average_precision": of_precision, "roc_auc": of_pairs}

    def _of_users(self, chosen: np.ndarray, by_step: np.ndarray | None = None) -> np.ndarray:
        """(num_users,) number of the chosen cells, or the sum of what their steps have."""
        values = None if by_step is None else by_step[self.place[chosen]]
        return np.bincount(self.rows[chosen], values, minlength=self.num_users).astype(np.float64)


def _cumulated(counts: np.ndarray) -> np.ndarray:
    """Cumulative sums down the rows of (n, m) whole numbers, in place and in a third of the time of np.cumsum.

    That adds up one column after the other. Here the rows of every chunk are added at once, and then the chunks.
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


def _quotient(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """0/0 is 0, as in the metrics."""
    part = np.asarray(part, dtype=np.float64)
    return np.divide(part, whole, out=np.zeros_like(part), where=np.asarray(whole) > 0)
