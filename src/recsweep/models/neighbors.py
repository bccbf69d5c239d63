"""Nearest rows of a 0/1 matrix by cosine similarity: users by what they like, items by who likes them."""

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from usearch.index import Index

Similar = Iterator[tuple[np.ndarray, np.ndarray]]
"""For each row: ascending rows of the index, and how similar they are."""

EXACT_ROWS = 200_000
"""A larger index asks usearch (the extra `ann`) for candidates, where that is installed, and compares those alone."""

CANDIDATES = 20
"""How many candidates usearch is asked for, times as many as neighbours are wanted."""

BITS = 2048
"""Length of the fingerprints that usearch compares."""

ROWS_AT_ONCE = 1024
"""Rows whose similarities with all others are held in memory at once."""


class NeighborIndex:
    """The rows of a 0/1 matrix, ready to be searched.

    The product of sparse rows with the transposed matrix visits only rows that share an entry, and finds all of them:
    4 ms a row in 100,000. Beyond EXACT_ROWS usearch proposes CANDIDATES times as many rows as are wanted, and their
    similarities choose among them. It holds a graph (HNSW; Malkov and Yashunin, IEEE TPAMI 42, 2020) of fingerprints,
    the columns modulo BITS, near each other by Tanimoto's coefficient.

    Args:
        matrix: (n, width) csr matrix.
        graph: What `graph` was of the index of an equal matrix; made anew where None.
    """

    def __init__(self, matrix: "csr_matrix", graph: np.ndarray | None = None) -> None:
        self.matrix = matrix
        self._saved_graph = graph

    @cached_property
    def _unit(self) -> "csr_matrix":
        return unit_rows(self.matrix)

    @cached_property
    def _transposed(self) -> "csr_matrix":
        return self._unit.T.tocsr()  # (width, n)

    @cached_property
    def graph(self) -> np.ndarray | None:
        """usearch's graph as uint8, to be saved; None where the search is exact."""
        if self.matrix.shape[0] <= EXACT_ROWS or not _has_usearch():
            return None
        if self._saved_graph is not None:
            return self._saved_graph
        from usearch.index import Index

        index = Index(ndim=BITS, metric="tanimoto", dtype="b1")
        keys = np.arange(self.matrix.shape[0])
        for start in range(0, len(keys), ROWS_AT_ONCE):  # on one thread, as more make another graph each time
            block = slice(start, start + ROWS_AT_ONCE)
            index.add(keys[block], _fingerprints(self.matrix[block]), threads=1)
        return np.frombuffer(index.save(), dtype=np.uint8)

    @cached_property
    def _index(self) -> "Index":
        from usearch.index import Index

        return Index.restore(self.graph.tobytes())

    def nearest(self, rows: "csr_matrix", num_neighbors: int, *, same: bool = False) -> "csr_matrix":
        """Weights of the rows of the index most similar to each of `rows`, (m, n); each row sums to 1, or is empty.

        Only similarities above 0 count; ties go to the lower index.

        Args:
            rows: (m, width) csr matrix.
            num_neighbors: How many count at most.
            same: `rows` are those of the index, so that a row is not its own neighbour, and the search is exact.
        """
        from scipy.sparse import csr_matrix

        rows = unit_rows(rows)
        similar = self._all_similar if same or self.graph is None else self._some_similar
        data, indices, indptr = [], [], [0]
        for start in range(0, rows.shape[0], ROWS_AT_ONCE):
            for place, (near, values) in enumerate(similar(rows[start : start + ROWS_AT_ONCE], num_neighbors)):
                counts = (values > 0) & (near != start + place) if same else values > 0
                near, values = near[counts], values[counts]
                best = np.argsort(-values, kind="stable")[:num_neighbors]
                data.append(values[best] / values[best].sum(dtype=np.float64))
                indices.append(near[best])
                indptr.append(indptr[-1] + len(best))
        shape = (rows.shape[0], self.matrix.shape[0])
        if not data:
            return csr_matrix(shape, dtype=np.float32)
        return csr_matrix((np.concatenate(data).astype(np.float32), np.concatenate(indices), indptr), shape)

    def _all_similar(self, rows: "csr_matrix", num_neighbors: int) -> Similar:
        similarities = (rows @ self._transposed).tocsr()  # (m, n)
        similarities.sort_indices()
        for start, end in zip(similarities.indptr[:-1], similarities.indptr[1:], strict=True):
            yield similarities.indices[start:end], similarities.data[start:end]

    def _some_similar(self, rows: "csr_matrix", num_neighbors: int) -> Similar:
        count = min(CANDIDATES * num_neighbors, self.matrix.shape[0])
        for row, fingerprint in zip(rows, _fingerprints(rows), strict=True):
            near = np.sort(self._index.search(fingerprint, count, threads=1).keys.astype(np.int64))
            yield near, (self._unit[near] @ row.T).toarray().ravel()


def unit_rows(matrix: "csr_matrix") -> "csr_matrix":
    """The matrix with every row that is not empty scaled to length 1."""
    from scipy.sparse import diags

    lengths = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return (diags(1 / np.where(lengths > 0, lengths, 1)) @ matrix).tocsr().astype(np.float32)


def _has_usearch() -> bool:
    from importlib.util import find_spec

    return find_spec("usearch") is not None


def _fingerprints(rows: "csr_matrix") -> np.ndarray:
    """(m, BITS / 8) uint8: the columns that each row stores, modulo BITS, as bits."""
    bits = np.zeros((rows.shape[0], BITS), dtype=bool)
    owners = np.repeat(np.arange(len(bits)), np.diff(rows.indptr))
    bits[owners, rows.indices % BITS] = True
    return np.packbits(bits, axis=1)
