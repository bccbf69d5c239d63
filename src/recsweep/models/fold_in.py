"""New users and new items for a trained net, which stays as it is.

A net knows a user by a row of its user embedding. Somebody new has no row, but likes some items,
and users who like the same ones were trained. Each method here makes scores of such a history. A
new item is the same thing seen from the other side: its history are the users who like it.

A history is a row of a csr matrix: 1 at what is liked and, where that is known, -1 at what is
disliked.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from typing import TYPE_CHECKING, ClassVar, Protocol, cast

import numpy as np

from recsweep.checks import check_integer, check_number
from recsweep.models.neighbors import NeighborIndex, unit_rows
from recsweep.models.optimizers import Adam

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from torch import Tensor

    from recsweep.models.nets import Net
    from recsweep.models.nets.recipe_gradient import Cells

CELLS_AT_ONCE = 4096
"""Pairs of a row and one of the other side that take their steps together: their hidden layer stays
in a core's cache.
"""

SCORES_AT_ONCE = 16_000_000
"""Scores of neighbours held at once: 64 MB of float32."""


@dataclass(eq=False)
class Side:
    """A trained net seen from its users, or from its items.

    Attributes:
        net: The net, which stays as it is.
        loss: Mean loss of outputs (n,) against 0 or 1: that the net was trained with, or of the
            probabilities that its outputs were calibrated to.
        index: The training positives of the rows that were trained, (n, width) where width counts
            the other side.
        of_items: Whether the rows are items, and the other side are users.
        features: What the net knows of the rows beside, as the matrix of its FeatureTable; None
            where that is nothing.
    """

    net: "Net"
    loss: "Callable[[Tensor, Tensor], Tensor]"
    index: NeighborIndex
    of_items: bool = False
    features: "csr_matrix | None" = None
    _maps: dict[tuple[float, bool], tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    @property
    def rows(self) -> "Tensor":
        """(n, dim) trained vectors."""
        net = self.net
        return (net.item_vectors() if self.of_items else net.user_vectors()).detach()

    @property
    def others(self) -> "Tensor":
        """(width, other_dim) trained vectors of the other side."""
        net = self.net
        return (net.user_vectors() if self.of_items else net.item_vectors()).detach()

    def head(self, rows: "Tensor", others: "Tensor") -> "Tensor":
        """Raw outputs (batch,) of pairs of vectors (batch, dim) and (batch, other_dim)."""
        return self.net.head(others, rows) if self.of_items else self.net.head(rows, others)

    def pairwise(self, rows: "Tensor", others: "Tensor") -> "Tensor":
        """Raw outputs (m, k) of each vector (m, dim) with each of (k, other_dim)."""
        net = self.net
        return net.pairwise(others, rows).T if self.of_items else net.pairwise(rows, others)

    def score(self, rows: "Tensor") -> np.ndarray:
        """Raw outputs (m, width) of each vector (m, dim) with the whole other side."""
        net = self.net
        scores = net.score_items(self.others, rows).T if self.of_items else net.score_items(rows)
        return scores.cpu().numpy()

    def from_features(self, features: "csr_matrix") -> "Tensor":
        """(m, dim) vectors of rows of which only features are known."""
        return self.net.from_features(features, of_items=self.of_items).detach()

    @property
    def _trained(self) -> np.ndarray:
        """(n,) bool: the rows with a training positive."""
        return np.diff(self.index.matrix.indptr) > 0

    @cached_property
    def shares(self) -> np.ndarray:
        """(width,) float32: each one's share of positives on the other side."""
        return np.asarray(self.index.matrix.mean(axis=0), dtype=np.float32).ravel()

    @property
    def knows_features(self) -> bool:
        """Whether the net was trained on features of some rows."""
        return self.features is not None and bool((self._trained & _stored(self.features)).any())

    def map(self, l2: float, *, by_features: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """How a history, and the features beside it, become a vector: the intercept (dim,), and a
        row for each of the other side and each column of features, (width + their width, dim).

        The ridge regression of the trained vectors, less their mean, on their histories and
        features of length 1 each. Not on histories of what the vectors have beside `from_features`:
        the two parts of a trained vector make up for each other, so that a history tells their sum
        better than either. Computed once.

        Args:
            l2: Weight of the map's squared size.
            by_features: Whether it is of histories and features, of the rows that have these; else
                of all rows' histories.
        """
        if (l2, by_features) not in self._maps:
            trained, features = self._trained, None
            if by_features:
                trained &= _stored(cast("csr_matrix", self.features))
                features = cast("csr_matrix", self.features)[trained]
            vectors = self.rows.cpu().numpy()[trained].astype(np.float64)
            mean = vectors.mean(axis=0)
            X = _side_by_side(self.index.matrix[trained], features).astype(np.float64)
            weights = X.T @ _ridge_dual(X, vectors - mean, l2)
            self._maps[l2, by_features] = mean.astype(np.float32), weights.astype(np.float32)
        return self._maps[l2, by_features]

    def mapped(
        self, histories: "csr_matrix", l2: float, features: "csr_matrix | None" = None
    ) -> "Tensor":
        """(m, dim) vectors of histories (m, width) by `map`, with features (m, their width) where a
        row has some."""
        import torch

        told = np.zeros(histories.shape[0], dtype=bool) if features is None else _stored(features)
        vectors = np.empty((len(told), self.rows.shape[1]), dtype=np.float32)
        if not told.all():
            mean, weights = self.map(l2)
            vectors[~told] = mean + _side_by_side(histories[~told]) @ weights
        if told.any():
            mean, weights = self.map(l2, by_features=True)
            beside = cast("csr_matrix", features)[told]
            vectors[told] = mean + _side_by_side(histories[told], beside) @ weights
        return torch.from_numpy(vectors).to(self.rows.device)


def _side_by_side(histories: "csr_matrix", features: "csr_matrix | None" = None) -> "csr_matrix":
    """Histories and, where given, features, each scaled to length 1: (m, width + their width)."""
    from scipy.sparse import hstack

    if features is None:
        return unit_rows(histories)
    return hstack([unit_rows(histories), unit_rows(features)], "csr", dtype=np.float32)


def _stored(matrix: "csr_matrix") -> np.ndarray:
    """(m,) bool: the rows that hold an entry."""
    return np.diff(matrix.indptr) > 0


def _ridge_dual(X: "csr_matrix", targets: np.ndarray, l2: float) -> np.ndarray:
    """A = (X X^T + l2 I)^-1 targets, (n, dim), to a relative residual of 1e-6.

    By conjugate gradients (Hestenes and Stiefel, 1952) of all columns side by side: X stays sparse
    whatever its size. scikit-learn's `Ridge(solver="sparse_cg")` takes one column after the other,
    and twice the time.
    """
    A, residual = np.zeros_like(targets), targets.copy()
    direction, squares = residual.copy(), (residual**2).sum(axis=0)
    goal = 1e-12 * squares
    for _ in range(len(targets)):
        if (squares <= goal).all():
            break
        product = X @ (X.T @ direction) + l2 * direction
        length = squares / np.maximum((direction * product).sum(axis=0), np.finfo(float).tiny)
        A += length * direction
        residual -= length * product
        before, squares = squares, (residual**2).sum(axis=0)
        direction = residual + squares / np.maximum(before, np.finfo(float).tiny) * direction
    return A


class FoldIn(Protocol):
    """A way to score rows that were not trained: a frozen dataclass, as a saved model keeps it.

    Attributes:
        asks_neighbors: Whether it asks the index of the trained rows for neighbours.
    """

    asks_neighbors: ClassVar[bool]

    def score(
        self, side: Side, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """(m, width) float32 scores of each history (m, width) and, where known, its features (m,
        their width), whatever the other rows are."""


def score_by_history(
    method: FoldIn, side: Side, histories: "csr_matrix", features: "csr_matrix | None" = None
) -> np.ndarray:
    """(m, width) float32 scores of each history, in which neither the order nor the repetition of
    entries counts.

    Who likes nothing that anybody trained likes is scored by his features alone, whichever the
    method; without features he gets each one's share of positives on the other side.

    Args:
        features: (m, width of the FeatureTable's matrix) of the same rows; a row without an entry
            has none. A net that knows no features of this side leaves them alone.
    """
    from scipy.sparse import csr_matrix

    histories = csr_matrix(histories, dtype=np.float32, copy=True)
    histories.sum_duplicates()  # sorts them too
    np.sign(histories.data, out=histories.data)
    histories.eliminate_zeros()
    scores = np.tile(side.shares, (histories.shape[0], 1))
    known = _likes(histories) @ side.shares > 0
    if features is not None:
        features = csr_matrix(features, dtype=np.float32) if side.knows_features else None
    if features is not None and (told := _stored(features) & ~known).any():
        scores[told] = side.score(side.from_features(features[told]))
    if known.any():
        given = None if features is None else features[known]
        scores[known] = method.score(side, histories[known], given)
    return scores


def _likes(histories: "csr_matrix") -> "csr_matrix":
    likes = histories.maximum(0)
    likes.eliminate_zeros()
    return likes


@dataclass(frozen=True, kw_only=True)
class NeighborScores:
    """The mean of the scores of the trained rows that like the most similar things, weighted by
    that similarity.

    Neither dislikes nor features count.

    Args:
        num_neighbors: Number of neighbours that count at most.
    """

    asks_neighbors: ClassVar[bool] = True
    num_neighbors: int

    def __post_init__(self) -> None:
        check_integer("fold_in.num_neighbors", self.num_neighbors, minimum=1)

    def score(
        self, side: Side, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        neighbors = side.index.nearest(_likes(histories), self.num_neighbors)
        num_rows, (m, width) = neighbors.shape[1], histories.shape
        # all rows are scored at once where that is little, as histories share neighbours; else
        # those of a block
        block = m
        if num_rows * width > SCORES_AT_ONCE:
            block = max(1, SCORES_AT_ONCE // (self.num_neighbors * width))
        scores = np.empty((m, width), dtype=np.float32)
        for start in range(0, m, block):
            weights = neighbors[start : start + block]
            asked = np.unique(weights.indices)
            scores[start : start + block] = weights[:, asked] @ side.score(side.rows[asked])
        return scores


@dataclass(frozen=True, kw_only=True)
class NeighborVectors:
    """The scores of the mean vector of the trained rows that like the most similar things, weighted
    by that similarity.

    Neither dislikes nor features count.

    Args:
        num_neighbors: Number of neighbours that count at most.
    """

    asks_neighbors: ClassVar[bool] = True
    num_neighbors: int

    def __post_init__(self) -> None:
        check_integer("fold_in.num_neighbors", self.num_neighbors, minimum=1)

    def score(
        self, side: Side, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        import torch

        neighbors = side.index.nearest(_likes(histories), self.num_neighbors)
        vectors = torch.from_numpy(neighbors @ side.rows.cpu().numpy())
        return side.score(vectors.to(side.rows.device))


@dataclass(frozen=True, kw_only=True)
class RowMap:
    """The scores of the vector to which a linear map takes the history, and features where known: a
    ridge regression of the trained vectors on those who have them.

    Args:
        map_l2: Weight of the map's squared size against the squared error of a vector; histories
            have length 1.
    """

    asks_neighbors: ClassVar[bool] = False
    map_l2: float

    def __post_init__(self) -> None:
        check_number("fold_in.map_l2", self.map_l2, above=0)

    def score(
        self, side: Side, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        return side.score(side.mapped(histories, self.map_l2, features))


@dataclass(frozen=True, kw_only=True)
class RowSteps:
    """The scores of a vector of one's own, trained by a few Adam steps with everything else frozen.

    It starts where `row_map` takes the history, and goes down the net's own loss on the liked, as
    1, on the disliked, as 0, and on a sample of all others, as 0, that stands for the whole. The
    sample is the same each time. Of a net whose loss ranks it is the log loss of the calibrated
    outputs: an item compared with nothing but itself would have no level among the others.

    Args:
        map_l2: Weight of the map's squared size, as of `row_map`.
        steps: Number of Adam steps.
        lr: Length of a step in each dimension.
        l2: Weight of the squared distance from the start, against the mean loss of a cell.
        shrink: A history of n entries keeps n / (n + shrink) of the way that the steps went: with
            few likes the zeros say little, and the start is the better guess.
        num_zeros: Size of the sample; an other side that is no larger is taken whole.
    """

    asks_neighbors: ClassVar[bool] = False
    map_l2: float
    steps: int
    lr: float
    l2: float
    shrink: float
    num_zeros: int

    def __post_init__(self) -> None:
        check_number("fold_in.map_l2", self.map_l2, above=0)
        check_integer("fold_in.steps", self.steps, minimum=1)
        check_number("fold_in.lr", self.lr, above=0)
        check_number("fold_in.l2", self.l2, minimum=0)
        check_number("fold_in.shrink", self.shrink, minimum=0)
        check_integer("fold_in.num_zeros", self.num_zeros, minimum=1)

    def score(
        self, side: Side, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        import torch

        starts = side.mapped(histories, self.map_l2, features)
        width = histories.shape[1]
        sample = _sample(width, self.num_zeros)
        block = max(1, CELLS_AT_ONCE // len(sample))
        blocks = [slice(start, start + block) for start in range(0, len(starts), block)]
        rows = torch.cat(
            [self._trained(side, starts[part], histories[part], sample) for part in blocks]
        )
        lengths = torch.from_numpy(np.diff(histories.indptr)).to(starts)[:, None]  # (m, 1)
        return side.score(starts + (rows - starts) * lengths / (lengths + self.shrink))

    def _trained(
        self, side: Side, starts: "Tensor", histories: "csr_matrix", sample: np.ndarray
    ) -> "Tensor":
        """(m, dim): the vectors `starts` after all steps."""
        import torch

        from recsweep.models.nets.recipe_gradient import Cells

        (m, width), device = histories.shape, starts.device
        twice = np.flatnonzero(np.isin(histories.indices, sample))

        def indices(values: np.ndarray) -> "Tensor":
            return torch.from_numpy(values.astype(np.int64)).to(device)

        cells = Cells(
            shared=side.others[indices(sample)],
            scale=width / len(sample),
            own=side.others[indices(histories.indices)],
            owners=indices(np.repeat(np.arange(m), np.diff(histories.indptr))),
            targets=torch.from_numpy(histories.data).to(starts).clamp(min=0),
            twice=indices(twice),
            place=indices(np.searchsorted(sample, histories.indices[twice])),
        )
        closed_form = side.net.row_gradient(side.loss, cells, m, of_items=side.of_items)
        gradient = closed_form or partial(_by_autograd, side, cells)
        rows = starts.clone()
        rows.grad = torch.empty_like(rows)
        adam = Adam(lr=self.lr, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.0)
        optimizer = adam.build([rows])
        with torch.no_grad():
            for _ in range(self.steps):
                rows.grad.copy_(gradient(rows)).add_(rows - starts, alpha=2 * self.l2 * width)
                adam.advance(optimizer)()
        return rows


@cache  # many requests, one catalogue
def _sample(width: int, number: int) -> np.ndarray:
    """So many of `width` places, ascending, or all of no more: the same each time."""
    if number >= width:
        return np.arange(width)
    return np.sort(np.random.default_rng(0).choice(width, number, replace=False))


def _by_autograd(side: Side, cells: "Cells", rows: "Tensor") -> "Tensor":
    """What a net's `row_gradient` gives, of any net."""
    import torch

    with torch.enable_grad():
        rows = rows.detach().requires_grad_()
        # sums over the rows, so that the gradient of each is its own
        outputs = side.head(rows.index_select(0, cells.owners), cells.own)
        loss = len(outputs) * side.loss(outputs, cells.targets)
        pairs = side.pairwise(rows, cells.shared).flatten()
        loss = loss + cells.scale * len(pairs) * side.loss(pairs, torch.zeros_like(pairs))
        if len(cells.twice):
            outputs = outputs.index_select(0, cells.twice)
            zeros = torch.zeros_like(outputs)
            loss = loss - cells.scale * len(zeros) * side.loss(outputs, zeros)
        return torch.autograd.grad(loss, [rows])[0]
