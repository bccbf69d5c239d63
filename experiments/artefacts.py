"""python experiments/artefacts.py zeros data=foodcom data.path=RAW_interactions.csv

Question: how do three artefacts make a model look better than it is, and what becomes of them here?

    zeros    known zeros of training among the candidates reward a model that remembers them
    seeds    one seed a side: nets that differ by nothing but their seed "differ"
    user     one heavy user decides a pooled measure, whose interval covers nothing then
    all      the three of them, the default

    --nets 20          nets of `seeds`
    --samples 200      fresh samples of users of `user`
    name=value settings, as of train.py; without data=... built-in data, of 300 users and 300 items
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np
from hydra.utils import instantiate

from recsweep.comparison.resampling import Measured, Resampling
from recsweep.config import composed
from recsweep.data.interactions import Interactions, Split
from recsweep.evaluation import EvaluationReport, evaluate
from recsweep.measures.of_cells import average_precision, rank_cells
from recsweep.models.base import FitOptions, Recommender

SMALL = ("data.num_users=300", "data.num_items=300")
NET = (
    "loss=bce",
    "trainer.batch_size=1024",
    "optimizer.lr=0.003",
    "trainer.max_epochs=5",
    "trainer.keep=last",
)
POOLED = ("f1_at_threshold", "average_precision", "mse")
SAMPLED_USERS = 300
HEAVY_SHARE = 0.78
"""Of the items the heaviest user of Food.com's block likes so many."""


class Bench:
    """Composes settings, reads the data once, trains and evaluates.

    Args:
        overrides: Settings of the command line.
    """

    def __init__(self, overrides: Sequence[str]) -> None:
        own_data = any(each.startswith("data=") for each in overrides)
        self._overrides = [*(() if own_data else SMALL), *overrides]
        self.interactions: Interactions = self.build("data").load()
        self.split: Split = self.build("split").split(self.interactions)

    def build(self, node: str, *more: str) -> object:
        cfg = composed([*more, *self._overrides])
        return instantiate(cfg[node], _convert_="all")

    def fit(self, *settings: str, seed: int = 0) -> Recommender:
        model = self.build("model", *settings)
        model.fit(self.split.train, FitOptions(seed=seed, validation=self.split.validation))
        return model

    def test(self, model: Recommender, *settings: str) -> EvaluationReport:
        """The report of the test part, with the threshold that validation chooses."""
        protocol = self.build("evaluation", *settings)
        threshold = evaluate(model, self.split, protocol=protocol).metrics["threshold"]
        return evaluate(model, self.split, "test", protocol=protocol, threshold=threshold)


class Remembers:
    """Popularity that has learnt nothing but which cells of training were zeros: those come last.

    Args:
        model: Scores all other cells.
        split: Holds the training cells.
    """

    def __init__(self, model: Recommender, split: Split) -> None:
        self._model, self._train = model, split.train

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._model.predict(users, items)

    def score(self, users: np.ndarray) -> np.ndarray:
        scores = np.array(self._model.score(users))
        known = self._train.cells[users]
        rows = np.repeat(np.arange(len(users)), np.diff(known.indptr))
        scores[rows, known.indices] = -1
        return scores


def zeros(bench: Bench) -> None:
    print("\nzeros: NDCG@10 on the test part, by what a user's list is chosen from")
    popularity = bench.fit("model=popularity")
    models = {
        "popularity": popularity,
        "the same, training zeros last": Remembers(popularity, bench.split),
    }
    kinds = {
        "not_liked": "all but earlier likes",
        "unseen": "all unseen cells",
        "part": "cells of the part",
    }
    print(f"{'':32}" + "".join(f"{words:>24}" for words in kinds.values()))
    for name, model in models.items():
        values = [
            bench.test(model, f"evaluation.candidates={kind}").metrics["ndcg_at_10"]
            for kind in kinds
        ]
        print(f"{name:32}" + "".join(f"{value:>24.4f}" for value in values))


