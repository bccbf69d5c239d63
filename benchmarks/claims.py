"""Milliseconds that a claim takes in a study that has so many finished trials.

    python benchmarks/claims.py [--sizes 10 1000 3000 10000] [--claims 30] [--url sqlite:////new.db]

Each study is a grid of two settings; its finished trials are stored beforehand, then it is opened
and the points that are left are claimed. `first` is the first claim, which learns what there is;
`claim` is the median of those after it, `worst` the longest; `cpu` is the median of the processor's
time that a claim takes, which other work on the machine lengthens less.
"""

import argparse
import os
import tempfile
from statistics import median
from time import perf_counter, process_time

import optuna
from optuna.trial import TrialState, create_trial

from recsweep.processes import Worker
from recsweep.tuning.opening import open_study
from recsweep.tuning.space import Dimension
from recsweep.tuning.storage import Storage
from recsweep.tuning.study import Definition, Point, Study

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
    study = optuna.load_study(study_name=name, storage=url)
    here = Worker.here().stored()
    ended = {
        "kind": "complete",
        "objectives": ["validation/mse"],
        "epochs": 3,
        "num_parameters": 100,
    }
    distributions = {each.name: each.grid_distribution() for each in DIMENSIONS}
    for place, point in enumerate(points):
        notes = {
            "slot": {"name": point.slot, "attempt": 0},
            "worker": here,
            "overrides": list(point.overrides),
            "run": {"id": f"{place:032x}", "name": "net", "seed": 0},
            "ended": ended,
        }
        study.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                value=1 / (1 + place),
                params=dict(point.params),
                distributions=distributions,
                user_attrs=notes,
                intermediate_values={1: 0.3, 2: 0.2, 3: 0.1},
            )
        )


if __name__ == "__main__":
    main()
