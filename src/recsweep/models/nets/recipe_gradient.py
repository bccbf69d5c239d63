"""The gradients of the recipe net in closed form: what autograd gives, in half of its time or, of
few rows, in an eighth."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn

from recsweep.losses import Sloped

if TYPE_CHECKING:
    from recsweep.models.nets import RecipeNet

on = torch.ops.aten.threshold_backward.grad_input
"""Its first argument where the second is above the third, else 0."""


class RecipeGradient:
    """Of the output w · h + c with h = relu(W x + b) and x = [u; v], and a batch with these in the
    rows of H and X, and the slopes s of its mean loss by the outputs:

        dc = sum s    dw = H' s    S = s where H > 0, else 0
        db = w ∘ sum S    dW = diag(w) S' X    [du; dv] = S diag(w) W

    S takes the place of H and [du; dv] that of X, so that a batch stays in a core's cache.

    Args:
        net: Its weights have their `.grad`, but embeddings that are `sparse`.
        loss: What is minimised.
        batch_size: Examples of the largest batch.
    """

    def __init__(self, net: "RecipeNet", loss: Sloped, batch_size: int) -> None:
        self.loss = loss
        layers = (net.hidden.weight, net.hidden.bias, net.output.weight, net.output.bias)
        self._layers = [(layer, cast(Tensor, layer.grad)) for layer in layers]
        self._embeddings = net.embeddings
        self._user_dim = net.user_embedding.embedding_dim
        hidden_dim, width = net.hidden.weight.shape
        self._x = net.hidden.weight.new_empty(batch_size, width)
        self._h = net.hidden.weight.new_empty(batch_size, hidden_dim)

    def __call__(self, users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """Add the gradient of the batch's mean loss to those of the embeddings, and put it in place
        of those of the layers; the raw outputs (batch,)."""
        u, v = self._embeddings
        (weight, of_weight), (bias, of_bias), (out, of_out), (constant, of_constant) = self._layers
        x, h, w = self._x[: len(users)], self._h[: len(users)], out[0]
        torch.cat((u.weight.index_select(0, users), v.weight.index_select(0, items)), 1, out=x)
        torch.addmm(bias, x, weight.t(), out=h).relu_()
        outputs = torch.addmv(constant, h, w)

        slopes = self.loss.slope(outputs, targets)
        torch.sum(slopes, 0, keepdim=True, out=of_constant)
        torch.mv(h.t(), slopes, out=of_out[0])
        on(slopes[:, None].expand_as(h), h, 0, grad_input=h)
        torch.sum(h, 0, out=of_bias).mul_(w)
        torch.mm(h.t(), x, out=of_weight).mul_(w[:, None])
        torch.mm(h, weight * w[:, None], out=x)
        _add(u, users, x[:, : self._user_dim])
        _add(v, items, x[:, self._user_dim :])
        return outputs


def _add(embedding: nn.Embedding, rows: Tensor, gradients: Tensor) -> None:
    """Add the gradients (batch, dim) of rows (batch,) to that of the embedding."""
    weight = embedding.weight
    if embedding.sparse:
        weight.grad = torch.sparse_coo_tensor(
            rows[None], gradients, weight.shape, check_invariants=False
        )
    else:
        cast(Tensor, weight.grad).index_put_((rows,), gradients, accumulate=True)


@dataclass(frozen=True)
class Cells:
    """The cells by which m rows are trained: all pairs with some vectors of the other side, and
    then pairs with vectors of a row's own.

    Attributes:
        shared: (k, other_dim) vectors that every row is paired with, as 0.
        scale: Weight of those pairs.
        own: (n, other_dim) vectors that a row alone is paired with, with the weight 1.
        owners: (n,) place of the row that each of those is of.
        targets: (n,) of those pairs, 0 or 1.
        twice: (t,) which of them stand among `shared` too, where the pair then counts nothing.
        place: (t,) their place there.
    """

    shared: Tensor
    scale: float
    own: Tensor
    owners: Tensor
    targets: Tensor
    twice: Tensor
    place: Tensor


class RowGradient:
    """Of rows r that are no part of the net, with all else frozen. With the halves of the first
    layer for them and for the other side, h = relu(W_r r + (W_o o + b)), of which the second term
    is computed once; in the notation of `RecipeGradient` dr = W_r' (w ∘ sum of s where h > 0).

    Args:
        net: The net, which stays as it is.
        loss: The loss of a cell.
        cells: The cells of the rows.
        m: Number of rows.
        of_items: Whether the rows stand for items.
    """

    def __init__(
        self, net: "RecipeNet", loss: Sloped, cells: Cells, m: int, *, of_items: bool
    ) -> None:
        self.loss = loss
        halves = net.hidden.weight.detach().split_with_sizes(
            [net.user_embedding.embedding_dim, net.item_embedding.embedding_dim], dim=1
        )
        self._of_rows, of_others = halves[of_items], halves[not of_items]
        self._out, self._constant = net.output.weight.detach()[0], net.output.bias.detach()
        bias = net.hidden.bias.detach()
        self._shared = torch.addmm(bias, cells.shared, of_others.t())  # (k, hidden_dim)
        self._own = torch.addmm(bias, cells.own, of_others.t())  # (n, hidden_dim)
        self._m, self._owners = m, cells.owners
        num_shared, number = m * len(cells.shared), m * len(cells.shared) + len(cells.own)
        self._h = self._own.new_empty(number, len(bias))
        self._targets = torch.cat([self._own.new_zeros(num_shared), cells.targets])
        # what `slope` divides by, as it is of a mean, is multiplied with again
        self._weights = torch.full_like(self._targets, cells.scale * number)
        self._weights[cells.owners[cells.twice] * len(cells.shared) + cells.place] = 0
        self._weights[num_shared:] = number

    def __call__(self, rows: Tensor) -> Tensor:
        """(m, dim): the gradient of the sum over the cells of weight times loss, by rows (m, dim),
        without autograd."""
        m, k, h = self._m, len(self._shared), self._h
        from_rows = rows @ self._of_rows.t()  # (m, hidden_dim)
        shared, own = h[: m * k].view(m, k, -1), h[m * k :]
        torch.add(from_rows[:, None], self._shared, out=shared)
        torch.add(from_rows.index_select(0, self._owners), self._own, out=own)
        outputs = torch.addmv(self._constant, h.relu_(), self._out)
        slopes = self.loss.slope(outputs, self._targets).mul_(self._weights)
        h.sign_()  # 1 where a unit is on
        on = torch.bmm(slopes[: m * k].view(m, 1, k), shared)[:, 0]  # (m, hidden_dim)
        on.index_add_(0, self._owners, own.mul_(slopes[m * k :, None]))
        return on.mul_(self._out) @ self._of_rows
