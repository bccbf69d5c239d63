"""Dense layers over a user's vector and an item's, side by side."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from recsweep.models.nets import ITEMS_AT_ONCE


class Tower(nn.Module):
    """[u ; v] -> dense ReLU -> ... -> dense ReLU, Glorot-uniform with biases of zero.

    The first layer is linear in [u ; v], so that what users and items bring to it is computed once
    each where all pairs of them are asked: W [u ; v] = W_u u + W_v v.

    Args:
        user_dim: Length of u.
        item_dim: Length of v.
        hidden: Width of each layer, at least one.
        generator: Draws the initial weights.
    """

    def __init__(
        self,
        user_dim: int,
        item_dim: int,
        hidden: Sequence[int],
        *,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.user_dim = user_dim
        widths = [user_dim + item_dim, *hidden]
        layers = [nn.Linear(*sizes) for sizes in pairwise(widths)]
        self.first, self.rest = layers[0], nn.ModuleList(layers[1:])
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight, generator=generator)
            nn.init.zeros_(layer.bias)

    def forward(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """(batch, last width) of vectors (batch, user_dim) and (batch, item_dim)."""
        return self._after_first(self.first(torch.cat([user_vectors, item_vectors], dim=1)))

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """(batch, n, last width) of each user vector with n item vectors of its own, (batch, n,
        item_dim)."""
        from_users, from_items = self._from_users(user_vectors), self._from_items(item_vectors)
        return self._after_first(from_users[:, None] + from_items)

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """(m, k, last width) of each user vector with each item vector."""
        from_users, from_items = self._from_users(user_vectors), self._from_items(item_vectors)
        return self._after_first(from_users[:, None] + from_items)

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor, weights: Tensor) -> Tensor:
        """(m, k): the last layer of each pair, times weights (last width,); a user and a block of
        items after the other, whose layers stay in a core's cache."""
        from_users, from_items = self._from_users(user_vectors), self._from_items(item_vectors)
        scores = from_users.new_empty(len(from_users), len(from_items))
        for start in range(0, len(from_items), ITEMS_AT_ONCE):
            block = from_items[start : start + ITEMS_AT_ONCE]
            sums = torch.empty_like(block)  # reused by every user
            for from_user, row in zip(from_users, scores, strict=True):
                last = self._after_first(torch.add(block, from_user, out=sums))
                torch.mv(last, weights, out=row[start : start + ITEMS_AT_ONCE])
        return scores

    def _from_users(self, vectors: Tensor) -> Tensor:
        """(..., first width): what users bring to the first layer."""
        return vectors @ self.first.weight[:, : self.user_dim].T + self.first.bias

    def _from_items(self, vectors: Tensor) -> Tensor:
        """(..., first width): what items bring to the first layer."""
        return vectors @ self.first.weight[:, self.user_dim :].T

    def _after_first(self, sums: Tensor) -> Tensor:
        """The rest, of the first layer's sums before their ReLU, which is done in place."""
        hidden = sums.relu_()
        for layer in self.rest:
            hidden = layer(hidden).relu_()
        return hidden
