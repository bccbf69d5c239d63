"""Nearest rows of a 0/1 matrix by similarity: users by what they like, items by who likes them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from recsweep.checks import check_choice, check_number

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix
    from usearch.index import Index

Products = Iterator[tuple[np.ndarray, np.ndarray]]
"""Neighbours of each row: ascending rows of the index, and the inner products with them."""

SIMILARITIES = ("cosine", "dice", "jaccard")
WEIGHTINGS = ("none", "tfidf", "bm25")

BM25_K1, BM25_B = 1.2, 0.75
"""Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009."""

EXACT_ROWS = 200_000
"""A larger index asks usearch (the extra `ann`) for candidates, where that is installed, and
compares those alone."""

CANDIDATES = 20
"""Number of candidates that usearch is asked for, for each neighbour that is wanted."""

BITS = 2048
"""Length of the fingerprints that usearch compares."""

ROWS_AT_ONCE = 1024
"""Rows whose similarities with all others are held in memory at once."""


@dataclass(frozen=True, kw_only=True)
class Similarity:
    """How similar two rows a and b are, by their inner product c and sums of squares n_a and n_b.

    For 0/1 rows c counts the shared entries, and n_a and n_b count the entries. The formulas are
    those of Ferrari Dacrema, Cremonesi and Jannach ("Are we really making much progress?", RecSys
    2019), but for their 1e-6 in the denominator, which would part equal similarities. Their dice
    lacks the usual 2.

    Args:
        kind: `cosine` c / (sqrt(n_a n_b) + shrink), `dice` c / (n_a + n_b + shrink), or `jaccard`
            c / (n_a + n_b - c + shrink).
        weighting: `none` compares the entries x as they are. `tfidf` makes each sqrt(x) idf, and
            `bm25` x (K1 + 1) / (K1 (1 - B + B length / mean length) + x) idf, where length is the
            sum of the row and idf = log(rows / (1 + entries of the column)). Of 0/1 rows the two
            differ by a factor a row, which a cosine that is not shrunk does not see.
        shrink: Lowers similarities of rows that share little, 0 or more.
    """

    kind: str = "cosine"
    weighting: str = "none"
    shrink: float = 0.0

    def __post_init__(self) -> None:
        check_choice("model.similarity", self.kind, SIMILARITIES)
        check_choice("model.weighting", self.weighting, WEIGHTINGS)
        check_number("model.shrink", self.shrink, minimum=0)

    def values(self, products: np.ndarray, size: float, sizes: np.ndarray) -> np.ndarray:
        """(n,) similarities of one row of sum of squares `size` with n others, float64."""
        if self.kind == "cosine":
            return products / (np.sqrt(size * sizes) + self.shrink)
        return products / (size + sizes - (products if self.kind == "jaccard" else 0) + self.shrink)

    def ranks(self, products: np.ndarray, size: float, sizes: np.ndarray) -> np.ndarray:
        """(n,) numbers in the order of the similarities, all above 0, of one row.

        Of 0/1 rows two of equal similarity get the same number, as each is one correctly rounded
        quotient of whole numbers (beyond 200,000 entries a row a difference may be rounded away). A
        cosine that is not shrunk has a root: its square stands for it, without the n_a that all
        have in common.
        """
        if self.kind == "cosine" and self.shrink == 0:
            return products * products / sizes
        return self.values(products, size, sizes)


COSINE = Similarity()


class NeighborIndex:
    """The rows of a 0/1 matrix, ready to be searched.

    The product of sparse rows with the transposed matrix visits only rows that share an entry, and
    finds all of them: 4 ms a row in 100,000. Beyond EXACT_ROWS, for plain cosines, usearch proposes
    CANDIDATES times as many rows as are wanted, and their similarities choose among them. It holds
    a graph (HNSW; Malkov and Yashunin, IEEE TPAMI 42, 2020) of fingerprints, the columns modulo
    BITS, near each other by Tanimoto's coefficient.

    Args:
        matrix: (n, width) csr matrix.
        graph: The `graph` of the index of an equal matrix; made anew where None.
        similarity: The similarity that makes rows near.
    """

    def __init__(
        self, matrix: "csr_matrix", graph: np.ndarray | None = None, similarity: Similarity = COSINE
    ) -> None:
        self.matrix = matrix
        self.similarity = similarity
        self._saved_graph = graph

    @cached_property
    def _weighted(self) -> "csr_matrix":
        return self._weigh(self.matrix)

    @cached_property
    def _transposed(self) -> "csr_matrix":
        return self._weighted.T.tocsr()  # (width, n)

    @cached_property
    def _sizes(self) -> np.ndarray:
        return _sums_of_squares(self._weighted)  # (n,)

    def _weigh(self, rows: "csr_matrix") -> "csr_matrix":
        """Rows (m, width), each entry weighted by what this index knows."""
        if self.similarity.weighting == "none":
            return rows
        weighted = rows.astype(np.float64)
        num_rows, width = self.matrix.shape
        idf = np.log(num_rows / (1 + np.bincount(self.matrix.indices, minlength=width)))
        if self.similarity.weighting == "tfidf":
            weighted.data = np.sqrt(weighted.data) * idf[weighted.indices]
            return weighted
        mean_length = max(self.matrix.sum() / num_rows, 1e-30)  # 0 where nothing can be near
        lengths = np.asarray(rows.sum(axis=1), dtype=np.float64).ravel() / mean_length
        norms = BM25_K1 * (1 - BM25_B + BM25_B * np.repeat(lengths, np.diff(rows.indptr)))
        weighted.data *= (BM25_K1 + 1) / (norms + weighted.data) * idf[weighted.indices]
        return weighted

    @cached_property
    def graph(self) -> np.ndarray | None:
        """usearch's graph as uint8, to be saved; None where the search is exact."""
        if self.matrix.shape[0] <= EXACT_ROWS or self.similarity != COSINE or not _has_usearch():
            return None
        if self._saved_graph is not None:
            return self._saved_graph
        from usearch.index import Index

        index = Index(ndim=BITS, metric="tanimoto", dtype="b1")
        keys = np.arange(self.matrix.shape[0])
        for start in range(0, len(keys), ROWS_AT_ONCE):
            block = slice(start, start + ROWS_AT_ONCE)
            # on one thread, as more make another graph each time
            index.add(keys[block], _fingerprints(self.matrix[block]), threads=1)
        saved = cast(bytes, index.save())  # named no file, it gives bytes
        return np.frombuffer(saved, dtype=np.uint8)

    @cached_property
    def _index(self) -> "Index":
        from usearch.index import Index

        return cast(Index, Index.restore(cast(np.ndarray, self.graph).tobytes()))

    def nearest(
        self, rows: "csr_matrix", num_neighbors: int, *, same: bool = False, normalize: bool = True
    ) -> "csr_matrix":
        """Weights of the rows of the index most similar to each of `rows`, (m, n) float32.

        Only similarities above 0 count; ties go to the lower index.

        Args:
            rows: (m, width) csr matrix.
            num_neighbors: Number of neighbours that count at most.
            same: `rows` are those of the index, so that a row is not its own neighbour, and the
                search is exact.
            normalize: The weights are the similarities over their sum, so that each row sums to 1,
                or is empty. False takes the similarities as they are.
        """
        from scipy.sparse import csr_matrix

        rows = self._weigh(rows)
        products = self._all_products if same or self.graph is None else self._some_products
        row_sizes = _sums_of_squares(rows)
        data, indices, indptr = [], [], [0]
        for start in range(0, rows.shape[0], ROWS_AT_ONCE):
            block = products(rows[start : start + ROWS_AT_ONCE], num_neighbors)
            for row, (near, shared) in enumerate(block, start):
                counts = (shared > 0) & (near != row) if same else shared > 0
                near, shared = near[counts], shared[counts].astype(np.float64)
                measures = shared, row_sizes[row], self._sizes[near]
                best = np.argsort(-self.similarity.ranks(*measures), kind="stable")[:num_neighbors]
                values = self.similarity.values(*measures)[best]
                data.append(values / values.sum() if normalize else values)
                indices.append(near[best])
                indptr.append(indptr[-1] + len(best))
        shape = (rows.shape[0], self.matrix.shape[0])
        if not data:
            return csr_matrix(shape, dtype=np.float32)
        return csr_matrix(
            (np.concatenate(data).astype(np.float32), np.concatenate(indices), indptr), shape
        )

    def _all_products(self, rows: "csr_matrix", num_neighbors: int) -> Products:
        products = (rows @ self._transposed).tocsr()  # (m, n)
        products.sort_indices()
        for start, end in zip(products.indptr[:-1], products.indptr[1:], strict=True):
            yield products.indices[start:end], products.data[start:end]

    def _some_products(self, rows: "csr_matrix", num_neighbors: int) -> Products:
        count = min(CANDIDATES * num_neighbors, self.matrix.shape[0])
        for row, fingerprint in zip(rows, _fingerprints(rows), strict=True):
            near = np.sort(self._index.search(fingerprint, count, threads=1).keys.astype(np.int64))
            yield near, (self.matrix[near] @ row.T).toarray().ravel()


def _sums_of_squares(matrix: "csr_matrix") -> np.ndarray:
    """The sum of squares of each row, (n,) float64."""
    return np.asarray(matrix.multiply(matrix).sum(axis=1), dtype=np.float64).ravel()


def unit_rows(matrix: "csr_matrix") -> "csr_matrix":
    """The matrix with every row that is not empty scaled to length 1."""
    from scipy.sparse import diags

    lengths = np.sqrt(_sums_of_squares(matrix))
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
