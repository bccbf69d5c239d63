"""Lists of ten for many users into a Parquet file, as `recsweep recommend --all-users` writes them:
users a second.

    python benchmarks/recommend.py [--repeats 3] [--sample 2000]

1000 x 1000 (synthetic, all users): the recipe net 15/25/128, item kNN and popularity, trained.
100,000 users x 50,000 items, 50 seen items a user: the recipe net with its initial weights, on a
sample of the users, and popularity on all of them. Scoring costs the same whatever the weights are.
Each case runs in a process of its own, which tells its peak of memory; medians over the repeats are
printed. Set OMP_NUM_THREADS for another number of threads than 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from recsweep.run import plan as run_plan

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np

K = 10
SMALL, LARGE = (1000, 1000), (100_000, 50_000)
SEEN = 50


def small_service(model: str):
    """A trained model on all of the small synthetic data."""
    from recsweep.config import composed
    from recsweep.serving.service import service_of

    cfg = composed([f"model={model}", "trainer.max_epochs=1", "trainer.accelerator=cpu"])
    data, trained = run_plan.prepare(run_plan.plan_data(cfg)), run_plan.plan(cfg).model
    trained.fit(data.split.train)
    return service_of(trained, data.interactions, data.split.train)


def large_service(model: str, folder: Path):
    """A service whose users have seen random items, read from the files that a logged model has."""
    from recsweep.data.interactions import IdMap, Interactions, Part
    from recsweep.models.popularity import Popularity
    from recsweep.serving.service import RecommenderService, service_of

    num_users, num_items = LARGE
    users = np.repeat(np.arange(num_users, dtype=np.int32), SEEN)
    items = np.random.default_rng(0).integers(num_items, size=(num_users, SEEN), dtype=np.int32)
    pairs = np.unique(users.astype(np.int64) * num_items + items.ravel())
    users, items = (pairs // num_items).astype(np.int32), (pairs % num_items).astype(np.int32)
    data = Interactions(
        "large",
        users,
        items,
        IdMap(np.arange(num_users), "user"),
        IdMap(np.arange(num_items), "item"),
    )
    if model == "popularity":
        built = Popularity(scale_by_activity=False)
        built.fit(
            Part(users, items, np.ones(len(users)), num_users, num_items, enumerates_cells=False)
        )
    else:
        built = untrained_net(
            Part(users, items, np.ones(len(users)), num_users, num_items, enumerates_cells=False)
        )
    service_of(built, data).save(folder)
    return RecommenderService.load(folder)


def untrained_net(train):
    """The recipe net of conf/model/recipe_net.yaml with its initial weights."""
    from recsweep.config import composed
    from recsweep.models.base import FitOptions

    cfg = composed(["model=recipe_net", "trainer.accelerator=cpu"])
    model = run_plan.plan(cfg).model
    model._member(train, FitOptions())
    return model


def measure(size: str, model: str, users: int, repeats: int) -> None:
    """One case: prints users, seconds of each repeat, and peaks of memory before and after, as
    JSON."""
    from recsweep.serving.lists import write_rankings
    from recsweep.tracking import peak_memory_mb

    with tempfile.TemporaryDirectory() as folder:
        service = (
            small_service(model)
            if size == "small"
            else large_service(model, Path(folder) / "model")
        )
        ids = service.user_ids.ids.tolist()[:users]
        before, seconds = peak_memory_mb(), []
        for _ in range(repeats):
            start = perf_counter()
            write_rankings(service, ids, K, Path(folder) / "lists.parquet")
            seconds.append(perf_counter() - start)
    print(
        json.dumps(
            {"users": len(ids), "seconds": seconds, "before": before, "peak": peak_memory_mb()}
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sample", type=int, default=2000, help="users of the large recipe net")
    parser.add_argument(
        "--case", nargs=3, metavar=("SIZE", "MODEL", "USERS"), help=argparse.SUPPRESS
    )
    options = parser.parse_args()
    if options.case:
        measure(options.case[0], options.case[1], int(options.case[2]), options.repeats)
        return
    print(
        f"lists of {K} to Parquet, {os.environ['OMP_NUM_THREADS']} thread(s), {options.repeats} "
        "repeats\n"
        f"{'':<36}{'users':>9}{'seconds':>10}{'users/s':>10}{'peak MB':>10}{'before, MB':>12}"
    )
    for size, model, users in (
        ("small", "recipe_net", SMALL[0]),
        ("small", "item_knn", SMALL[0]),
        ("small", "popularity", SMALL[0]),
        ("large", "recipe_net", options.sample),
        ("large", "popularity", LARGE[0]),
    ):
        repeats = 1 if users > 10_000 else options.repeats
        case = ["--case", size, model, str(users), "--repeats", str(repeats)]
        done = subprocess.run(
            [sys.executable, __file__, *case], stdout=subprocess.PIPE, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        seconds = statistics.median(found["seconds"])
        name = (
            f"{' x '.join(f'{each:,}' for each in (SMALL if size == 'small' else LARGE))} {model}"
        )
        print(
            f"{name:<36}{found['users']:>9,}{seconds:>10.2f}"
            f"{found['users'] / seconds:>10,.0f}{found['peak']:>10,.0f}"
            f"{found['before']:>12,.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
