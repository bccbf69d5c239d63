"""Seconds of `recsweep compare` over many runs of a 1000 x 1000 block, each time in a process of
its own.

    python benchmarks/compare.py [--runs 100] [--rounds 3] [--on validation]

A few models are trained on the synthetic block; the other runs hold their reports with jittered
probabilities, so that every one has to be resampled. `cpu` is user and system time of all threads:
on a machine that others use too, the wall time says more of them.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import numpy as np

from recsweep.config import composed

MODELS = ("model=popularity", "model=knn", "model=logistic", "loss=mse", "loss=bce")
PARTS = {"validation": ("validation",), "test": ("validation", "test")}
PHASES = (
    "existing_store",
    "finished_runs",
    "standings",
    "contrast",
    "_histories",
    "draw",
    "comparison_page",
)
"""Functions of recsweep.comparison.compare that share out its time."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--on", choices=tuple(PARTS), default="validation")
    parser.add_argument(
        "--phases", action="store_true", help="compare in this process, and say where the time goes"
    )
    arguments = parser.parse_args()
    if arguments.phases:
        _phases(arguments.on)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RECSWEEP_HOME"] = folder
        _fill(arguments.runs, arguments.on)
        main = "from recsweep.cli import main; main()"
        command = [sys.executable, "-c", main, "compare", "--on", arguments.on]
        walls, cpus = zip(*(_timed(command) for _ in range(arguments.rounds)), strict=True)
        print(
            f"{arguments.runs} runs on {arguments.on}, median of {arguments.rounds} on "
            f"{os.cpu_count()} cores (load {os.getloadavg()[0]:.1f}): {median(walls):.1f} s wall "
            f"({min(walls):.1f} to {max(walls):.1f}), {median(cpus):.1f} s cpu"
        )
        subprocess.run([sys.executable, __file__, "--phases", "--on", arguments.on], check=True)


def _fill(number: int, part: str) -> None:
    """A store with so many runs."""
    from recsweep.evaluation import EvaluationReport, cell_metrics
    from recsweep.pipeline import run
    from recsweep.tracking import Run, TrackingOptions, tracker

    outcomes = [
        run(composed([each, "trainer.max_epochs=2", f"evaluation.test={part == 'test'}"]))
        for each in MODELS
    ]
    opened = tracker(TrackingOptions(uri=None, experiment="recsweep"))
    rng = np.random.default_rng(0)

    def jittered(report: EvaluationReport) -> EvaluationReport:
        noise = rng.lognormal(0, 0.1, len(report.cells["targets"]))
        probabilities = np.minimum(report.cells["probabilities"] * noise, 1).astype(np.float32)
        metrics = report.metrics | cell_metrics(
            report.cells["targets"], probabilities, report.metrics["threshold"]
        )
        return replace(
            report, metrics=metrics, cells={**report.cells, "probabilities": probabilities}
        )

    def store(copy: Run, reports: list[EvaluationReport]) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            for report in reports:
                report.write(Path(scratch) / "evaluation")
            copy.log_folder(Path(scratch))
        copy.end("FINISHED")

    for place in range(number - len(outcomes)):
        outcome = outcomes[place % len(outcomes)]
        found = opened.record(outcome.run_id)
        copy = opened.start(
            found.name,
            {name: value for name, value in found.tags.items() if not name.startswith("mlflow.")},
        )
        reports = [jittered(getattr(outcome, each)) for each in PARTS[part]]
        copy.log(
            params={**found.params, "model.copy": place},
            metrics={
                **found.metrics,
                **{k: v for report in reports for k, v in report.prefixed().items()},
            },
        )
        store(copy, reports)


def _timed(command: list[str]) -> tuple[float, float]:
    """Wall and processor seconds of a command."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (
        perf_counter() - start,
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


def _phases(part: str) -> None:
    start, cpu_start = perf_counter(), process_time()
    from recsweep.comparison import compare as compared
    from recsweep.tracking import TrackingOptions

    spent: dict[str, tuple[float, float]] = {
        "import": (perf_counter() - start, process_time() - cpu_start)
    }

    def timed(name: str, function: Callable) -> Callable:
        def call(*arguments: object, **options: object) -> object:
            wall, cpu = perf_counter(), process_time()
            result = function(*arguments, **options)
            spent[name] = perf_counter() - wall, process_time() - cpu
            return result

        return call

    for name in PHASES:
        setattr(compared, name, timed(name, getattr(compared, name)))
    options = compared.CompareOptions(
        tracking=TrackingOptions(uri=None, experiment="recsweep"), part=part
    )
    result, opened = compared.compare(options)
    timed("log", result.log)(opened)
    for name, (wall, cpu) in spent.items():
        print(f"{name:16} {wall:5.2f} s wall {cpu:5.2f} s cpu")


if __name__ == "__main__":
    main()
