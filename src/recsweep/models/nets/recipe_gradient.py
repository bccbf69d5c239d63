"""The gradient of the recipe net in closed form: what autograd gives, in half of its time."""

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
