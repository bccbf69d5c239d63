"""Metrics as pure functions: of cells (a target and a probability each) and of rankings (one value per user).

A quotient 0/0 of the confusion counts is 0; a metric that is undefined for its input is nan, never a guess.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

# Keeps the logarithm of a wrong and certain probability finite; float32 can still tell 1 - 1e-7 from 1.
LOG_LOSS_CLIP = 1e-7


@dataclass(frozen=True)
class Confusion:
    """How many cells are which at one threshold, where a cell is predicted positive if probability >= threshold."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int

    @property
    def precision(self) -> float:
        """Share of the predicted positives that are positive; 0 where nothing is predicted positive."""
        return _share(self.true_positives, self.true_positives + self.false_positives)

    @property
    def recall(self) -> float:
        """Share of the positives that are predicted positive; 0 where there is no positive."""
        return _share(self.true_positives, self.true_positives + self.false_negatives)

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall; 0 where there is no positive, neither true nor predicted."""
        return _share(2 * self.true_positives, 2 * self.true_positives + self.false_positives + self.false_negatives)

    @property
    def accuracy(self) -> float:
        """Share of the cells that are predicted right; 0 without cells."""
        return _share(self.true_positives + self.true_negatives, self.num_cells)

    @property
    def share_predicted_positive(self) -> float:
        """Share of the cells that are predicted positive; 0 without cells."""
        return _share(self.true_positives + self.false_positives, self.num_cells)

    @property
    def num_cells(self) -> int:
        return self.true_positives + self.false_positives + self.false_negatives + self.true_negatives


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
    """Mean of (probability - target)² over the cells, also known as the Brier score; nan without cells."""
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


@dataclass(frozen=True)
class RankedCells:
    """Cells counted from the most probable down: sorted once, then good for every metric of their order.

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
    last_of_step = np.append(descending[1:] != descending[:-1], True) if len(order) else np.zeros(0, dtype=bool)
    ends = np.flatnonzero(last_of_step)
    return RankedCells(
        thresholds=descending[ends],
        num_predicted=ends + 1,
        true_positives=np.cumsum(targets[order], dtype=np.int64)[ends],
    )


def best_threshold(cells: RankedCells) -> float:
    """The distinct probability at which F1 is highest, and of several such the highest; nan without cells."""
    if not cells.num_cells:
        return float("nan")
    f1 = 2 * cells.true_positives / (cells.num_predicted + cells.num_positives)
    return float(cells.thresholds[np.argmax(f1)])  # argmax takes the first, thresholds descend


def average_precision(cells: RankedCells) -> float:
    """Sum over thresholds of precision times the gain in recall, without interpolation; nan without positives.

    Source: scikit-learn's `average_precision_score`.
    """
    if not cells.num_positives:
        return float("nan")
    gains = np.diff(cells.true_positives, prepend=0) / cells.num_positives
    return float(gains @ (cells.true_positives / cells.num_predicted))


def roc_auc(cells: RankedCells) -> float:
    """Share of the pairs of a positive and a negative in which the positive is more probable, a tie counting half.

    Equals the rank-sum statistic with average ranks (Mann and Whitney 1947). nan where one class is absent.
    """
    false_positives = cells.num_predicted - cells.true_positives
    num_pairs = cells.num_positives * (cells.num_cells - cells.num_positives)
    if not num_pairs:
        return float("nan")
    above = np.concatenate([[0], cells.true_positives[:-1]])  # positives strictly above each threshold
    pairs = np.diff(false_positives, prepend=0) * (above + cells.true_positives) / 2
    return float(pairs.sum() / num_pairs)


def precision_recall_curve(cells: RankedCells) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points of a plot: precision, recall and threshold, (m,) each, from the highest threshold down.

    Recall is nan without positives. Unlike scikit-learn no point (1, 0) is added: it belongs to no threshold.
    """
    precision = cells.true_positives / cells.num_predicted
    recall = cells.true_positives / (cells.num_positives or np.nan)
    return precision, recall, cells.thresholds


# Per user. The same measures of each user's own cells; their mean lets every user count the same.


@dataclass(frozen=True)
class CellsByUser:
    """Cells sorted once by user, then from the most probable down: good for every measure of a user's own cells.

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
        """(n,) number of positives among these."""
        counts = np.cumsum(self.targets)
        ends = np.repeat(counts[np.cumsum(self.steps) - 1], self.steps)
        return ends - (counts[self.starts] - self.targets[self.starts])[self.rows]

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(m,) float64 sum of one value a cell."""
        return np.add.reduceat(values, self.starts, dtype=np.float64) if len(values) else np.empty(0)


def cells_by_user(users: np.ndarray, targets: np.ndarray, probabilities: np.ndarray) -> CellsByUser:
    """Sort cells of users (n,), targets (n,), 0 or 1, and probabilities (n,) float32, not nan.

    One sort of 64-bit keys (user, probability from the highest down, target) is several times as fast as a sort of
    places: the bits of a float32 are ordered as the number is, once those of a negative one are turned.
    """
    bits = (probabilities.astype(np.float32) + np.float32(0)).view(np.uint32)  # + 0 makes -0.0 equal 0.0
    ascending = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
    keys = (users.astype(np.uint64) << np.uint64(33)) | (~ascending).astype(np.uint64) << np.uint64(1)
    keys = np.sort(keys | (targets == 1))
    sorted_users, untargeted = (keys >> np.uint64(33)).astype(np.int64), keys >> np.uint64(1)
    starts = np.flatnonzero(np.diff(sorted_users, prepend=-1))
    of_steps = np.append(0, np.flatnonzero(untargeted[1:] != untargeted[:-1]) + 1) if len(keys) else starts
    ascending = ~untargeted.astype(np.uint32)
    back = np.where(ascending >> 31, ascending & np.uint32((1 << 31) - 1), ~ascending)
    return CellsByUser(
        users=sorted_users[starts], starts=starts,
        rows=np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(keys)))),
        targets=(keys & np.uint64(1)).astype(bool), probabilities=back.view(np.float32),
        steps=np.diff(np.append(of_steps, len(keys))),
    )


def average_precision_per_user(cells: CellsByUser) -> np.ndarray:
    """(m,) float64: average precision of each user's own cells; nan for a user without a positive."""
    return cells.sums(cells.targets * (cells.true / cells.at_or_above)) / _nan_if_zero(cells.num_positives)


