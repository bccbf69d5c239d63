"""One LightningModule that trains S >= 1 members side by side."""

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from time import perf_counter
from typing import cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import TQDMProgressBar
from pytorch_lightning.core.optimizer import LightningOptimizer
from torch import Tensor, nn

from recsweep.errors import FitError
from recsweep.losses import Loss
from recsweep.models.base import EpochDecision, Fit
from recsweep.models.fit.datamodule import Chunk
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.nets import Gradient, Net
from recsweep.models.optimizers import OptimizerSpec

log = logging.getLogger(__name__)

LARGE, LARGE_FOR_BATCH = 1_000_000, 16
"""Tables are large from so many numbers on, and so many times those of the rows of a batch: in
smaller ones finding the rows takes about as long as the others would."""

AnyOptimizer = torch.optim.Optimizer | LightningOptimizer
"""Torch's own, or as Lightning wraps it."""


@dataclass(eq=False)
class Member:
    """A model of a group and how its training goes.

    Attributes:
        net: The net, which is trained in place.
        evaluate_every: Epochs from one call of `on_epoch` to the next.
        on_epoch: Called after so many epochs, and after the last, with the epoch's number and mean
            loss; decides how it goes on.
        keep_best: Whether the weights that `on_epoch` last called the best are restored in the end.
        patience: Number of epochs without a best after which it stops, once the next evaluation is
            none either; None never does.
    """

    net: nn.Module
    loss: Loss
    optimizer: OptimizerSpec
    max_epochs: int
    batch_size: int
    keep_best: bool
    patience: int | None
    on_epoch: Callable[[int, float], EpochDecision]
    evaluate_every: int = 1
    active: bool = True
    train_losses: list[float] = field(default_factory=list)
    best_epoch: int | None = None
    kept_epoch: int | None = None
    stopped: str | None = None
    error: Exception | None = None
    best_weights: dict[str, Tensor] | None = None

    def closed_form(self, batch_size: int) -> Gradient | None:
        """What the net has in place of `backward` for pairs, in batches up to that size."""
        return self.net.gradient(self.loss, batch_size) if isinstance(self.net, Net) else None

    def backward(self, users: Tensor, items: Tensor, targets: Tensor) -> Tensor:
        """Add the gradient of a batch by autograd; its mean loss without penalties, a scalar."""
        loss = self.loss(self.net(users, items), targets)
        minimised = loss
        if l2 := self.loss.l2_rows:
            minimised = loss + l2 / 2 * cast(Net, self.net).squared_lengths(users, items).mean()
        minimised.backward()
        return loss.detach()

    def end_epoch(self, train_loss: float) -> EpochDecision:
        """Tell the epoch, where it is to be evaluated, and obey the answer."""
        self.train_losses.append(train_loss)
        epoch = len(self.train_losses)
        if epoch % self.evaluate_every and epoch < self.max_epochs:
            return EpochDecision()
        decision = self.on_epoch(epoch, train_loss)
        if decision.keep:
            self.best_epoch = epoch
            if self.keep_best:
                weights = self.net.state_dict()
                self.best_weights = {name: weight.clone() for name, weight in weights.items()}
        since_best = epoch - (self.best_epoch or 0)
        if decision.stop is None and self.patience is not None and since_best >= self.patience:
            decision = replace(decision, stop=f"no better epoch in {self.patience}")
        self.stopped = decision.stop
        self.active = decision.stop is None and epoch < self.max_epochs
        return decision

    def finish(self, seconds: float) -> Fit:
        """Leave the net with the weights that are to be kept, and frozen."""
        self.kept_epoch = len(self.train_losses) or None
        if self.best_weights is not None:
            self.net.load_state_dict(self.best_weights)
            self.kept_epoch, self.best_weights = self.best_epoch, None
        self.net.requires_grad_(False)
        return Fit(
            epochs=len(self.train_losses),
            kept_epoch=self.kept_epoch,
            train_losses=tuple(self.train_losses),
            seconds=seconds,
            stopped=self.stopped,
            error=self.error,
        )


