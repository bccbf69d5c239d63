"""k nearest neighbours, of users or of items, on sparse matrix products."""

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.checks import check_choice, check_flag, check_integer
from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.calibration import (
    Calibration,
    calibrate,
    cell_probabilities,
    saved_calibration,
)
from recsweep.models.neighbors import NeighborIndex, Similarity
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model, sparse_arrays, sparse_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class KNN(Recommender):
    """How similar the nearest neighbours are that are positive.

    By user: score(u, i) = sum_v s(u, v) r(v, i), over the `num_neighbors` users v most like u.
    By item: score(u, i) = sum_j s(i, j) r(u, j), over the `num_neighbors` items j most like i.
    r is 1 for a training positive and 0 for every other cell, known or not; s is the
    similarity of two rows (columns) of r, and its ties go to the lower index.

    `normalize` divides by the sum of s over the neighbours, which makes the score the share of them
    that are positive, weighted by s: the formula for ratings (Sarwar et al., "Item-based
    collaborative filtering", WWW 2001). Of likes the plain sum by item ranks far better, as one
    neighbour can't make an item the first that has no other (Deshpande and Karypis, "Item-based
    top-N recommendation algorithms", ACM TOIS 22, 2004).

    Held-out cells are zeros of r like any other, so that a score is no probability of a known cell:
    two numbers make it one, see `recsweep.models.calibration`. A user without a training positive
    is given each item's share of positives; an item without has score 0 for every other user.

    Args:
        by: `user` or `item`.
        num_neighbors: Number of neighbours that count at most; only those with s > 0 do.
        similarity: `cosine`, `dice` or `jaccard`; `recsweep.models.neighbors.Similarity` defines it
            and the next two.
        weighting: `none`, `tfidf` or `bm25`, of the entries of r in s.
        shrink: Lowers s of rows that share little, 0 or more.
        normalize: Whether the sum is divided. This default and those above are what a configuration
            or a saved model means that is older than these settings; those of conf/model stand
            there.
    """

    kind = "knn"
    role: Role = "baseline"
    calibration: Calibration | None = None

    def __init__(
        self,
        *,
        by: str,
        num_neighbors: int,
        similarity: str = "cosine",
        weighting: str = "none",
        shrink: float = 0.0,
        normalize: bool = True,
    ) -> None:
        check_choice("model.by", by, ("user", "item"))
        check_integer("model.num_neighbors", num_neighbors, minimum=1)
        check_flag("model.normalize", normalize)
        self.by = by
        self.num_neighbors = num_neighbors
        self.similarity = Similarity(kind=similarity, weighting=weighting, shrink=shrink)
        self.normalize = normalize
        self._positives: csr_matrix | None = None  # (num_users, num_items)
        # by user (num_users, num_users), by item (num_items, num_items)
        self._weights: csr_matrix | None = None
        self._item_rates: np.ndarray | None = None

    @property
    def label(self) -> str:
        kind, weighting = self.similarity.kind, self.similarity.weighting
        words = ["knn", self.by, str(self.num_neighbors)]
        words += [kind] * (kind != "cosine") + [weighting] * (weighting != "none")
        if self.similarity.shrink > 0:
            words.append(f"shrink={self.similarity.shrink:g}")
        if self.normalize != (self.by == "user"):  # unlike the options of conf/model
            words.append("normalized" if self.normalize else "summed")
        return " ".join(words)

    @property
    def num_parameters(self) -> int:
        positives, weights, _ = self._fitted()
        return weights.nnz + positives.nnz

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        start = perf_counter()
        self._positives, self._item_rates = train.positives, positive_rates(train, axis=1)
        rows = train.positives if self.by == "user" else train.positives.T.tocsr()
        index = NeighborIndex(rows, similarity=self.similarity)
        self._weights = index.nearest(rows, self.num_neighbors, same=True, normalize=self.normalize)
        self.calibration = calibrate(self, train, options)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        positives, _, _ = self._fitted()
        return cell_probabilities(self, self.calibration, positives, users, items)

    def score(self, users: np.ndarray) -> np.ndarray:
        positives, weights, _ = self._fitted()
        return self._score(positives[users], weights[users] if self.by == "user" else weights)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        positives, weights, _ = self._fitted()
        if self.by == "user":
            index = NeighborIndex(positives, similarity=self.similarity)
            weights = index.nearest(histories, self.num_neighbors, normalize=self.normalize)
        return self._score(histories, weights)

    def _score(self, histories: "csr_matrix", weights: "csr_matrix") -> np.ndarray:
        """(batch, num_items), by the weights of each user's neighbours, (batch, num_users), or of
        each item's.
        """
        positives, _, item_rates = self._fitted()
        product = weights @ positives if self.by == "user" else histories @ weights.T
        scores = product.toarray()  # (batch, num_items)
        scores[np.diff(histories.indptr) == 0] = item_rates
        return scores

    def save(self, folder: Path) -> None:
        positives, weights, item_rates = self._fitted()
        settings: dict[str, Any] = {
            "by": self.by,
            "num_neighbors": self.num_neighbors,
            "similarity": self.similarity.kind,
            "weighting": self.similarity.weighting,
            "shrink": self.similarity.shrink,
            "normalize": self.normalize,
            "shape": list(positives.shape),
            "calibration": self.calibration and asdict(self.calibration),
        }
        arrays = sparse_arrays("positives", positives) | sparse_arrays("weights", weights)
        save_model(folder, type(self), settings, {"item_rates": item_rates} | arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "KNN":
        not_own = ("shape", "calibration")
        model = cls(**{name: value for name, value in settings.items() if name not in not_own})
        model.calibration = saved_calibration(settings)
        num_users, num_items = settings["shape"]
        size = num_users if model.by == "user" else num_items
        model._positives = sparse_matrix("positives", arrays, (num_users, num_items))
        model._weights = sparse_matrix("weights", arrays, (size, size))
        model._item_rates = arrays["item_rates"]
        return model

    def _fitted(self) -> "tuple[csr_matrix, csr_matrix, np.ndarray]":
        """Positives, weights and item rates."""
        if self._positives is None or self._weights is None or self._item_rates is None:
            raise NotFittedError(
                "This kNN model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._positives, self._weights, self._item_rates
