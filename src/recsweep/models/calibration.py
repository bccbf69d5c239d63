"""Scores made probabilities by two numbers: p = sigmoid(slope * score + intercept).

A sum of similarities is no probability, and a model that takes held-out cells for zeros, as EASE
and kNN do, estimates the probability of a cell that is known far too low. Neither is wrong about
the order of a user's items, which a slope above 0 keeps (J. Platt, "Probabilistic outputs for
support vector machines", 1999).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.data.interactions import Part
from recsweep.models.base import FitOptions, Recommender, cell_scores

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from torch import Tensor

MAX_POSITIVES = 100_000
"""A part with more positives is sampled: a random share of it that holds about so many."""

SMALLEST_SLOPE = 1e-3
"""Log-odds for a standard deviation of the scores. Scores that say nothing, or order the cells the
wrong way round, get it: all probabilities are then about the share of positives, yet in their
order."""

NEWTON_STEPS = 100
"""Bound of the steps; about ten are needed."""

Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Users, items, targets and weights of cells, (n,) each."""


@dataclass(frozen=True)
class Calibration:
    """How a score becomes the probability of a positive.

    Attributes:
        slope: Factor of the score, above 0.
        intercept: Log-odds at the score 0.
        fitted_on: Part of the cells: `validation`; or `train`, where there was no validation. The
            model has seen those cells, so that its scores say more of them than of others, and the
            slope is too large.
        num_cells: Number of cells that the two numbers were fitted on.
    """

    slope: float
    intercept: float
    fitted_on: str
    num_cells: int

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Probabilities of scores of any shape, float32 in [0, 1]."""
        from scipy.special import expit

        return expit(self.slope * scores.astype(np.float64) + self.intercept).astype(np.float32)

    def log_loss(self, scores: "Tensor", targets: "Tensor") -> "Tensor":
        """The mean log loss of the probabilities of scores (n,) against 0 or 1, with gradients."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(self.slope * scores + self.intercept, targets)

    def __str__(self) -> str:
        seen = " that the model has seen" if self.fitted_on == "train" else ""
        sign = "-" if self.intercept < 0 else "+"
        return (
            f"probabilities calibrated on {self.num_cells:,} {self.fitted_on} cells{seen}: "
            f"sigmoid({self.slope:.4g} s {sign} {abs(self.intercept):.4g})"
        )


def calibrate(model: Recommender, train: Part, options: FitOptions) -> Calibration | None:
    """The calibration of a model whose `score` is fitted, on validation cells, else on training's.

    Only cells of users and items with a training positive count, as the model knows nothing of
    others. Where the part lists positives only, as many cells are drawn uniformly from those that
    are positive neither there nor in training, and weighted to stand for all of them.

    Args:
        options: Options whose `validation` has the cells, and whose `seed` draws.

    Returns:
        None where nothing is positive in training.
    """
    if not train.num_positives:
        return None
    fitted_on, cells = "train", None
    if options.validation is not None:
        cells = _known_cells(options.validation, train, options.seed)
    if cells is not None and 0 < cells[2].sum() < len(cells[2]):
        fitted_on = "validation"
    else:
        cells = _known_cells(train, train, options.seed)
    users, items, targets, weights = cells
    slope, intercept = fit_sigmoid(cell_scores(model, users, items), targets, weights)
    return Calibration(slope, intercept, fitted_on, len(targets))


def cell_probabilities(
    model: Recommender,
    calibration: Calibration | None,
    histories: "csr_matrix",
    users: np.ndarray,
    items: np.ndarray,
) -> np.ndarray:
    """The `predict` of a model that scores users by their training positives.

    Args:
        calibration: The model's calibration; None clips the scores to [0, 1], as models did that
            were saved without one.
        histories: (num_users, num_items) training positives. The scores of a user who has none are
            each item's share of positives, which is a probability already.
    """
    scores = cell_scores(model, users, items)
    probabilities = np.clip(scores, 0, 1)
    if calibration is not None:
        scored = np.diff(histories.indptr)[users] > 0
        probabilities[scored] = calibration.probabilities(scores[scored])
    return probabilities


def saved_calibration(settings: dict[str, Any]) -> Calibration | None:
    """What a saved model's settings hold as `calibration`; None where they lack it."""
    saved = settings.get("calibration")
    return None if saved is None else Calibration(**saved)


