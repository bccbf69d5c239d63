"""Seconds that a study costs a trial beyond training it, against Hydra's basic sweeper: in one
process, in turn.

    python benchmarks/study_overhead.py [--points 20] [--rounds 3]

Each point is a kNN on tiny data. `alone` composes nothing and calls the main path with the ready
configs; what the sweepers take longer than that is their overhead: composing the config, claiming,
recording, printing, the parent run.
"""

import argparse
import contextlib
import io
import os
import tempfile
from statistics import median
from time import perf_counter

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from recsweep import cli
from recsweep.config import conf_dir
from recsweep.pipeline import run
from recsweep.tracking import TrackingOptions, tracker

TINY = ["data.num_users=60", "data.num_items=50", "data.density=0.15", "model=knn"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--points", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    values = list(range(5, 5 + arguments.points))
    listed = f"model.num_neighbors={','.join(map(str, values))}"
    seconds: dict[str, list[float]] = {"alone": [], "basic": [], "study": [], "resumed": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        initialize_config_dir(str(conf_dir()), version_base="1.3"),
    ):
        os.environ["RECSWEEP_HOME"] = folder
        os.chdir(folder)  # the basic sweeper leaves a file
        hydra = GlobalHydra.instance().hydra
        configs = [compose("config", [*TINY, f"model.num_neighbors={value}"]) for value in values]
        tracker(TrackingOptions(uri=None, experiment="recsweep"))
        run(configs[0])  # imports, the data, the store

        def multirun(*overrides: str) -> None:
            hydra.multirun(
                "config", cli.train, [*TINY, listed, *overrides], with_log_configuration=False
            )

        for number in range(arguments.rounds):
            for name, action in {
                "alone": lambda: [run(config) for config in configs],
                "basic": lambda: multirun("hydra/sweeper=basic"),
                "study": lambda number=number: multirun(f"hydra.sweeper.study_name={number}"),
                "resumed": lambda number=number: multirun(f"hydra.sweeper.study_name={number}"),
            }.items():
                with contextlib.redirect_stdout(io.StringIO()):
                    start = perf_counter()
                    action()
                    seconds[name].append(perf_counter() - start)
    alone = median(seconds["alone"])
    print(
        f"{arguments.points} points, {arguments.rounds} rounds, medians on {os.cpu_count()} cores"
    )
    for name, found in seconds.items():
        middle = median(found)
        beyond = (middle - alone) / arguments.points
        extra = f"  overhead a trial {beyond:.3f} s" if name in ("basic", "study") else ""
        print(f"{name:8s} {middle:7.2f} s{extra}")


if __name__ == "__main__":
    main()
