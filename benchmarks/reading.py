"""Seconds and gigabytes that reading a large file takes, beside pandas and polars: ids to dense
indices, the latest row of each pair, positives by rating, in the order of users and items.

    python benchmarks/reading.py [--millions 1] [--memory-gb 1.5] [--readers recsweep pandas polars]
    python benchmarks/reading.py --millions 100 --readers epoch    # with a split and examples
    python benchmarks/reading.py --clean

A table of 1 or 20 million rows is a CSV file shaped like MovieLens 20M (138,493 users x 26,744
items), one of 100 million is 50 Parquet files (1,000,000 users x 200,000 items). They are made by a
seed the first time, and stay in --folder until --clean. Each reader runs in a process of its own
and counts in it: seconds of all its cores, seconds on the clock, and the most memory that it held.
--memory-gb is data.memory_gb of recsweep. All must find as many positives.
"""

import argparse
import multiprocessing
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from recsweep.data.interactions import Interactions

POSITIVE_RATING = 4.0
RATINGS = np.arange(1, 11) / 2
FIRST_TIME = 789_652_009
ROWS_AT_ONCE = 2_000_000


def blocks(millions: int) -> Iterator[dict[str, np.ndarray]]:
    """The rows of a table: users of uneven diligence, items of uneven renown, and the same cell
    now and then more than once."""
    num_users, num_items = (138_493, 26_744) if millions <= 20 else (1_000_000, 200_000)
    rng = np.random.default_rng(millions)
    diligence = np.cumsum(rng.lognormal(0, 1.2, num_users))
    renown = np.cumsum(rng.permutation(1.0 / np.arange(20, num_items + 20)))
    user_ids = np.arange(1, num_users + 1)
    item_ids = np.sort(rng.choice(5 * num_items, num_items, replace=False)) + 1
    for start in range(0, millions * 1_000_000, ROWS_AT_ONCE):
        size = min(ROWS_AT_ONCE, millions * 1_000_000 - start)
        users = np.searchsorted(diligence, rng.random(size) * diligence[-1])
        if millions <= 20:
            users = np.sort(users)  # as MovieLens is
        items = np.searchsorted(renown, rng.random(size) * renown[-1])
        yield {
            "userId": user_ids[users],
            "movieId": item_ids[items],
            "rating": rng.choice(RATINGS, size),
            "timestamp": FIRST_TIME + rng.integers(0, 640_000_000, size),
        }


def made(folder: Path, millions: int) -> list[Path]:
    """The files of a table, made where they are not there yet."""
    import pyarrow
    from pyarrow import csv, parquet

    table = folder / f"rows_{millions}m"
    if not table.exists():
        making = folder / f"making_{millions}m"
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        if millions <= 20:
            with (making / "ratings.csv").open("wb") as file:
                for place, block in enumerate(blocks(millions)):
                    options = csv.WriteOptions(include_header=place == 0, quoting_style="none")
                    csv.write_csv(pyarrow.table(block), file, options)
        else:
            for place, block in enumerate(blocks(millions)):
                parquet.write_table(pyarrow.table(block), making / f"part_{place:02}.parquet")
        making.rename(table)
    return sorted(table.iterdir())


def _read(paths: list[Path], memory_gb: float | None) -> "Interactions":
    from recsweep.data.readers import InteractionFile

    limit = {} if memory_gb is None else {"memory_gb": memory_gb}
    file = InteractionFile(
        name="benchmark",
        path=[str(path) for path in paths],
        separator=",",
        user_column="userId",
        item_column="movieId",
        rating_column="rating",
        timestamp_column="timestamp",
        positive_rating=POSITIVE_RATING,
        **limit,
    )
    return file.load()


def recsweep(paths: list[Path], memory_gb: float | None) -> int:
    return len(_read(paths, memory_gb))


def epoch(paths: list[Path], memory_gb: float | None) -> int:
    """recsweep, with a split per user and an epoch of its training part: 4 negatives each."""
    from recsweep.data.examples import SampledNegatives
    from recsweep.data.split import PerUserRatio

    interactions = _read(paths, memory_gb)
    train = PerUserRatio(validation=0.1, test=0.2, seed=0).split(interactions).train
    examples = SampledNegatives(num_negatives=4)
    drawn = sum(len(block[0]) for block in examples.draw(train, np.random.default_rng(0)))
    assert drawn == examples.num_examples(train)
    return len(interactions)


def pandas(paths: list[Path], memory_gb: float | None) -> int:
    import pandas as library

    csv = paths[0].suffix == ".csv"
    read = library.read_csv if csv else library.read_parquet
    rows = library.concat(map(read, paths), ignore_index=True, copy=False)
    for column in ("userId", "movieId"):
        codes, _ = library.factorize(rows[column], sort=True)
        rows[column] = codes.astype(np.int32)
    rows = rows.sort_values(["userId", "movieId", "timestamp"], kind="stable")
    rows = rows.drop_duplicates(["userId", "movieId"], keep="last")
    return len(rows[rows["rating"] >= POSITIVE_RATING])


def polars(paths: list[Path], memory_gb: float | None) -> int:
    import polars as library

    scan = library.scan_csv if paths[0].suffix == ".csv" else library.scan_parquet
    rows = scan(paths).with_row_index("place")
    for column, code in (("userId", "user"), ("movieId", "item")):
        ids = rows.select(library.col(column).unique().sort()).with_row_index(code)
        rows = rows.join(ids, on=column)
    rows = rows.sort("user", "item", "timestamp", "place")
    follows = (library.col("user") == library.col("user").shift(-1)) & (
        library.col("item") == library.col("item").shift(-1)
    )
    positives = rows.filter(~follows.fill_null(False)).filter(
        library.col("rating") >= POSITIVE_RATING
    )
    return len(positives.select("user", "item", "timestamp").collect(engine="streaming"))


READERS = {reader.__name__: reader for reader in (recsweep, pandas, polars, epoch)}


def measured(name: str, paths: list[Path], memory_gb: float | None) -> tuple[float, ...]:
    """Seconds of the cores, seconds on the clock, gigabytes, and positives, of this process."""
    start = time.perf_counter()
    positives = READERS[name](paths, memory_gb)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, seconds, used.ru_maxrss / 1e6, positives


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--millions", type=int, choices=(1, 20, 100), default=1)
    parser.add_argument("--memory-gb", type=float)
    parser.add_argument("--readers", nargs="+", choices=READERS, default=list(READERS)[:3])
    parser.add_argument(
        "--folder", type=Path, default=Path(tempfile.gettempdir()) / "recsweep_benchmark"
    )
    parser.add_argument("--clean", action="store_true")
    options = parser.parse_args()
    if options.clean:
        shutil.rmtree(options.folder)
        return
    paths = made(options.folder, options.millions)
    print(f"{options.millions} million rows, {paths[0].suffix[1:]}, {len(paths)} files")
    print(f"{'reader':10}{'CPU s':>8}{'clock s':>9}{'peak GB':>9}{'positives':>12}")
    for name in options.readers:
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            try:
                cpu, seconds, peak, positives = pool.submit(
                    measured, name, paths, options.memory_gb
                ).result()
            except BrokenProcessPool:  # killed, as by a system that is short of memory
                print(f"{name:10}    died", flush=True)
                continue
        print(f"{name:10}{cpu:8.1f}{seconds:9.1f}{peak:9.2f}{positives:12,}", flush=True)


if __name__ == "__main__":
    main()
