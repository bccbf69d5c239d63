"""Adam and lazy Adam where the tables are large, in turn: rows a second of an epoch, and a step of
small batches.

    python benchmarks/large_tables.py [--models recipe_net,mf] [--threads 1,2] [--repeats 5]

An epoch is of 1.1 million positives of 60,000 users and 82,000 items, made up, with four sampled
negatives each, in batches of 4,096: drawing and shuffling are in its time. Each repeat draws one,
and takes 64 of its steps by either optimizer. A small batch is 256 rows of 2 million users and
250,000 items, on one thread. One thread is timed by the CPU's clock, more by the wall's. Medians
are printed, and those of the ratios within a repeat.
"""

import argparse
import statistics
from collections.abc import Callable, Iterator
from time import perf_counter, process_time
from types import SimpleNamespace

import numpy as np
import torch
from hydra.utils import instantiate

from recsweep.config import composed
from recsweep.data.interactions import Part
from recsweep.models.base import EpochDecision
from recsweep.models.fit.datamodule import Chunk, EpochBatches, ExamplesDataModule
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.neural import NeuralModel
from recsweep.models.saved import own_class

OPTIMIZERS = ("adam", "lazy_adam")
LARGE_BATCH, SMALL_BATCH, SMALL_STEPS = 4096, 256, 4


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="recipe_net,mf")
    parser.add_argument("--threads", default=f"1,{torch.get_num_threads()}")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    models, threads = options.models.split(","), sorted({*map(int, options.threads.split(","))})
    train = made_up(1_100_000, 60_000, 82_000)
    print(f"{len(train):,} positives, {train.num_users:,} users, {train.num_items:,} items")
    heads = "".join(f"{name:>12}" for name in (*OPTIMIZERS, "ratio"))
    print(f"{'million rows a second, batches of 4,096':<48}{heads}")
    for model in models:
        for number in threads:
            torch.set_num_threads(number)
            clock = process_time if number == 1 else perf_counter
            name = f"{model}, {number} thread{'s' * (number > 1)}"
            show(name, epochs(model, train, clock, options.repeats))
    torch.set_num_threads(1)
    print(f"{'milliseconds a step, 2M x 250k, batches of 256':<48}{heads}")
    for model in models:
        show(model, steps(model, options.repeats))


def show(name: str, measured: Iterator[list[float]]) -> None:
    pairs = list(measured)
    ratio = statistics.median(lazy / dense for dense, lazy in pairs)
    medians = [statistics.median(each) for each in zip(*pairs, strict=True)]
    print(f"{name:<48}{''.join(f'{value:12.3g}' for value in (*medians, ratio))}", flush=True)


def made_up(number: int, num_users: int, num_items: int) -> Part:
    """About so many positives, users and items skewed."""
    rng = np.random.default_rng(0)
    users = (num_users * rng.random(number) ** 2).astype(np.int64)
    items = (num_items * rng.random(number) ** 3).astype(np.int64)
    pairs = np.unique(users * num_items + items)
    users, items = (array.astype(np.int32) for array in np.divmod(pairs, num_items))
    ones = np.ones(len(pairs), dtype=np.uint8)
    return Part(users, items, ones, num_users, num_items, enumerates_cells=False)


def epochs(
    model: str, train: Part, clock: Callable[[], float], repeats: int
) -> Iterator[list[float]]:
    """Millions of rows a second of an epoch by each optimizer."""
    takers = [taker(model, name, train.num_users, train.num_items) for name in OPTIMIZERS]
    data = ExamplesDataModule(train, built(model, "adam").examples, LARGE_BATCH, [0])
    for epoch in range(-1, repeats):  # the first is for warming up
        begun = clock()
        chunks = list(EpochBatches(data, SimpleNamespace(current_epoch=epoch + 1)))
        drawing = clock() - begun
        (chunk,) = chunks[epoch + 1]
        training = [seconds(take, chunk, clock) / len(chunk[0]) for take in takers]
        if epoch >= 0:
            yield [1e-6 / (drawing / data.num_examples + each) for each in training]


def steps(model: str, repeats: int) -> Iterator[list[float]]:
    """Milliseconds of a step of a small batch by each optimizer."""
    num_users, num_items, rows = 2_000_000, 250_000, SMALL_STEPS * SMALL_BATCH
    takers = [taker(model, name, num_users, num_items, SMALL_BATCH) for name in OPTIMIZERS]
    rng = torch.Generator().manual_seed(0)
    for repeat in range(-1, repeats):
        users, items = (
            torch.randint(number, (rows,), generator=rng) for number in (num_users, num_items)
        )
        chunk = users, items, torch.randint(2, (rows,), generator=rng).float()
        times = [seconds(take, chunk, process_time) / SMALL_STEPS * 1e3 for take in takers]
        if repeat >= 0:
            yield times


def built(model: str, optimizer: str) -> NeuralModel:
    settings = [f"model={model}", "loss=bce", "examples=sampled", f"optimizer={optimizer}"]
    return instantiate(composed(settings).model, _convert_="all")


def taker(
    model: str, optimizer: str, num_users: int, num_items: int, batch_size: int = LARGE_BATCH
) -> Callable[[Chunk], float]:
    """What trains a net of its own on a chunk."""
    settings = built(model, optimizer)
    net = own_class(settings.net)(num_users, num_items, **settings.net_settings)
    decide = lambda epoch, train_loss: EpochDecision()  # noqa: E731
    spec = settings.optimizer
    member = Member(net, settings.loss, spec, 1, batch_size, False, None, decide)
    flat = FlatWeights(net, by_rows=spec.by_rows)
    torchs = spec.build([flat.values], flat.tables)
    return lambda chunk: take_steps(member, flat, torchs, chunk)


def seconds(take: Callable[[Chunk], float], chunk: Chunk, clock: Callable[[], float]) -> float:
    begun = clock()
    take(chunk)
    return clock() - begun


if __name__ == "__main__":
    main()
