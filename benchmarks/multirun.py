"""The 18 trials of `grid18` by recsweep, and by a plain Hydra application with
hydra-joblib-launcher (plain_multirun.py), without tracking and with MLflow, in turn.

    .venv-bench/bin/python benchmarks/multirun.py [name=value ...] [--rounds 2] [--without plain]

All train the same nets on the same cells of the synthetic block, a worker of one thread on each
core, and each round starts each of them as a command with a home of its own; MLflow's database,
whose making two workers at once would fail at, is there before the plain application starts.
recsweep makes its own. What they leave behind differs: the plain application keeps nothing, and
with MLflow a run of each trial with its settings, its measures after each epoch and its weights.
recsweep keeps those, of each trial the measures of lists, tables, plots and a model that can be
served, and of the study what resumes it, a leaderboard and its plots. `cpu` is user and system time
of all processes. Settings, as trainer.max_epochs=1, are those of train.py.
"""

import argparse
import os
import resource
import subprocess
import sys
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np

from recsweep.config import build, composed
from recsweep.processes import cores
from recsweep.scratch import scratch_folder

ROOT = Path(__file__).parents[1]
GRID = {"user_dim": "10,15,20", "item_dim": "15,20,25", "hidden_dim": "64,128"}


def save_cells(path: Path, overrides: list[str]) -> int:
    """Write the training and validation cells that recsweep trains on, and answer how many it
    trains on."""
    cfg = composed(overrides)
    split = build(cfg, "split").split(build(cfg, "data").load())
    parts = {"train": split.train, "validation": split.validation}
    arrays = {
        f"{name}_{key}": getattr(part, key)
        for name, part in parts.items()
        for key in ("users", "items", "targets")
    }
    np.savez(path, num_users=split.num_users, num_items=split.num_items, **arrays)
    return len(split.train)


def make_store(home: Path) -> None:
    from mlflow import MlflowClient

    MlflowClient(store_of(home)).create_experiment("grid18", (home / "artifacts").as_uri())


def store_of(home: Path) -> str:
    return f"sqlite:///{home}/mlflow.db"


def timed(command: list[str], home: Path) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    ended = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "RECSWEEP_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise SystemExit(f"{ended.stderr}\n{command} ended with status {ended.returncode}.")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def commands(cells: Path, home: Path, overrides: list[str], epochs: int) -> dict[str, list[str]]:
    plain = [
        sys.executable,
        str(Path(__file__).with_name("plain_multirun.py")),
        "-m",
        f"cells={cells}",
        f"epochs={epochs}",
        f"hydra.launcher.n_jobs={cores()}",
        f"hydra.sweep.dir={home}",
        *(f"{name}={values}" for name, values in GRID.items()),
    ]
    ours = [sys.executable, "train.py", "-cd", "experiments", "-cn", "grid18", *overrides]
    return {
        "recsweep": ours,
        "plain": plain,
        "plain + MLflow": [*plain, f"tracking={store_of(home)}"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--without", nargs="+", default=[], choices=["plain", "plain + MLflow"])
    options, overrides = parser.parse_known_args()
    cfg = composed(["trainer.max_epochs=3", *overrides])
    seconds: dict[str, list[tuple[float, float]]] = {}
    with scratch_folder() as folder:
        trained = save_cells(folder / "cells.npz", overrides)
        for number in range(options.rounds):
            for place, name in enumerate(("recsweep", "plain", "plain + MLflow")):
                if name in options.without:
                    continue
                home = folder / f"{number}-{place}"
                command = commands(folder / "cells.npz", home, overrides, cfg.trainer.max_epochs)[
                    name
                ]
                home.mkdir()
                if name == "plain + MLflow":
                    make_store(home)
                seconds.setdefault(name, []).append(timed(command, home))
    print(
        f"18 trials of {cfg.trainer.max_epochs} epochs of {trained:,} training cells, "
        f"{options.rounds} rounds in turn, {cores()} workers"
    )
    print(f"{'seconds of all':<20}{'median':>9}{'min':>9}{'max':>9}{'cpu':>9}{'x recsweep':>12}")
    ours = [wall for wall, _ in seconds["recsweep"]]
    for name, rounds in seconds.items():
        walls, cpus = zip(*rounds, strict=True)
        ratio = median(wall / base for wall, base in zip(walls, ours, strict=True))
        print(
            f"{name:<20}{median(walls):>9.1f}{min(walls):>9.1f}{max(walls):>9.1f}"
            f"{median(cpus):>9.1f}{ratio:>12.2f}"
        )


if __name__ == "__main__":
    main()
