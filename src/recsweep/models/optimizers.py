"""Optimizers as small specs, not torch objects: they are compared, logged and shared among
members."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from recsweep.checks import as_said, check_number
from recsweep.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer


class OptimizerSpec(Protocol):
    """What updates the weights.

    Attributes:
        kind: Name of the optimizer in labels.
        lr: Length of a step.
        moments: Numbers that it keeps for each weight.
    """

    kind: ClassVar[str]

    @property
    def lr(self) -> float: ...

    @property
    def moments(self) -> int: ...

    def build(self, parameters: Iterable["Tensor"]) -> "Optimizer":
        """A torch optimizer of these parameters, fused where their device can."""


def _fused(parameters: list["Tensor"]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba, 2015) with L2 `weight_decay` on the gradient."""

    kind: ClassVar[str] = "adam"
    moments: ClassVar[int] = 2
    lr: float
    betas: Sequence[float]
    eps: float
    weight_decay: float

    def __post_init__(self) -> None:
        check_number("optimizer.lr", self.lr, above=0)
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise ConfigError(
                f"optimizer.betas must be two numbers, as [0.9, 0.999], not {as_said(self.betas)}."
            )
        for beta in self.betas:
            check_number("optimizer.betas", beta, minimum=0, below=1)
        check_number("optimizer.eps", self.eps, above=0)
        check_number("optimizer.weight_decay", self.weight_decay, minimum=0)

    def build(self, parameters: Iterable["Tensor"]) -> "Optimizer":
        from torch import optim

        parameters, settings = list(parameters), {**asdict(self), "betas": tuple(self.betas)}
        return optim.Adam(parameters, **settings, fused=_fused(parameters))


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum and L2 `weight_decay` on the gradient."""

    kind: ClassVar[str] = "sgd"
    lr: float
    momentum: float
    weight_decay: float

    def __post_init__(self) -> None:
        check_number("optimizer.lr", self.lr, above=0)
        check_number("optimizer.momentum", self.momentum, minimum=0, below=1)
        check_number("optimizer.weight_decay", self.weight_decay, minimum=0)

    @property
    def moments(self) -> int:
        return int(self.momentum > 0)

    def build(self, parameters: Iterable["Tensor"]) -> "Optimizer":
        from torch import optim

        parameters = list(parameters)
        return optim.SGD(parameters, **asdict(self), fused=_fused(parameters))
