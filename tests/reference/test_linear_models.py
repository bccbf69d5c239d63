"""iALS, RP3beta and the similarities of kNN against irspack and implicit."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.models.base import EpochDecision, FitOptions, Recommender
from recsweep.models.ials import IALS, Factors
from recsweep.models.knn import KNN
from recsweep.models.rp3beta import RP3beta

from ..models.conftest import part, tastes

pytestmark = pytest.mark.reference

LIKED = tastes(60, 45, seed=4)


def iterations_of(model: IALS, matrix: np.ndarray) -> list[Factors]:
    """The vectors after each iteration of a fit."""
    found = []

    def on_epoch(epoch: int, fitted: Recommender, train_loss: float | None) -> EpochDecision:
        found.append(fitted._factors)
        return EpochDecision()

    model.fit(part(matrix), FitOptions(on_epoch=on_epoch))
    return found


def irspack_trainer(a: float, reg: float, **settings: Any) -> Any:
    ials = pytest.importorskip("irspack.recommenders.ials", exc_type=ImportError)
    X = csr_matrix(LIKED.astype(np.float32))
    recommender = ials.IALSRecommender(
        X, alpha0=a, reg=reg, nu=1.0, solver_type="CHOLESKY", n_threads=1, **settings
    )
    return recommender._create_trainer()


@pytest.mark.parametrize(("a", "reg"), [(0.1, 0.005), (1.0, 0.03)])
def test_ials_takes_the_steps_of_irspack(a: float, reg: float) -> None:
    trainer = irspack_trainer(a, reg, n_components=8)
    model = IALS(dim=8, unobserved_weight=a, reg=reg, iterations=6)
    for before, after in pairwise(iterations_of(model, LIKED)):
        trainer.core_trainer.user, trainer.core_trainer.item = before
        trainer.run_epoch()
        np.testing.assert_allclose(after.users, trainer.core_trainer.user, atol=2e-4)
        np.testing.assert_allclose(after.items, trainer.core_trainer.item, atol=2e-4)


def test_ials_folds_in_as_irspack_does() -> None:
    trainer = irspack_trainer(0.2, 0.01, n_components=8)
    model = IALS(dim=8, unobserved_weight=0.2, reg=0.01, iterations=6)
    model.fit(part(LIKED))
    users, items = model._factors
    trainer.core_trainer.user, trainer.core_trainer.item = users, items
    histories = csr_matrix(tastes(9, 45, seed=8)[:8].astype(np.float32))
    np.testing.assert_allclose(
        model.score_histories(histories), trainer.transform_user(histories) @ items.T, atol=2e-4
    )
    liked_by = csr_matrix(tastes(9, 60, seed=9)[:8].astype(np.float32))
    known = LIKED.any(axis=1)  # who likes nothing is given no share of it by irspack
    expected = trainer.transform_item(liked_by.T.tocsr()) @ users.T
    np.testing.assert_allclose(
        model.score_new_items(liked_by)[:, known], expected[:, known], atol=2e-4
    )


def test_ials_is_the_plain_one_of_implicit_where_all_rows_are_as_long() -> None:
    """A penalty by frequency is a plain one where every user likes as many items as every item has
    users. Hu, Koren and Volinsky's weights c of a positive and 1 of a zero are then ours by c =
    (1 + a) / a, and their vectors are sqrt(1 + a) times ours."""
    als = pytest.importorskip("implicit.cpu.als")
    size, likes, a, reg = 40, 6, 0.25, 0.02
    rows = (np.arange(size)[:, None] + np.array([0, 1, 5, 11, 20, 33])) % size
    matrix = np.zeros((size, size), np.uint8)
    matrix[np.arange(size)[:, None], np.random.default_rng(0).permutation(size)[rows]] = 1
    steps = iterations_of(IALS(dim=7, unobserved_weight=a, reg=reg, iterations=5), matrix)
    scale, factor = np.sqrt(1 + a), (1 + a) / a
    other = als.AlternatingLeastSquares(
        factors=7,
        regularization=reg * (likes + a * size) * factor,
        alpha=1.0,
        use_cg=False,
        iterations=1,
        num_threads=1,
    )
    for before, after in pairwise(steps):
        other.user_factors = (before.users * scale).astype(np.float32)
        other.item_factors = (before.items * scale).astype(np.float32)
        other.fit(csr_matrix(matrix * np.float32(factor)), show_progress=False)
        np.testing.assert_allclose(after.users * scale, other.user_factors, atol=2e-4)
        np.testing.assert_allclose(after.items * scale, other.item_factors, atol=2e-4)


@pytest.mark.parametrize("beta", [0.0, 0.6])
@pytest.mark.parametrize("normalize", [True, False])
def test_rp3beta_walks_as_irspacks(beta: float, normalize: bool) -> None:
    rp3 = pytest.importorskip("irspack.recommenders.rp3", exc_type=ImportError)
    X = csr_matrix(LIKED.astype(np.float32))
    other = rp3.RP3betaRecommender(
        X, alpha=1, beta=beta, normalize_weight=False, n_threads=1
    ).learn()
    # irspack lets an item lead to itself, and cuts by column alone
    W = other.W.toarray()
    np.fill_diagonal(W, 0)
    if normalize:
        W /= np.maximum(W.sum(axis=1, keepdims=True), 1e-30)
    model = RP3beta(alpha=1.0, beta=beta, top_k=45, normalize=normalize)
    model.fit(part(LIKED))
    np.testing.assert_allclose(model._weights.toarray(), W, atol=1e-6)


@pytest.mark.parametrize("weighting", ["none", "tfidf", "bm25"])
def test_items_are_as_near_as_implicit_finds_them(weighting: str) -> None:
    neighbours = pytest.importorskip("implicit.nearest_neighbours")
    items = csr_matrix(LIKED.T.astype(np.float64))
    weighted = {
        "none": lambda: items,
        "tfidf": lambda: neighbours.tfidf_weight(items),
        "bm25": lambda: neighbours.bm25_weight(items, K1=1.2, B=0.75),
    }[weighting]()
    other = neighbours.ItemItemRecommender(K=7, num_threads=1)
    other.fit(neighbours.normalize(weighted).T.tocsr(), show_progress=False)
    model = KNN(by="item", num_neighbors=6, weighting=weighting, normalize=False)  # and itself: 7
    model.fit(part(LIKED))
    ours, theirs = (matrix.toarray() for matrix in (model._weights, other.similarity))
    np.fill_diagonal(theirs, 0)
    # which of equal neighbours counts is nobody's rule
    np.testing.assert_allclose(np.sort(ours, axis=1), np.sort(theirs, axis=1), atol=1e-6)
