"""Optimizers as small specs, not torch objects: they are compared, logged and shared among
members."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from recsweep.checks import as_said, check_number
from recsweep.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

    from recsweep.models.fit.lazy_adam import LazyAdamOptimizer


class OptimizerSpec(Protocol):
    """What updates the weights.

    Attributes:
        kind: Name of the optimizer in labels.
        lr: Length of a step.
        moments: Numbers that it keeps for each weight.
        by_rows: Whether it updates of embeddings the rows of a batch alone.
    """

    kind: ClassVar[str]
    by_rows: ClassVar[bool]

    @property
    def lr(self) -> float: ...

    @property
    def moments(self) -> int: ...

    def build(self, parameters: Iterable["Tensor"], tables: Iterable["Tensor"] = ()) -> "Optimizer":
        """A torch optimizer of these parameters, fused where their device can.

        Args:
            tables: More of them, which have sparse gradients; only where it is `by_rows`.
        """

    def advance(self, optimizer: "Optimizer") -> Callable[[], object]:
        """What does `optimizer.step` without its hooks and bookkeeping, which take longer than the
        update of a small net. For an optimizer of `build` with one parameter, and tables, whose
        `.grad` is there for good; of the optimizer's settings it takes those of now."""


def check_takes_rows(optimizer: OptimizerSpec, why_not: str) -> None:
    """Raise ConfigError where it updates the rows of a batch, for a model whose batches have none.

    Args:
        why_not: Why they have none, as half a sentence.
    """
    if optimizer.by_rows:
        raise ConfigError(
            f"optimizer={optimizer.kind} updates the rows of a batch alone, and {why_not}. Take "
            "optimizer=adam."
        )


def adam_step(
    held: Sequence["Tensor"], gradient: "Tensor", step: "Tensor", group: Mapping[str, Any]
) -> Callable[[], object]:
    """Torch's step of Adam for weights and their two moments, which it changes in place.

    Args:
        held: Weights, mean and mean square of their gradients, of one shape.
        gradient: Of that shape.
        step: Number of steps before, which it counts on.
        group: Settings of one of the optimizer's groups.
    """
    from torch.optim.adam import adam

    weights, mean, square = ([array] for array in held)
    beta1, beta2 = group["betas"]
    return partial(
        adam,
        weights,
        [gradient],
        mean,
        square,
        [],
        [step],
        fused=group["fused"],
        amsgrad=False,
        beta1=beta1,
        beta2=beta2,
        lr=group["lr"],
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        maximize=False,
    )


def _fused(parameters: list["Tensor"]) -> bool:
    return all(parameter.device.type in ("cpu", "cuda") for parameter in parameters)


@dataclass(frozen=True, kw_only=True)
class Adam:
    """Adam (Kingma and Ba, 2015) with L2 `weight_decay` on the gradient.

    Attributes:
        lr: Learning rate: length of a step.
        betas: Decay of the running means of the gradient and of its square.
        eps: What is added to the root of the latter.
        weight_decay: Share of a weight that joins its gradient.
    """

    kind: ClassVar[str] = "adam"
    by_rows: ClassVar[bool] = False
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

    def build(self, parameters: Iterable["Tensor"], tables: Iterable["Tensor"] = ()) -> "Optimizer":
        from torch import optim

        parameters, settings = [*parameters, *tables], {**asdict(self), "betas": tuple(self.betas)}
        return optim.Adam(parameters, **settings, fused=_fused(parameters))

    def advance(self, optimizer: "Optimizer") -> Callable[[], object]:
        (group,) = optimizer.param_groups
        (weights,) = group["params"]
        state = optimizer.state[weights]
        if not state:  # its first step makes it
            return optimizer.step
        held = weights, state["exp_avg"], state["exp_avg_sq"]
        return adam_step(held, weights.grad, state["step"], group)


@dataclass(frozen=True, kw_only=True)
class LazyAdam(Adam):
    """Adam whose step updates, of the embeddings of users and items, the rows of its batch and
    their moments alone; the other weights, those of features among them, as Adam does.

    As torch's SparseAdam and TensorFlow Addons' LazyAdam: the moments of a row decay in the steps
    that have it, and the bias correction counts all steps. A row that is in every batch goes
    exactly where Adam takes it. Of another row Adam's moments decay at each step and move it on,
    while here it waits; the longer, the more its next step differs. `eps` is added as Adam adds
    it, after the correction, where SparseAdam adds it before. `weight_decay` is part of the
    gradient of the rows of a batch: a rare row decays rarely, where Adam decays all at each step.
    """

    kind: ClassVar[str] = "lazy_adam"
    by_rows: ClassVar[bool] = True

    def build(self, parameters: Iterable["Tensor"], tables: Iterable["Tensor"] = ()) -> "Optimizer":
        from recsweep.models.fit.lazy_adam import LazyAdamOptimizer

        parameters, tables = list(parameters), list(tables)
        settings = {**asdict(self), "betas": tuple(self.betas)}
        settings["fused"] = _fused([*parameters, *tables])
        return LazyAdamOptimizer(parameters, tables, settings)

    def advance(self, optimizer: "Optimizer") -> Callable[[], object]:
        return cast("LazyAdamOptimizer", optimizer).update


@dataclass(frozen=True, kw_only=True)
class SGD:
    """Stochastic gradient descent with momentum and L2 `weight_decay` on the gradient.

    Attributes:
        lr: Learning rate: length of a step.
        momentum: Share of the step before that joins a step.
        weight_decay: Share of a weight that joins its gradient.
    """

    kind: ClassVar[str] = "sgd"
    by_rows: ClassVar[bool] = False
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

    def build(self, parameters: Iterable["Tensor"], tables: Iterable["Tensor"] = ()) -> "Optimizer":
        from torch import optim

        parameters = [*parameters, *tables]
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
