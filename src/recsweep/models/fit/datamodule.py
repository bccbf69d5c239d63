"""Batches as index slices of arrays in memory: no worker processes, no Python per sample."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from recsweep.data.examples import Examples
from recsweep.data.interactions import Part

STEPS_PER_CHUNK = 64
"""Optimizer steps of one `training_step`: Lightning's 0.2 ms a step would otherwise cost as much as
the arithmetic."""

Chunk = tuple[Tensor, Tensor, Tensor]
"""Users, items and targets of up to STEPS_PER_CHUNK batches, each (steps * batch_size,); the last
may be shorter."""


class ExamplesDataModule(pl.LightningDataModule):
    """The training examples of S members, each in its own order.

    Args:
        train: The training part.
        examples: Which cells are learnt from; all members share it.
        batch_size: Examples a step; all members share it.
        seeds: Seed of each member's order of batches and its sampled negatives.
    """

    def __init__(
        self, train: Part, examples: Examples, batch_size: int, seeds: Sequence[int]
    ) -> None:
        super().__init__()
        self.train = train
        self.examples = examples
        self.batch_size = batch_size
        self.seeds = seeds
        self._fixed: Chunk | None = None

    def train_dataloader(self) -> "EpochBatches":
        assert self.trainer is not None  # Lightning sets it before it asks
        return EpochBatches(self, self.trainer)

    def draw(self, seed: int, epoch: int) -> Chunk:
        """All examples of one member's epoch, in the order of the arrays."""
        if self._fixed is not None:
            return self._fixed
        drawn = self.examples.draw(self.train, np.random.default_rng([seed, 1, epoch]))
        # a read-only array can't be wrapped; the copy is made once a fit, or once an epoch where
        # negatives are redrawn
        users, items, targets = (torch.from_numpy(np.array(array)) for array in drawn)
        tensors = users, items, targets
        if not self.examples.redrawn:
            self._fixed = tensors
        return tensors


class EpochBatches:
    """One pass over the examples: an iterable of one chunk a member, anew each epoch."""

    def __init__(self, data: ExamplesDataModule, trainer: pl.Trainer) -> None:
        self.data = data
        self.trainer = trainer
        self.num_examples = len(data.draw(data.seeds[0], 0)[0])
        self.chunk_size = min(STEPS_PER_CHUNK * data.batch_size, self.num_examples)

    def __len__(self) -> int:
        return -(-self.num_examples // self.chunk_size)

    def __iter__(self) -> Iterator[list[Chunk]]:
        epoch = self.trainer.current_epoch
        arrays = [self.data.draw(seed, epoch) for seed in self.data.seeds]
        orders = [order_of(self.num_examples, seed, epoch) for seed in self.data.seeds]
        for start in range(0, self.num_examples, self.chunk_size):
            places = [order[start : start + self.chunk_size] for order in orders]
            yield [
                (users[place], items[place], targets[place])
                for (users, items, targets), place in zip(arrays, places, strict=True)
            ]


def order_of(num_examples: int, seed: int, epoch: int) -> Tensor:
    """The order in which one member sees its examples in one epoch: a permutation, (num_examples,)
    int64."""
    state = int(np.random.SeedSequence([seed, 2, epoch]).generate_state(1, np.uint64)[0] >> 1)
    return torch.randperm(num_examples, generator=torch.Generator().manual_seed(state))
