"""Which differences are more than noise: numbers and words, no tracker."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from recsweep.errors import DataError
from recsweep.evaluation import EvaluationReport
from recsweep.metrics import LOG_LOSS_CLIP

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

REPLICATES = 500
"""A standard error from so many resamples is itself known to 3 %."""

FEWER_REPLICATES = 250
"""To 4.5 %, which is enough (Efron and Tibshirani, chapter 6, find 200 so) where many models are compared at once."""

LEVEL = 0.95

UNBOUNDED = frozenset({"log_loss"})
"""Measures that may exceed 1."""

COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")

METHOD = (
    "Each interval is the measured value ± a quantile times a standard error, and the p-value of a difference is the "
    "level whose interval just reaches zero. {replicates:,} bootstrap resamples draw the users of the part with "
    "replacement, the same users for every model, so that differences are paired; F1, average precision, ROC AUC and "
    "the losses are computed again from the cells of the drawn users. Where a model was run with several seeds, the "
    "variance of their mean is added as a second level, less the part of it that the sampling of users explains. The "
    "quantile is Student's t of the two levels, weighted by their variances as Cochran and Cox do, so that few seeds "
    "widen the interval. p-values are corrected by Holm for the number of models compared. Not covered: another split "
    "of the data, and the choice of a threshold or of settings on validation."
)
SOURCES = (
    "B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapters 6 and 12; S. Searle, G. Casella, "
    "C. McCulloch, Variance Components, 1992; W. Cochran, G. Cox, Experimental Designs, 1950; S. Holm, "
    "A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979."
)


@dataclass(frozen=True)
class Measured:
    """A model as it was measured on one part.

    Attributes:
        name: Unique among those that are compared.
        reports: By seed; of one part and one split.
    """

    name: str
    reports: Mapping[int, EvaluationReport]


@dataclass(frozen=True)
class Interval:
    """A measure with its confidence interval, mean over the seeds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Difference(Interval):
    """One model less another: positive where the first has more.

    Attributes:
        p_value: Two-sided, of no difference; not corrected for other comparisons.
    """

    p_value: float

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0


