"""Positives by the hundred million: split, digests, and one epoch of sampled examples as a training
sees it.

    python benchmarks/large.py [--positives 100_000_000] [--users 1_000_000] [--items 200_000]

The positives are made up, a user's number and an item's share of them skewed, and lie in files, as
the reader leaves them. Each step prints its seconds, its CPU seconds, and the most memory that the
process held meanwhile: of its own, and with the pages of the mapped files, which the system may
take back at any time.
"""

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from types import SimpleNamespace

import numpy as np

from recsweep.data.arrays import VALUES_AT_ONCE, runs
from recsweep.data.examples import SampledNegatives
from recsweep.data.interactions import IdMap, Interactions
from recsweep.data.split import LeaveLastOut, PerUserRatio
from recsweep.scratch import scratch_folder

STATUS = Path("/proc/self/status")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positives", type=int, default=100_000_000)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--negatives", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=8192)
    options = parser.parse_args()
    with scratch_folder() as folder:
        for step in (make, measure):  # what making them takes is not measured
            process = get_context("spawn").Process(target=step, args=(options, folder))
            process.start()
            process.join()


def make(options: argparse.Namespace, folder: Path) -> None:
    rng = np.random.default_rng(0)
    counts = rng.lognormal(0, 1, options.users)
    counts = np.maximum(counts * options.positives / counts.sum(), 1).astype(np.int64)
    counts = np.minimum(counts, options.items // 10)
    files = {name: (folder / name).open("wb") for name in ("users", "items", "timestamps")}
    for run in runs(counts, VALUES_AT_ONCE):
        users = np.repeat(np.arange(run.start, run.stop), counts[run])
        items = (options.items * rng.random(len(users)) ** 3).astype(np.int64)
        pairs = np.unique(users * options.items + items)
        (pairs // options.items).astype(np.int32).tofile(files["users"])
        (pairs % options.items).astype(np.int32).tofile(files["items"])
        rng.integers(10**9, size=len(pairs)).tofile(files["timestamps"])
    for file in files.values():
        file.close()


def measure(options: argparse.Namespace, folder: Path) -> None:
    from recsweep.models.fit.datamodule import EpochBatches, ExamplesDataModule

    users, items = (np.memmap(folder / name, np.int32, "r") for name in ("users", "items"))
    data = Interactions(
        "made up",
        users,
        items,
        IdMap(np.arange(options.users), "user"),
        IdMap(np.arange(options.items), "item"),
        timestamps=np.memmap(folder / "timestamps", np.int64, "r"),
    )
    print(f"{len(data):,} positives, {options.users:,} users, {options.items:,} items")
    print(f"{'':44}{'seconds':>9}{'CPU':>8}{'own GB':>9}{'all GB':>9}")
    with step("digest of the data"):
        _ = data.digest
    for rule in (LeaveLastOut(), PerUserRatio(validation=0.1, test=0.2, seed=0)):
        split = None
        with step(f"split {type(rule).__name__}"):
            split = rule.split(data)
    with step("digest of the split"):
        _ = split.digest
    with step("matrix of the training positives"):
        _ = split.train.positives
    examples = SampledNegatives(num_negatives=options.negatives)
    with step(f"epoch of {examples.num_examples(split.train):,} examples"):
        batches = ExamplesDataModule(split.train, examples, options.batch_size, seeds=[0])
        epoch = EpochBatches(batches, SimpleNamespace(current_epoch=0))
        seen = sum(len(chunk[0]) for (chunk,) in epoch)
    assert seen == batches.num_examples


@contextmanager
def step(name: str) -> Iterator[None]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    own, ended = [], threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            own.append(status("RssAnon"))

    watching = threading.Thread(target=watch)
    watching.start()
    begun, cpu = perf_counter(), process_time()
    yield
    seconds, cpu = perf_counter() - begun, process_time() - cpu
    ended.set()
    watching.join()
    peaks = f"{max([0.0, *own]):9.2f}{status('VmHWM'):9.2f}"
    print(f"{name:44}{seconds:9.1f}{cpu:8.1f}{peaks}", flush=True)


def status(name: str) -> float:
    """A line of the process's own status, in GB."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[name].split()[0]) * 1024 / 1e9


if __name__ == "__main__":
    main()