def roc_auc_per_user(cells: CellsByUser) -> np.ndarray:
    """(m,) float64: ROC AUC of each user's own cells; nan for a user who lacks a positive or a negative."""
    if not len(cells.users):
        return np.empty(0)
    hits = np.add.reduceat(cells.targets, np.cumsum(cells.steps) - cells.steps, dtype=np.int64)
    tied = np.repeat(cells.steps - hits, cells.steps)  # negatives of the same probability
    num_negatives = cells.num_cells - cells.num_positives
    below = num_negatives[cells.rows] - (cells.at_or_above - cells.true) + tied / 2
    return cells.sums(cells.targets * below) / _nan_if_zero(cells.num_positives * num_negatives)


def losses_per_user(cells: CellsByUser) -> dict[str, np.ndarray]:
    """`mse` and `log_loss` of each user's own cells, (m,) float64 each; probabilities are clipped as in `log_loss`."""
    probabilities = cells.probabilities.astype(np.float64)
    clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
    return {"mse": cells.sums((probabilities - cells.targets) ** 2) / cells.num_cells,
            "log_loss": cells.sums(-np.log(np.where(cells.targets, clipped, 1 - clipped))) / cells.num_cells}


def confusion_per_user(cells: CellsByUser, threshold: float) -> dict[str, np.ndarray]:
    """f1, precision, recall and accuracy of each user's own cells, (m,) float64 each; 0/0 is 0 as in `Confusion`."""
    predicted = cells.probabilities >= threshold
    true, num_predicted = cells.sums(predicted & cells.targets), cells.sums(predicted)
    right = cells.num_cells - num_predicted - cells.num_positives + 2 * true
    return {"f1": 2 * true / np.maximum(num_predicted + cells.num_positives, 1),
            "precision": true / np.maximum(num_predicted, 1),
            "recall": true / np.maximum(cells.num_positives, 1), "accuracy": right / cells.num_cells}


# Rankings. `hits` (batch, k) says whether the item at each rank, best first, is one of the user's positives;
# `num_positives` (batch,) counts all positives of the user, also those that the list misses.
# A user without positives gets nan from each, for the caller to leave out of means.


def ndcg_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: sum of 1/log2(rank + 1) over the hits, divided by the same sum of a perfect list.

    The perfect list begins with min(k, num_positives) hits. Source: Järvelin and Kekäläinen 2002, binary gains.
    """
    k = hits.shape[1]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(discounts)])[np.minimum(k, num_positives)]  # (batch,)
    return hits @ discounts / ideal


def recall_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: hits divided by num_positives; below 1 even for a perfect list where k < num_positives."""
    return hits.sum(axis=1) / _nan_if_zero(num_positives)


def precision_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: hits divided by k, also where fewer than k items could be recommended."""
    return hits.mean(axis=1) * _one_or_nan(num_positives)


def map_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: sum over the hits of precision at their rank, divided by min(k, num_positives).

    torchmetrics divides by the number of hits in the list instead, which rewards a list for missing positives.
    """
    k = hits.shape[1]
    precisions = np.cumsum(hits, axis=1) / np.arange(1, k + 1)  # (batch, k)
    return (precisions * hits).sum(axis=1) / _nan_if_zero(np.minimum(k, num_positives))


def mrr_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: 1 divided by the rank of the first hit; 0 where the list has none."""
    first = 1 / (1 + hits.argmax(axis=1))
    return first * hits.any(axis=1) * _one_or_nan(num_positives)


def hit_rate_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: 1 where the list has a hit, else 0."""
    return hits.any(axis=1) * _one_or_nan(num_positives)


def coverage(items: np.ndarray, num_items: int) -> float:
    """Share of the num_items items of the catalogue that stand in at least one list of items (batch, k).

    Places without an item hold -1 and count for nothing. nan without lists.
    """
    if not len(items):
        return float("nan")
    seen = np.zeros(num_items, dtype=bool)
    seen[items[items >= 0]] = True
    return float(seen.mean())


def _nan_if_zero(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, counts, np.nan)


def _one_or_nan(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, 1.0, np.nan)


# By the name that a report gives them, before `_at_10`.
RANKING_METRICS = {
    "ndcg": ndcg_at_k,
    "recall": recall_at_k,
    "precision": precision_at_k,
    "map": map_at_k,
    "mrr": mrr_at_k,
    "hit_rate": hit_rate_at_k,
}
