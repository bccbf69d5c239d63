"""Measures of cells, a target and a probability each, as pure functions.

A quotient 0/0 of the confusion counts is 0; a measure that is undefined for its input is nan, never
a guess.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

# Keeps the logarithm of a wrong and certain probability finite; float32 can still tell 1 - 1e-7
# from 1.
LOG_LOSS_CLIP = 1e-7

ECE_BINS = 15


@dataclass(frozen=True)
class Confusion:
    """Numbers of cells of each kind at a threshold; predicted positive is probability >= threshold.

    Each is a whole number, or an array (m,) with one number a user.
    """

    true_positives: Any
    false_positives: Any
    false_negatives: Any
    true_negatives: Any

    @property
    def precision(self) -> float:
        """Share of the predicted positives that are positive; 0 where nothing is predicted
        positive."""
        return _share(*precision(self))

    @property
    def recall(self) -> float:
        """Share of the positives that are predicted positive; 0 where there is no positive."""
        return _share(*recall(self))

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is no positive, neither true nor
        predicted."""
        return _share(*f1(self))

    @property
    def accuracy(self) -> float:
        """Share of the cells that are predicted right; 0 without cells."""
        return _share(*accuracy(self))

    @property
    def share_predicted_positive(self) -> float:
        """Share of the cells that are predicted positive; 0 without cells."""
        return _share(*share_predicted_positive(self))

    @property
    def num_cells(self) -> Any:
        """Number of all cells."""
        return sum(vars(self).values())


# The quotients of counts, as the two numbers: of one set of cells, of each user, or of sums under
# weights of users.


def precision(counts: Confusion) -> tuple[Any, Any]:
    """Predicted positives that are positive, and all predicted positives."""
    return counts.true_positives, counts.true_positives + counts.false_positives


def recall(counts: Confusion) -> tuple[Any, Any]:
    """Positives that are predicted positive, and all positives."""
    return counts.true_positives, counts.true_positives + counts.false_negatives


def f1(counts: Confusion) -> tuple[Any, Any]:
    """Twice the true positives, and predicted and true positives together."""
    twice = 2 * counts.true_positives
    return twice, twice + counts.false_positives + counts.false_negatives


def accuracy(counts: Confusion) -> tuple[Any, Any]:
    """Cells that are predicted right, and all cells."""
    return counts.true_positives + counts.true_negatives, counts.num_cells


def share_predicted_positive(counts: Confusion) -> tuple[Any, Any]:
    """Cells that are predicted positive, and all cells."""
    return counts.true_positives + counts.false_positives, counts.num_cells


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def confusion(targets: np.ndarray, probabilities: np.ndarray, threshold: float) -> Confusion:
    """Count the cells of targets (n,), 0 or 1, and probabilities (n,)."""
    predicted, positive = probabilities >= threshold, targets == 1
    true_positives = int(np.count_nonzero(predicted & positive))
    num_predicted, num_positives = int(np.count_nonzero(predicted)), int(np.count_nonzero(positive))
    return Confusion(
        true_positives=true_positives,
        false_positives=num_predicted - true_positives,
        false_negatives=num_positives - true_positives,
        true_negatives=len(targets) - num_predicted - num_positives + true_positives,
    )


