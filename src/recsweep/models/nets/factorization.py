"""Factorization machines: dot products of embeddings, alone or with a network beside them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor, nn

from recsweep.data.features import FeatureTable
from recsweep.models.nets import Net, dots
from recsweep.models.nets.tower import Tower

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class FM(Net):
    """A factorization machine (Rendle, ICDM 2010): b0 + sum of b_f + sum over pairs of <v_f, v_g>.

    The fields f and g are the user, the item, and the columns of features of either. With the two
    that a user and an item are, it is a matrix factorization with biases: b0 + b_u + b_i +
    <v_u, v_i>; without biases the output is the dot product alone, as of BPR (Rendle et al., UAI
    2009). 34,001 parameters at 1000 x 1000 and `dim` 16; 128,000 without biases at 64.

    A row is [v ; b], without biases v. Features keep that form exactly. With the vectors v_f of a
    user's fields, each the mean of its categories', and u their sum, the user's row is
    [u ; sum of b_f + (|u|^2 - sum of |v_f|^2) / 2], whose last number holds all pairs within the
    user. So has an item, and <u, i> are the pairs between the two.

    Starts at v from N(0, 0.1^2), as Rendle, Krichene, Zhang and Anderson (RecSys 2020) do, or,
    without biases, Glorot-uniform; biases are zero.

    Args:
        num_users: Rows of the matrix.
        num_items: Columns of the matrix.
        dim: Length of v.
        bias: Whether there are the biases b.
        user_features: Fields of the users.
        item_features: Fields of the items.
        generator: Draws the initial weights; torch's global one where it is None.
    """

    takes_features = True

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        dim: int,
        bias: bool,
        user_features: FeatureTable | None = None,
        item_features: FeatureTable | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.dim = dim

        def embedding(size: int) -> nn.Embedding:
            weight = torch.zeros(size, dim + bias)
            if bias:
                nn.init.normal_(weight[:, :dim], std=0.1, generator=generator)
            else:
                nn.init.xavier_uniform_(weight, generator=generator)
            return nn.Embedding(size, dim + bias, _weight=weight)

        def fields(table: FeatureTable | None) -> Fields | None:
            return None if table is None else Fields(table, embedding(table.matrix.shape[1]))

        self.user_embedding, self.item_embedding = embedding(num_users), embedding(num_items)
        self.user_fields, self.item_fields = fields(user_features), fields(item_features)
        self.bias = nn.Parameter(torch.zeros(())) if bias else None

    @property
    def draws(self) -> bool:
        """Whether a row is another one each time that it is asked for."""
        return False

    def user_vectors(self, users: Tensor | None = None) -> Tensor:
        return self._vectors(users, of_items=False)

    def item_vectors(self, items: Tensor | None = None) -> Tensor:
        return self._vectors(items, of_items=True)

    def from_features(self, features: "csr_matrix", *, of_items: bool) -> Tensor:
        embedding, fields = self._side(of_items)
        values = cast(Fields, fields).of_rows(features)
        rows = embedding.weight.new_zeros(len(values), embedding.embedding_dim)
        return self._joined(rows, values, of_items=of_items)

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        (u, b_u), (i, b_i) = self._parted(user_vectors), self._parted(item_vectors)
        return self._biased((u * i).sum(dim=-1), b_u + b_i)

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        (u, b_u), (i, b_i) = self._parted(user_vectors), self._parted(item_vectors)
        return self._biased(dots(u, i), b_u[:, None] + b_i)

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        (u, b_u), (i, b_i) = self._parted(user_vectors), self._parted(item_vectors)
        # [u ; b_u ; 1] times [i ; 1 ; b_i]: the biases take no further pass over the outputs
        b_u, b_i = b_u[:, None], b_i[:, None]
        users = torch.cat([u, b_u, torch.ones_like(b_u)], dim=1)
        items = torch.cat([i, torch.ones_like(b_i), self._biased(b_i, 0)], dim=1)
        return users @ items.T

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor | None = None) -> Tensor:
        items = self.item_vectors() if item_vectors is None else item_vectors
        return self.pairwise(user_vectors, items)

    def _side(self, of_items: bool) -> tuple[nn.Embedding, "Fields | None"]:
        if of_items:
            return self.item_embedding, self.item_fields
        return self.user_embedding, self.user_fields

    def _vectors(self, indices: Tensor | None, *, of_items: bool) -> Tensor:
        embedding, fields = self._side(of_items)
        if fields is None:
            return embedding.weight if indices is None else embedding(indices)
        if indices is None:
            return self._joined(embedding.weight, fields(), of_items=of_items)
        many = indices.numel() > embedding.num_embeddings
        if many and not self.draws and not embedding.sparse:  # each once will do
            return nn.functional.embedding(indices, self._vectors(None, of_items=of_items))
        return self._joined(embedding(indices), fields(indices), of_items=of_items)

    def _joined(self, rows: Tensor, values: Tensor, *, of_items: bool) -> Tensor:
        """Rows (..., width) and the vectors of their fields (..., num_fields, width) as one row,
        (..., dim + 1)."""
        v, b = self._parted(torch.cat([rows[..., None, :], values], dim=-2))
        total = v.sum(dim=-2)
        within = (total.square().sum(dim=-1) - v.square().sum(dim=(-2, -1))) / 2
        return torch.cat([total, (b.sum(dim=-1) + within)[..., None]], dim=-1)

    def _parted(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """v (..., dim) and b (...) of rows; b is 0 where they have none."""
        more = vectors.shape[-1] - self.dim
        v, b, _ = vectors.split([self.dim, min(1, more), max(0, more - 1)], dim=-1)
        return v, b.sum(dim=-1)

    def _biased(self, products: Tensor, biases: Tensor | float) -> Tensor:
        outputs = products + biases
        return outputs if self.bias is None else outputs + self.bias


class DeepFM(FM):
    """A factorization machine plus a dense network on the same embeddings (Guo et al., IJCAI 2017):
    FM + w . ReLU(... ReLU(W [v_u ; v_i] + c) ...).

    The network sees the vectors of all fields side by side: with features those too. The output has
    one bias, b0. 38,225 parameters at 1000 x 1000, `dim` 16 and `hidden` 64, 32. The first layer is
    linear in each side, so it is done once a user and once an item: with features a row is
    [u ; sum of b_f + (|u|^2 - sum of |v_f|^2) / 2 ; W_user [v_user ; v_f ; ...]]; without, it is
    the [v ; b] of `FM`.

    Starts as `FM`; dense kernels are Glorot-uniform, their biases zero.

    Args:
        num_users: Rows of the matrix.
        num_items: Columns of the matrix.
        dim: Length of v.
        hidden: Widths of the dense layers.
        dropout: Share of a dense layer's inputs that are zero in a training step.
        user_features: Fields of the users.
        item_features: Fields of the items.
        generator: Draws the initial weights and what is dropped; torch's global one where it is
            None.
    """

    def __init__(
        self,
        num_users: int,
        num_items: int,
        *,
        dim: int,
        hidden: Sequence[int],
        dropout: float,
        user_features: FeatureTable | None = None,
        item_features: FeatureTable | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__(
            num_users,
            num_items,
            dim=dim,
            bias=True,
            user_features=user_features,
            item_features=item_features,
            generator=generator,
        )
        user_width, item_width = (
            dim * (1 + (0 if table is None else len(table.fields)))
            for table in (user_features, item_features)
        )
        self.tower = Tower(user_width, item_width, hidden, dropout=dropout, generator=generator)
        self.output = nn.Linear(hidden[-1], 1, bias=False)
        nn.init.xavier_uniform_(self.output.weight, generator=generator)

    @property
    def draws(self) -> bool:
        return self.training and self.tower.dropout.share > 0

    def head(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        from_users, from_items = self._halves(user_vectors, item_vectors)
        return super().head(user_vectors, item_vectors) + self._deep(from_users + from_items)

    def lists(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        from_users, from_items = self._halves(user_vectors, item_vectors)
        deep = self._deep(from_users[:, None] + from_items)
        return super().lists(user_vectors, item_vectors) + deep

    def pairwise(self, user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
        from_users, from_items = self._halves(user_vectors, item_vectors)
        deep = self._deep(from_users[:, None] + from_items)
        return super().pairwise(user_vectors, item_vectors) + deep

    @torch.no_grad()
    def score_items(self, user_vectors: Tensor, item_vectors: Tensor | None = None) -> Tensor:
        items = self.item_vectors() if item_vectors is None else item_vectors
        scores = super().pairwise(user_vectors, items)
        return scores.add_(
            self.tower.score_sums(*self._halves(user_vectors, items), self.output.weight[0])
        )

    def _joined(self, rows: Tensor, values: Tensor, *, of_items: bool) -> Tensor:
        fields = torch.cat([rows[..., None, :], values], dim=-2)[..., : self.dim].flatten(-2)
        half = self.tower.from_items(fields) if of_items else self.tower.from_users(fields)
        return torch.cat([super()._joined(rows, values, of_items=of_items), half], dim=-1)

    def _halves(self, user_vectors: Tensor, item_vectors: Tensor) -> tuple[Tensor, Tensor]:
        """What users and items bring to the first layer, (..., hidden[0]) each. A row with fields
        holds it."""
        own, half = slice(self.dim), slice(self.dim + 1, None)
        return (
            self.tower.from_users(user_vectors[..., own])
            if self.user_fields is None
            else user_vectors[..., half],
            self.tower.from_items(item_vectors[..., own])
            if self.item_fields is None
            else item_vectors[..., half],
        )

    def _deep(self, sums: Tensor) -> Tensor:
        """The network's outputs (...) of its first layer before the ReLU, (..., hidden[0])."""
        return self.output(self.tower.after_first(sums)).squeeze(-1)


