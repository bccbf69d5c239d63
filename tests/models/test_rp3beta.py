"""RP3beta against its definition."""

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.errors import ConfigError
from recsweep.models import rp3beta
from recsweep.models.rp3beta import RP3beta, largest_of_rows

from .conftest import build, part, tastes


def dense_weights(
    X: np.ndarray, alpha: float, beta: float, top_k: int, normalize: bool
) -> np.ndarray:
    """W (n, n) from the definition, on dense matrices."""
    to_items = X / np.maximum(X.sum(axis=1, keepdims=True), 1)
    to_users = X.T / np.maximum(X.T.sum(axis=1, keepdims=True), 1)
    W = to_users**alpha @ to_items**alpha / np.maximum(X.sum(axis=0), 1) ** beta
    np.fill_diagonal(W, 0)
    for row in W:
        row[np.argsort(-row.round(12), kind="stable")[top_k:]] = 0
    if normalize:
        W /= np.maximum(W.sum(axis=1, keepdims=True), 1e-30)
    for column in W.T:
        column[np.argsort(-column.round(12), kind="stable")[top_k:]] = 0
    return W


@pytest.mark.parametrize("settings", [(1, 0.6, 8, True), (0.4, 0, 5, False), (1.7, 0.9, 50, True)])
@pytest.mark.parametrize("at_once", [7, 400])
def test_scores_are_walks_that_are_cut_by_row_and_by_column(
    settings: tuple[float, float, int, bool], at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rp3beta, "ITEMS_AT_ONCE", at_once)
    X, (alpha, beta, top_k, normalize) = tastes().astype(float), settings
    model = RP3beta(alpha=alpha, beta=beta, top_k=top_k, normalize=normalize)
    model.fit(part(tastes()))
    W = dense_weights(X, alpha, beta, top_k, normalize)
    np.testing.assert_allclose(model._weights.toarray(), W, atol=1e-7)
    np.testing.assert_allclose(model.score(np.arange(39)), (X @ W)[:-1], atol=1e-6)
    np.testing.assert_allclose(model.score(np.array([39]))[0], X.mean(axis=0), atol=1e-6)
    assert model.num_parameters == np.count_nonzero(W)


def test_a_history_is_scored_as_the_user_who_has_it() -> None:
    train, model = part(tastes()), build("rp3beta")
    model.fit(train)
    np.testing.assert_array_equal(
        model.score_histories(train.positives[:10]), model.score(np.arange(10))
    )


def test_the_second_cut_and_the_normalization_change_the_model() -> None:
    weights = []
    for normalize in (True, False):
        model = RP3beta(alpha=1.0, beta=0.6, top_k=6, normalize=normalize)
        model.fit(part(tastes()))
        weights.append(model._weights.toarray())
    assert all((np.count_nonzero(W, axis=0) <= 6).all() for W in weights)
    assert weights[0].sum(axis=1).max() <= 1 + 1e-6
    assert not np.allclose(*weights)


def test_keeps_the_largest_of_each_row_and_of_ties_the_lowest() -> None:
    matrix = csr_matrix(
        np.array([[3, 1, 3, 2.0, 0], [0, 0, 0, 0, 0], [1, 1, 1 + 1e-12, 1, 1], [0, -1, 0, 5, 0]])
    )
    expected = [[3, 0, 3, 0, 0], [0, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 5, 0]]
    np.testing.assert_array_equal(largest_of_rows(matrix, 2).toarray(), expected)
    nothing = csr_matrix((2, 5))
    assert largest_of_rows(nothing, 2).nnz == 0


def test_names_itself_by_its_settings() -> None:
    assert build("rp3beta").label == "rp3beta 1/0.6 100"
    assert build("p3alpha", "model.normalize=false").label == "rp3beta 1/0 100 unnormalized"


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"alpha": -1}, r"model\.alpha must be a number at least 0, not -1"),
        ({"beta": "much"}, r"model\.beta must be a number at least 0, not 'much'"),
        ({"top_k": 0}, r"model\.top_k must be"),
        ({"normalize": 1}, r"model\.normalize must be true or false, not 1"),
    ],
)
def test_refuses_impossible_settings(setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RP3beta(**{"alpha": 1.0, "beta": 0.6, "top_k": 100, "normalize": True} | setting)
