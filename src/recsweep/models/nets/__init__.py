"""Nets: plain modules that read like their drawings and know nothing of training."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn

from recsweep.losses import Loss, Sloped
from recsweep.models.nets.recipe_gradient import Cells, RecipeGradient, RowGradient

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

ITEMS_AT_ONCE = 1024
"""Items whose hidden layer is held at once in full scoring: 1024 x 128 floats stay in a core's
cache."""

PAIRS_AT_ONCE = 100_000
"""Pairs of vectors that a net without a way of its own scores at once."""

Gradient = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Of users, items and targets, (batch,) each, to raw outputs (batch,): adds the gradient of their
mean loss to `.grad` of the net's weights, which is there and 0; of an embedding that is `sparse` it
becomes it, with a row for each example."""


class Net(nn.Module):
    """What a net offers: a vector for each user and each item, and a head over two of them.

    A net makes the two embeddings in its constructor, `(num_users, num_items, *, ..., generator)`,
    and draws its head. What else it is asked for follows from those; a net that can do it cheaper
    has its own.

    All that a net knows of a user is one row, whatever the net: biases and several embeddings are
    columns of it. So new users and items, full ranking and saving need nothing of a net's own.

    Attributes:
        takes_features: Whether the constructor takes `user_features` and `item_features`, a
            FeatureTable each or None.
        takes_positives: Whether it takes `positives`, the (num_users, num_items) csr matrix of
            training positives.
        whole_tables: Whether a step moves rows that are not in its batch.
    """

    takes_features: ClassVar[bool] = False
    takes_positives: ClassVar[bool] = False
    whole_tables: ClassVar[bool] = False
    user_embedding: nn.Embedding
    item_embedding: nn.Embedding

    @property
    def embeddings(self) -> tuple[nn.Embedding, nn.Embedding]:
        """Those of users and of items."""
        return self.user_embedding, self.item_embedding

    def user_vectors(self, users: Tensor | None = None) -> Tensor:
        """What the head sees of users (m,), of all where None: (m, user_dim). The rows of the
        embedding, and what a net makes of them."""
        return self.user_embedding.weight if users is None else self.user_embedding(users)

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        """What the head sees of items of any shape, of all where None: (..., item_dim)."""
        return self.item_embedding.weight if items is None else self.item_embedding(items)

    def from_features(self, features: "csr_matrix", *, of_items: bool) -> Tensor:
        """What the head sees of users, or of items, of whom only features are known: (m, dim). Only
        for a net that got a FeatureTable of that side.

        Args:
            features: (m, width of the table's matrix).
            of_items: Whether they are items.
        """
        raise NotImplementedError(f"{type(self).__name__} takes no features.")

    def squared_lengths(self, users: Tensor, items: Tensor) -> Tensor:
        """Squared lengths (batch,) of the raw embedding rows of each example: of its user, and of
        all its items, (batch,) or (batch, n)."""
        of_users = self.user_embedding(users).square().sum(1)
        return of_users + self.item_embedding(items).square().flatten(1).sum(1)

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """Raw outputs (batch,) of vectors (batch, user_dim) and (batch, item_dim)."""
        raise NotImplementedError(f"{type(self).__name__} has no head.")

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Raw outputs of the shape of `items`: of pairs of indices (batch,) and (batch,), or of
        each user of (batch,) with the items of a list, (batch, n)."""
        user_vectors, item_vectors = self.user_vectors(users), self.item_vectors(items)
        if items.ndim == 1:
            return self.head(user_vectors, item_vectors)
        return self.lists(user_vectors, item_vectors)

    def gradient(self, loss: Loss, batch_size: int) -> Gradient | None:
        """What writes the gradient of a batch of up to so many pairs without autograd; None where
        the net has nothing of the kind for this loss."""
        return None

    def row_gradient(
        self, loss: Callable[[Tensor, Tensor], Tensor], cells: Cells, m: int, *, of_items: bool
    ) -> Callable[[Tensor], Tensor] | None:
        """What makes of vectors (m, dim), of users or of items, the gradient (m, dim) of the
        weighted loss of their cells, without autograd; None where the net has nothing of the
        kind for this loss."""
        return None

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """Raw outputs (batch, n) of each user vector (batch, user_dim) with item vectors of its
        own, (batch, n, item_dim), with gradients."""
        n = item_vectors.shape[1]
        users = user_vectors.repeat_interleave(n, dim=0)  # (batch * n, user_dim)
        return self.head(users, item_vectors.flatten(0, 1)).view(-1, n)

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """Raw outputs (m, k) of each user vector (m, user_dim) with each item vector (k, item_dim),
        with gradients."""
        m, k = len(user_vectors), len(item_vectors)
        users, items = user_vectors.repeat_interleave(k, dim=0), item_vectors.repeat(m, 1)
        return self.head(users, items).view(m, k)

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor | None = None) -> Tensor:
        """Raw outputs (batch, num_items) of each user vector (batch, user_dim) with each item
        vector (num_items, item_dim), those of all items where None.
        """
        items = self.item_vectors() if item_vectors is None else item_vectors
        users_at_once = max(1, PAIRS_AT_ONCE // max(1, len(items)))
        blocks = user_vectors.split(users_at_once)
        return torch.cat([self.pairwise(users, items) for users in blocks])


class RecipeNet(Net):
    """User and item embeddings -> concatenation -> dense with ReLU -> one output.

    45,377 parameters at 1000 x 1000 and 15/25/128. Starts as Keras does: embeddings uniform in
    (-0.05, 0.05), dense kernels Glorot-uniform, biases zero
    (https://keras.io/api/layers/initializers).

    Args:
        num_users: Rows of the matrix.
        num_items: Columns of the matrix.
        user_dim: Length of a user's vector.
        item_dim: Length of an item's vector.
        hidden_dim: Width of the dense layer.
        generator: Draws the initial weights; torch's global one where it is None.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        user_dim: int,
        item_dim: int,
        hidden_dim: int,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        users, items = torch.empty(num_users, user_dim), torch.empty(num_items, item_dim)
        self.user_embedding = nn.Embedding(num_users, user_dim, _weight=users)
        self.item_embedding = nn.Embedding(num_items, item_dim, _weight=items)
        self.hidden = nn.Linear(user_dim + item_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, 1)
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.uniform_(embedding.weight, -0.05, 0.05, generator=generator)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        both = torch.cat([user_vectors, item_vectors], dim=1)  # (batch, user_dim + item_dim)
        return self.output(torch.relu(self.hidden(both))).squeeze(1)

    def gradient(self, loss: Loss, batch_size: int) -> Gradient | None:
        return RecipeGradient(self, loss, batch_size) if isinstance(loss, Sloped) else None

    def row_gradient(
        self, loss: Callable[[Tensor, Tensor], Tensor], cells: Cells, m: int, *, of_items: bool
    ) -> Callable[[Tensor], Tensor] | None:
        if not isinstance(loss, Sloped):
            return None
        return RowGradient(self, loss, cells, m, of_items=of_items)

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        from_users, from_items = self._from_users(user_vectors), self._from_items(item_vectors)
        return _ReluOfSums.apply(from_users, from_items, self.output.weight[0]) + self.output.bias

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor | None = None) -> Tensor:
        items = self.item_vectors() if item_vectors is None else item_vectors
        from_users, from_items = self._from_users(user_vectors), self._from_items(items)
        scores = from_users.new_empty(len(from_users), len(from_items))
        for start in range(0, len(from_items), ITEMS_AT_ONCE):
            block = from_items[start : start + ITEMS_AT_ONCE]
            pairs = torch.empty_like(block)  # reused by every user
            for from_user, row in zip(from_users, scores, strict=True):
                torch.add(block, from_user, out=pairs).relu_()
                torch.mv(pairs, self.output.weight[0], out=row[start : start + ITEMS_AT_ONCE])
        return scores + self.output.bias

    def _from_users(self, vectors: Tensor) -> Tensor:
        """(m, hidden_dim): what users bring to the hidden layer. W [u; v] = W_u u + W_v v exactly,
        so it is done once a user and once an item, not once a pair.
        """
        weight = self.hidden.weight[:, : self.user_embedding.embedding_dim]
        return vectors @ weight.T + self.hidden.bias

    def _from_items(self, vectors: Tensor) -> Tensor:
        """(k, hidden_dim): what items bring to the hidden layer."""
        return vectors @ self.hidden.weight[:, self.user_embedding.embedding_dim :].T


