"""LightGCN: vectors that are averaged with those of their neighbours in the graph of positives."""

import warnings
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding

from recsweep.models.nets import Net, dots

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

Vectors = tuple[Tensor, Tensor]
"""Vectors of all users (num_users, dim) and of all items (num_items, dim)."""


class LightGCN(Net):
    """The dot product of vectors that were sent along the graph of training positives:

        E = (E_0 + A E_0 + ... + A^K E_0) / (K + 1),    A = D^-1/2 [0 X; X' 0] D^-1/2

    with the embeddings of users and items E_0, which are all that is learnt, the 0/1 matrix X of
    training positives and the numbers of positives D (X. He, K. Deng, X. Wang, Y. Li, Y. Zhang and
    M. Wang, "LightGCN: simplifying and powering graph convolution network for recommendation",
    SIGIR 2020, equations 3 to 8). 128,000 parameters at 1000 x 1000 and dim 64, whatever K.

    `user_vectors` and `item_vectors` are rows of E. A user or an item without a positive has no
    neighbour, and its row of E_0 / (K + 1). Starts normal with a standard deviation of 0.1.

    A training step sends the vectors once for its whole batch. In evaluation they are sent once and
    kept, without gradients, until the net is trained again or given other weights.

    Args:
        num_users: Rows of the matrix.
        num_items: Columns of the matrix.
        positives: (num_users, num_items) training positives.
        dim: Length of a vector.
        num_layers: K, how many steps of the graph a vector goes.
        generator: Draws the initial weights; torch's global one where it is None.
    """

    takes_positives = True
    whole_tables = True
    to_users: Tensor
    to_items: Tensor
    sent_users: Tensor | None
    sent_items: Tensor | None

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        positives: "csr_matrix",
        dim: int,
        num_layers: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.num_layers = num_layers
        users, items = torch.empty(num_users, dim), torch.empty(num_items, dim)
        self.user_embedding = nn.Embedding(num_users, dim, _weight=users)
        self.item_embedding = nn.Embedding(num_items, dim, _weight=items)
        for side in (self.user_embedding, self.item_embedding):
            nn.init.normal_(side.weight, std=0.1, generator=generator)
        if not self.user_embedding.weight.is_meta:  # where shapes alone are asked
            graph = _scaled(positives)
            self.register_buffer("to_users", _tensor(graph), persistent=False)
            self.register_buffer("to_items", _tensor(graph.T.tocsr()), persistent=False)
        for name in ("sent_users", "sent_items"):  # buffers, as they go to the net's device
            self.register_buffer(name, None, persistent=False)

    def user_vectors(self, users: Tensor | None = None) -> Tensor:
        vectors, _ = self._sent()
        return vectors if users is None else embedding(users, vectors)

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        _, vectors = self._sent()
        return vectors if items is None else embedding(items, vectors)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        all_users, all_items = self._sent()
        user_vectors, item_vectors = embedding(users, all_users), embedding(items, all_items)
        if items.ndim == 1:
            return self.head(user_vectors, item_vectors)
        return self.lists(user_vectors, item_vectors)

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        return (user_vectors * item_vectors).sum(dim=1)

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        return dots(user_vectors, item_vectors)

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        return user_vectors @ item_vectors.T

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor | None = None) -> Tensor:
        items = self.item_vectors() if item_vectors is None else item_vectors
        return user_vectors @ items.T

    def train(self, mode: bool = True) -> Self:
        self._forget()
        return super().train(mode)

    def load_state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self._forget()
        return super().load_state_dict(*args, **kwargs)

    def _forget(self) -> None:
        self.sent_users = self.sent_items = None

    def _sent(self) -> Vectors:
        """All users' and all items' rows of E."""
        if self.sent_users is not None and self.sent_items is not None:
            return self.sent_users, self.sent_items
        weights = self.user_embedding.weight, self.item_embedding.weight
        graph = self.to_users, self.to_items
        if self.training:
            return _Sent.apply(*weights, *graph, self.num_layers)
        with torch.no_grad():
            self.sent_users, self.sent_items = _send(*weights, *graph, self.num_layers)
        return self.sent_users, self.sent_items


class _Sent(torch.autograd.Function):
    """`_send` with its gradient. A polynomial of the symmetric A is its own transpose, so that the
    gradient is sent just as the vectors were, and nothing is kept of them."""

    @staticmethod
    def forward(
        ctx: Any, users: Tensor, items: Tensor, to_users: Tensor, to_items: Tensor, num_layers: int
    ) -> Vectors:
        ctx.graph = to_users, to_items, num_layers
        return _send(users, items, to_users, to_items, num_layers)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_users: Tensor, of_items: Tensor) -> tuple[Tensor | None, ...]:
        return *_send(of_users, of_items, *ctx.graph), None, None, None


def _send(
    users: Tensor, items: Tensor, to_users: Tensor, to_items: Tensor, num_layers: int
) -> Vectors:
    """The mean over the layers 0 to `num_layers`; by the two halves of A, (num_users, num_items)
    and (num_items, num_users)."""
    user_sum, item_sum = users.clone(), items.clone()
    for _ in range(num_layers):
        users, items = to_users @ items, to_items @ users
        user_sum += users
        item_sum += items
    return user_sum.div_(num_layers + 1), item_sum.div_(num_layers + 1)


def _scaled(positives: "csr_matrix") -> "csr_matrix":
    """The upper half of A: each positive over the roots of its user's and its item's number of
    them."""
    from scipy.sparse import csr_matrix

    of_users = np.diff(positives.indptr)
    of_items = np.bincount(positives.indices, minlength=positives.shape[1])
    products = np.repeat(of_users, of_users).astype(np.float64) * of_items[positives.indices]
    data = (1 / np.sqrt(products)).astype(np.float32)
    scaled = csr_matrix((data, positives.indices, positives.indptr), positives.shape)
    return scaled.sorted_indices()


def _tensor(matrix: "csr_matrix") -> Tensor:
    starts, entries = (torch.from_numpy(np.array(a)) for a in (matrix.indptr, matrix.indices))
    data = torch.from_numpy(matrix.data)
    with warnings.catch_warnings():  # of csr, which torch calls a beta; its product is all we ask
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta")
        return torch.sparse_csr_tensor(starts, entries, data, matrix.shape, check_invariants=True)
