"""RP3beta: how likely a walk of three steps leads from a user to an item."""

from typing import TYPE_CHECKING

import numpy as np

from recsweep.checks import check_flag, check_integer, check_number
from recsweep.data.interactions import Part
from recsweep.memory import check_memory
from recsweep.models.linear import LinearModel

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ITEMS_AT_ONCE = 400
"""Items whose walks to all others are held in memory at once."""

BYTES_PER_WEIGHT = 32
"""What a fit takes for each weight at its peak: it cuts by row, then by column."""


class RP3beta(LinearModel):
    """Walks from item to user to item, those to popular items counted less (B. Paudel, F.
    Christoffel, C. Newell and A. Bernstein, "Updatable, accurate, diverse, and scalable
    recommendations for interactive applications", ACM TiiS 7, 2017).

    The scores are X W, where X is the 0/1 matrix of training positives, and

        W_ij = (sum_u q_iu^alpha p_uj^alpha) / |users of j|^beta  for i != j,

    with q_iu = X_ui / |users of i| and p_uj = X_uj / |items of u|, the steps of a random walk. A
    `beta` of 0 is P3alpha (C. Cooper, S. H. Lee, T. Radzik and Y. Siantos, "Random walks in
    recommender systems: exact computation and simulations", WWW 2014).

    Of each row of W the `top_k` largest are kept, and with `normalize` scaled to sum 1; then of
    each column the `top_k` largest. This second cut is in none of the papers, but in the code that
    the published figures come from, and they hang on it: M. Ferrari Dacrema, S. Boglio, P.
    Cremonesi and D. Jannach, "A troubling analysis of reproducibility and progress in recommender
    systems research", ACM TOIS 39, 2021. Ties go to the lower index.

    Args:
        alpha: Power of a step's probability, 0 or more.
        beta: Power of the number of users by which a walk's end is divided, 0 or more.
        top_k: Number of weights that are kept of a row, and of a column.
        normalize: Whether the weights of an item sum to 1.
    """

    kind = "rp3beta"
    saved = ("alpha", "beta", "top_k", "normalize")

    def __init__(self, *, alpha: float, beta: float, top_k: int, normalize: bool) -> None:
        check_number("model.alpha", alpha, minimum=0)
        check_number("model.beta", beta, minimum=0)
        check_integer("model.top_k", top_k, minimum=1)
        check_flag("model.normalize", normalize)
        self.alpha = alpha
        self.beta = beta
        self.top_k = top_k
        self.normalize = normalize

    @property
    def label(self) -> str:
        words = ["rp3beta", f"{self.alpha:g}/{self.beta:g}", str(self.top_k)]
        return " ".join(words + ["unnormalized"] * (not self.normalize))

    def _learn(self, train: Part) -> "csr_matrix":
        n = train.num_items
        check_memory(
            BYTES_PER_WEIGHT * n * min(self.top_k, n),
            f"The item-to-item weights of model=rp3beta ({n:,} items, model.top_k={self.top_k})",
            "Lower model.top_k, or set data.num_items to fewer.",
        )
        by_column = largest_of_rows(self._walks(train.positives).T.tocsr(), self.top_k)
        return by_column.T.tocsr()

    def _walks(self, X: "csr_matrix") -> "csr_matrix":
        """W (n, n) float32 with its first cut."""
        from scipy.sparse import vstack

        to_users, to_items = self._steps(X.T.tocsr()), self._steps(X)
        users_of = np.diff(X.tocsc().indptr)
        factors = np.maximum(users_of, 1.0) ** -self.beta  # (n,)
        blocks = []
        for start in range(0, X.shape[1], ITEMS_AT_ONCE):
            block = to_users[start : start + ITEMS_AT_ONCE] @ to_items  # (at most 400, n)
            block.data *= factors[block.indices]
            own = np.repeat(np.arange(start, start + block.shape[0]), np.diff(block.indptr))
            block.data[block.indices == own] = 0
            block = largest_of_rows(block, self.top_k)
            if self.normalize:
                sums = np.asarray(block.sum(axis=1)).ravel()
                block.data /= np.repeat(sums, np.diff(block.indptr))
            blocks.append(block.astype(np.float32))
        return vstack(blocks, format="csr")

    def _steps(self, matrix: "csr_matrix") -> "csr_matrix":
        """Probabilities of a step from each row of a 0/1 matrix, to the power alpha, float64."""
        steps = matrix.astype(np.float64)
        lengths = np.diff(matrix.indptr)
        steps.data = np.repeat(np.maximum(lengths, 1.0) ** -self.alpha, lengths)
        return steps


def largest_of_rows(matrix: "csr_matrix", k: int) -> "csr_matrix":
    """The `k` largest entries above 0 of each row of a csr matrix; ties go to the lower index.

    Entries that are equal as float32 are ties: what differs by less is the rounding of sums, which
    hangs on how users and items are numbered.
    """
    from scipy.sparse import csr_matrix

    matrix.sort_indices()
    kept = matrix.data > 0
    rounded = matrix.data.astype(np.float32, copy=False)
    for start, end in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True):
        if end - start <= k:
            continue
        row, chosen = rounded[start:end], kept[start:end]
        least = np.partition(row, len(row) - k)[len(row) - k]
        chosen &= row >= least
        surplus = np.count_nonzero(chosen) - k
        if surplus > 0:
            chosen[np.flatnonzero(chosen & (row == least))[-surplus:]] = False
    counts = np.add.reduceat(np.append(kept, False), matrix.indptr[:-1], dtype=np.int64)
    counts[np.diff(matrix.indptr) == 0] = 0  # where reduceat gives the entry that comes next
    indptr = np.append(0, np.cumsum(counts))
    return csr_matrix((matrix.data[kept], matrix.indices[kept], indptr), matrix.shape)