def dots(user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """Dot products (batch, n) of each user vector (batch, dim) with item vectors of its own,
    (batch, n, dim)."""
    return cast(Tensor, _Dots.apply(user_vectors, item_vectors))


class _Dots(torch.autograd.Function):
    """Written out as autograd's own batched product takes twice the time, most of it for the
    gradient of the items, an outer product."""

    @staticmethod
    def forward(ctx: Any, users: Tensor, items: Tensor) -> Tensor:
        ctx.save_for_backward(users, items)
        return torch.bmm(users[:, None], items.transpose(1, 2))[:, 0]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        users, items = ctx.saved_tensors
        return torch.bmm(gradient[:, None], items)[:, 0], gradient[:, :, None] * users[:, None]


class _ReluOfSums(torch.autograd.Function):
    """w · relu(a_i + b_j) for all i and j: (m, hidden_dim), (k, hidden_dim) and (hidden_dim,) to
    (m, k).

    Written out as autograd would take twice the passes over (m, k, hidden_dim), which are all of
    the time.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, w: Tensor) -> Tensor:
        hidden = (a[:, None] + b).relu_()  # (m, k, hidden_dim)
        ctx.save_for_backward(hidden, w)
        return hidden @ w

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        hidden, w = ctx.saved_tensors
        on = hidden.sign()  # 1 where the unit is on
        of_a = torch.bmm(gradient[:, None], on)[:, 0] * w if ctx.needs_input_grad[0] else None
        of_b = (gradient[:, :, None] * on).sum(dim=0) * w if ctx.needs_input_grad[1] else None
        of_w = gradient.flatten() @ hidden.flatten(0, 1) if ctx.needs_input_grad[2] else None
        return of_a, of_b, of_w
