"""Seconds from a command to its end, most of which go into importing: each in a process of its own,
all in turn.

    python benchmarks/start.py [--rounds 5] [--before FOLDER] [COMMAND ...]

`--before` names another checkout, whose commands run in turn with these; the last columns are these
by those. `cpu` is user and system time, which says more on a machine that others use too. The store
is new, with a run of EASE as its champion by force. `net` ends at the first batch. Set
OMP_NUM_THREADS for another number of threads than 1.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

HERE = Path(__file__).parents[1]

RECSWEEP = "from recsweep.cli import main; main()"

NET = """
import os, runpy, sys
from recsweep.models.fit.lightning_module import GroupModule
GroupModule.training_step = lambda *_: os._exit(0)
sys.argv = ["train.py", "model=recipe_net"]
runpy.run_path("train.py", run_name="__main__")
"""

COMMANDS = {
    "import torch": ("-c", "import torch"),
    "import mlflow": ("-c", "import mlflow"),
    "train.py --help": ("train.py", "--help"),
    "train.py model=nonsense": ("train.py", "model=nonsense"),
    "train.py model=popularity": ("train.py", "model=popularity"),
    "net": ("-c", NET),
    "recsweep runs": ("-c", RECSWEEP, "runs"),
    "recsweep compare": ("-c", RECSWEEP, "compare"),
    "recsweep recommend": ("-c", RECSWEEP, "recommend", "--user", "1"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="another checkout")
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(COMMANDS))
    arguments = parser.parse_args()
    names = arguments.commands or list(COMMANDS)
    sides = [HERE, *([arguments.before.resolve()] if arguments.before else [])]
    took: dict[tuple[str, Path], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        homes = {side: Path(folder) / str(number) for number, side in enumerate(sides)}
        for side in sides:
            _fill(side, homes[side])
            for name in names:  # once unmeasured: files come into memory, code is compiled
                _timed(COMMANDS[name], side, homes[side])
        for _ in range(arguments.rounds):
            for name in names:
                for side in sides:
                    timed = _timed(COMMANDS[name], side, homes[side])
                    took.setdefault((name, side), []).append(timed)
    load = os.getloadavg()[0]
    print(f"{arguments.rounds} rounds in turn, medians on {os.cpu_count()} cores (load {load:.1f})")
    print(f"{'':26}   wall s    cpu s" + "   x before   cpu x before" * (len(sides) - 1))
    for name in names:
        wall, cpu = _medians(took[name, HERE])
        line = f"{name:26} {wall:8.2f} {cpu:8.2f}"
        for side in sides[1:]:
            before = _medians(took[name, side])
            line += f" {wall / before[0]:10.2f} {cpu / before[1]:14.2f}"
        print(line)


def _medians(timed: list[tuple[float, float]]) -> tuple[float, float]:
    walls, cpus = zip(*timed, strict=True)
    return median(walls), median(cpus)


def _fill(checkout: Path, home: Path) -> None:
    """A store with two runs and a champion."""
    tiny = ("data.num_users=60", "data.num_items=50", "data.density=0.15")
    for model in ("popularity", "ease"):
        _timed(("train.py", f"model={model}", *tiny), checkout, home)
    force = "--force", "--yes", "--reason=benchmark", "--seeds=1", "--splits=1", "--on=validation"
    _timed(("-c", RECSWEEP, "promote", "ease 200", *force), checkout, home)


def _timed(words: tuple[str, ...], checkout: Path, home: Path) -> tuple[float, float]:
    """Wall and CPU seconds of Python with these arguments."""
    environment = {**os.environ, "PYTHONPATH": str(checkout / "src"), "RECSWEEP_HOME": str(home)}
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=checkout, env=environment, capture_output=True, text=True
    )
    wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode and "nonsense" not in words[-1]:
        sys.exit(f"{' '.join(words)}: {done.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, used


if __name__ == "__main__":
    main()
