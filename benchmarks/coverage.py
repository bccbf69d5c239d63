"""How often intervals and verdicts are wrong: by real trainings over seeds and splits, and on fresh
samples of users.

    python benchmarks/coverage.py seeds [data=movielens_100k data.path=… data.num_users=300
    data.num_items=300] python benchmarks/coverage.py users data=foodcom data.path=…

`seeds` trains one net many times, then draws pairs of models with disjoint seeds from this pool:
their difference is none, so that every difference that is told is false. Below it stands the share
that is told of a known difference: the same nets against themselves with their probabilities
blurred (their lists are not, so NDCG stays). `users` compares four baselines on fresh samples of
the users: how often the 95 % interval of a difference covers the difference on all users, and the
largest share that one user holds there.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from omegaconf import DictConfig

from recsweep.comparison.resampling import LARGEST_SHARE, Measured, Resampling
from recsweep.config import composed
from recsweep.evaluation import EvaluationReport, cell_metrics, cell_metrics_per_user, read_report

MEASURES = (
    "f1_at_threshold",
    "f1_at_half",
    "average_precision",
    "roc_auc",
    "mse",
    "log_loss",
    "average_precision_per_user",
    "mse_per_user",
    "ndcg_at_10",
)
OFFERED = tuple((seeds, splits) for splits in (1, 3, 5) for seeds in (1, 2, 3, 5))
BASELINES = ("logistic", "popularity_by_activity", "ease", "knn")
SMALL = (
    "data=synthetic",
    "data.num_users=200",
    "data.num_items=200",
    "data.density=0.1",
    "trainer.threads=1",
)

BLUR = 0.3
"""Standard deviation of the logarithm of the factors that make the known difference."""

Reports = dict[tuple[str, int], EvaluationReport]
"""By split digest and seed."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("of", choices=("seeds", "users"))
    parser.add_argument("overrides", nargs="*", help="settings, as data=movielens_100k")
    parser.add_argument(
        "--trainings", type=int, default=200, help="of the pool, over five splits (default 200)"
    )
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument(
        "--pairs", type=int, default=400, help="drawn for each number of seeds and splits"
    )
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument(
        "--cache", type=Path, help="folder that keeps the reports of the pool for another time"
    )
    arguments = parser.parse_args()
    if arguments.of == "users":
        _print_users(arguments.overrides, arguments.pairs)
        return
    with TemporaryDirectory() as scratch:
        cache = arguments.cache or Path(scratch)
        trained = pool(
            (*SMALL, *arguments.overrides),
            trainings=arguments.trainings,
            epochs=arguments.epochs,
            splits=5,
            cache=cache,
            processes=arguments.processes,
        )
    _print_seeds(trained, arguments.pairs)