class Resampling:
    """Models measured on the same part, and the same resamples of its users for all of them.

    See METHOD and SOURCES for what is done and why.

    Args:
        models: Their names differ.
        replicates: How many resamples.
        seed: Of the resamples.
        level: Of the intervals.

    Raises:
        DataError: The reports are of different parts or splits.
    """

    def __init__(self, models: Sequence[Measured], *, replicates: int = REPLICATES, seed: int = 0,
                 level: float = LEVEL) -> None:
        reports = [report for model in models for report in model.reports.values()]
        measured_on = {(report.part, report.protocol.get("split_digest")) for report in reports}
        if len(measured_on) != 1:
            raise DataError("Only reports of one part of one split compare, not of "
                            + " and ".join(f"{part} of split {split}" for part, split in sorted(measured_on)) + ".")
        self.models = {model.name: model for model in models}
        self.replicates, self.level = replicates, level
        self._rng_seed = seed
        tables = [table["users"] for report in reports for table in (report.cells, report.user_counts) if table]
        self._users = np.unique(np.concatenate([report.users for report in reports] + tables))
        self._tables: dict[tuple[str, int], _Table] = {}
        self._values: dict[tuple[str, str], np.ndarray] = {}

    @cached_property
    def _weights(self) -> np.ndarray:
        """(num_users, 1 + replicates) float32: how often each user is drawn; the first column is all of them once."""
        num_users = len(self._users)
        drawn = np.random.default_rng(self._rng_seed).integers(num_users, size=(self.replicates, num_users))
        drawn += np.arange(self.replicates)[:, None] * num_users
        counts = np.bincount(drawn.ravel(), minlength=self.replicates * num_users).reshape(self.replicates, num_users)
        return np.ascontiguousarray(np.vstack([np.ones(num_users), counts]).T, dtype=np.float32)

    def measures(self, name: str) -> list[str]:
        """Those of the model's measures that can be resampled."""
        first = next(iter(self.models[name].reports.values()))
        return [measure for measure in first.metrics if _kind(measure, first) is not None]

    def interval(self, name: str, measure: str) -> Interval:
        """The measure of one model, with an interval that stays inside what the measure can be."""
        values = self.values(name, measure)
        value = float(values[:, 0].mean())
        margin = self._noise(values, [values]).margin(self.level)
        high = value + margin if measure in UNBOUNDED else min(value + margin, max(1.0, value))
        return Interval(value, max(value - margin, min(0.0, value)), high)

    def difference(self, name: str, other: str, measure: str) -> Difference:
        """The paired difference of two models: the same users, and the same seeds where both have the same several."""
        first, second = self.values(name, measure), self.values(other, measure)
        seeds = list(self.models[name].reports)
        if len(seeds) > 1 and seeds == list(self.models[other].reports):
            values = first - second
            noise = self._noise(values, [values])
        else:
            values = first.mean(axis=0, keepdims=True) - second.mean(axis=0, keepdims=True)
            noise = self._noise(values, [first, second])
        value, margin = float(values[:, 0].mean()), noise.margin(self.level)
        return Difference(value, value - margin, value + margin, noise.p_value(value))

    def _noise(self, values: np.ndarray, seeded: Sequence[np.ndarray]) -> "_Noise":
        """How far the mean of values over the seeds may be off.

        The variance over resampled users holds that each seed suits other users, so the variance between seeds counts
        without what the sampling of users adds to it.

        Args:
            values: (num_seeds, 1 + replicates) of what is estimated.
            seeded: What holds the noise of seeds, independent of each other: (num_seeds, 1 + replicates) each.
        """
        variances = [float(values.mean(axis=0)[1:].var(ddof=1))]
        degrees = [max(len(self._users) - 1, 1)]
        for part in seeded:
            if (num_seeds := len(part)) > 1:
                deviations = part[:, 1:] - part[:, 1:].mean(axis=0)
                of_sampling = float(deviations.var(axis=1, ddof=1).sum()) / (num_seeds - 1)
                variances.append(max(float(part[:, 0].var(ddof=1)) - of_sampling, 0.0) / num_seeds)
                degrees.append(num_seeds - 1)
        return _Noise(np.array(variances), np.array(degrees))

    def values(self, name: str, measure: str) -> np.ndarray:
        """(num_seeds, 1 + replicates) float64: the measure as it was found, then of each resample of the users.

        Raises:
            DataError: The measure can't be computed again from what the reports hold.
        """
        if (name, measure) not in self._values:
            rows = []
            for seed, report in self.models[name].reports.items():
                kind = _kind(measure, report)
                if kind is None:
                    raise DataError(f"The measure {measure!r} of {name} can't be resampled: its report keeps "
                                    f"{', '.join(self.measures(name)) or 'nothing'} alone.")
                table = self._tables.setdefault((name, seed), _Table(report, self._users, self._weights))
                rows.append(getattr(table, kind)(measure))
            self._values[name, measure] = np.stack(rows)
        return self._values[name, measure]


@dataclass(frozen=True)
class _Noise:
    """Independent sources of noise: the variance that each adds, (n,), and the degrees of freedom it is known by, (n,).

    The quantile that the standard error is multiplied by is the mean of Student's, weighted by the variances: the
    approximation of Cochran and Cox to the problem of Behrens and Fisher.
    """

    variances: np.ndarray
    degrees: np.ndarray

    def margin(self, level: float) -> float:
        return self._margin_of((1 - level) / 2)

    def _margin_of(self, tail: float) -> float:
        from scipy.special import stdtrit  # what scipy.stats asks too, which takes half a second to import

        total = self.variances.sum()
        return float(self.variances @ -stdtrit(self.degrees, tail) / total**0.5) if total > 0 else 0.0

    def p_value(self, difference: float) -> float:
        """Two-sided: the level whose interval just reaches zero."""
        from scipy.optimize import brentq

        smallest = 1e-12
        if self.margin(1 - smallest) <= abs(difference):
            return 1.0 if difference == 0 else smallest
        if difference == 0:
            return 1.0
        return float(brentq(lambda p: self._margin_of(p / 2) - abs(difference), smallest, 1.0))


