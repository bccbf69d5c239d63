"""One epoch of the recipe net: a bare PyTorch loop, recsweep's pipeline, Keras on TensorFlow, and
Lightning over a DataLoader, in turn.

    .venv-bench/bin/python benchmarks/epoch.py [--repeats 5] [--epochs 3] [--without-dataloader]

Synthetic 1000 x 1000, random cells 80/10/10: 800,000 training cells, batches of 256, net 15/25/128,
MSE, Adam. Each repeat times all of them, so that a busy machine slows them alike; medians and
ratios are printed. Keras runs in a process of its own, whose start isn't counted (keras_epoch.py),
and is left out where Python finds no TensorFlow, as in .venv.
"""

import argparse
import logging
import os
import statistics
import subprocess
import sys
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from time import perf_counter

from recsweep.config import build
from recsweep.run import plan as run_plan

os.environ["RECSWEEP_HOME"] = tempfile.mkdtemp(prefix="recsweep-benchmark-")

import numpy as np
import pytorch_lightning as pl
import torch
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

from recsweep import pipeline
from recsweep.config import composed
from recsweep.models.nets import RecipeNet
from recsweep.tracking import tracker

BATCH = 256


def config(epochs: int):
    return composed(
        [
            "split.validation=0.1",
            "split.test=0.1",
            f"trainer.max_epochs={epochs}",
            "trainer.accelerator=cpu",
        ]
    )


def new_net() -> RecipeNet:
    return RecipeNet(1000, 1000, user_dim=15, item_dim=25, hidden_dim=128)


def bare_epoch(
    users: torch.Tensor, items: torch.Tensor, targets: torch.Tensor, threads: int
) -> float:
    """Seconds of one epoch with fused Adam over arrays that were shuffled beforehand."""
    torch.set_num_threads(threads)
    net = new_net()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7, fused=True)
    order = torch.randperm(len(users))
    users, items, targets = users[order], items[order], targets[order]
    start = perf_counter()
    for at in range(0, len(users), BATCH):
        adam.zero_grad(set_to_none=True)
        loss = mse_loss(
            net(users[at : at + BATCH], items[at : at + BATCH]), targets[at : at + BATCH]
        )
        loss.backward()
        adam.step()
    return perf_counter() - start


def pipeline_epoch(epochs: int) -> tuple[float, float]:
    """Seconds an epoch through `pipeline.run`: of training alone, and with its evaluation and
    logging."""
    torch.set_num_threads(1)
    cfg = config(epochs)
    outcome = pipeline.run(cfg)
    logged = tracker(build(cfg, "tracking")).client.get_run(outcome.run_id).data.metrics
    watched = logged["fit/watch_seconds"]
    return outcome.fit.seconds / epochs, (outcome.fit.seconds + watched) / epochs


class PlainModule(pl.LightningModule):
    """What one would write first: automatic optimization, one step a batch, the loss logged."""

    def __init__(self) -> None:
        super().__init__()
        self.net = new_net()

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        users, items, targets = batch
        loss = mse_loss(self.net(users, items), targets)
        self.log("loss", loss, prog_bar=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=1e-3, eps=1e-7)


def dataloader_epoch(users: torch.Tensor, items: torch.Tensor, targets: torch.Tensor) -> float:
    torch.set_num_threads(1)
    loader = DataLoader(TensorDataset(users, items, targets), batch_size=BATCH, shuffle=True)
    trainer = pl.Trainer(
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        accelerator="cpu",
    )
    start = perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer.fit(PlainModule(), loader)
    return perf_counter() - start


def keras_epoch(cells: Path) -> float:
    script = Path(__file__).with_name("keras_epoch.py")
    done = subprocess.run(
        [sys.executable, script, cells], stdout=subprocess.PIPE, text=True, check=True
    )
    return float(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--epochs", type=int, default=3, help="epochs of each run through the pipeline"
    )
    parser.add_argument(
        "--without-dataloader", action="store_true", help="leave out the slowest of them"
    )
    options = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)

    pipeline.run(config(1))  # the database, the imports and the caches are there from here on
    train = run_plan.prepare(run_plan.plan_data(config(1))).split.train
    arrays = [
        torch.from_numpy(array.astype(kind))
        for array, kind in (
            (train.users, "int64"),
            (train.items, "int64"),
            (train.targets, "float32"),
        )
    ]
    times: dict[str, list[float]] = {}

    def note(name: str, seconds: float) -> None:
        times.setdefault(name, []).append(seconds)

    cells = Path(os.environ["RECSWEEP_HOME"]) / "cells.npz"
    np.savez(cells, users=train.users, items=train.items, targets=train.targets)
    for _ in range(options.repeats):
        one, two = bare_epoch(*arrays, threads=1), bare_epoch(*arrays, threads=2)
        note("bare PyTorch, better of 1 and 2 threads", min(one, two))
        training, everything = pipeline_epoch(options.epochs)
        note("recsweep, training", training)
        note("recsweep, training + evaluation + logging", everything)
        if find_spec("tensorflow"):
            note("Keras on TensorFlow", keras_epoch(cells))
        if not options.without_dataloader:
            note("Lightning over DataLoader(TensorDataset)", dataloader_epoch(*arrays))

    bare = times["bare PyTorch, better of 1 and 2 threads"]
    print(f"{len(train):,} training cells, batches of {BATCH}, {options.repeats} repeats in turn")
    print(f"{'seconds an epoch':<45}{'median':>9}{'min':>9}{'max':>9}{'x bare':>9}")
    for name, seconds in times.items():
        ratio = statistics.median(each / base for each, base in zip(seconds, bare, strict=True))
        print(
            f"{name:<45}{statistics.median(seconds):>9.3f}{min(seconds):>9.3f}{max(seconds):>9.3f}{ratio:>9.2f}"
        )


if __name__ == "__main__":
    main()
