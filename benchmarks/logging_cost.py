"""What tracking adds to a run: wall time of `pipeline.run` less training and evaluation, in a warm
process.

    python benchmarks/logging_cost.py [--repeats 7] [--epochs 3]

Synthetic 1000 x 1000, recipe net and popularity, MLflow on sqlite with all metrics, artifacts,
plots and the model.
"""

import argparse
import os
import statistics
import tempfile
from time import perf_counter

from recsweep.config import build

os.environ["RECSWEEP_HOME"] = tempfile.mkdtemp(prefix="recsweep-benchmark-")


from recsweep import pipeline
from recsweep.config import composed
from recsweep.run import watch
from recsweep.tracking import tracker


class Stopwatch:
    """Adds up the time of each call of a function it stands in for."""

    def __init__(self, function):
        self.function = function
        self.seconds = 0.0

    def __call__(self, *args, **kwargs):
        start = perf_counter()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.seconds += perf_counter() - start


def cost(model: str, epochs: int) -> float:
    """Seconds of one run that are neither training nor evaluation."""
    cfg = composed([f"model={model}", f"trainer.max_epochs={epochs}"])
    fits, evaluations = Stopwatch(pipeline.fit_many), Stopwatch(watch.evaluate)
    pipeline.fit_many, watch.evaluate = fits, evaluations
    try:
        start = perf_counter()
        outcome = pipeline.run(cfg)
        wall = perf_counter() - start
    finally:
        pipeline.fit_many, watch.evaluate = fits.function, evaluations.function
    logged = tracker(build(cfg, "tracking")).client.get_run(outcome.run_id).data.metrics
    during_training = logged["fit/watch_seconds"] - evaluations.seconds
    return wall - fits.seconds + during_training


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()
    for model in ("popularity", "recipe_net"):
        cost(model, 1)  # imports, the database, the data
        seconds = [cost(model, options.epochs) for _ in range(options.repeats)]
        print(
            f"{model:<12} logging a run: median {statistics.median(seconds):.3f} s, "
            f"{min(seconds):.3f} to {max(seconds):.3f} s in {options.repeats} runs"
        )


if __name__ == "__main__":
    main()
