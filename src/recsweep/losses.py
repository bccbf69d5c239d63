"""Losses of a net's raw output: against 0 or 1, with the way from that output to a probability, or
of a positive's output against those of zeros."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

from recsweep.checks import check_number

if TYPE_CHECKING:
    from torch import Tensor


class Loss(Protocol):
    """A mean over a batch.

    Attributes:
        name: Name of the loss in labels and tables.
        details: What to know of its probabilities, in a sentence; empty where that is nothing.
        ranks: Whether it compares outputs of one list, so that no output is a probability by
            itself: it needs `examples=listwise`, and calibration.
        l2_rows: Weight of half the squared length of the embedding's rows of an example, which
            training adds to its loss.
    """

    name: ClassVar[str]
    details: ClassVar[str]
    ranks: ClassVar[bool]

    @property
    def l2_rows(self) -> float: ...

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """The mean loss of raw outputs against targets of 0 and 1 of the same shape, (batch,) or of
        lists (batch, 1 + n): a scalar. The first of each list is its positive, the others are
        zeros."""


@runtime_checkable
class OfCells(Loss, Protocol):
    """A loss of single cells, with its link."""

    def probability(self, outputs: "Tensor") -> "Tensor":
        """Raw outputs of any shape as probabilities of a positive, in [0, 1]."""


@runtime_checkable
class Sloped(Loss, Protocol):
    """A loss that tells its derivative, for a net that brings its gradient in closed form."""

    def slope(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        """The gradient (batch,) of the mean loss by raw outputs (batch,), without autograd."""


@dataclass(frozen=True, kw_only=True)
class MeanSquaredError:
    """(output - target)^2 on the raw output, which is then an estimate of the probability; clipped
    to [0, 1]."""

    name: ClassVar[str] = "mse"
    ranks: ClassVar[bool] = False
    l2_rows: ClassVar[float] = 0.0
    details: ClassVar[str] = (
        "raw outputs are clipped to [0, 1] to be read as probabilities; log loss is of those"
    )

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import mse_loss

        return mse_loss(outputs, targets)

    def slope(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        return outputs.sub(targets).mul_(2 / len(outputs))

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
    l2_rows: ClassVar[float] = 0.0
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

    def slope(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        slopes = outputs.sigmoid().sub_(targets)
        if self.positive_weight != 1:
            slopes *= 1 + (self.positive_weight - 1) * targets
        return slopes.div_(len(outputs))

    def probability(self, outputs: "Tensor") -> "Tensor":
        return outputs.sigmoid()


@dataclass(frozen=True, kw_only=True)
class BayesianPersonalizedRanking:
    """softplus(zero - positive), the mean over the zeros of a list: how far each stands from being
    ranked below the positive (S. Rendle, C. Freudenthaler, Z. Gantner and L. Schmidt-Thieme, "BPR:
    Bayesian personalized ranking from implicit feedback", UAI 2009).

    Args:
        l2_rows: The paper's penalty of the rows of a triple alone, in place of all weights'.
    """

    name: ClassVar[str] = "bpr"
    ranks: ClassVar[bool] = True
    details: ClassVar[str] = ""
    l2_rows: float

    def __post_init__(self) -> None:
        check_number("loss.l2_rows", self.l2_rows, minimum=0)

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        from torch.nn.functional import softplus

        return softplus(outputs[:, 1:] - outputs[:, :1]).mean()


@dataclass(frozen=True, kw_only=True)
class SampledSoftmax:
    """Cross-entropy of the positive among its list, under the softmax of output / temperature.

    As the zeros are drawn uniformly, the correction for how often an item is drawn is the same for
    all, and changes nothing (X. Yi et al., "Sampling-bias-corrected neural modeling for large
    corpus item recommendations", RecSys 2019, who need it for zeros out of the batch).

    Args:
        temperature: The lower, the more the zeros with the highest outputs count.
        l2_rows: Penalty of the rows of a list.
    """

    name: ClassVar[str] = "softmax"
    ranks: ClassVar[bool] = True
    details: ClassVar[str] = ""
    temperature: float
    l2_rows: float

    def __post_init__(self) -> None:
        check_number("loss.temperature", self.temperature, above=0)
        check_number("loss.l2_rows", self.l2_rows, minimum=0)

    def __call__(self, outputs: "Tensor", targets: "Tensor") -> "Tensor":
        scaled = outputs / self.temperature
        return (scaled.logsumexp(dim=1) - scaled[:, 0]).mean()
