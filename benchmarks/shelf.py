"""Every model of the shelf on the synthetic block, from the command to its result.

    python benchmarks/shelf.py [model ...] [--threads 1]

Each is a command of its own, `python train.py model=NAME`, with the settings of its file: start of
the interpreter, data, training, evaluation after each epoch and what is logged. Wall time, and
seconds of the processor: on a busy machine the first is the longer one.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

from recsweep.config import conf_dir
from recsweep.rendering import Column, Table, print_tables

LIMIT = 60
"""Seconds that a model may take."""

TRAIN = Path(__file__).parents[1] / "train.py"


def timed(model: str, threads: int) -> dict[str, object]:
    """What a command took, and the last line that it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = perf_counter()
    with tempfile.TemporaryDirectory(prefix="recsweep-shelf-") as home:
        ended = subprocess.run(
            [sys.executable, str(TRAIN), f"model={model}"],
            env={**os.environ, "RECSWEEP_HOME": home, "OMP_NUM_THREADS": str(threads)},
            capture_output=True,
            text=True,
        )
    wall, after = perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if ended.returncode:
        print(ended.stderr, file=sys.stderr)
    return {"model": model, "wall": wall, "cpu": cpu, "status": ended.returncode}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    known = sorted(path.stem for path in (conf_dir() / "model").glob("*.yaml"))
    parser.add_argument("models", nargs="*", default=known, metavar="model")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    rows = []
    for model in options.models:
        rows.append(timed(model, options.threads))
        print("{model}: {wall:.1f} s, {cpu:.1f} s of the processor".format(**rows[-1]), flush=True)
    columns = [
        Column("model", "model", left=True),
        Column("wall", "seconds", ".1f"),
        Column("cpu", "of the processor", ".1f"),
    ]
    slow = {place: "bold" for place, row in enumerate(rows) if row["cpu"] > LIMIT}
    print_tables(Table(columns, rows, styles=slow))
    if slow or any(row["status"] for row in rows):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
