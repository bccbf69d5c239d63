"""Losses of a net's raw output against 0 or 1, each with the way from that output to a
probability."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from recsweep.checks import check_number

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Protocol):
    """A mean over a batch, and its link.

    Attributes:
        name: Name of the loss in labels and tables.
        details: What to know of its probabilities, in a sentence; empty where that is nothing.
        ranks: Whether it compares outputs of one list, so that no output is a probability by
            itself: it needs `examples=listwise`, and calibration.
    """

    name: ClassVar[str]
    details: ClassVar[str]
    ranks: ClassVar[bool]

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """The mean loss of raw outputs against targets of 0 and 1 of the same shape, (batch,) or of
        lists (batch, 1 + n): a scalar. The first of each list is its positive, the others are
        zeros."""

    def probability(self, outputs: "Tensor") -> "Tensor":
        """Raw outputs of any shape as probabilities of a positive, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """(output - target)^2 on the raw output, which is then an estimate of the probability; clipped
    to [0, 1]."""

    name: ClassVar[str] = "mse"
    ranks: ClassVar[bool] = False
    details: ClassVar[str] = (
        "raw outputs are clipped to [0, 1] to be read as probabilities; log loss is of those"
    )

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import mse_loss

        return mse_loss(outputs, targets)

    def probability(self, outputs: "Tensor") -> "Tensor":
        return outputs.clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class BinaryCrossEntropy:
    """Cross-entropy of the target under sigmoid(output): the output is a logit.

    Args:
        positive_weight: Weight of a positive's loss against a zero's. Other than 1 it trades
            calibration for recall.
    """

    name: ClassVar[str] = "bce"
    ranks: ClassVar[bool] = False
    details: ClassVar[str] = ""
    positive_weight: float

    def __post_init__(self) -> None:
        check_number("loss.positive_weight", self.positive_weight, above=0)

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import binary_cross_entropy_with_logits

        weight = None
        if self.positive_weight != 1:
            weight = outputs.new_tensor(self.positive_weight)
        return binary_cross_entropy_with_logits(outputs, targets, pos_weight=weight)

    def probability(self, outputs: "Tensor") -> "Tensor":
        return outputs.sigmoid()
