"""Adam and lazy Adam where the tables are large: rows a second of whole epochs, and a step of small
batches, the two in turn.

    python benchmarks/large_tables.py [--models recipe_net,mf] [--threads 1,2] [--repeats 3]

An epoch is of 1.1 million positives of 60,000 users and 82,000 items, made up, with four sampled
negatives each, in batches of 4,096: drawing and shuffling are in its time. A step is one of 256
rows of 2 million users and 250,000 items. One thread is timed by the CPU's clock, more by the
wall's. Medians are printed, and ratios of what ran in turn.
"""

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from time import perf_counter, process_time

import numpy as np
import torch
from hydra.utils import instantiate

from recsweep.config import composed
from recsweep.data.interactions import Part
from recsweep.models.base import EpochDecision, FitOptions
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.neural import NeuralModel
from recsweep.models.saved import own_class

OPTIMIZERS = ("adam", "lazy_adam")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", default="recipe_net,mf")
    parser.add_argument("--threads", default=f"1,{torch.get_num_threads()}")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    models, threads = options.models.split(","), sorted({*map(int, options.threads.split(","))})
    train = made_up(1_100_000, 60_000, 82_000)
    print(f"{len(train):,} positives, {train.num_users:,} users, {train.num_items:,} items")
    columns = "".join(f"{name:>12}" for name in OPTIMIZERS)
    print(f"{'million rows a second, batches of 4,096':<44}{columns}{'ratio':>8}")
    for model in models:
        for number in threads:
            name = f"{model}, {number} thread{'s' * (number > 1)}"
            show(name, in_turn(options.repeats, partial(epoch, model, number, train)))
    print(f"{'milliseconds a step, 2M x 250k, batches of 256':<44}{columns}{'ratio':>8}")
    for model in models:
        show(model, in_turn(options.repeats, partial(step, model)))


def in_turn(repeats: int, timed: Callable[[str], float]) -> list[list[float]]:
    """What each repeat measures of each optimizer."""
    return [[timed(optimizer) for optimizer in OPTIMIZERS] for _ in range(repeats)]


def show(name: str, measured: list[list[float]]) -> None:
    medians = "".join(f"{statistics.median(each):12.2f}" for each in zip(*measured, strict=True))
    ratio = statistics.median(lazy / dense for dense, lazy in measured)
    print(f"{name:<44}{medians}{ratio:8.3g}", flush=True)


def made_up(number: int, num_users: int, num_items: int) -> Part:
    """About so many positives, users and items skewed."""
    rng = np.random.default_rng(0)
    users = (num_users * rng.random(number) ** 2).astype(np.int64)
    items = (num_items * rng.random(number) ** 3).astype(np.int64)
    pairs = np.unique(users * num_items + items)
    users, items = (array.astype(np.int32) for array in np.divmod(pairs, num_items))
    ones = np.ones(len(pairs), dtype=np.uint8)
    return Part(users, items, ones, num_users, num_items, enumerates_cells=False)


def build(model: str, optimizer: str, *settings: str) -> NeuralModel:
    cfg = composed([f"model={model}", f"optimizer={optimizer}", "loss=bce", *settings])
    return instantiate(cfg.model, _convert_="all")


def epoch(model: str, threads: int, train: Part, optimizer: str) -> float:
    """Million rows a second of the second of two epochs."""
    clock, ends = process_time if threads == 1 else perf_counter, []
    options = FitOptions(on_epoch=lambda *_: ends.append(clock()) or EpochDecision())
    built = build(
        model,
        optimizer,
        "examples=sampled",
        "trainer.batch_size=4096",
        "trainer.max_epochs=2",
        "trainer.accelerator=cpu",
        f"trainer.threads={threads}",
    )
    built.fit(train, options)
    return built.examples.num_examples(train) / (ends[1] - ends[0]) / 1e6


def step(model: str, optimizer: str) -> float:
    """Milliseconds of a step after the first ones, one thread."""
    torch.set_num_threads(1)
    built = build(model, optimizer)
    num_users, num_items, size = 2_000_000, 250_000, 256
    net = own_class(built.net)(num_users, num_items, **built.net_settings)
    steps = 8
    rng = torch.Generator().manual_seed(0)
    users, items = (
        torch.randint(high, (steps * size,), generator=rng) for high in (num_users, num_items)
    )
    targets = torch.randint(2, (steps * size,), generator=rng).float()
    decide = lambda epoch, train_loss: EpochDecision()  # noqa: E731
    member = Member(net, built.loss, built.optimizer, 1, size, False, None, decide)
    flat = FlatWeights(net, by_rows=built.optimizer.by_rows)
    torch_optimizer = built.optimizer.build([flat.values], flat.tables)
    seconds = []
    for _ in range(3):
        begun = process_time()
        take_steps(member, flat, torch_optimizer, (users, items, targets))
        seconds.append((process_time() - begun) / steps)
    return min(seconds[1:]) * 1e3


if __name__ == "__main__":
    main()
