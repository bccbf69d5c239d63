"""kNN's own settings: its scores against dense numpy, its name, and what an older one meant."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.errors import ConfigError
from recsweep.models.knn import KNN
from recsweep.models.neighbors import NeighborIndex, Similarity
from recsweep.models.saved import load_model

from .conftest import build, part, tastes

EVERYONE = np.arange(40)


def dense_scores(X: np.ndarray, by: str, num_neighbors: int, normalize: bool) -> np.ndarray:
    """Scores (num_users, num_items) by cosine, from the definition. A user without positives is
    left out."""
    rows = X if by == "user" else X.T
    lengths = np.maximum(np.linalg.norm(rows, axis=1), 1e-30)
    S = rows @ rows.T / lengths[:, None] / lengths
    np.fill_diagonal(S, 0)
    for row in S:
        row[np.argsort(-row.round(9), kind="stable")[num_neighbors:]] = 0
    if normalize:
        S /= np.maximum(S.sum(axis=1, keepdims=True), 1e-30)
    return S @ X if by == "user" else X @ S.T


@pytest.mark.parametrize("by", ["user", "item"])
@pytest.mark.parametrize("normalize", [True, False])
def test_scores_are_sums_of_similarities_or_shares_of_them(by: str, normalize: bool) -> None:
    X = tastes().astype(float)
    model = KNN(by=by, num_neighbors=6, normalize=normalize)
    model.fit(part(tastes()))
    np.testing.assert_allclose(
        model.score(EVERYONE[:-1]), dense_scores(X, by, 6, normalize)[:-1], atol=1e-6
    )
    np.testing.assert_allclose(model.score(EVERYONE[-1:])[0], X.mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("name", ["knn", "item_knn"])
@pytest.mark.parametrize("weighting", ["none", "tfidf", "bm25"])
def test_a_new_user_is_compared_as_the_trained_ones_are(name: str, weighting: str) -> None:
    model = build(name, f"model.weighting={weighting}", "model.num_neighbors=6", "model.shrink=2")
    train = part(tastes())
    model.fit(train)
    if name == "item_knn":
        np.testing.assert_allclose(
            model.score_histories(train.positives[:9]), model.score(EVERYONE[:9]), atol=1e-6
        )
        return
    histories = csr_matrix(tastes(9, 30, seed=3)[:8].astype(np.float32))
    index = NeighborIndex(train.positives, similarity=Similarity(weighting=weighting, shrink=2))
    np.testing.assert_allclose(
        model.score_histories(histories),
        index.nearest(histories, 6) @ tastes().astype(float),
        atol=1e-6,
    )


def test_the_options_of_conf_differ_in_what_they_divide_by() -> None:
    assert build("item_knn").normalize is False
    assert build("knn").normalize is True


@pytest.mark.parametrize(
    ("name", "overrides", "label"),
    [
        ("knn", [], "knn user 50"),
        ("item_knn", [], "knn item 50"),
        ("item_knn", ["model.weighting=tfidf"], "knn item 50 tfidf"),
        (
            "item_knn",
            ["model.normalize=true", "model.shrink=10"],
            "knn item 50 shrink=10 normalized",
        ),
        (
            "knn",
            ["model.normalize=false", "model.similarity=jaccard"],
            "knn user 50 jaccard summed",
        ),
    ],
)
def test_the_label_names_what_differs_from_the_option(
    name: str, overrides: list[str], label: str
) -> None:
    assert build(name, *overrides).label == label


@pytest.mark.parametrize("by", ["user", "item"])
def test_a_model_saved_without_the_settings_keeps_the_old_formula(by: str, tmp_path: Path) -> None:
    X = tastes().astype(float)
    model = KNN(by=by, num_neighbors=6)
    model.fit(part(tastes()))
    model.save(tmp_path)
    described = json.loads((tmp_path / "model.json").read_text())
    old = ("by", "num_neighbors", "shape")
    described["settings"] = {name: described["settings"][name] for name in old}
    (tmp_path / "model.json").write_text(json.dumps(described))
    loaded = load_model(tmp_path)
    scores = dense_scores(X, by, 6, normalize=True)
    np.testing.assert_allclose(loaded.score(EVERYONE[:-1]), scores[:-1], atol=1e-6)
    users, items = np.indices((39, 30)).reshape(2, -1)
    np.testing.assert_allclose(
        loaded.predict(users, items), scores[:-1].ravel().clip(0, 1), atol=1e-6
    )
    assert loaded.details == ""
    histories = csr_matrix(X[:5].astype(np.float32))
    np.testing.assert_array_equal(
        loaded.score_histories(histories), model.score_histories(histories)
    )


def test_settings_are_saved(tmp_path: Path) -> None:
    model = KNN(
        by="user", num_neighbors=4, similarity="dice", weighting="bm25", shrink=2.5, normalize=False
    )
    model.fit(part(tastes()))
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    assert loaded.label == model.label == "knn user 4 dice bm25 shrink=2.5 summed"
    histories = csr_matrix(tastes(5, 30, seed=8).astype(np.float32))
    np.testing.assert_array_equal(
        loaded.score_histories(histories), model.score_histories(histories)
    )


def test_refuses_impossible_settings() -> None:
    with pytest.raises(ConfigError, match=r"model\.normalize must be true or false, not 1"):
        KNN(by="item", num_neighbors=5, normalize=1)
    with pytest.raises(ConfigError, match=r"model\.shrink must be a number at least 0, not 'much'"):
        KNN(by="item", num_neighbors=5, shrink="much")
