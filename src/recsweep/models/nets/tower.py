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
        dropout: Share of a layer's inputs, and of the last one's outputs, that are zero in a
            training step.
        generator: Draws the initial weights, and what is dropped.
    """

    def __init__(
        self,
        user_dim: int,
        item_dim: int,
        hidden: Sequence[int],
        *,
        dropout: float = 0.0,
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
        self.dropout = Dropout(dropout, generator)

    def forward(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """(batch, last width) of vectors (batch, user_dim) and (batch, item_dim)."""
        both = torch.cat([user_vectors, item_vectors], dim=1)
        return self.after_first(self.first(self.dropout(both)))

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """(batch, n, last width) of each user vector with n item vectors of its own, (batch, n,
        item_dim)."""
        from_users, from_items = self.from_users(user_vectors), self.from_items(item_vectors)
        return self.after_first(from_users[:, None] + from_items)

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        """(m, k, last width) of each user vector with each item vector."""
        from_users, from_items = self.from_users(user_vectors), self.from_items(item_vectors)
        return self.after_first(from_users[:, None] + from_items)

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor, weights: Tensor) -> Tensor:
        """(m, k): the last layer of each pair, times weights (last width,)."""
        from_users, from_items = self.from_users(user_vectors), self.from_items(item_vectors)
        return self.score_sums(from_users, from_items, weights)

    def score_sums(self, from_users: Tensor, from_items: Tensor, weights: Tensor) -> Tensor:
        """The same, (m, k), of what users (m, first width) and items (k, first width) bring to the
        first layer; a user and a block of items after the other, whose layers stay in a core's
        cache."""
        scores = from_users.new_empty(len(from_users), len(from_items))
        for start in range(0, len(from_items), ITEMS_AT_ONCE):
            block = from_items[start : start + ITEMS_AT_ONCE]
            sums = torch.empty_like(block)  # reused by every user
            for from_user, row in zip(from_users, scores, strict=True):
                last = self.after_first(torch.add(block, from_user, out=sums))
                torch.mv(last, weights, out=row[start : start + ITEMS_AT_ONCE])
        return scores

    def from_users(self, vectors: Tensor) -> Tensor:
        """(..., first width): what users bring to the first layer."""
        weight = self.first.weight[:, : self.user_dim]
        return nn.functional.linear(self.dropout(vectors), weight, self.first.bias)

    def from_items(self, vectors: Tensor) -> Tensor:
        """(..., first width): what items bring to the first layer."""
        return nn.functional.linear(self.dropout(vectors), self.first.weight[:, self.user_dim :])

    def after_first(self, sums: Tensor) -> Tensor:
        """The rest, of the first layer's sums before their ReLU, which is done in place."""
        hidden = sums.relu_()
        for layer in self.rest:
            hidden = layer(self.dropout(hidden)).relu_()
        return self.dropout(hidden)


class Dropout(nn.Module):
    """Dropout that draws from a generator of its own: torch's draws from the global one, by which
    nets that are trained side by side would change each other.

    Args:
        share: Share of the inputs that are zero in training; the others are scaled up.
        generator: Draws them; torch's global one where it is None.
    """

    def __init__(self, share: float, generator: torch.Generator | None) -> None:
        super().__init__()
        self.share = share
        self.generator = generator

    def forward(self, inputs: Tensor) -> Tensor:
        if not self.training or self.share == 0:
            return inputs
        if self.generator is not None and self.generator.device != inputs.device:
            seed = self.generator.initial_seed()
            self.generator = torch.Generator(inputs.device).manual_seed(seed)
        # four numbers of 16 bits a draw: half of the time that bernoulli_ takes
        words = torch.empty(-(-inputs.numel() // 4), dtype=torch.int64, device=inputs.device)
        bits = words.random_(-(2**63), None, generator=self.generator).view(torch.int16)
        kept = bits[: inputs.numel()].view(inputs.shape) >= round(2**16 * self.share) - 2**15
        return inputs * kept / (1 - self.share)