def _kind(measure: str, report: EvaluationReport) -> str | None:
    """How a measure is computed from resampled users; None where it can't be."""
    if measure in report.per_user:
        return "ranking"
    if measure in ("average_precision", "roc_auc"):
        return None if report.cells is None else "order"
    if measure in ("mse", "log_loss"):
        return None if report.cells is None else "loss"
    name, _, at = measure.rpartition("_at_")
    if name in ("f1", "precision", "recall", "accuracy", "share_predicted_positive") and at in ("half", "threshold"):
        return None if report.cells is None and report.user_counts is None else "confusion"
    return None


class _Table:
    """One report's sums by user, and its measures under weights of the users.

    Args:
        users: (num_users,) ascending, those of the weights' rows.
        weights: (num_users, n) float32.
    """

    def __init__(self, report: EvaluationReport, users: np.ndarray, weights: np.ndarray) -> None:
        self._report, self._users, self._weights = report, users, weights
        self._of_order: dict[str, np.ndarray] | None = None

    @cached_property
    def _rows(self) -> np.ndarray:
        """(num_cells,) row of each cell's user among the weights."""
        return np.searchsorted(self._users, self._report.cells["users"])

    def _sums(self, by_cell: np.ndarray) -> np.ndarray:
        """(n,) float64 weighted sum of one value a cell."""
        by_user = np.bincount(self._rows, by_cell, minlength=len(self._users))
        return by_user @ self._weights.astype(np.float64, copy=False)

    def ranking(self, measure: str) -> np.ndarray:
        """(n,) weighted mean over the users that are ranked."""
        weights = self._weights[np.searchsorted(self._users, self._report.users)].astype(np.float64)
        return _quotient(self._report.per_user[measure].astype(np.float64) @ weights, weights.sum(axis=0))

    def loss(self, measure: str) -> np.ndarray:
        targets, probabilities = self._report.cells["targets"], self._report.cells["probabilities"].astype(np.float64)
        if measure == "mse":
            losses = (probabilities - targets) ** 2
        else:
            clipped = np.clip(probabilities, LOG_LOSS_CLIP, 1 - LOG_LOSS_CLIP)
            losses = -np.log(np.where(targets == 1, clipped, 1 - clipped))
        return self._sums(losses) / self._sums(np.ones(len(losses)))

    def confusion(self, measure: str) -> np.ndarray:
        name, _, at = measure.rpartition("_at_")
        tp, fp, fn, tn = self._counts[at]
        part, whole = {
            "f1": (2 * tp, 2 * tp + fp + fn), "precision": (tp, tp + fp), "recall": (tp, tp + fn),
            "accuracy": (tp + tn, tp + fp + fn + tn), "share_predicted_positive": (tp + fp, tp + fp + fn + tn),
        }[name]
        return _quotient(part, whole)

    @cached_property
    def _counts(self) -> dict[str, tuple[np.ndarray, ...]]:
        """`half` and `threshold` to the weighted counts of COUNTS, (n,) each."""
        report, found = self._report, {}
        for at in ("half", "threshold"):
            if report.cells is None:
                by_user = np.zeros((len(COUNTS), len(self._users)))
                place = np.searchsorted(self._users, report.user_counts["users"])
                by_user[:, place] = [report.user_counts[f"{name}_at_{at}"] for name in COUNTS]
            else:
                threshold = 0.5 if at == "half" else report.metrics["threshold"]
                predicted, positive = report.cells["probabilities"] >= threshold, report.cells["targets"] == 1
                place = np.array([[3, 1], [2, 0]])[positive.astype(int), predicted.astype(int)]  # of COUNTS
                by_user = np.bincount(place * len(self._users) + self._rows, minlength=len(COUNTS) * len(self._users))
                by_user = by_user.reshape(len(COUNTS), -1)
            found[at] = tuple(by_user @ self._weights.astype(np.float64))
        return found

    def order(self, measure: str) -> np.ndarray:
        if self._of_order is None:  # no cached_property: in Python 3.11 it lets one thread at a time compute
            self._of_order = self._orders()
        return self._of_order[measure]

    def _orders(self) -> dict[str, np.ndarray]:
        """Average precision and ROC AUC, (n,) each, by the definitions of `recsweep.metrics`.

        Both need the ranking at the positives alone: how many cells of each resample lie at or above each of them.
        """
        from scipy.sparse import csr_matrix

        cells = self._report.cells
        order = np.argsort(-cells["probabilities"])  # cells of the same probability in any order
        descending = cells["probabilities"][order]
        positive, rows = cells["targets"][order] == 1, self._rows[order]
        step = np.cumsum(np.append(False, descending[1:] != descending[:-1]))  # cells of one probability are one step
        hits = np.bincount(step[positive], minlength=step[-1] + 1) > 0  # steps with a positive
        place = np.cumsum(hits) - hits  # of a step among those: itself, else the next one
        shape = int(hits.sum()), len(self._users)
        kept = place[step] < shape[0]  # below the last positive nothing counts but how much there is

        def matrix(chosen: np.ndarray) -> "csr_matrix":
            ends = np.bincount(place[step[chosen]], minlength=shape[0]).cumsum()
            ones = np.ones(ends[-1] if len(ends) else 0, dtype=np.float32)
            return csr_matrix((ones, rows[chosen].astype(np.int32), np.append(0, ends)), shape)

        segments, positives = matrix(kept), matrix(positive)
        tied = matrix(hits[step] & ~positive)  # negatives of the same probability as a positive
        found = {name: np.empty(self._weights.shape[1]) for name in ("average_precision", "roc_auc")}
        everything = self._sums(np.ones(len(rows)))
        for start in range(0, self._weights.shape[1], _REPLICATES_AT_ONCE):
            block = slice(start, start + _REPLICATES_AT_ONCE)
            weights = np.ascontiguousarray(self._weights[:, block])
            above, here = segments @ weights, positives @ weights  # (num_steps, block), exact: whole numbers < 2^24
            above, true = _cumulated(above), _cumulated(here.copy())
            num_positives = true[-1].astype(np.float64)
            num_negatives = everything[block] - num_positives
            precision = true / np.maximum(above, 1)  # nothing above is 0 of 0, which counts as 0
            found["average_precision"][block] = np.einsum("ij,ij->j", here, precision, dtype=np.float64)
            found["average_precision"][block] /= np.maximum(num_positives, 1)
            above -= true  # negatives at or above each step
            if tied.nnz:
                above -= (tied @ weights) / 2
            below = num_negatives - np.einsum("ij,ij->j", here, above, dtype=np.float64) / np.maximum(num_positives, 1)
            found["roc_auc"][block] = _quotient(below, num_negatives)
        return found


_REPLICATES_AT_ONCE = 64  # the sums of a block then stay in a core's cache


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
    return np.divide(part, whole, out=np.zeros_like(part, dtype=np.float64), where=whole > 0)


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Holm's step-down adjusted p-values, (n,) in the order given, each at most 1."""
    p_values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p_values, kind="stable")
    adjusted = np.maximum.accumulate(p_values[order] * np.arange(len(p_values), 0, -1))
    result = np.empty_like(p_values)
    result[order] = np.minimum(adjusted, 1)
    return result
