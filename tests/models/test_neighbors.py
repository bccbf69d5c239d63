"""The neighbour index: against dense similarities, exact and with usearch's candidates."""

import importlib.util
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.data.split import RandomCells
from recsweep.errors import ConfigError
from recsweep.models import neighbors
from recsweep.models.base import FitOptions
from recsweep.models.neighbors import NeighborIndex, Similarity, unit_rows
from recsweep.models.saved import load_model

from .conftest import build, foodcom, part, tastes

needs_usearch = pytest.mark.skipif(
    importlib.util.find_spec("usearch") is None,
    reason="usearch is not installed (pip install 'recsweep[ann]')",
)


def groups(num_rows: int = 600, width: int = 120, seed: int = 0) -> csr_matrix:
    """Rows of twelve groups, each with favourite columns of its own."""
    rng = np.random.default_rng(seed)
    own = np.arange(num_rows)[:, None] % 12 == np.arange(width)[None, :] % 12
    return csr_matrix((rng.random((num_rows, width)) < np.where(own, 0.6, 0.05)).astype(np.float32))


def dense_cosines(rows: csr_matrix, others: csr_matrix) -> np.ndarray:
    A, B = rows.toarray().astype(np.float64), others.toarray().astype(np.float64)
    return (
        A @ B.T / np.maximum(np.linalg.norm(A, axis=1)[:, None] * np.linalg.norm(B, axis=1), 1e-30)
    )


def test_finds_the_nearest_rows_and_weighs_them_by_their_similarity(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbors, "ROWS_AT_ONCE", 7)
    matrix, rows = groups(), groups(20, seed=1)
    weights = NeighborIndex(matrix).nearest(rows, 9).toarray()
    cosines = dense_cosines(rows, matrix)
    for row in range(20):
        best = np.argsort(-cosines[row].astype(np.float32), kind="stable")[:9]
        np.testing.assert_array_equal(np.flatnonzero(weights[row]), np.sort(best))
        np.testing.assert_allclose(
            weights[row, best], cosines[row, best] / cosines[row, best].sum(), atol=1e-6
        )


def test_a_row_is_not_its_own_neighbour_and_may_have_none() -> None:
    matrix = csr_matrix(
        np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=np.float32)
    )
    weights = NeighborIndex(matrix).nearest(matrix, 3, same=True).toarray()
    np.testing.assert_allclose(
        weights, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], atol=1e-6
    )
    assert NeighborIndex(matrix).nearest(matrix[:0], 3).shape == (0, 4)
    opposed = csr_matrix(np.array([[-1, 0, 1, 0]], dtype=np.float32))  # a dislike is no similarity
    np.testing.assert_allclose(
        NeighborIndex(matrix).nearest(opposed, 3).toarray(), [[0, 0, 1, 0]], atol=1e-6
    )


def dense_weighted(rows: np.ndarray, known: np.ndarray, weighting: str) -> np.ndarray:
    """Entries x as TF-IDF or BM25 (k1 1.2, b .75) weighs them by what is known, in float64."""
    if weighting == "none":
        return rows
    idf = np.log(len(known) / (1 + (known > 0).sum(axis=0)))
    if weighting == "tfidf":
        return np.sqrt(rows) * idf
    length = rows.sum(axis=1, keepdims=True) / known.sum(axis=1).mean()
    return rows * 2.2 / (1.2 * (0.25 + 0.75 * length) + rows) * idf


@pytest.mark.parametrize("kind", neighbors.SIMILARITIES)
@pytest.mark.parametrize("weighting", neighbors.WEIGHTINGS)
@pytest.mark.parametrize("shrink", [0, 3.5])
def test_similarities_are_their_formulas(kind: str, weighting: str, shrink: float) -> None:
    matrix, rows = groups(200, 60), groups(20, 60, seed=1)
    index = NeighborIndex(
        matrix, similarity=Similarity(kind=kind, weighting=weighting, shrink=shrink)
    )
    found = index.nearest(rows, 200, normalize=False).toarray()
    B = dense_weighted(matrix.toarray().astype(float), matrix.toarray(), weighting)
    A = dense_weighted(rows.toarray().astype(float), matrix.toarray(), weighting)
    shared, sizes = A @ B.T, ((A**2).sum(axis=1)[:, None], (B**2).sum(axis=1))
    whole = {
        "cosine": np.sqrt(sizes[0] * sizes[1]),
        "dice": sizes[0] + sizes[1],
        "jaccard": sizes[0] + sizes[1] - shared,
    }[kind] + shrink
    np.testing.assert_allclose(found, shared / whole, atol=1e-6)
    few, some = index.nearest(rows, 9), index.nearest(rows, 9, normalize=False).toarray()
    np.testing.assert_allclose(few.toarray(), some / some.sum(axis=1, keepdims=True), atol=1e-6)
    kept = np.sort(found, axis=1)[:, -9:]
    np.testing.assert_allclose(np.sort(some, axis=1)[:, -9:], kept, atol=1e-6)


def exact(kind: str, shared: int, size: int, other: int) -> Fraction:
    """A number in the order of the similarities with one row, for two sets."""
    return {
        "cosine": Fraction(shared**2, other),
        "dice": Fraction(shared, size + other),
        "jaccard": Fraction(shared, size + other - shared),
    }[kind]


