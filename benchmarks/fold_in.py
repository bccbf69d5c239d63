"""Milliseconds of one core that a new user takes, with the recipe net 15/25/128, by each way to
fold in.

    python benchmarks/fold_in.py [--repeats 5] [name=value ...]

Batched: all held-out users of split=new_users in one call, the best of the repeats and the median.
Single: one call a user, median and 95th percentile. First: the first call after loading, which
builds the neighbour index and the map. Counted is the time of the process, which other processes
stretch less than the time on the clock. Settings, as data=movielens_100k data.path=ml-100k, are
those of train.py.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
import torch
from hydra.utils import instantiate

from recsweep.config import composed
from recsweep.models.saved import load_model

METHODS = ("neighbor_scores", "neighbor_vectors", "row_map", "row_steps")


def milliseconds(call, *arguments) -> float:
    start = process_time()
    call(*arguments)
    return 1000 * (process_time() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=5)
    options, overrides = parser.parse_known_args()
    torch.set_num_threads(1)

    def build(node: str, *more: str):
        cfg = composed(["split=new_users", "trainer.max_epochs=3", *more, *overrides])
        return instantiate(cfg[node], _convert_="all")

    split = build("split").split(build("data").load())
    histories = split.histories.positives
    histories = histories[np.flatnonzero(np.diff(histories.indptr))]
    model = build("model")
    model.fit(split.train)
    print(
        f"{split.num_users:,} users x {split.num_items:,} items, {histories.shape[0]} new users "
        f"with {histories.nnz / histories.shape[0]:.0f} items on average, {options.repeats} "
        "repeats, one thread"
    )
    print(
        f"{'ms a user':20}{'batched, best':>15}{'median':>9}{'single, median':>16}"
        f"{'95 %':>8}{'first':>9}"
    )
    for method in METHODS:
        model.fold_in = build("fold_in", f"fold_in={method}")
        with tempfile.TemporaryDirectory() as folder:
            model.save(Path(folder))
            loaded = load_model(Path(folder))
        first = milliseconds(loaded.score_histories, histories[0])
        batched = [
            milliseconds(loaded.score_histories, histories) / histories.shape[0]
            for _ in range(options.repeats)
        ]
        single = [milliseconds(loaded.score_histories, history) for history in histories]
        print(
            f"{method:20}{min(batched):>15.2f}{statistics.median(batched):>9.2f}{statistics.median(single):>16.2f}"
            f"{np.quantile(single, 0.95):>8.2f}{first:>9.1f}"
        )


if __name__ == "__main__":
    main()
