"""Scores made probabilities by two numbers: p = sigmoid(slope * score + intercept).

A sum of similarities is no probability, and a model that takes held-out cells for zeros, as EASE and kNN do, estimates
the probability of a cell that is known far too low. Both are right about the order of a user's items, which a slope
above 0 keeps (J. Platt, "Probabilistic outputs for support vector machines", 1999).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.data.interactions import Part
from recsweep.models.base import FitOptions, Recommender, cell_scores

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_POSITIVES = 100_000
"""Of a larger part a random share of the cells that holds about so many positives is taken."""

SMALLEST_SLOPE = 1e-3
"""For a standard deviation of the scores. Scores that say nothing, or order the cells the wrong way round, get it: all
probabilities are then about the share of positives, and still in the order of the scores."""

NEWTON_STEPS = 100
"""Bound of the steps; about ten are needed."""

Cells = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""users, items, targets and weights of cells, (n,) each."""


@dataclass(frozen=True)
class Calibration:
    """How a score becomes the probability of a positive.

    Attributes:
        slope: Above 0.
        intercept: In log-odds.
        fitted_on: `validation`; or `train`, where there was no validation. The model has seen those cells, so that its
            scores of them say more than of others.
        num_cells: How many cells the two numbers were fitted on.
    """

    slope: float
    intercept: float
    fitted_on: str
    num_cells: int

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """Of scores of any shape, float32 in [0, 1]."""
        from scipy.special import expit

        return expit(self.slope * scores.astype(np.float64) + self.intercept).astype(np.float32)

    def __str__(self) -> str:
        seen = " that the model has seen" if self.fitted_on == "train" else ""
        sign = "-" if self.intercept < 0 else "+"
        return (f"probabilities calibrated on {self.num_cells:,} {self.fitted_on} cells{seen}: "
                f"sigmoid({self.slope:.4g} s {sign} {abs(self.intercept):.4g})")


def calibrate(model: Recommender, train: Part, options: FitOptions) -> Calibration:
    """The calibration of a model whose `score` is fitted: on validation cells, else on those of training.

    Counted are cells of users and items with a training positive. Where the part lists positives only, as many other
    cells are drawn uniformly from those that are positive neither there nor in training, and weighted to stand for all.

    Args:
        options: Its `validation` has the cells, and its `seed` draws.
    """
    for fitted_on, part in (("validation", options.validation), ("train", train)):
        if part is not None:
            cells = _known_cells(part, train, np.random.default_rng([options.seed, 4]))
            users, items, targets, weights = cells
            if 0 < targets.sum() < len(targets):
                break
    slope, intercept = fit_sigmoid(cell_scores(model, users, items), targets, weights)
    return Calibration(slope, intercept, fitted_on, len(targets))


