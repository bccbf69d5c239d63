"""The weights of a net in one buffer, so that an optimizer updates them all at once."""

from typing import cast

import torch
from torch import Tensor, nn

from recsweep.models.nets import Net

LINE = 16
"""Each weight begins at a multiple of so many numbers, 64 bytes: products are slower elsewhere."""


class FlatWeights:
    """The weights of a net as views of one buffer, and their gradients as views of another.

    Args:
        net: Its parameters are moved, all of one type and on one device. Otherwise it is as before.
        by_rows: Whether the embeddings of users and items stay where they are, and have sparse
            gradients of the rows that a batch takes.

    Attributes:
        values: The buffer as a parameter (n,), for an optimizer; its `.grad` is that of gradients.
            What lies between two weights is 0, and so is its gradient.
        tables: The weights that stay out of it.
    """

    def __init__(self, net: nn.Module, *, by_rows: bool = False) -> None:
        self.tables: list[Tensor] = []
        if by_rows:
            for embedding in cast(Net, net).embeddings:
                embedding.sparse = True
                self.tables.append(embedding.weight)
        apart = set(self.tables)
        self._weights = [weight for weight in net.parameters() if weight not in apart]
        spaces = [-(-weight.numel() // LINE) * LINE for weight in self._weights]
        self.values = nn.Parameter(next(net.parameters()).new_zeros(sum(spaces)))
        self._gradient = self.values.grad = torch.zeros_like(self.values)
        for weight, place in zip(self._weights, self.values.data.split(spaces), strict=True):
            here = place[: weight.numel()].view_as(weight)
            weight.data = here.copy_(weight.data)
        pairs = zip(self._weights, self._gradient.split(spaces), strict=True)
        self._gradients = [place[: weight.numel()].view_as(weight) for weight, place in pairs]
        self.attach()

    def attach(self) -> None:
        """Make the `.grad` of the weights in the buffer its own, where others took them away, as
        `zero_grad` does. What then writes gradients adds to them, or fills them in place."""
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight.grad = gradient

    def clear(self) -> None:
        """Set all gradients to 0, and take those of tables away."""
        self._gradient.zero_()
        for table in self.tables:
            table.grad = None
