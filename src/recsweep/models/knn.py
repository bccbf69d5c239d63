"""k nearest neighbours, of users or of items, on sparse matrix products."""

from typing import TYPE_CHECKING

import numpy as np

from recsweep.checks import check_choice, check_flag, check_integer
from recsweep.data.interactions import Part
from recsweep.models.linear import LinearModel
from recsweep.models.neighbors import NeighborIndex, Similarity

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class KNN(LinearModel):
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

    Args:
        by: `user` or `item`.
        num_neighbors: Number of neighbours that count at most; only those with s > 0 do.
        similarity: `cosine`, `dice` or `jaccard` of two rows of r, as `Similarity` defines it and
            the next two.
        weighting: `none`, `tfidf` or `bm25`, of the entries of r in s.
        shrink: Lowers s of rows that share little, 0 or more.
        normalize: Whether the sum is divided. This default and those above are what a configuration
            or a saved model means that is older than these settings; those of conf/model stand
            there.
    """

    kind = "knn"
    saved = ("by", "num_neighbors", "similarity", "weighting", "shrink", "normalize")

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
        self.similarity = similarity
        self.weighting = weighting
        self.shrink = shrink
        self.normalize = normalize
        self._alike = Similarity(kind=similarity, weighting=weighting, shrink=shrink)

    @property
    def label(self) -> str:
        words = ["knn", self.by, str(self.num_neighbors)]
        words += [self.similarity] * (self.similarity != "cosine")
        words += [self.weighting] * (self.weighting != "none")
        if self.shrink > 0:
            words.append(f"shrink={self.shrink:g}")
        if self.normalize != (self.by == "user"):  # unlike the options of conf/model
            words.append("normalized" if self.normalize else "summed")
        return " ".join(words)

    @property
    def num_parameters(self) -> int:
        positives, weights, _ = self._fitted()
        return weights.nnz + positives.nnz

    def _learn(self, train: Part) -> "csr_matrix":
        """By user (num_users, num_users), by item (num_items, num_items)."""
        rows = train.positives if self.by == "user" else train.positives.T.tocsr()
        index = NeighborIndex(rows, similarity=self._alike)
        return index.nearest(rows, self.num_neighbors, same=True, normalize=self.normalize)

    def _size(self, num_users: int, num_items: int) -> int:
        return num_users if self.by == "user" else num_items

    def score(self, users: np.ndarray) -> np.ndarray:
        positives, weights, _ = self._fitted()
        return self._score(positives[users], weights[users] if self.by == "user" else weights)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        positives, weights, _ = self._fitted()
        if self.by == "user":
            index = NeighborIndex(positives, similarity=self._alike)
            weights = index.nearest(histories, self.num_neighbors, normalize=self.normalize)
        return self._score(histories, weights)

    def _score(self, histories: "csr_matrix", weights: "csr_matrix") -> np.ndarray:
        """(batch, num_items), by the weights of each user's neighbours, (batch, num_users), or of
        each item's.
        """
        positives, _, _ = self._fitted()
        product = weights @ positives if self.by == "user" else histories @ weights.T
        return self._or_rates(product, histories)