def check_order(matrix: csr_matrix, kind: str, num_neighbors: int) -> None:
    """The neighbours of each row are the first by exact similarity, and of equal ones by index."""
    found = NeighborIndex(matrix, similarity=Similarity(kind=kind)).nearest(
        matrix, num_neighbors, same=True
    )
    shared, sizes = (
        (matrix @ matrix.T).toarray().astype(int).tolist(),
        np.diff(matrix.indptr).tolist(),
    )
    for row, size in enumerate(sizes):
        near = [other for other, count in enumerate(shared[row]) if count and other != row]
        pairs = {(shared[row][other], sizes[other]) for other in near}
        values = {pair: exact(kind, pair[0], size, pair[1]) for pair in pairs}
        ranks = {
            value: rank for rank, value in enumerate(sorted(set(values.values()), reverse=True))
        }
        near.sort(key=lambda other: (ranks[values[shared[row][other], sizes[other]]], other))
        assert found[row].indices.tolist() == near[:num_neighbors]


@pytest.mark.parametrize("kind", neighbors.SIMILARITIES)
def test_ties_go_to_the_lower_index_exactly(kind: str) -> None:
    rng = np.random.default_rng(5)
    check_order(
        csr_matrix((rng.random((120, 40)) < rng.random((120, 1)) / 2).astype(np.float32)), kind, 10
    )


@pytest.mark.slow
@pytest.mark.parametrize("kind", neighbors.SIMILARITIES)
@pytest.mark.parametrize("by", ["user", "item"])
def test_ties_of_the_real_block_go_to_the_lower_index_exactly(
    kind: str, by: str, real_data: Path
) -> None:
    interactions = foodcom(real_data).load()
    split = RandomCells(validation=0.1, test=0.2, seed=0, max_cells=10**6).split(interactions)
    check_order(
        split.train.positives if by == "user" else split.train.positives.T.tocsr(), kind, 50
    )


def test_rows_that_are_equal_are_equally_near_whatever_the_weighting() -> None:
    matrix = groups(60)
    twice = csr_matrix(np.repeat(matrix.toarray(), 2, axis=0))
    for weighting in neighbors.WEIGHTINGS:
        index = NeighborIndex(twice, similarity=Similarity(weighting=weighting, shrink=1.5))
        for near in index.nearest(matrix, 7):
            order = near.indices.tolist()
            assert all(order.index(row) == order.index(row - 1) + 1 for row in order if row % 2)


def test_refuses_an_impossible_similarity() -> None:
    with pytest.raises(
        ConfigError, match=r"model\.similarity must be one of cosine, dice, jaccard, not 'euclid'"
    ):
        Similarity(kind="euclid")
    with pytest.raises(
        ConfigError, match=r"model\.weighting must be one of none, tfidf, bm25, not 'idf'"
    ):
        Similarity(weighting="idf")
    with pytest.raises(ConfigError, match=r"model\.shrink must be a number at least 0, not -1"):
        Similarity(shrink=-1)


def test_unit_rows_leave_an_empty_row_empty() -> None:
    scaled = unit_rows(csr_matrix(np.array([[3, 4], [0, 0]], dtype=np.float32))).toarray()
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0]], atol=1e-7)


def test_a_small_index_has_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    assert NeighborIndex(groups()).graph is None
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 599)
    assert (
        NeighborIndex(groups(), similarity=Similarity(weighting="tfidf")).graph is None
    )  # its search is exact


@needs_usearch
def test_candidates_of_a_large_index_hold_almost_all_neighbours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    matrix, rows = groups(3000), groups(50, seed=1)
    exact = NeighborIndex(matrix).nearest(rows, 10)
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 2999)
    index = NeighborIndex(matrix)
    found = index.nearest(rows, 10)
    assert index.graph is not None
    same = [len(set(found[row].indices) & set(exact[row].indices)) for row in range(50)]
    assert np.mean(same) > 9
    cosines = dense_cosines(rows, matrix)
    for row in range(50):
        near = found[row].indices
        np.testing.assert_allclose(
            found[row].data, cosines[row, near] / cosines[row, near].sum(), atol=1e-6
        )


@needs_usearch
def test_the_graph_is_saved_with_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = part(tastes(12, 30, seed=3)).positives
    model = build("recipe_net", "fold_in=neighbor_scores")
    model.fit(part(tastes()), FitOptions(seed=1))
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 35)
    scores = model.score_histories(histories)
    model.save(tmp_path)
    loaded = load_model(tmp_path)
    monkeypatch.setattr("usearch.index.Index.add", None)  # a graph would be made with it
    np.testing.assert_array_equal(loaded.score_histories(histories), scores)


@needs_usearch
def test_without_usearch_the_search_is_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories = part(tastes(12, 30, seed=3)).positives
    model = build("recipe_net", "fold_in=neighbor_scores")
    model.fit(part(tastes()), FitOptions(seed=1))
    exact = model.score_histories(histories)
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 35)
    model.save(tmp_path)
    monkeypatch.setattr(neighbors, "_has_usearch", lambda: False)
    np.testing.assert_array_equal(load_model(tmp_path).score_histories(histories), exact)
