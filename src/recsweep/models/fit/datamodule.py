"""Batches as index slices of arrays in memory: no worker processes, no Python per sample."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from recsweep.data.examples import EXAMPLES_AT_ONCE, Examples
from recsweep.data.interactions import Part

STEPS_PER_CHUNK = 64
"""Optimizer steps of one `training_step`: Lightning's 0.2 ms a step would otherwise cost as much as
the arithmetic."""

Chunk = tuple[Tensor, Tensor, Tensor]
"""Users, items and targets of up to STEPS_PER_CHUNK batches, each (steps * batch_size,), of lists
the latter two (steps * batch_size, length); the last may be shorter."""


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
        self.num_examples = examples.num_examples(train)
        self._fixed: list[Chunk] | None = None

    def train_dataloader(self) -> "EpochBatches":
        assert self.trainer is not None  # Lightning sets it before it asks
        return EpochBatches(self, self.trainer)

    @property
    def _device(self) -> torch.device:
        """Where the nets are: there lie the examples and are chosen, as a copy a chunk would let
        that wait for this process."""
        return self.trainer.strategy.root_device if self.trainer else torch.device("cpu")

    def draw(self, seed: int, epoch: int) -> Iterator[Chunk]:
        """The blocks of one member's epoch, in the order of the arrays."""
        if self.examples.redrawn or self.num_examples > EXAMPLES_AT_ONCE:
            return self._drawn(seed, epoch)
        if self._fixed is None:
            self._fixed = list(self._drawn(seed, epoch))
        return iter(self._fixed)

    def _drawn(self, seed: int, epoch: int) -> Iterator[Chunk]:
        for block in self.examples.draw(self.train, np.random.default_rng([seed, 1, epoch])):
            users, items, targets = (torch.from_numpy(array).to(self._device) for array in block)
            del block
            yield users, items, targets
            del users, items, targets


class EpochBatches:
    """One pass over the examples: an iterable of one chunk a member, anew each epoch."""

    def __init__(self, data: ExamplesDataModule, trainer: pl.Trainer) -> None:
        self.data = data
        self.trainer = trainer
        self.chunk_size = min(STEPS_PER_CHUNK * data.batch_size, data.num_examples)

    def __len__(self) -> int:
        return -(-self.data.num_examples // self.chunk_size)

    def __iter__(self) -> Iterator[list[Chunk]]:
        epoch = self.trainer.current_epoch
        members = [
            shuffled(self.data.draw(seed, epoch), self.chunk_size, seed, epoch)
            for seed in self.data.seeds
        ]
        yield from map(list, zip(*members, strict=True))


def shuffled(blocks: Iterator[Chunk], chunk_size: int, seed: int, epoch: int) -> Iterator[Chunk]:
    """One member's epoch in chunks, all but the last full: each block in a random order, whose
    first examples fill up the chunk that the one before it began."""
    begun: list[Chunk] = []
    missing = chunk_size
    for number, (users, items, targets) in enumerate(blocks):
        order = order_of(len(users), seed, epoch, number).to(users.device)
        start = 0
        while start < len(order):
            # by index_select, in a quarter of the time that an index in brackets takes
            taken = [
                array.index_select(0, order[start : start + missing])
                for array in (users, items, targets)
            ]
            begun.append((taken[0], taken[1], taken[2]))
            start += len(taken[0])
            missing -= len(taken[0])
            if missing == 0:
                yield _joined(begun)
                begun, missing = [], chunk_size
        del users, items, targets, order  # before the next block is made
    if begun:
        yield _joined(begun)


def _joined(chunks: list[Chunk]) -> Chunk:
    if len(chunks) == 1:
        return chunks[0]
    users, items, targets = zip(*chunks, strict=True)
    return torch.cat(users), torch.cat(items), torch.cat(targets)


def order_of(num_examples: int, seed: int, epoch: int, block: int = 0) -> Tensor:
    """The order in which one member sees the examples of a block: a permutation, (num_examples,)
    int64."""
    of_block = [seed, 2, epoch, block] if block else [seed, 2, epoch]  # the first as if alone
    state = int(np.random.SeedSequence(of_block).generate_state(1, np.uint64)[0] >> 1)
    return torch.randperm(num_examples, generator=torch.Generator().manual_seed(state))
