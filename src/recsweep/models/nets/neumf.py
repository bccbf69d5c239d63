"""Neural collaborative filtering: a learnt similarity of a user's vector and an item's."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsweep.models.nets import Net, dots
from recsweep.models.nets.tower import Tower


class NeuMF(Net):
    """The weighted product of two vectors (GMF), and a tower over two others (MLP):

        out = h · [p_u * p_i ; tower(q_u, q_i)] + b

    (X. He, L. Liao, H. Zhang, L. Nie, X. Hu and T.-S. Chua, "Neural collaborative filtering", WWW
    2017, equations 8 to 12.) The row of a user is [p ; q], and so is an item's. 82,761 parameters
    at 1000 x 1000 and 8, 32, [32, 16, 8]. Starts as the authors' code does, without pretraining:
    embeddings normal with a standard deviation of 0.01, layers Glorot-uniform, the output
    LeCun-uniform, biases zero.

    Args:
        num_users: Rows of the matrix.
        num_items: Columns of the matrix.
        mf_dim: Length of p; 0 leaves the product out.
        mlp_dim: Length of q; 0, with no layer in `hidden`, leaves the tower out: that is GMF alone.
        hidden: Widths of the tower's layers.
        generator: Draws the initial weights; torch's global one where it is None.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        mf_dim: int,
        mlp_dim: int,
        hidden: Sequence[int],
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.mf_dim = mf_dim
        dim = mf_dim + mlp_dim
        users, items = torch.empty(num_users, dim), torch.empty(num_items, dim)
        self.user_embedding = nn.Embedding(num_users, dim, _weight=users)
        self.item_embedding = nn.Embedding(num_items, dim, _weight=items)
        self.tower = Tower(mlp_dim, mlp_dim, hidden, generator=generator) if hidden else None
        self.output = nn.Linear(mf_dim + (hidden[-1] if hidden else 0), 1)
        for embedding in (self.user_embedding, self.item_embedding):
            nn.init.normal_(embedding.weight, std=0.01, generator=generator)
        bound = math.sqrt(3 / self.output.in_features)
        nn.init.uniform_(self.output.weight, -bound, bound, generator=generator)
        nn.init.zeros_(self.output.bias)

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        (p_u, q_u), (p_i, q_i) = self._halves(user_vectors), self._halves(item_vectors)
        parts = [p_u * p_i]
        if self.tower is not None:
            parts.append(self.tower(q_u, q_i))
        return self.output(torch.cat(parts, dim=1)).squeeze(1)

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        (p_u, q_u), (p_i, q_i) = self._halves(user_vectors), self._halves(item_vectors)
        of_product, of_tower = self._output_weights()
        outputs = dots(p_u * of_product, p_i) + self.output.bias
        return outputs if self.tower is None else outputs + self.tower.lists(q_u, q_i) @ of_tower

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        (p_u, q_u), (p_i, q_i) = self._halves(user_vectors), self._halves(item_vectors)
        of_product, of_tower = self._output_weights()
        outputs = (p_u * of_product) @ p_i.T + self.output.bias
        return outputs if self.tower is None else outputs + self.tower.pairwise(q_u, q_i) @ of_tower

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor | None = None) -> Tensor:
        items = self.item_vectors() if item_vectors is None else item_vectors
        (p_u, q_u), (p_i, q_i) = self._halves(user_vectors), self._halves(items)
        of_product, of_tower = self._output_weights()
        scores = (p_u * of_product) @ p_i.T + self.output.bias
        if self.tower is not None:
            scores += self.tower.score_items(q_u, q_i, of_tower)
        return scores

    def _halves(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """p (..., mf_dim) and q (..., mlp_dim) of rows."""
        return vectors[..., : self.mf_dim], vectors[..., self.mf_dim :]

    def _output_weights(self) -> tuple[Tensor, Tensor]:
        """What the output weighs the product (mf_dim,) and the tower (last width,) with."""
        weights = self.output.weight[0]
        return weights[: self.mf_dim], weights[self.mf_dim :]