class GroupModule(pl.LightningModule):
    """Manual optimization: one `training_step` takes many optimizer steps of each member.

    A member that stops, or raises, leaves its neighbours training; the fit ends with the last one.
    """

    def __init__(self, members: list[Member]) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.members = members
        self.nets = nn.ModuleList(member.net for member in members)
        self.shown: dict[str, float] = {}
        self.seconds_outside = 0.0  # spent in on_epoch

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        self.flat = [
            FlatWeights(member.net, by_rows=member.optimizer.by_rows) for member in self.members
        ]
        pairs = zip(self.members, self.flat, strict=True)
        return [member.optimizer.build([flat.values], flat.tables) for member, flat in pairs]

    def on_train_epoch_start(self) -> None:
        self.nets.train()
        self._loss_sums = [0.0] * len(self.members)
        self._num_examples = [0] * len(self.members)

    def training_step(self, chunks: list[Chunk], chunk_index: int) -> None:
        optimizers = self.optimizers(use_pl_optimizer=True)
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        is_first = self.trainer.global_step == 0
        triples = zip(self.members, chunks, optimizers, strict=True)
        for place, (member, chunk, optimizer) in enumerate(triples):
            if member.active:
                if is_first:
                    suggest_rows(member, chunk)
                loss = take_steps(member, self.flat[place], optimizer, chunk)
                if math.isfinite(loss):
                    self._loss_sums[place] += loss * len(chunk[0])
                    self._num_examples[place] += len(chunk[0])
                else:
                    self._fail(member, self._diverged(place, loss))

    def on_train_epoch_end(self) -> None:
        self.nets.eval()
        start = perf_counter()
        for place, member in enumerate(self.members):
            if member.active:
                try:
                    train_loss = self._loss_sums[place] / self._num_examples[place]
                    self.shown |= {"loss": train_loss, **member.end_epoch(train_loss).shown}
                except Exception as error:  # the hook's failure is this member's alone
                    self._fail(member, error)
        self.seconds_outside += perf_counter() - start
        self.trainer.should_stop = not any(member.active for member in self.members)

    def _fail(self, member: Member, error: Exception) -> None:
        member.error, member.active = error, False
        self.trainer.should_stop = not any(other.active for other in self.members)

    def _diverged(self, place: int, loss: float) -> FitError:
        member, seen = self.members[place], self._num_examples[place]
        last = member.train_losses[-1] if member.train_losses else None
        last = self._loss_sums[place] / seen if seen else last
        past = "and was never a number" if last is None else f"after a last value of {last:.6g}"
        return FitError(
            f"The training loss became {loss} in epoch {len(member.train_losses) + 1}, {past}. "
            f"Lower optimizer.lr (now {member.optimizer.lr:g})."
        )


def suggest_rows(member: Member, chunk: Chunk) -> None:
    """Say that there is lazy Adam, where Adam updates tables of which a batch takes little: once a
    process for tables of a size."""
    net = member.net
    if member.optimizer.kind == "adam" and isinstance(net, Net) and not net.whole_tables:
        tables = net.embeddings
        rows = (indices[: member.batch_size].numel() for indices in chunk[:2])
        taken = sum(n * table.embedding_dim for n, table in zip(rows, tables, strict=True))
        if sum(table.weight.numel() for table in tables) > max(LARGE, LARGE_FOR_BATCH * taken):
            _say_lazy(*(table.num_embeddings for table in tables))


@cache
def _say_lazy(num_users: int, num_items: int) -> None:
    log.info(
        "optimizer=adam updates the rows of all %s users and %s items at each step; "
        "optimizer=lazy_adam those of the batch alone: faster, but not quite the same.",
        f"{num_users:,}",
        f"{num_items:,}",
    )


def take_steps(member: Member, flat: FlatWeights, optimizer: AnyOptimizer, chunk: Chunk) -> float:
    """Take one optimizer step for each batch of the chunk; the mean loss of its examples, before
    each step.

    Lightning's optimizer takes the last step only, which is enough for its `global_step` to go on:
    its hooks around every one would cost more than the arithmetic.

    Args:
        flat: The weights of the member's net.
        optimizer: Of those, its tables among them.
    """
    bare = optimizer.optimizer if isinstance(optimizer, LightningOptimizer) else optimizer
    advance = member.optimizer.advance(bare)
    users, items, targets = chunk
    # else torch makes int64 of the indices of each batch, several times
    arrays = users.long(), items.long(), targets
    batches = list(zip(*(array.split(member.batch_size) for array in arrays), strict=True))
    flat.attach()
    closed_form = member.closed_form(len(batches[0][0])) if items.ndim == 1 else None
    outputs, total = [], targets.new_zeros(())
    for place, batch in enumerate(batches, start=1):
        flat.clear()
        if closed_form is None:
            total += member.backward(*batch) * len(batch[0])
        else:
            with torch.no_grad():
                outputs.append(closed_form(*batch))
        (advance if place < len(batches) else optimizer.step)()
    if closed_form is not None:
        return float(member.loss(torch.cat(outputs), targets))
    return float(total) / len(users)


class FitProgressBar(TQDMProgressBar):
    """Lightning's bar with the figures that `on_epoch` wants shown."""

    def get_metrics(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        assert isinstance(pl_module, GroupModule)
        return {name: f"{value:.4f}" for name, value in pl_module.shown.items()}
