"""Milliseconds that a claim takes in a study that has so many finished trials.

    python benchmarks/claims.py [--sizes 10 1000 3000 10000] [--claims 30] [--url sqlite:////new.db]
                                [--workers 1 2 4 8]

Each study is a grid of two settings; its finished trials are stored beforehand, then it is opened
and the points that are left are claimed. `first` is the first claim, which learns what there is;
`claim` is the median of those after it, `worst` the longest; `cpu` is the median of the processor's
time that a claim takes, which other work on the machine lengthens less. Workers are processes that
claim at the same time, each so many points, and end each trial at once; `a second` is how many of
them are claimed and ended by all together.
"""

import argparse
import multiprocessing
import os
import tempfile
from itertools import chain
from statistics import median
from time import perf_counter, process_time

import optuna
from sqlalchemy import create_engine

from recsweep.processes import Worker
from recsweep.tuning.opening import open_study
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Point, Study
from recsweep.tuning.trial_rows import TrialRows

COLUMNS = 200
DIMENSIONS = tuple(
    Dimension(name, options=tuple(map(str, range(COLUMNS))), values=tuple(range(COLUMNS)))
    for name in ("model.user_dim", "model.item_dim")
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 1000, 3000, 10_000])
    parser.add_argument("--claims", type=int, default=30)
    parser.add_argument(
        "--url",
        help="an empty database, as of PostgreSQL (default: a sqlite file in a temporary folder)",
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[])
    arguments = parser.parse_args()
    print(f"{arguments.claims} claims a study, {os.cpu_count()} cores, Optuna {optuna.__version__}")
    print("   trials   open s  first ms  claim ms  worst ms    cpu ms")
    for size in arguments.sizes:
        with tempfile.TemporaryDirectory() as folder:
            url = arguments.url or f"sqlite:///{folder}/optuna.db"
            points = [_point(place) for place in range(size + arguments.claims)]
            opening, times, cpu = _measure(url, f"grid of {size}", points, arguments.claims)
            print(
                f"{size:9,d} {opening:8.2f} {times[0]:9.1f} {median(times[1:]):9.1f} "
                f"{max(times[1:]):9.1f} "
                f"{median(cpu[1:]):9.1f}",
                flush=True,
            )
    if arguments.workers:
        print("   trials  workers  claim ms  worst ms    end ms  a second")
    for size in arguments.sizes:
        for workers in arguments.workers:
            with tempfile.TemporaryDirectory() as folder:
                url = arguments.url or f"sqlite:///{folder}/optuna.db"
                print(f"{size:9,d} {workers:8d} {_at_once(url, size, workers, arguments.claims)}")


def _at_once(url: str, size: int, workers: int, claims: int) -> str:
    """Workers that claim at the same time, as the rest of a line of the table."""
    name = f"{workers} workers, {size} trials"
    points = [_point(place) for place in range(size + workers * claims)]
    definition = Definition(
        name, ("mse",), ("minimize",), {}, {}, {"kind": "grid"}, {"kind": "none"}
    )
    open_study(Storage(url), definition, lambda: [], allow_changes=False)
    _fill(url, name, points[:size])
    context = multiprocessing.get_context("spawn")
    begin = context.Barrier(workers)
    with context.Manager() as manager:
        found = manager.list()
        arguments = (url, name, points, claims, begin, found)
        processes = [context.Process(target=_claim, args=arguments) for _ in range(workers)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        took = list(found)
    taken = [claim for claims_of_one, _, _ in took for claim in claims_of_one]
    ended = list(chain.from_iterable(ends for _, ends, _ in took))
    seconds = max(seconds for _, _, seconds in took)
    return (
        f"{median(taken):9.1f} {max(taken):9.1f} {median(ended):9.1f} {len(taken) / seconds:9.1f}"
    )


def _claim(url, name, points, claims, begin, found) -> None:
    study = Study(Storage(url), name)
    study.know_grid(DIMENSIONS)
    study._plan(points)
    study.record()
    taken, ended = [], []
    begin.wait()
    beginning = perf_counter()
    for _ in range(claims):
        start = perf_counter()
        claim = study.claim(points)
        taken.append(1000 * (perf_counter() - start))
        start = perf_counter()
        study.end(
            claim.number, claim.trial_id, [0.5], kind="complete", objectives=["mse"], epochs=1
        )
        ended.append(1000 * (perf_counter() - start))
    found.append((taken, ended, perf_counter() - beginning))


def _point(place: int) -> Point:
    params = dict(zip((each.name for each in DIMENSIONS), divmod(place, COLUMNS), strict=True))
    return Point(
        f"slot {place}", tuple(f"{name}={value}" for name, value in params.items()), params
    )


def _measure(
    url: str, name: str, points: list[Point], claims: int
) -> tuple[float, list[float], list[float]]:
    """Seconds of the opening, and milliseconds of each claim, by the clock and of the processor."""
    definition = Definition(
        name, ("mse",), ("minimize",), {}, {}, {"kind": "grid"}, {"kind": "none"}
    )
    open_study(Storage(url), definition, lambda: [], allow_changes=False)
    _fill(url, name, points[:-claims])
    start = perf_counter()
    study = Study(Storage(url), name)
    study.know_grid(DIMENSIONS)
    study.record()
    opening = perf_counter() - start
    times, cpu = [], []
    for _ in range(claims):
        start, start_cpu = perf_counter(), process_time()
        claim = study.claim(points)
        times.append(1000 * (perf_counter() - start))
        cpu.append(1000 * (process_time() - start_cpu))
        assert claim is not None
    return opening, times, cpu


def _fill(url: str, name: str, points: list[Point]) -> None:
    """Store a finished trial of each point, as training it would have."""
    study_id = Storage(url).optuna.get_study_id_from_name(name)
    here, rows = Worker.here().stored(), TrialRows()
    ended = {
        "kind": "complete",
        "objectives": ["validation/mse"],
        "epochs": 3,
        "num_parameters": 100,
    }
    distributions = {each.name: each.grid_distribution() for each in DIMENSIONS}
    with create_engine(url).begin() as connection:
        for place, point in enumerate(points):
            notes = {
                "slot": {"name": point.slot, "attempt": 0},
                "worker": here,
                "overrides": list(point.overrides),
                "run": {"id": f"{place:032x}", "name": "net", "seed": 0},
            }
            params = dict(point.params)
            _, trial_id = rows.begin(connection, study_id, notes, params, distributions)
            for epoch in (1, 2, 3):
                rows.report(connection, trial_id, epoch, 1 / epoch)
            rows.end(connection, trial_id, "COMPLETE", [1 / (1 + place)], ended)


if __name__ == "__main__":
    main()
