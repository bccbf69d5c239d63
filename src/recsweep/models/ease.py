"""EASE: each item explained by all others, in closed form. The strongest linear baseline for
implicit feedback."""

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.checks import check_number
from recsweep.data.interactions import Part
from recsweep.errors import DataError, NotFittedError
from recsweep.memory import check_memory
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.calibration import (
    Calibration,
    calibrate,
    cell_probabilities,
    saved_calibration,
)
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model, sparse_arrays, sparse_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

MAX_ITEMS = 20_000
"""Larger catalogues are refused: the items' matrix takes 8 bytes a pair while it is inverted, 3.2
GB here."""


class EASE(Recommender):
    """Embarrassingly shallow autoencoders (H. Steck, WWW 2019, equations 4 to 8).

    The scores are X B, where X is the 0/1 matrix of training positives and B minimises ||X - X
    B||^2 + l2 ||B||^2 with a zero diagonal, so that no item explains itself:

        P = (X^T X + l2 I)^-1,  B_ij = -P_ij / P_jj  for i != j.

    Held-out cells are zeros of X like any other, so that a score is no probability of a known cell:
    two numbers make it one, see `recsweep.models.calibration`. A user without a training positive
    is given each item's share of positives; an item without has score 0 for every other user.

    Args:
        l2: Weight of ||B||^2, above 0.
    """

    kind = "ease"
    role: Role = "baseline"
    calibration: Calibration | None = None

    def __init__(self, *, l2: float) -> None:
        check_number("model.l2", l2, above=0)
        self.l2 = l2
        self._positives: csr_matrix | None = None  # (num_users, num_items)
        self._weights: np.ndarray | None = None  # (num_items, num_items) B
        self._item_rates: np.ndarray | None = None

    @property
    def label(self) -> str:
        return f"ease {self.l2:g}"

    @property
    def num_parameters(self) -> int:
        _, weights, _ = self._fitted()
        return weights.size - len(weights)

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        """Raises DataError where the catalogue is larger than MAX_ITEMS."""
        if train.num_items > MAX_ITEMS:
            raise DataError(
                f"model=ease holds a number for each pair of items and takes at most {MAX_ITEMS:,} "
                f"of them, not {train.num_items:,}. Set data.num_items to fewer, or take "
                "model=item_knn."
            )
        check_memory(
            24 * train.num_items**2,  # the matrix, its inverse and the weights
            f"The item-to-item matrix of model=ease ({train.num_items:,} items)",
            "Set data.num_items to fewer, or take model=item_knn.",
        )
        from scipy.linalg import inv

        start = perf_counter()
        X = train.positives
        self._positives, self._item_rates = X, positive_rates(train, axis=1)
        gram = (X.T @ X).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.l2
        P = inv(gram, overwrite_a=True, check_finite=False)
        B = P / -np.diag(P)  # column j by its own P_jj
        np.fill_diagonal(B, 0)
        self._weights = B.astype(np.float32)
        self.calibration = calibrate(self, train, options)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        positives, _, _ = self._fitted()
        return cell_probabilities(self, self.calibration, positives, users, items)

    def score(self, users: np.ndarray) -> np.ndarray:
        positives, _, _ = self._fitted()
        return self.score_histories(positives[users])

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        _, weights, item_rates = self._fitted()
        scores = histories @ weights  # (batch, num_items)
        scores[np.diff(histories.indptr) == 0] = item_rates
        return scores

    def save(self, folder: Path) -> None:
        positives, weights, item_rates = self._fitted()
        arrays = {"weights": weights, "item_rates": item_rates}
        settings = {
            "l2": self.l2,
            "shape": list(positives.shape),
            "calibration": self.calibration and asdict(self.calibration),
        }
        save_model(folder, type(self), settings, arrays | sparse_arrays("positives", positives))

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "EASE":
        model = cls(l2=settings["l2"])
        model._positives = sparse_matrix("positives", arrays, tuple(settings["shape"]))
        model._weights, model._item_rates = arrays["weights"], arrays["item_rates"]
        model.calibration = saved_calibration(settings)
        return model

    def _fitted(self) -> "tuple[csr_matrix, np.ndarray, np.ndarray]":
        """Positives, weights and item rates."""
        if self._positives is None or self._weights is None or self._item_rates is None:
            raise NotFittedError(
                "This EASE model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._positives, self._weights, self._item_rates
