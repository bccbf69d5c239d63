"""Full ranking of a large catalogue: seconds, CPU seconds and the most memory of the process.

    python benchmarks/ranking.py [--users 72_000] [--items 44_000] [--model mf] [--k 20]
    python benchmarks/ranking.py --before ../recsweep-before/src --threads 2

A model that was trained for a moment on made-up positives ranks all items for all users. Each
measurement is a process of its own; `--before` takes turns with the code of another checkout, whose
`src` it names, and prints the quotient of the medians.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

from recsweep.config import build, composed
from recsweep.data.interactions import Part, Split
from recsweep.evaluation.ranking import evaluate_rankings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--users", type=int, default=72_000)
    parser.add_argument("--items", type=int, default=44_000)
    parser.add_argument("--model", default="mf")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, help="cores to use; all by default")
    parser.add_argument("--before", type=Path, help="the src of another checkout")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        measure(options)
        return
    sources = {"now": Path(__file__).parents[1] / "src"}
    if options.before is not None:
        sources = {"before": options.before, **sources}
    seconds: dict[str, list[float]] = {name: [] for name in sources}
    print(f"{options.users:,} x {options.items:,}, {options.model}, top {options.k}")
    print(f"{'':8}{'seconds':>9}{'CPU':>8}{'peak GB':>9}  sum of the lists' items and hits")
    for _ in range(options.rounds):
        for name, source in sources.items():
            line = in_process(source, options)
            print(f"{name:8}{line}", flush=True)
            seconds[name].append(float(line.split()[0]))
    if len(sources) > 1:
        before, now = (statistics.median(each) for each in seconds.values())
        print(f"median before / median now: {before / now:.1f}")


def in_process(source: Path, options: argparse.Namespace) -> str:
    environment = {**os.environ, "PYTHONPATH": str(source.resolve())}
    command = [sys.executable, __file__, "--here", "--model", options.model]
    for name in ("users", "items", "k"):
        command += [f"--{name}", str(getattr(options, name))]
    if options.threads is not None:
        environment |= {"OMP_NUM_THREADS": str(options.threads)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


def measure(options: argparse.Namespace) -> None:
    split = made_up(options.users, options.items)
    cfg = composed(
        [
            f"model={options.model}",
            "examples=sampled",
            "trainer=large_batches",
            "trainer.max_epochs=1",
            f"evaluation.k=[{options.k}]",
        ]
    )
    model, protocol = build(cfg, "model"), build(cfg, "evaluation")
    model.fit(split.train)
    begun, cpu = perf_counter(), process_time()
    metrics, _, _ = evaluate_rankings(model, split, "validation", protocol)
    seconds, cpu = perf_counter() - begun, process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    values = [metrics[f"{name}_at_{options.k}"] for name in ("novelty", "ndcg")]
    print(f"{seconds:9.1f}{cpu:8.1f}{peak:9.2f}  {values[0]:.9f} {values[1]:.9f}")


def made_up(num_users: int, num_items: int) -> Split:
    rng = np.random.default_rng(0)
    pairs = rng.integers(num_users, size=4 * num_users) * num_items
    pairs = np.unique(pairs + (num_items * rng.random(len(pairs)) ** 3).astype(np.int64))
    is_last = np.zeros(len(pairs), dtype=bool)
    is_last[np.flatnonzero(np.diff(pairs // num_items, append=-1))] = True
    parts = [
        Part(
            chosen // num_items,
            chosen % num_items,
            np.ones(len(chosen)),
            num_users,
            num_items,
            enumerates_cells=False,
        )
        for chosen in (pairs[~is_last], pairs[is_last], pairs[:0])
    ]
    return Split(*parts, kind="leave_last_out", seed=None)


if __name__ == "__main__":
    main()
