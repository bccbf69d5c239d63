"""Optimizers as small specs, not torch objects: they are compared, logged and shared among
members."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
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

    def advance(self, optimizer: "Optimizer") -> Callable[[], object]:
        """What does `optimizer.step` without its hooks and bookkeeping, which take longer than the
        update of a small net. For an optimizer of `build` with one parameter, whose `.grad` is
        there for good; of the optimizer's settings it takes those of now."""


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

    def advance(self, optimizer: "Optimizer") -> Callable[[], object]:
        from torch.optim.adam import adam

        (group,) = optimizer.param_groups
        (weights,) = group["params"]
        state = optimizer.state[weights]
        if not state:  # its first step makes it
            return optimizer.step
        beta1, beta2 = group["betas"]
        return partial(
            adam,
            [weights],
            [weights.grad],
            [state["exp_avg"]],
            [state["exp_avg_sq"]],
            [],
            [state["step"]],
            fused=group["fused"],
            amsgrad=False,
            beta1=beta1,
            beta2=beta2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


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

    def advance(self, optimizer: "Optimizer") -> Callable[[], object]:
        from torch.optim.sgd import sgd

        (group,) = optimizer.param_groups
        (weights,) = group["params"]
        momenta = [optimizer.state[weights].get("momentum_buffer")]
        if group["momentum"] and momenta[0] is None:  # its first step makes it
            return optimizer.step
        return partial(
            sgd,
            [weights],
            [weights.grad],
            momenta,
            fused=group["fused"],
            weight_decay=group["weight_decay"],
            momentum=group["momentum"],
            lr=group["lr"],
            dampening=0.0,
            nesterov=False,
            maximize=False,
        )
