"""The neighbour index: against dense cosines, exact and with usearch's candidates."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from recsweep.models import neighbors
from recsweep.models.base import FitOptions
from recsweep.models.neighbors import NeighborIndex, unit_rows
from recsweep.models.saved import load_model

from .conftest import build, part, tastes

needs_usearch = pytest.mark.skipif(importlib.util.find_spec("usearch") is None,
                                   reason="usearch is not installed (pip install 'recsweep[ann]')")


def groups(num_rows: int = 600, width: int = 120, seed: int = 0) -> csr_matrix:
    """Rows of twelve groups, each with favourite columns of its own."""
    rng = np.random.default_rng(seed)
    own = np.arange(num_rows)[:, None] % 12 == np.arange(width)[None, :] % 12
    return csr_matrix((rng.random((num_rows, width)) < np.where(own, 0.6, 0.05)).astype(np.float32))


def dense_cosines(rows: csr_matrix, others: csr_matrix) -> np.ndarray:
    A, B = rows.toarray().astype(np.float64), others.toarray().astype(np.float64)
    return A @ B.T / np.maximum(np.linalg.norm(A, axis=1)[:, None] * np.linalg.norm(B, axis=1), 1e-30)


def test_finds_the_nearest_rows_and_weighs_them_by_their_similarity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbors, "ROWS_AT_ONCE", 7)
    matrix, rows = groups(), groups(20, seed=1)
    weights = NeighborIndex(matrix).nearest(rows, 9).toarray()
    cosines = dense_cosines(rows, matrix)
    for row in range(20):
        best = np.argsort(-cosines[row].astype(np.float32), kind="stable")[:9]
        np.testing.assert_array_equal(np.flatnonzero(weights[row]), np.sort(best))
        np.testing.assert_allclose(weights[row, best], cosines[row, best] / cosines[row, best].sum(), atol=1e-6)


def test_a_row_is_not_its_own_neighbour_and_may_have_none() -> None:
    matrix = csr_matrix(np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]], dtype=np.float32))
    weights = NeighborIndex(matrix).nearest(matrix, 3, same=True).toarray()
    np.testing.assert_allclose(weights, [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]], atol=1e-6)
    assert NeighborIndex(matrix).nearest(matrix[:0], 3).shape == (0, 4)
    opposed = csr_matrix(np.array([[-1, 0, 1, 0]], dtype=np.float32))  # a dislike is no similarity
    np.testing.assert_allclose(NeighborIndex(matrix).nearest(opposed, 3).toarray(), [[0, 0, 1, 0]], atol=1e-6)


def test_unit_rows_leave_an_empty_row_empty() -> None:
    scaled = unit_rows(csr_matrix(np.array([[3, 4], [0, 0]], dtype=np.float32))).toarray()
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0]], atol=1e-7)


def test_a_small_index_has_no_graph() -> None:
    assert NeighborIndex(groups()).graph is None


@needs_usearch
def test_candidates_of_a_large_index_hold_almost_all_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
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
        np.testing.assert_allclose(found[row].data, cosines[row, near] / cosines[row, near].sum(), atol=1e-6)


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
def test_without_usearch_the_search_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    histories = part(tastes(12, 30, seed=3)).positives
    model = build("recipe_net", "fold_in=neighbor_scores")
    model.fit(part(tastes()), FitOptions(seed=1))
    exact = model.score_histories(histories)
    monkeypatch.setattr(neighbors, "EXACT_ROWS", 35)
    model.save(tmp_path)
    monkeypatch.setattr(neighbors, "_has_usearch", lambda: False)
    np.testing.assert_array_equal(load_model(tmp_path).score_histories(histories), exact)
