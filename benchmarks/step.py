"""A training step of the recipe net by the CPU's clock: a bare PyTorch loop, autograd on weights in
one buffer, and the gradient in closed form, in turn.

    python benchmarks/step.py [--batch-size 256] [--repeats 5]

Net 15/25/128 of 1000 x 1000, 200,000 cells, Adam, one thread. Medians and ratios are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial

import torch
from torch.nn.functional import mse_loss

from recsweep.losses import BinaryCrossEntropy, Loss, MeanSquaredError
from recsweep.models.base import EpochDecision
from recsweep.models.fit.datamodule import STEPS_PER_CHUNK, Chunk
from recsweep.models.fit.flat import FlatWeights
from recsweep.models.fit.lightning_module import Member, take_steps
from recsweep.models.nets import Net, RecipeNet
from recsweep.models.optimizers import Adam

CELLS = 200_000
ADAM = Adam(lr=1e-3, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.0)


class ByAutograd(RecipeNet):
    gradient = Net.gradient


def made(kind: type[RecipeNet]) -> RecipeNet:
    generator = torch.Generator().manual_seed(0)
    return kind(1000, 1000, user_dim=15, item_dim=25, hidden_dim=128, generator=generator)


def bare(batches: list[Chunk]) -> Callable[[], None]:
    net = made(RecipeNet)
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7, fused=True)

    def epoch() -> None:
        for users, items, targets in batches:
            adam.zero_grad(set_to_none=True)
            mse_loss(net(users, items), targets).backward()
            adam.step()

    return epoch


def ours(kind: type[RecipeNet], loss: Loss, chunks: list[Chunk], size: int) -> Callable[[], None]:
    decide = lambda epoch, train_loss: EpochDecision()  # noqa: E731
    member = Member(made(kind), loss, ADAM, 1, size, False, None, decide)
    flat = FlatWeights(member.net)
    optimizer = ADAM.build([flat.values])

    def epoch() -> None:
        for chunk in chunks:
            take_steps(member, flat, optimizer, chunk)

    return epoch


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    size = options.batch_size
    steps = CELLS // size
    draw = partial(torch.randint, 1000, (steps * size,), dtype=torch.int32)
    rng = torch.Generator().manual_seed(0)
    targets = (torch.rand(steps * size, generator=rng) < 0.05).float()
    cells = draw(generator=rng), draw(generator=rng), targets

    def split(length: int) -> list[Chunk]:
        return list(zip(*(array.split(length) for array in cells), strict=True))

    mse, bce = MeanSquaredError(), BinaryCrossEntropy(positive_weight=1.0)
    chunks = split(STEPS_PER_CHUNK * size)
    epochs = {
        "bare PyTorch, MSE": bare(split(size)),
        "recsweep by autograd, MSE": ours(ByAutograd, mse, chunks, size),
        "recsweep, MSE": ours(RecipeNet, mse, chunks, size),
        "recsweep, BCE": ours(RecipeNet, bce, chunks, size),
    }
    times: dict[str, list[float]] = {name: [] for name in epochs}
    for _ in range(options.repeats):
        for name, epoch in epochs.items():
            start = time.process_time()
            epoch()
            times[name].append((time.process_time() - start) / steps * 1e6)
    print(f"batches of {size}, {steps} steps, {options.repeats} repeats in turn")
    print(f"{'microseconds a step':<30}{'median':>9}{'x bare':>9}")
    base = next(iter(times.values()))
    for name, each in times.items():
        ratio = statistics.median(own / other for own, other in zip(each, base, strict=True))
        print(f"{name:<30}{statistics.median(each):>9.0f}{ratio:>9.2f}")


if __name__ == "__main__":
    main()