def fit_sigmoid(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray
) -> tuple[float, float]:
    """Slope, at least SMALLEST_SLOPE, and intercept that minimise the weighted log loss.

    The targets are drawn in a little, to (n_1 + 1) / (n_1 + 2) and 1 / (n_0 + 2) (Platt, 1999), so
    that the minimum is finite also where the scores separate positives and zeros (Lin, Lin and
    Weng, "A note on Platt's probabilistic outputs for support vector machines", 2007).

    Args:
        scores: (n,) finite, at least one.
        targets: (n,) of 0 and 1; one of the two may be missing.
        weights: (n,) how many cells each stands for.
    """
    scores = scores.astype(np.float64)
    mean, spread = scores.mean(), scores.std()
    if spread <= 1e-6 * abs(mean):  # one score for all, but for rounding
        spread = 1.0
    ones, zeros = weights @ (targets == 1), weights @ (targets == 0)
    smooth = np.where(targets == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))  # (n,)
    start = np.array([0.0, np.log((ones + 1) / (zeros + 1))])
    slope, intercept = _minimum((scores - mean) / spread, smooth, weights, start)
    if slope < SMALLEST_SLOPE:
        rate = weights @ smooth / weights.sum()
        slope, intercept = SMALLEST_SLOPE, np.log(rate / (1 - rate))
    return float(slope / spread), float(intercept - slope * mean / spread)


def _minimum(
    scores: np.ndarray, targets: np.ndarray, weights: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Slope and intercept (2,) of the least weighted log loss by Newton's method.

    A step that does not lower the loss enough is halved. The last one promises less than rounding
    hides.
    """
    from scipy.special import expit

    X = np.column_stack([scores, np.ones(len(scores))])  # (n, 2)

    def loss(theta: np.ndarray) -> float:
        z = X @ theta
        return weights @ (np.logaddexp(0, z) - targets * z)

    theta = start
    for _ in range(NEWTON_STEPS):
        p = expit(X @ theta)
        gradient = X.T @ (weights * (p - targets))
        hessian = (X * (weights * p * (1 - p))[:, None]).T @ X + 1e-12 * np.eye(2)
        step, length, before = np.linalg.solve(hessian, gradient), 1.0, loss(theta)
        decrease = gradient @ step
        if decrease <= 1e-14 * before:
            return theta - step
        while length > 1e-10 and loss(theta - length * step) > before - 1e-4 * length * decrease:
            length /= 2
        theta = theta - length * step
    return theta


def _known_cells(part: Part, train: Part, seed: int) -> Cells:
    """Cells of the part whose user and item have a training positive, with zeros if it has none."""
    rng = np.random.default_rng([seed, 4])
    positives = train.positives
    known_users, known_items = np.diff(positives.indptr) > 0, np.diff(positives.tocsc().indptr) > 0
    chosen = known_users[part.users] & known_items[part.items]
    users, items, targets = part.users[chosen], part.items[chosen], part.targets[chosen]
    if (num_positives := int(targets.sum(dtype=np.int64))) > MAX_POSITIVES:
        chosen = rng.random(len(targets)) < MAX_POSITIVES / num_positives
        users, items, targets = users[chosen], items[chosen], targets[chosen]
    if part.enumerates_cells or not len(users):
        return users, items, targets, np.ones(len(users))
    taken = (part.positives + positives)[known_users][:, known_items]
    rows, columns, free = _draw_others(taken, len(users), rng)
    zero_users, zero_items = np.flatnonzero(known_users)[rows], np.flatnonzero(known_items)[columns]
    counts = [len(users), len(rows)]
    targets = np.repeat(np.array([1, 0], dtype=np.uint8), counts)
    weights = np.repeat([num_positives / len(users), free / max(len(rows), 1)], counts)
    users, items = np.concatenate([users, zero_users]), np.concatenate([items, zero_items])
    return users, items, targets, weights


def _draw_others(
    taken: "csr_matrix", number: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, int]:
    """At most `number` different cells that a matrix does not store, uniformly.

    Returns:
        rows, columns: (n,) each.
        free: The number of such cells.
    """
    height, width = taken.shape
    rows, columns = taken.nonzero()
    stored = np.sort(rows.astype(np.int64) * width + columns)
    free = height * width - len(stored)
    ranks = rng.choice(max(free, 1), min(number, free), replace=False, shuffle=False)
    # stored_j - j free cells stand before stored_j: that of rank r comes after those with r or less
    places = ranks + np.searchsorted(stored - np.arange(len(stored)), ranks, side="right")
    return places // width, places % width, free