def seeds(bench: Bench, number: int) -> None:
    print(
        f"\nseeds: of pairs of one net, {number} seeds, how many differ by a 95 % interval that "
        "excludes zero"
    )
    reports = {("split", seed): bench.test(bench.fit(*NET, seed=seed)) for seed in range(number)}
    print(f"{'':34}" + "".join(f"{measure:>26}" for measure in (*POOLED, "ndcg_at_10")))
    for size in (1, 2, 3, 5):
        pairs = list(pairs_of(reports, size))
        if not pairs:
            continue
        told = f"{size} seeds a side" if size > 1 else "one seed a side, users alone"
        shares = [
            np.mean(
                [Resampling(pair).difference("a", "b", measure).excludes_zero for pair in pairs]
            )
            for measure in (*POOLED, "ndcg_at_10")
        ]
        print(
            f"{f'{told} ({len(pairs)} pairs)':34}" + "".join(f"{share:>26.2f}" for share in shares)
        )
    first, second = (
        Measured(name, {key: report})
        for name, (key, report) in zip("ab", reports.items(), strict=False)
    )
    print(
        "what recsweep says of one seed a side: "
        f"{Resampling([first, second]).difference('a', 'b', 'average_precision').no_verdict}"
    )


def pairs_of(reports: dict, size: int) -> Iterator[list[Measured]]:
    """Two models of `size` different seeds each: every pair of seeds, of more seeds as many random
    choices.

    One seed a side is told to be no random model: what the users alone say.
    """
    keys = list(reports)
    if size == 1:
        chosen = [((first,), (second,)) for first, second in combinations(keys, 2)]
    else:
        rng = np.random.default_rng(size)
        drawn = [
            rng.permutation(len(keys))[: 2 * size] for _ in range(len(keys) * (len(keys) - 1) // 2)
        ]
        chosen = [
            ([keys[place] for place in each[:size]], [keys[place] for place in each[size:]])
            for each in drawn
        ]
        chosen = chosen if 2 * size <= len(keys) else []
    for sides in chosen:
        yield [
            Measured(name, {key: reports[key] for key in sorted(side)}, is_random=size > 1)
            for name, side in zip("ab", sides, strict=True)
        ]


def user(bench: Bench, samples: int) -> None:
    heavy = int(np.argmax(np.bincount(bench.interactions.users)))
    if np.bincount(bench.interactions.users).max() < bench.interactions.num_items / 2:
        bench.interactions = with_heavy_user(bench.interactions, heavy)
        bench.split = bench.build("split").split(bench.interactions)
        print(
            "\nuser: nobody here likes half of the items, so the busiest user is made to like "
            f"{HEAVY_SHARE:.0%} of them"
        )
    reports = {name: bench.test(bench.fit(f"model={name}")) for name in ("logistic", "ease")}
    liked = int(np.bincount(bench.interactions.users)[heavy])
    print(f"\nuser: user {heavy} likes {liked} of {bench.interactions.num_items} items")
    print(
        f"{'average precision':26}{'all users':>12}{'without them':>14}"
        f"{'per user':>12}{'without them':>14}"
    )
    for name, report in reports.items():
        less = without(report, heavy)
        values = [
            of(each) for of in (pooled_precision, per_user_precision) for each in (report, less)
        ]
        print(f"{name:26}{values[0]:>12.4f}{values[1]:>14.4f}{values[2]:>12.4f}{values[3]:>14.4f}")
    models = [
        Measured(name, {("split", 0): report}, is_random=False) for name, report in reports.items()
    ]
    found = Resampling(models).difference("logistic", "ease", "average_precision")
    most = found.influence
    print(
        f"logistic - ease: {found.value:+.4f} ({found.low:+.4f} to {found.high:+.4f}); without "
        f"user {most.user} {found.value + most.change:+.4f}; they hold {most.share:.0%} of the "
        f"variance: {'not covered, hangs on one user' if found.hangs else 'covered'}"
    )
    print(
        "\n"
        f"how often the 95 % interval of logistic - ease from {SAMPLED_USERS} fresh users holds "
        f"the difference of all users, {samples} samples"
    )
    without_them = {name: without(report, heavy) for name, report in reports.items()}
    print(f"{'':28}{'with the user':>16}{'without':>10}")
    for measure in ("average_precision", "mse", "average_precision_per_user", "ndcg_at_10"):
        shares = [coverage(each, measure, samples) for each in (reports, without_them)]
        print(f"{measure:28}{shares[0]:>16.2f}{shares[1]:>10.2f}")


def with_heavy_user(interactions: Interactions, heavy: int) -> Interactions:
    """The same data, in which one user likes HEAVY_SHARE of all items, chosen at random."""
    others = interactions.users != heavy
    items = np.random.default_rng(0).permutation(interactions.num_items)[
        : int(HEAVY_SHARE * interactions.num_items)
    ]
    return replace(
        interactions,
        users=np.append(interactions.users[others], np.full(len(items), heavy)),
        items=np.append(interactions.items[others], items),
        timestamps=None,
        probabilities=None,
    )


def pooled_precision(report: EvaluationReport) -> float:
    return average_precision(rank_cells(report.cells["targets"], report.cells["probabilities"]))


def per_user_precision(report: EvaluationReport) -> float:
    return float(report.per_user["average_precision_per_user"].mean())


def without(report: EvaluationReport, user: int) -> EvaluationReport:
    return of_users(
        report, [each for each in np.unique(report.cells["users"]).tolist() if each != user]
    )


def of_users(report: EvaluationReport, users: Sequence[int]) -> EvaluationReport:
    """The report of some of its users, each as often as it is named and under a number of its
    own."""
    cells = {
        name: column[np.argsort(report.cells["users"], kind="stable")]
        for name, column in report.cells.items()
    }
    starts = np.searchsorted(cells["users"], users)
    lengths = np.searchsorted(cells["users"], users, side="right") - starts
    chosen = np.repeat(starts - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    numbers = np.repeat(np.arange(len(users), dtype=np.int32), lengths)
    place = {user: at for at, user in enumerate(report.users.tolist())}
    ranked = [(number, place[user]) for number, user in enumerate(users) if user in place]
    rows = [at for _, at in ranked]
    return replace(
        report,
        cells={name: column[chosen] for name, column in cells.items()} | {"users": numbers},
        users=np.array([number for number, _ in ranked]),
        per_user={name: values[rows] for name, values in report.per_user.items()},
    )


def coverage(reports: dict[str, EvaluationReport], measure: str, samples: int) -> float:
    """Share of fresh samples of users whose interval of the difference holds the difference over
    all users."""

    def difference(chosen: Callable[[EvaluationReport], EvaluationReport], replicates: int):
        models = [
            Measured(name, {("split", 0): chosen(report)}, is_random=False)
            for name, report in reports.items()
        ]
        return Resampling(models, replicates=replicates).difference("logistic", "ease", measure)

    truth = difference(lambda report: report, 2).value
    population = np.unique(next(iter(reports.values())).cells["users"])
    covered = []
    for sample in range(samples):
        drawn = np.random.default_rng([sample, 3]).choice(population, SAMPLED_USERS).tolist()
        found = difference(lambda report, drawn=drawn: of_users(report, drawn), 200)
        covered.append(found.low <= truth <= found.high)
    return float(np.mean(covered))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "artefact", nargs="?", choices=("zeros", "seeds", "user", "all"), default="all"
    )
    parser.add_argument("--nets", type=int, default=20)
    parser.add_argument("--samples", type=int, default=200)
    options, overrides = parser.parse_known_args()
    bench = Bench(overrides)
    if options.artefact in ("zeros", "all"):
        zeros(bench)
    if options.artefact in ("seeds", "all"):
        seeds(bench, options.nets)
    if options.artefact in ("user", "all"):
        user(bench, options.samples)


if __name__ == "__main__":
    main()