class Fields(nn.Module):
    """Vectors of the fields of all users, or of all items.

    Args:
        table: What each one's fields hold, which is no weight, and not saved with the weights.
        embedding: A row for each column of the table's matrix.
    """

    indices: Tensor
    weights: Tensor

    def __init__(self, table: FeatureTable, embedding: nn.Embedding) -> None:
        super().__init__()
        self.embedding = embedding
        self.sizes = [field.size for field in table.fields]
        indices, weights, self.places = self._entries(table.matrix)
        self.register_buffer("indices", indices, persistent=False)
        self.register_buffer("weights", weights, persistent=False)

    def forward(self, entities: Tensor | None = None) -> Tensor:
        """(..., num_fields, width) of entities (...), of all where None: the weighted sum of the
        rows of a field's values, zeros where it has none."""
        if entities is None:
            return self._sums(self.indices, self.weights, self.places)
        return self._sums(self.indices[entities], self.weights[entities], self.places)

    def of_rows(self, features: "csr_matrix") -> Tensor:
        """(m, num_fields, width) of features (m, width of the table's matrix)."""
        indices, weights, places = self._entries(features)
        device = self.embedding.weight.device
        return self._sums(indices.to(device), weights.to(device), places)

    def _sums(self, indices: Tensor, weights: Tensor, places: Sequence[int]) -> Tensor:
        vectors = self.embedding(indices) * weights[..., None].to(self.embedding.weight.dtype)
        fields = vectors.split(list(places), dim=-2)
        return torch.stack([field.sum(dim=-2) for field in fields], dim=-2)

    def _entries(self, matrix: "csr_matrix") -> tuple[Tensor, Tensor, list[int]]:
        """The columns and the weights of each row's entries, (n, number of places), and the number
        of places of each field: as many as one has values at most. A place that is not taken has
        the weight 0."""
        indices: list[Tensor] = []
        weights: list[Tensor] = []
        places, start = [], 0
        for size in self.sizes:
            block = matrix[:, start : start + size]
            counts = np.diff(block.indptr)
            number = int(counts.max(initial=0))
            taken = np.arange(number) < counts[:, None]
            for arrays, values, dtype in (
                (indices, start + block.indices, np.int64),
                (weights, block.data, np.float32),
            ):
                padded = np.zeros(taken.shape, dtype=dtype)
                padded[taken] = values
                arrays.append(torch.from_numpy(padded))
            places.append(number)
            start += size
        return torch.cat(indices, dim=1), torch.cat(weights, dim=1), places
