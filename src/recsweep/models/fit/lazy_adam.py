"""Adam that updates the rows of a batch, in place of whole tables."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recsweep.errors import FitError
from recsweep.models.optimizers import adam_step


class LazyAdamOptimizer(torch.optim.Optimizer):
    """What `recsweep.models.optimizers.LazyAdam` says, as a torch optimizer.

    Args:
        parameters: Those that are updated whole, as by Adam.
        tables: Those of which the rows in a sparse gradient alone are updated.
        settings: lr, betas, eps and weight_decay of Adam, and whether it is `fused`.
    """

    def __init__(
        self, parameters: Sequence[Tensor], tables: Sequence[Tensor], settings: dict[str, Any]
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": list(parameters)},
            {"params": list(tables), "sparse": True},
        ]
        super().__init__(groups, {**settings, "sparse": False})
        self._distinct = {table: Distinct(len(table), table.device) for table in tables}

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss

    @torch.no_grad()
    def update(self) -> None:
        """A step without torch's hooks around it."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    (self._update_rows if group["sparse"] else self._update)(
                        weight, weight.grad, group
                    )

    def _update(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        adam_step(self._held(weight), gradient, self.state[weight]["step"], group)()

    def _update_rows(self, table: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        if not gradient.is_sparse:
            raise FitError(
                "optimizer=lazy_adam updates the rows that a batch takes from its embeddings, and "
                "this net takes a whole table in a step. Take optimizer=adam."
            )
        # coalesce gives the same in twice the time
        (indices,), values = gradient._indices(), gradient._values()
        rows, places = self._distinct[table](indices)
        summed = values.new_zeros(len(rows), *values.shape[1:])
        summed.index_put_((places,), values, accumulate=True)
        held = self._held(table)
        taken = [_take(array, rows) for array in held]
        adam_step(taken, summed, self.state[table]["step"], group)()
        for array, new in zip(held, taken, strict=True):
            _put(array, rows, new)

    def _held(self, weight: Tensor) -> list[Tensor]:
        """The weights and their two moments."""
        state = self.state[weight]
        if not state:
            state["step"] = torch.zeros((), device=weight.device)
            state["exp_avg"] = torch.zeros_like(weight)
            state["exp_avg_sq"] = torch.zeros_like(weight)
        return [weight.detach(), state["exp_avg"], state["exp_avg_sq"]]


class Distinct:
    """Finds the distinct ones of indices below a size, in time that the size has no part in and a
    quarter of `torch.unique`'s."""

    def __init__(self, size: int, device: torch.device) -> None:
        # a place of each index among those of the last call; of others anything, and never read
        self._places = torch.empty(size, dtype=torch.int64, device=device)

    def __call__(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The distinct ones of indices (n,), in any order, and the place of each index among
        them, (n,)."""
        places = torch.arange(len(indices), device=indices.device)
        self._places.scatter_(0, indices, places)  # of repeated ones any stays
        stayed = self._places.index_select(0, indices)
        stays = stayed == places
        return indices.masked_select(stays), (stays.cumsum(0) - 1).index_select(0, stayed)


# numpy moves rows in half the time that torch takes on a CPU


def _take(array: Tensor, rows: Tensor) -> Tensor:
    if array.device.type == "cpu":
        return torch.from_numpy(array.numpy().take(rows.numpy(), axis=0))
    return array.index_select(0, rows)


def _put(array: Tensor, rows: Tensor, values: Tensor) -> None:
    if array.device.type == "cpu":
        array.numpy()[rows.numpy()] = values.numpy()
    else:
        array.index_copy_(0, rows, values)
