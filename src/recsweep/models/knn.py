"""k nearest neighbours by cosine similarity, of users or of items, on sparse matrix products."""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recsweep.checks import check_choice, check_integer
from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, fit_at_once
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model

ROWS_AT_ONCE = 1024
"""Rows of a similarity matrix, or users to score, held in memory at once."""


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
        rows = _unit_rows(self._positives if self.by == "user" else self._positives.T.tocsr())
        self._weights = _nearest(rows, rows, self.num_neighbors, same=True)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        self._check_fitted()
        probabilities = np.empty(len(users), dtype=np.float32)
        asked, places = np.unique(users, return_inverse=True)
        for start in range(0, len(asked), ROWS_AT_ONCE):
            scores = self.score(asked[start : start + ROWS_AT_ONCE])
            chosen = (places >= start) & (places < start + ROWS_AT_ONCE)
            probabilities[chosen] = scores[places[chosen] - start, items[chosen]]
        return np.clip(probabilities, 0, 1)  # a weighted share may pass 1 by a rounding error

    def score(self, users: np.ndarray) -> np.ndarray:
        self._check_fitted()
        histories = self._positives[users]
        return self._score(histories, self._weights[users] if self.by == "user" else None)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:  # noqa: F821
        self._check_fitted()
        weights = None
        if self.by == "user":
            weights = _nearest(_unit_rows(histories), _unit_rows(self._positives), self.num_neighbors, same=False)
        return self._score(histories, weights)

    def _score(self, histories: "csr_matrix", weights: "csr_matrix | None") -> np.ndarray:  # noqa: F821
        product = weights @ self._positives if self.by == "user" else histories @ self._weights.T
        scores = product.toarray()  # (batch, num_items)
        scores[np.diff(histories.indptr) == 0] = self._item_rates
        return scores

    def save(self, folder: Path) -> None:
        self._check_fitted()
        settings = {"by": self.by, "num_neighbors": self.num_neighbors, "shape": list(self._positives.shape)}
        arrays = {"item_rates": self._item_rates}
        for name, matrix in (("positives", self._positives), ("weights", self._weights)):
            arrays |= {f"{name}_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}
        save_model(folder, type(self), settings, arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "KNN":
        from scipy.sparse import csr_matrix

        def matrix(name: str, shape: tuple[int, int]) -> csr_matrix:
            restored = csr_matrix(tuple(arrays[f"{name}_{part}"] for part in ("data", "indices", "indptr")), shape)
            restored.check_format(full_check=True)
            return restored

        model = cls(by=settings["by"], num_neighbors=settings["num_neighbors"])
        num_users, num_items = settings["shape"]
        size = num_users if model.by == "user" else num_items
        model._positives = matrix("positives", (num_users, num_items))
        model._weights = matrix("weights", (size, size))
        model._item_rates = arrays["item_rates"]
        return model

    def _check_fitted(self) -> None:
        if self._weights is None:
            raise NotFittedError("This kNN model has learnt nothing yet: call fit, or load a saved one.")


def _unit_rows(matrix: "csr_matrix") -> "csr_matrix":  # noqa: F821
    """The matrix with every row that is not empty scaled to length 1."""
    from scipy.sparse import diags

    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (diags(1 / np.where(lengths > 0, lengths, 1)) @ matrix).tocsr().astype(np.float32)


def _nearest(rows: "csr_matrix", others: "csr_matrix", num_neighbors: int, *, same: bool) -> "csr_matrix":  # noqa: F821
    """Weights of the nearest `others` of each row, (len(rows), len(others)), each row summing to 1 (or empty).

    Args:
        same: Both are the same set, so that a row is not its own neighbour.
    """
    from scipy.sparse import csr_matrix, vstack

    transposed = others.T.tocsr()
    blocks = []
    for start in range(0, rows.shape[0], ROWS_AT_ONCE):
        similarities = (rows[start : start + ROWS_AT_ONCE] @ transposed).tocsr()
        similarities.sort_indices()
        data, indices, indptr = [], [], [0]
        for row in range(similarities.shape[0]):
            chosen = slice(similarities.indptr[row], similarities.indptr[row + 1])
            near, values = similarities.indices[chosen], similarities.data[chosen]
            if same:
                near, values = near[near != start + row], values[near != start + row]
            best = np.argsort(-values, kind="stable")[:num_neighbors]
            total = values[best].sum(dtype=np.float64)
            data.append((values[best] / total if len(best) else values[best]).astype(np.float32))
            indices.append(near[best])
            indptr.append(indptr[-1] + len(best))
        shape = (similarities.shape[0], others.shape[0])
        blocks.append(csr_matrix((np.concatenate(data), np.concatenate(indices), indptr), shape))
    return vstack(blocks, format="csr")