def pool(
    overrides: Sequence[str],
    *,
    trainings: int,
    epochs: int,
    splits: int,
    cache: Path,
    processes: int = 1,
) -> Reports:
    """Test reports of one net over seeds and splits.

    Args:
        overrides: Settings of data and net.
        trainings: How many, shared out over the splits.
        epochs: Epochs of each.
        splits: How many split seeds.
        cache: Folder of reports; what is there is not trained again.
        processes: How many splits are worked on at once.
    """
    cfgs = [
        compose_config(
            (*overrides, f"split.seed={split}", f"trainer.max_epochs={epochs}", "trainer.keep=last")
        )
        for split in range(splits)
    ]
    seeds = range(trainings // splits)
    folders = [cache / f"split{split}" for split in range(splits)]
    if processes > 1:
        with ProcessPoolExecutor(processes) as workers:
            list(workers.map(_train, cfgs, [seeds] * splits, folders))
    else:
        for cfg, folder in zip(cfgs, folders, strict=True):
            _train(cfg, seeds, folder)
    found = {}
    for folder in folders:
        for seed in seeds:
            report = read_report(folder / str(seed), "test")
            found[report.protocol["split_digest"], seed] = report
    return found


def blurred(reports: Reports, spread: float) -> Reports:
    """The same models made worse: each probability times a log-normal factor."""
    found = {}
    for (split, seed), report in reports.items():
        cells, threshold = report.cells, report.metrics["threshold"]
        factors = np.random.default_rng(seed).lognormal(0, spread, len(cells["users"]))
        probabilities = np.minimum(cells["probabilities"] * factors, 1).astype(np.float32)
        own = cell_metrics_per_user(cells["users"], cells["targets"], probabilities, threshold)
        metrics = cell_metrics(cells["targets"], probabilities, threshold) | {
            name: float(np.nanmean(values)) for name, values in own.items()
        }
        found[split, seed] = replace(
            report,
            metrics=report.metrics | metrics,
            per_user={**report.per_user, **own},
            cells={**cells, "probabilities": probabilities},
        )
    return found


def compose_config(overrides: Sequence[str]) -> DictConfig:
    return composed(overrides)


def _train(cfg: DictConfig, seeds: Sequence[int], folder: Path) -> None:
    """Train the seeds that have no report yet, by recsweep's own fit and evaluation, without a
    store."""
    from recsweep.config import build
    from recsweep.evaluation import evaluate
    from recsweep.models.base import EpochDecision, FitOptions, fit_many
    from recsweep.run.plan import plan_data, prepare

    split, protocol = prepare(plan_data(cfg)).split, build(cfg, "evaluation")

    def options(seed: int) -> FitOptions:
        def on_epoch(epoch: int, model: object, train_loss: float | None) -> EpochDecision:
            if epoch == cfg.trainer.max_epochs:
                chosen = evaluate(model, split, "validation", protocol=protocol).metrics[
                    "threshold"
                ]
                report = evaluate(model, split, "test", protocol=protocol, threshold=chosen)
                report.write(folder / str(seed))
            return EpochDecision(None, True, {})

        return FitOptions(seed, on_epoch)

    missing = [seed for seed in seeds if not (folder / str(seed) / "test.json").exists()]
    for start in range(0, len(missing), 10):
        together = missing[start : start + 10]
        for fit in fit_many(
            [build(cfg, "model") for _ in together], split.train, list(map(options, together))
        ):
            if fit.error is not None:
                raise fit.error


def told_apart(
    first: Reports, second: Reports, seeds: int, splits: int, pairs: int, *, replicates: int = 150
) -> dict[str, float]:
    """Share of pairs of models, of disjoint seeds, whose difference has a verdict that excludes
    zero, by measure.

    Args:
        first: Reports that the first model of a pair is drawn from.
        second: Those of the second; the same ones where no difference is sought.
        seeds: Seeds of each model on each split.
        splits: Splits of both.
        pairs: How many pairs are drawn.
        replicates: Resamples of the users.
    """
    rng = np.random.default_rng([seeds, splits])
    digests = list(dict.fromkeys(split for split, _ in first))
    told = dict.fromkeys(MEASURES, 0)
    for _ in range(pairs):
        models: list[Reports] = [{}, {}]
        for split in rng.choice(digests, splits, replace=False):
            drawn = rng.permutation([seed for of_split, seed in first if of_split == split])[
                : 2 * seeds
            ]
            for model, source, own in zip(
                models, (first, second), (drawn[:seeds], drawn[seeds:]), strict=True
            ):
                model |= {(split, seed): source[split, seed] for seed in sorted(own.tolist())}
        both = Resampling(
            [Measured(name, model) for name, model in zip("ab", models, strict=True)],
            replicates=replicates,
        )
        for measure in MEASURES:
            told[measure] += both.difference("a", "b", measure).excludes_zero
    return {measure: count / pairs for measure, count in told.items()}


def offered(reports: Reports) -> list[tuple[int, int]]:
    """Those of OFFERED that a pool has enough seeds for."""
    splits = [split for split, _ in reports]
    return [
        (seeds, number)
        for seeds, number in OFFERED
        if 2 * seeds <= min(map(splits.count, set(splits)))
    ]


def _print_seeds(trained: Reports, pairs: int) -> None:
    worse = blurred(trained, BLUR)
    lead = {
        measure: np.mean(
            [
                ours.metrics[measure] - theirs.metrics[measure]
                for ours, theirs in zip(trained.values(), worse.values(), strict=True)
            ]
        )
        for measure in MEASURES
    }
    print(
        f"{len(trained)} trainings; {pairs} pairs for each number of seeds and splits; % told apart"
    )
    for title, second in (
        ("no difference: told falsely", trained),
        ("known difference: found", worse),
    ):
        print(
            f"\n{title}\n{'seeds x splits':16}"
            + "".join(f"{measure[:16]:>17}" for measure in MEASURES)
        )
        if second is worse:
            print(
                f"{'(difference)':16}" + "".join(f"{lead[measure]:+17.4f}" for measure in MEASURES)
            )
        for seeds, splits in offered(trained):
            share = told_apart(trained, second, seeds, splits, 2 if seeds == 1 else pairs)
            print(
                f"{seeds} x {splits:<12}"
                + "".join(f"{100 * share[measure]:17.1f}" for measure in MEASURES)
                + ("  no verdict" if seeds == 1 else ""),
                flush=True,
            )


def baselines(overrides: Sequence[str]) -> dict[str, EvaluationReport]:
    """Test reports of BASELINES."""
    from recsweep.config import build
    from recsweep.evaluation import evaluate
    from recsweep.run.plan import plan_data, prepare

    found = {}
    for name in BASELINES:
        cfg = compose_config(
            (*overrides, f"model={name}", *(["model.l2=800"] if name == "ease" else []))
        )
        split, protocol = prepare(plan_data(cfg)).split, build(cfg, "evaluation")
        model = build(cfg, "model")
        model.fit(split.train)
        chosen = evaluate(model, split, "validation", protocol=protocol).metrics["threshold"]
        found[name] = evaluate(model, split, "test", protocol=protocol, threshold=chosen)
    return found


def of_users(report: EvaluationReport, kept: np.ndarray) -> EvaluationReport:
    """A report as it would be of some of the users, given as (num_users,) bool by index."""
    ranked, cells = kept[report.users], kept[report.cells["users"]]
    return replace(
        report,
        users=report.users[ranked],
        per_user={name: values[ranked] for name, values in report.per_user.items()},
        cells={name: values[cells] for name, values in report.cells.items()},
    )


def covered(
    reports: Mapping[str, EvaluationReport], pool_of_users: np.ndarray, samples: int, size: int
) -> dict[tuple[str, str, str], tuple[float, float]]:
    """By measure and two models: the largest share of one user on all users, and how often an
    interval covers.

    Args:
        reports: By name of the model, which draws nothing.
        pool_of_users: (num_users,) bool, who is drawn from.
        samples: How many.
        size: Users of each, drawn without replacement.
    """

    def resampling(kept: np.ndarray, seed: int = 0) -> Resampling:
        return Resampling(
            [
                Measured(name, {("", 0): of_users(report, kept)}, is_random=False)
                for name, report in reports.items()
            ],
            replicates=200,
            seed=seed,
        )

    measures = [
        measure
        for measure in MEASURES
        if all(measure in report.metrics for report in reports.values())
    ]
    asked = [(measure, *pair) for measure in measures for pair in combinations(reports, 2)]
    everybody = resampling(pool_of_users)
    truth = {each: everybody.difference(each[1], each[2], each[0]) for each in asked}
    hits = dict.fromkeys(asked, 0)
    rng = np.random.default_rng(1)
    for sample in range(samples):
        kept = np.zeros(len(pool_of_users), dtype=bool)
        kept[rng.choice(np.flatnonzero(pool_of_users), size, replace=False)] = True
        drawn = resampling(kept, sample)
        for each in asked:
            found = drawn.difference(each[1], each[2], each[0])
            hits[each] += found.low <= truth[each].value <= found.high
    return {each: (truth[each].influence.share, hits[each] / samples) for each in asked}


def _print_users(overrides: Sequence[str], samples: int) -> None:
    reports = baselines(overrides)
    cells = next(iter(reports.values())).cells
    liked = np.bincount(cells["users"][cells["targets"] == 1])
    heaviest = int(np.argmax(liked))
    for title, kept in (
        ("all users", np.ones(len(liked), bool)),
        (f"without user {heaviest}", np.arange(len(liked)) != heaviest),
    ):
        found = covered(reports, kept, samples, 300)
        print(
            f"\n{title}: share of one user (marked above {LARGEST_SHARE:.0%}) -> covered by "
            f"{samples} samples of 300"
        )
        for measure in dict.fromkeys(measure for measure, *_ in found):
            print(
                f"{measure:28}"
                + "  ".join(
                    f"{share:.2f}{'†' if share > LARGEST_SHARE else ' '}-> {cover:.2f}"
                    for (of, *_), (share, cover) in found.items()
                    if of == measure
                )
            )


if __name__ == "__main__":
    main()
