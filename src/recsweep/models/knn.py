"""k nearest neighbours by cosine similarity, of users or of items, on sparse matrix products."""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recsweep.checks import check_choice, check_integer
from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, clipped_scores, fit_at_once
from recsweep.models.neighbors import NeighborIndex
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model, sparse_arrays, sparse_matrix


class KNN:
    """The similarity-weighted share of the nearest neighbours that are positive.

    By user: p(u, i) = sum_v s(u, v) r(v, i) / sum_v s(u, v), over the `num_neighbors` users v most similar to u.
    By item: p(u, i) = sum_j s(i, j) r(u, j) / sum_j s(i, j), over the `num_neighbors` items j most similar to i.
    r is 1 for a training positive and 0 for every other cell, known or not; s is the cosine of two rows (columns) of r.
    Ties of s go to the lower index. (Sarwar et al., "Item-based collaborative filtering", WWW 2001.)

    A user without a training positive is given each item's share of positives; an item without has score 0 for
    every other user.

    Args:
        by: `user` or `item`.
        num_neighbors: How many neighbours count at most; only those with s > 0 do.
    """

    def __init__(self, *, by: str, num_neighbors: int) -> None:
        check_choice("model.by", by, ("user", "item"))
        check_integer("model.num_neighbors", num_neighbors, minimum=1)
        self.by = by
        self.num_neighbors = num_neighbors
        self._positives = None  # (num_users, num_items) csr
        self._weights = None  # by user (num_users, num_users), by item (num_items, num_items) csr; rows sum to 1 or 0
        self._item_rates: np.ndarray | None = None

    @property
    def label(self) -> str:
        return f"knn {self.by} {self.num_neighbors}"

    @property
    def num_parameters(self) -> int:
        self._check_fitted()
        return self._weights.nnz + self._positives.nnz

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        start = perf_counter()
        self._positives = train.positives
        self._item_rates = positive_rates(train, axis=1)
        rows = self._positives if self.by == "user" else self._positives.T.tocsr()
        self._weights = NeighborIndex(rows).nearest(rows, self.num_neighbors, same=True)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return clipped_scores(self, users, items)

    def score(self, users: np.ndarray) -> np.ndarray:
        self._check_fitted()
        histories = self._positives[users]
        return self._score(histories, self._weights[users] if self.by == "user" else None)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:  # noqa: F821
        self._check_fitted()
        weights = None
        if self.by == "user":
            weights = NeighborIndex(self._positives).nearest(histories, self.num_neighbors)
        return self._score(histories, weights)

    def _score(self, histories: "csr_matrix", weights: "csr_matrix | None") -> np.ndarray:  # noqa: F821
        product = weights @ self._positives if self.by == "user" else histories @ self._weights.T
        scores = product.toarray()  # (batch, num_items)
        scores[np.diff(histories.indptr) == 0] = self._item_rates
        return scores

    def save(self, folder: Path) -> None:
        self._check_fitted()
        settings = {"by": self.by, "num_neighbors": self.num_neighbors, "shape": list(self._positives.shape)}
        arrays = sparse_arrays("positives", self._positives) | sparse_arrays("weights", self._weights)
        save_model(folder, type(self), settings, {"item_rates": self._item_rates} | arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "KNN":
        model = cls(by=settings["by"], num_neighbors=settings["num_neighbors"])
        num_users, num_items = settings["shape"]
        size = num_users if model.by == "user" else num_items
        model._positives = sparse_matrix("positives", arrays, (num_users, num_items))
        model._weights = sparse_matrix("weights", arrays, (size, size))
        model._item_rates = arrays["item_rates"]
        return model

    def _check_fitted(self) -> None:
        if self._weights is None:
            raise NotFittedError("This kNN model has learnt nothing yet: call fit, or load a saved one.")
