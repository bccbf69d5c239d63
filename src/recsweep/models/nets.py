"""Nets: plain modules that read like their drawings and know nothing of training."""

import torch
from torch import Tensor, nn

ITEMS_AT_ONCE = 1024
"""Items whose hidden layer is held at once in full scoring: 1024 x 128 floats stay in a core's cache."""


class RecipeNet(nn.Module):
    """User and item embeddings -> concatenation -> dense with ReLU -> one output.

    45,377 parameters at 1000 x 1000 and 15/25/128. Starts as Keras does: embeddings uniform in (-0.05, 0.05), dense
    kernels Glorot-uniform, biases zero (https://keras.io/api/layers/initializers).

    Args:
        num_users: Rows of the matrix.
        num_items: Columns of the matrix.
        user_dim: Length of a user's vector.
        item_dim: Length of an item's vector.
        hidden_dim: Width of the dense layer.
        generator: Draws the initial weights; torch's global one where it is None.
    """

    def __init__(self, num_users: int, num_items: int, *, user_dim: int, item_dim: int, hidden_dim: int,
                 generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.user_embedding = nn.Embedding(num_users, user_dim, _weight=torch.empty(num_users, user_dim))
        self.item_embedding = nn.Embedding(num_items, item_dim, _weight=torch.empty(num_items, item_dim))
        self.hidden = nn.Linear(user_dim + item_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, 1)
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.uniform_(embedding.weight, -0.05, 0.05, generator=generator)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, users: Tensor, items: Tensor) -> Tensor:
        """Raw outputs (batch,) of pairs of indices (batch,) and (batch,)."""
        return self.head(self.user_embedding(users), self.item_embedding(items))

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """Raw outputs (batch,) of vectors (batch, user_dim) and (batch, item_dim)."""
        both = torch.cat([user_vectors, item_vectors], dim=1)  # (batch, user_dim + item_dim)
        return self.output(torch.relu(self.hidden(both))).squeeze(1)

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor) -> Tensor:
        """Raw outputs (batch, num_items) of each user vector (batch, user_dim) with every item.

        W [u; v] = W_u u + W_v v exactly, so the dense layer is done once a user and once an item, not once a pair.
        """
        user_dim, item_dim = self.user_embedding.embedding_dim, self.item_embedding.embedding_dim
        user_kernel, item_kernel = self.hidden.weight.split([user_dim, item_dim], dim=1)
        from_users = user_vectors @ user_kernel.T + self.hidden.bias  # (batch, hidden_dim)
        from_items = self.item_embedding.weight @ item_kernel.T  # (num_items, hidden_dim)
        scores = from_users.new_empty(len(from_users), len(from_items))
        for start in range(0, len(from_items), ITEMS_AT_ONCE):
            block = from_items[start : start + ITEMS_AT_ONCE]
            pairs = torch.empty_like(block)  # reused by every user
            for from_user, row in zip(from_users, scores, strict=True):
                torch.add(block, from_user, out=pairs).relu_()
                torch.mv(pairs, self.output.weight[0], out=row[start : start + ITEMS_AT_ONCE])
        return scores + self.output.bias
