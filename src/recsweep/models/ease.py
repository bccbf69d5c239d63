"""EASE: each item explained by all others, in closed form. The strongest linear baseline for
implicit feedback."""

import numpy as np

from recsweep.checks import check_number
from recsweep.data.interactions import Part
from recsweep.errors import DataError
from recsweep.memory import check_memory
from recsweep.models.linear import LinearModel

MAX_ITEMS = 20_000
"""Larger catalogues are refused: the items' matrix takes 8 bytes a pair while it is inverted, 3.2
GB here."""


class EASE(LinearModel):
    """Embarrassingly shallow autoencoders (H. Steck, WWW 2019, equations 4 to 8).

    The scores are X B, where X is the 0/1 matrix of training positives and B minimises ||X - X
    B||^2 + l2 ||B||^2 with a zero diagonal, so that no item explains itself:

        P = (X^T X + l2 I)^-1,  B_ij = -P_ij / P_jj  for i != j.

    Args:
        l2: Weight of ||B||^2, above 0.
    """

    kind = "ease"
    saved = ("l2",)

    def __init__(self, *, l2: float) -> None:
        check_number("model.l2", l2, above=0)
        self.l2 = l2

    @property
    def label(self) -> str:
        return f"ease {self.l2:g}"

    @property
    def num_parameters(self) -> int:
        _, weights, _ = self._fitted()
        return weights.size - len(weights)

    def _learn(self, train: Part) -> np.ndarray:
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

        X = train.positives
        gram = (X.T @ X).toarray().astype(np.float64)
        gram[np.diag_indices_from(gram)] += self.l2
        P = inv(gram, overwrite_a=True, check_finite=False)
        B = P / -np.diag(P)  # column j by its own P_jj
        np.fill_diagonal(B, 0)
        return B.astype(np.float32)