def mean_squared_error(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of (probability - target)² over the cells, also known as the Brier score; nan without
    cells."""
    if not len(targets):
        return float("nan")
    errors = probabilities - targets.astype(np.float64)
    return float(errors @ errors / len(errors))


def log_loss(targets: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -ln(probability of what happened) over the cells; nan without cells.

    Probabilities are clipped to [1e-7, 1 - 1e-7] first, so one cell costs at most 16.1.
    """
    if not len(targets):
        return float("nan")
    clipped = np.clip(probabilities.astype(np.float64), LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return float(-np.log(np.where(targets == 1, clipped, 1 - clipped)).mean())


def squared_errors(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(n,) float64: what each cell adds to the mean squared error, of float64 probabilities."""
    return (probabilities - targets) ** 2


def log_losses(targets: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """(n,) float64: what each cell adds to the log loss, of float64 probabilities, clipped as in
    `log_loss`."""
    clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return -np.log(np.where(targets == 1, clipped, 1 - clipped))


# What a model reaches that predicts the prevalence for every cell.


def constant_squared_error(prevalence: float) -> float:
    """Mean squared error of the constant prediction."""
    return prevalence * (1 - prevalence)


def constant_log_loss(prevalence: float) -> float:
    """Log loss of the constant prediction: the entropy of a cell."""
    return -sum(share * math.log(share) for share in (prevalence, 1 - prevalence) if share > 0)


def constant_accuracy(prevalence: float) -> float:
    """Accuracy of the constant prediction: the share of the commoner class."""
    return max(prevalence, 1 - prevalence)


@dataclass(frozen=True)
class RankedCells:
    """Cells counted from the most probable down: sorted once, then good for every metric of their
    order.

    Cells of equal probability are one step, so no metric depends on the order of the input.

    Attributes:
        thresholds: (m,) distinct probabilities, descending.
        num_predicted: (m,) int64, cells at or above each threshold.
        true_positives: (m,) int64, positives at or above each threshold.
    """

    thresholds: np.ndarray
    num_predicted: np.ndarray
    true_positives: np.ndarray

    @property
    def num_cells(self) -> int:
        return int(self.num_predicted[-1]) if len(self.num_predicted) else 0

    @property
    def num_positives(self) -> int:
        return int(self.true_positives[-1]) if len(self.true_positives) else 0


def rank_cells(targets: np.ndarray, probabilities: np.ndarray) -> RankedCells:
    """Sort targets (n,), 0 or 1, by probabilities (n,), which must not be nan."""
    order = np.argsort(probabilities)[::-1]
    descending = probabilities[order]
    last_of_step = np.append(descending[1:] != descending[:-1], True)[: len(order)]
    ends = np.flatnonzero(last_of_step)
    return RankedCells(
        thresholds=descending[ends],
        num_predicted=ends + 1,
        true_positives=np.cumsum(targets[order], dtype=np.int64)[ends],
    )


def best_threshold(cells: RankedCells) -> float:
    """The distinct probability at which F1 is highest, and of several such the highest; nan without
    cells."""
    if not cells.num_cells:
        return float("nan")
    f1 = 2 * cells.true_positives / (cells.num_predicted + cells.num_positives)
    return float(cells.thresholds[np.argmax(f1)])  # argmax takes the first, thresholds descend


def average_precision(cells: RankedCells) -> float:
    """Sum over thresholds of precision times the gain in recall, without interpolation; nan without
    positives.

    Source: scikit-learn's `average_precision_score`.
    """
    if not cells.num_positives:
        return float("nan")
    gains = np.diff(cells.true_positives, prepend=0) / cells.num_positives
    return float(gains @ (cells.true_positives / cells.num_predicted))


def roc_auc(cells: RankedCells) -> float:
    """Share of the pairs of a positive and a negative in which the positive is more probable, a tie
    counting half.

    Equals the rank-sum statistic with average ranks (Mann and Whitney 1947). nan where one class is
    absent.
    """
    false_positives = cells.num_predicted - cells.true_positives
    num_pairs = cells.num_positives * (cells.num_cells - cells.num_positives)
    if not num_pairs:
        return float("nan")
    above = np.append(0, cells.true_positives[:-1])  # positives strictly above each threshold
    pairs = np.diff(false_positives, prepend=0) * (above + cells.true_positives) / 2
    return float(pairs.sum() / num_pairs)


def precision_recall_curve(cells: RankedCells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a plot: precision, recall and threshold, (m,) each, from the highest threshold
    down.

    Recall is nan without positives. Unlike scikit-learn no point (1, 0) is added: it belongs to no
    threshold.
    """
    precision = cells.true_positives / cells.num_predicted
    recall = cells.true_positives / (cells.num_positives or np.nan)
    return precision, recall, cells.thresholds


def bins_of(num_predicted: np.ndarray, bins: int) -> np.ndarray:
    """(m,) the bin of each step, from the most probable down: bins of as many cells each as ties
    allow.

    Cells of equal probability share the bin that the middle one of them falls into, so some bins
    may stay empty.

    Args:
        num_predicted: (m,) cells at or above each step.
    """
    counts = np.diff(num_predicted, prepend=0)
    return bins * (2 * num_predicted - counts - 1) // (2 * max(num_predicted[-1:].sum(), 1))


def calibration(cells: RankedCells, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean probability, share of positives and number of cells of each bin of `bins_of` that has
    any, (m,) each.

    Bins ascend in probability.
    """
    place, counts = bins_of(cells.num_predicted, bins), np.diff(cells.num_predicted, prepend=0)
    sums = [
        np.bincount(place, values, minlength=bins)[::-1]
        for values in (
            counts * cells.thresholds.astype(np.float64),
            np.diff(cells.true_positives, prepend=0),
            counts,
        )
    ]
    filled = sums[2] > 0
    predicted, positives, sizes = (values[filled] for values in sums)
    return predicted / sizes, positives / sizes, sizes


def expected_calibration_error(cells: RankedCells) -> float:
    """Mean over the cells of |mean probability - share of positives| of their bin; nan without
    cells.

    ECE_BINS bins of equal mass, ties as in `bins_of`: with bins of equal width nearly all cells of
    sparse data share the first. Sources: Naeini, Cooper and Hauskrecht 2015; of equal mass, Nguyen
    and O'Connor 2015.
    """
    if not cells.num_cells:
        return float("nan")
    predicted, observed, counts = calibration(cells, ECE_BINS)
    return float(np.abs(predicted - observed) @ counts / cells.num_cells)


# Per user. The same measures of each user's own cells; their mean lets every user count the same.


@dataclass(frozen=True)
class CellsByUser:
    """Cells sorted once by user, then from the most probable down: good for every measure of a
    user's own cells.

    Attributes:
        users: (m,) ascending, those with a cell.
        starts: (m,) place of each user's first cell.
        rows: (n,) place of each cell's user in `users`.
        targets: (n,) bool.
        probabilities: (n,) float32, descending within a user.
        steps: (s,) number of cells of each user and probability, in the order of the cells.
    """

    users: np.ndarray
    starts: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    probabilities: np.ndarray
    steps: np.ndarray

    @cached_property
    def num_cells(self) -> np.ndarray:
        """(m,) number of each user's cells."""
        return np.diff(np.append(self.starts, len(self.rows)))

    @cached_property
    def num_positives(self) -> np.ndarray:
        """(m,) number of each user's positives."""
        return self.sums(self.targets)

    @cached_property
    def at_or_above(self) -> np.ndarray:
        """(n,) number of the same user's cells at or above each cell's probability."""
        return np.repeat(np.cumsum(self.steps), self.steps) - self.starts[self.rows]

    @cached_property
    def true(self) -> np.ndarray:
        """(n,) number of positives among the cells of `at_or_above`."""
        counts = np.cumsum(self.targets)
        ends = np.repeat(counts[np.cumsum(self.steps) - 1], self.steps)
        return ends - (counts[self.starts] - self.targets[self.starts])[self.rows]

    @cached_property
    def doubles(self) -> np.ndarray:
        """(n,) float64 probabilities."""
        return self.probabilities.astype(np.float64)

    def confusion(self, threshold: float) -> Confusion:
        """Each user's counts, (m,) float64 each."""
        predicted = self.probabilities >= threshold
        true, num_predicted = self.sums(predicted & self.targets), self.sums(predicted)
        missed = self.num_positives - true
        return Confusion(
            true, num_predicted - true, missed, self.num_cells - num_predicted - missed
        )

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(m,) float64 sum of one value a cell."""
        if not len(values):
            return np.empty(0)
        return np.add.reduceat(values, self.starts, dtype=np.float64)


def cells_by_user(users: np.ndarray, targets: np.ndarray, probabilities: np.ndarray) -> CellsByUser:
    """Sort cells of users (n,), targets (n,), 0 or 1, and probabilities (n,) float32, not nan.

    One sort of 64-bit keys (user, probability from the highest down, target) is several times as
    fast as a sort of places: the bits of a float32 are ordered as the number is, once those of a
    negative one are turned.
    """
    # + 0 makes -0.0 equal 0.0
    bits = (probabilities.astype(np.float32) + np.float32(0)).view(np.uint32)
    descending = ~np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = (users.astype(np.uint64) << np.uint64(33)) | descending.astype(np.uint64) << np.uint64(1)
    keys = np.sort(keys | (targets == 1))
    sorted_users, untargeted = (keys >> np.uint64(33)).astype(np.int64), keys >> np.uint64(1)
    starts = np.flatnonzero(np.diff(sorted_users, prepend=-1))
    of_steps = (
        np.append(0, np.flatnonzero(untargeted[1:] != untargeted[:-1]) + 1) if len(keys) else starts
    )
    ascending = ~untargeted.astype(np.uint32)
    back = np.where(ascending >> 31, ascending & np.uint32((1 << 31) - 1), ~ascending)
    return CellsByUser(
        users=sorted_users[starts],
        starts=starts,
        rows=np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(keys)))),
        targets=(keys & np.uint64(1)).astype(bool),
        probabilities=back.view(np.float32),
        steps=np.diff(np.append(of_steps, len(keys))),
    )


def average_precision_per_user(cells: CellsByUser) -> np.ndarray:
    """(m,) float64: average precision of each user's own cells; nan for a user without a
    positive."""
    sums = cells.sums(cells.targets * (cells.true / cells.at_or_above))
    return sums / nan_if_zero(cells.num_positives)


def roc_auc_per_user(cells: CellsByUser) -> np.ndarray:
    """(m,) float64: ROC AUC of each user's own cells; nan for a user who lacks a positive or a
    negative."""
    if not len(cells.users):
        return np.empty(0)
    hits = np.add.reduceat(cells.targets, np.cumsum(cells.steps) - cells.steps, dtype=np.int64)
    tied = np.repeat(cells.steps - hits, cells.steps)  # negatives of the same probability
    num_negatives = cells.num_cells - cells.num_positives
    below = num_negatives[cells.rows] - (cells.at_or_above - cells.true) + tied / 2
    return cells.sums(cells.targets * below) / nan_if_zero(cells.num_positives * num_negatives)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of one part with what a model says of them; sorted and counted once, whoever asks.

    Attributes:
        targets: (n,), 0 or 1.
        probabilities: (n,), not nan.
        given: The threshold of what is `_at_threshold`; None takes the one that maximises F1 on
            these cells.
        users: (n,) user of each cell; None where nothing is asked of each user's own.
    """

    targets: np.ndarray
    probabilities: np.ndarray
    given: float | None = None
    users: np.ndarray | None = None

    @cached_property
    def ranked(self) -> RankedCells:
        """The cells from the most probable down."""
        return rank_cells(self.targets, self.probabilities)

    @cached_property
    def threshold(self) -> float:
        """The threshold of what is `_at_threshold`."""
        return best_threshold(self.ranked) if self.given is None else float(self.given)

    @cached_property
    def counts(self) -> dict[str, Confusion]:
        """`half` and `threshold` to the counts there."""
        return {
            at: confusion(self.targets, self.probabilities, value) for at, value in self._thresholds
        }

    @cached_property
    def by_user(self) -> CellsByUser:
        """The cells of each user."""
        assert self.users is not None, "whose cells these are was not said"
        return cells_by_user(self.users, self.targets, self.probabilities)

    @cached_property
    def counts_by_user(self) -> dict[str, Confusion]:
        """`half` and `threshold` to each user's counts there, (m,) float64 each."""
        return {at: self.by_user.confusion(value) for at, value in self._thresholds}

    @property
    def _thresholds(self) -> tuple[tuple[str, float], tuple[str, float]]:
        return ("half", 0.5), ("threshold", self.threshold)


def nan_if_zero(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, counts, np.nan)