def cell_probabilities(model: Recommender, calibration: Calibration | None, histories: "csr_matrix",
                       users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """The `predict` of a model that scores users by their training positives.

    Args:
        calibration: None clips the scores to [0, 1], as models did that were saved without one.
        histories: (num_users, num_items) training positives. The scores of a user without are each item's share of
            positives, a probability already.
    """
    scores = cell_scores(model, users, items)
    probabilities = np.clip(scores, 0, 1)
    if calibration is not None:
        scored = np.diff(histories.indptr)[users] > 0
        probabilities[scored] = calibration.probabilities(scores[scored])
    return probabilities


def saved_calibration(settings: dict[str, Any]) -> Calibration | None:
    """What a saved model's settings hold as `calibration`; None for a model that was saved without."""
    found = settings.get("calibration")
    return found and Calibration(**found)


def fit_sigmoid(scores: np.ndarray, targets: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Slope and intercept that minimise the weighted log loss, by Newton's method; the slope at least SMALLEST_SLOPE.

    The targets are drawn in a little, to (n_1 + 1) / (n_1 + 2) and 1 / (n_0 + 2) (Platt, 1999), so that the minimum is
    finite also where the scores separate positives and zeros. A step that does not lower the loss enough is halved (Lin,
    Lin and Weng, "A note on Platt's probabilistic outputs for support vector machines", 2007).

    Args:
        scores: (n,) finite, at least one.
        targets: (n,) of 0 and 1; one of the two may be missing.
        weights: (n,) how many cells each stands for.
    """
    from scipy.special import expit

    scores = scores.astype(np.float64)
    mean, spread = scores.mean(), scores.std()
    if spread <= 1e-6 * abs(mean):  # one score for all, but for rounding
        spread = 1.0
    X = np.column_stack([(scores - mean) / spread, np.ones(len(scores))])  # (n, 2)
    ones, zeros = weights @ (targets == 1), weights @ (targets == 0)
    smooth = np.where(targets == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))  # (n,)
    theta = np.array([0.0, np.log((ones + 1) / (zeros + 1))])

    def loss(theta: np.ndarray) -> float:
        z = X @ theta
        return weights @ (np.logaddexp(0, z) - smooth * z)

    for _ in range(NEWTON_STEPS):
        p = expit(X @ theta)
        gradient = X.T @ (weights * (p - smooth))
        if np.abs(gradient).max() <= 1e-10 * weights.sum():
            break
        hessian = (X * (weights * p * (1 - p))[:, None]).T @ X + 1e-12 * np.eye(2)
        step, length, before = np.linalg.solve(hessian, gradient), 1.0, loss(theta)
        while length > 1e-10 and loss(theta - length * step) > before - 1e-4 * length * (gradient @ step):
            length /= 2
        theta = theta - length * step
    slope, intercept = theta
    if slope < SMALLEST_SLOPE:
        rate = weights @ smooth / weights.sum()
        slope, intercept = SMALLEST_SLOPE, np.log(rate / (1 - rate))
    return float(slope / spread), float(intercept - slope * mean / spread)


def _known_cells(part: Part, train: Part, rng: np.random.Generator) -> Cells:
    """The part's cells of users and items with a training positive; of a part of positives only, with drawn zeros."""
    known_users, known_items = (np.diff(matrix.indptr) > 0 for matrix in (train.positives, train.positives.tocsc()))
    chosen = known_users[part.users] & known_items[part.items]
    users, items, targets = part.users[chosen], part.items[chosen], part.targets[chosen]
    if (positives := int(targets.sum(dtype=np.int64))) > MAX_POSITIVES:
        chosen = rng.random(len(targets)) < MAX_POSITIVES / positives
        users, items, targets = users[chosen], items[chosen], targets[chosen]
    if part.enumerates_cells or not len(users):
        return users, items, targets, np.ones(len(users))
    zero_users, zero_items, free = _draw_zeros(part, train, known_users, known_items, len(users), rng)
    weights = np.full(len(users) + len(zero_users), positives / len(users))
    weights[len(users):] = free / max(len(zero_users), 1)
    targets = np.arange(len(weights)) < len(users)
    return (np.concatenate([users, zero_users]), np.concatenate([items, zero_items]), targets.astype(np.uint8), weights)


def _draw_zeros(part: Part, train: Part, known_users: np.ndarray, known_items: np.ndarray, number: int,
                rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
    """At most `number` different cells of known users and items that are positive neither in the part nor in training.

    Returns:
        users, items: (n,) each.
        free: How many such cells there are.
    """
    rows, columns = np.flatnonzero(known_users), np.flatnonzero(known_items)
    taken = (part.positives + train.positives)[rows][:, columns].tocoo()
    taken = np.sort(taken.row.astype(np.int64) * len(columns) + taken.col)
    free = len(rows) * len(columns) - len(taken)
    ranks = rng.choice(free, min(number, free), replace=False, shuffle=False) if free else np.empty(0, np.int64)
    # as many free cells as taken_j - j stand before taken_j: the free cell of rank r has passed those with no more
    places = ranks + np.searchsorted(taken - np.arange(len(taken)), ranks, side="right")
    return rows[places // len(columns)], columns[places % len(columns)], free
