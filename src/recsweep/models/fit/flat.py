"""The weights of a net in one buffer, so that an optimizer updates them all at once."""

import torch
from torch import nn

LINE = 16
"""Each weight begins at a multiple of so many numbers, 64 bytes: products are slower elsewhere."""


class FlatWeights:
    """The weights of a net as views of one buffer, and their gradients as views of another.

    Args:
        net: Its parameters are moved, all of one type and on one device. Otherwise it is as before.

    Attributes:
        values: The buffer as a parameter (n,), for an optimizer; its `.grad` is that of gradients.
            What lies between two weights is 0, and so is its gradient.
    """

    def __init__(self, net: nn.Module) -> None:
        self._weights = list(net.parameters())
        spaces = [-(-weight.numel() // LINE) * LINE for weight in self._weights]
        self.values = nn.Parameter(self._weights[0].new_zeros(sum(spaces)))
        self._gradient = self.values.grad = torch.zeros_like(self.values)
        for weight, place in zip(self._weights, self.values.data.split(spaces), strict=True):
            here = place[: weight.numel()].view_as(weight)
            weight.data = here.copy_(weight.data)
        pairs = zip(self._weights, self._gradient.split(spaces), strict=True)
        self._gradients = [place[: weight.numel()].view_as(weight) for weight, place in pairs]
        self.attach()

    def attach(self) -> None:
        """Make the `.grad` of the weights those of the buffer, where others took them away, as
        `zero_grad` does. What then writes gradients adds to them, or fills them in place."""
        for weight, gradient in zip(self._weights, self._gradients, strict=True):
            weight.grad = gradient

    def clear(self) -> None:
        """Set all gradients to 0."""
        self._gradient.zero_()
