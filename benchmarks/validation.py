"""What evaluating the epochs of a large catalogue costs beside training them.

    python benchmarks/validation.py [--model mf] [--users 60_000] [--items 82_000]
    python benchmarks/validation.py --validation-users null

Made-up positives, one of each user in validation; sampled negatives, batches of 4,096. Of an epoch
it prints seconds and CPU seconds of training, of its evaluation, and the share of the evaluation in
both together; at the end those of the evaluation on all users.
"""

import argparse
from time import perf_counter, process_time

import numpy as np

from recsweep.config import build, composed
from recsweep.data.interactions import Part, Split
from recsweep.evaluation import evaluate
from recsweep.models.base import EpochDecision, FitOptions


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--positives", type=int, default=1_100_000)
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=82_000)
    parser.add_argument("--model", default="mf")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--validation-users", default="5000")
    parser.add_argument("overrides", nargs="*", help="of the config, as optimizer.lr=0.01")
    options = parser.parse_args()
    split = made_up(options.positives, options.users, options.items)
    cfg = composed(
        [
            f"model={options.model}",
            "examples=sampled",
            "trainer=large_batches",
            f"trainer.max_epochs={options.epochs}",
            f"evaluation.validation_users={options.validation_users}",
            *options.overrides,
        ]
    )
    model, protocol = build(cfg, "model"), build(cfg, "evaluation")
    sample = protocol.sample_of(split)
    number = len(np.unique(split.validation.users))
    words = f"all {number:,}" if sample is None else f"{len(sample.users):,} of {number:,}"
    print(f"{len(split.train):,} positives, {model.label}, epochs on {words} users")
    print(f"{'':10}{'training s':>11}{'CPU':>8}{'evaluation s':>14}{'CPU':>8}{'share':>8}")
    begun = [perf_counter(), process_time()]

    def on_epoch(epoch: int, _: object, __: float | None) -> EpochDecision:
        trained = perf_counter(), process_time()
        evaluate(model, split, protocol=protocol, sample=sample)
        evaluated = perf_counter(), process_time()
        training = [end - start for start, end in zip(begun, trained, strict=True)]
        evaluation = [end - start for start, end in zip(trained, evaluated, strict=True)]
        share = evaluation[1] / (training[1] + evaluation[1])
        print(
            f"epoch {epoch:<4}{training[0]:11.1f}{training[1]:8.1f}{evaluation[0]:14.1f}"
            f"{evaluation[1]:8.1f}{share:8.1%}",
            flush=True,
        )
        begun[:] = perf_counter(), process_time()
        return EpochDecision(keep=True)

    model.fit(split.train, FitOptions(on_epoch=on_epoch))
    if sample is not None:
        start, cpu = perf_counter(), process_time()
        evaluate(model, split, protocol=protocol)
        print(f"{'all users':29}{perf_counter() - start:14.1f}{process_time() - cpu:8.1f}")


def made_up(positives: int, num_users: int, num_items: int) -> Split:
    """Items are skewed; a user with several positives has one of them in validation."""
    rng = np.random.default_rng(0)
    users = (num_users * rng.random(positives) ** 2).astype(np.int64)
    pairs = np.unique(users * num_items + (num_items * rng.random(positives) ** 3).astype(np.int64))
    users = pairs // num_items
    is_last = np.diff(users, append=-1) != 0
    is_last &= np.diff(users, prepend=-1) == 0
    none = np.zeros(len(pairs), dtype=bool)
    train, validation, test = (
        Part(
            users[chosen],
            pairs[chosen] % num_items,
            np.ones(np.count_nonzero(chosen)),
            num_users,
            num_items,
            enumerates_cells=False,
        )
        for chosen in (~is_last, is_last, none)
    )
    return Split(train, validation, test, kind="leave_last_out", seed=None)


if __name__ == "__main__":
    main()
