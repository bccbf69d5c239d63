"""python experiments/new_users.py data=movielens_100k data.path=ml-100k

Question: how well is somebody served whom no model was trained on, by what he likes, as against
training anew with him? Budget: five seeds, each with users of its own held out (split=new_users)
and three nets: without the held-out users, with all that they give, and with a few of it.

    --seeds 5          of the splits and the nets
    --nets FOLDER      keep the trained nets there, and read those that it holds
    name=value         settings, as of train.py

The settings of a method are those of a grid with the best NDCG@10 on the validation parts, whose
users are not the test parts'. Printed are means over the users of the test parts of all seeds with
95 % intervals: the seeds are resampled, and within each its users (10,000 times, the same for every
method). A history is shortened to its items that come first in one random order of all items. The
columns 1 to 20+ are of users who give at least 20 items, the last column is of all. The net that is
retrained with the short histories gives each of these users one length, so it has a fifth of the
users in each column.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from scipy.sparse import csr_matrix

from recsweep.config import composed
from recsweep.data.interactions import Part, Split
from recsweep.evaluation import evaluate
from recsweep.models.base import FitOptions, Recommender
from recsweep.models.saved import load_model

LENGTHS = (1, 2, 5, 10, 20)
MEASURES = ("ndcg_at_10", "recall_at_20")
FOLDED = ("neighbor_scores", "neighbor_vectors", "row_map", "row_steps")
BASELINES = ("popularity", "item_knn", "knn", "ease")
CEILING = "net retrained with them"
REPLICATES = 10_000

GRID = {
    "knn": [f"model.num_neighbors={n}" for n in (20, 50, 100, 200)],
    "item_knn": [f"model.num_neighbors={n}" for n in (50, 100, 200, 400)],
    "ease": [f"model.l2={l2}" for l2 in (100, 200, 400, 800, 1600)],
    "neighbor_scores": [f"fold_in.num_neighbors={n}" for n in (5, 10, 20, 50)],
    "neighbor_vectors": [f"fold_in.num_neighbors={n}" for n in (5, 10, 20, 50)],
    "row_map": [f"fold_in.map_l2={l2}" for l2 in (0.3, 1, 2, 4, 8)],
    "row_steps": [
        f"fold_in.l2={l2} fold_in.shrink={shrink}"
        for l2 in (0.01, 0.03, 0.1)
        for shrink in (5, 10, 20)
    ],
}


class Random:
    """The floor: scores without any sense."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng([seed, 7])

    def score_histories(self, histories: csr_matrix) -> np.ndarray:
        return self._rng.random(histories.shape, dtype=np.float32)


@dataclass(frozen=True)
class GivenFew:
    """A model that is told the first `length` items of a history only."""

    model: Recommender
    length: int
    priority: np.ndarray

    def score_histories(self, histories: csr_matrix) -> np.ndarray:
        return self.model.score_histories(
            shortened(histories, np.full(histories.shape[0], self.length), self.priority)
        )


def shortened(histories: csr_matrix, lengths: np.ndarray, priority: np.ndarray) -> csr_matrix:
    """The `lengths` (m,) items of each history that have the lowest `priority` (num_items,)."""
    counts = np.diff(histories.indptr)
    owners = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((priority[histories.indices], owners))
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order)) - np.repeat(histories.indptr[:-1], counts)
    kept = rank < lengths[owners]
    return csr_matrix(
        (histories.data[kept], (owners[kept], histories.indices[kept])), histories.shape
    )


def with_histories(split: Split, histories: csr_matrix) -> Split:
    """The same parts, with these histories of the held-out users in train: they are new no more."""
    users, items = (
        np.concatenate([known, given])
        for known, given in zip(
            (split.train.users, split.train.items), histories.nonzero(), strict=True
        )
    )
    train = Part(
        users, items, np.ones(len(users)), split.num_users, split.num_items, enumerates_cells=False
    )
    return replace(split, train=train, histories=None)


class Study:
    """One seed: its split, its nets and its baselines.

    Args:
        build: build(node, *overrides) makes the object of a config's node.
        nets: Folder of trained nets, or None.
    """

    def __init__(
        self, seed: int, build: Callable, interactions: object, protocol: object, nets: Path | None
    ) -> None:
        self.seed, self.build, self.protocol, self.nets = seed, build, protocol, nets
        self.split = build("split", "split=new_users", f"split.seed={seed}").split(interactions)
        rng = np.random.default_rng([seed, 3])
        self.priority = rng.permutation(self.split.num_items)
        self.given = np.diff(self.split.histories.positives.indptr)  # (num_users,)
        self._net: Recommender | None = None
        self.assigned = np.where(
            self.given >= LENGTHS[-1], rng.choice(LENGTHS, self.split.num_users), self.given
        )

    def net(self, name: str, split: Split) -> Recommender:
        folder = self.nets and self.nets / f"{name}_{self.seed}"
        if folder and folder.exists():
            return load_model(folder)
        model = self.build("model", "model=recipe_net", *NET)
        fit = model.fit(split.train, FitOptions(seed=self.seed))
        print(f"seed {self.seed}, net {name}: {fit.epochs} epochs, {fit.seconds:.0f} s", flush=True)
        if folder:
            model.save(folder)
        return model

    def model(self, name: str, setting: str = "") -> Recommender:
        """A method that scores histories: the floor, a baseline, or the net with one way to fold
        in."""
        if name == "random":
            return Random(self.seed)
        if name in FOLDED:
            self._net = self._net or self.net("without", self.split)
            self._net.fold_in = self.build("fold_in", f"fold_in={name}", *setting.split())
            return self._net
        model = self.build("model", f"model={name}", *setting.split())
        model.fit(self.split.train)
        return model

    def measure(
        self, model: Recommender, split: Split, part: str = "test"
    ) -> dict[str, np.ndarray]:
        """Each measure as (num_users,), nan for who is not in the part."""
        report = evaluate(model, split, part, protocol=self.protocol)
        found = {}
        for measure in MEASURES:
            found[measure] = np.full(split.num_users, np.nan)
            found[measure][report.users] = report.per_user[measure]
        return found

    def run(self, chosen: dict[str, str]) -> dict[tuple[str, str, str], np.ndarray]:
        """Everything on the test part.

        Args:
            chosen: Settings of each method.

        Returns:
            By measure, method and column: one value for each user, (num_users,), nan where he is
                not in it.
        """
        values: dict[tuple[str, str, str], np.ndarray] = {}

        def note(
            method: str, column: str, found: dict[str, np.ndarray], chosen: np.ndarray
        ) -> None:
            for measure, by_user in found.items():
                values[measure, method, column] = np.where(chosen, by_user, np.nan)

        everybody = np.ones(self.split.num_users, dtype=bool)
        many = self.given >= LENGTHS[-1]
        for name in ("random", *BASELINES, *FOLDED):
            model = self.model(name, chosen.get(name, ""))
            for length in LENGTHS:
                note(
                    name,
                    str(length),
                    self.measure(GivenFew(model, length, self.priority), self.split),
                    many,
                )
            whole = self.measure(model, self.split)
            note(name, f"{LENGTHS[-1]}+", whole, many)
            note(name, "all", whole, everybody)
        histories = self.split.histories.positives
        warm = with_histories(self.split, histories)
        whole = self.measure(self.net("with", warm), warm)
        note(CEILING, f"{LENGTHS[-1]}+", whole, many)
        note(CEILING, "all", whole, everybody)
        few = with_histories(self.split, shortened(histories, self.assigned, self.priority))
        # what a shortened history leaves out is no candidate either, as in the other rows
        seen = replace(few, histories=self.split.histories)
        by_score = type("ByScore", (), {"score": staticmethod(self.net("with_few", few).score)})()
        whole = self.measure(by_score, seen)
        for length in LENGTHS:
            note(CEILING, str(length), whole, many & (self.assigned == length))
        return values

    def validate(self, name: str, setting: str) -> float:
        """NDCG@10 on validation."""
        return float(
            np.nanmean(
                self.measure(self.model(name, setting), self.split, "validation")["ndcg_at_10"]
            )
        )


def best_settings(studies: Sequence[Study]) -> dict[str, str]:
    """The settings of each method with the best NDCG@10 on the validation parts of all seeds."""
    chosen = {}
    for name, settings in GRID.items():
        found = {
            setting: np.mean([study.validate(name, setting) for study in studies])
            for setting in settings
        }
        chosen[name] = max(found, key=found.get)
        print(
            f"{name:18}" + ", ".join(f"{setting} {value:.4f}" for setting, value in found.items()),
            flush=True,
        )
    return chosen


def interval(values: Sequence[np.ndarray]) -> tuple[float, float, float]:
    """Mean over the seeds of the means over users, and its 95 % interval; the draws are the same
    each time.

    Args:
        values: One array a seed, (num_users,) with nan for who does not count.
    """
    values = [each[np.isfinite(each)] for each in values]
    num_seeds, rng = len(values), np.random.default_rng(0)
    resampled = np.zeros(REPLICATES)
    for _ in range(num_seeds):
        seeds = rng.integers(num_seeds, size=REPLICATES)
        means = [
            each[rng.integers(len(each), size=(REPLICATES, len(each)))].mean(axis=1)
            for each in values
        ]
        resampled += np.stack(means)[seeds, np.arange(REPLICATES)] / num_seeds
    return float(np.mean([each.mean() for each in values])), *np.quantile(resampled, [0.025, 0.975])


def table(values: list[dict], measure: str) -> None:
    columns = [*map(str, LENGTHS), f"{LENGTHS[-1]}+", "all"]
    print(f"\n{measure + ' by history length':26}" + "".join(f"{column:>16}" for column in columns))
    for method in ("random", *BASELINES, *FOLDED, CEILING):
        cells = []
        for column in columns:
            value, low, high = interval([each[measure, method, column] for each in values])
            cells.append(f"{value:.3f} {low:.3f}–{high:.3f}".replace("0.", "."))
        print(f"{method:26}" + "".join(f"{cell:>16}" for cell in cells))
    users = [
        sum(int(np.isfinite(each[measure, "ease", column]).sum()) for each in values)
        for column in columns
    ]
    print(f"{'users':26}" + "".join(f"{number:>16}" for number in users))


def differences(values: list[dict], measure: str) -> None:
    print(f"\npaired differences in {measure}, all that is given, all users")
    best = max(
        FOLDED,
        key=lambda method: np.mean([np.nanmean(each[measure, method, "all"]) for each in values]),
    )
    pairs = [(method, CEILING) for method in FOLDED] + [
        ("ease", CEILING),
        (best, "popularity"),
        (best, "knn"),
        (best, "ease"),
        ("row_steps", "row_map"),
    ]
    for first, second in pairs:
        paired = [each[measure, first, "all"] - each[measure, second, "all"] for each in values]
        value, low, high = interval(paired)
        print(f"{first + ' - ' + second:44}{value:+.4f}  ({low:+.4f} to {high:+.4f})")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--nets", type=Path)
    options, overrides = parser.parse_known_args()
    torch.set_num_threads(1)

    def build(node: str, *more: str) -> object:
        cfg = composed([*more, *overrides])
        return instantiate(cfg[node], _convert_="all")

    interactions, protocol = build("data").load(), build("evaluation")
    studies = [
        Study(seed, build, interactions, protocol, options.nets) for seed in range(options.seeds)
    ]
    chosen = best_settings(studies)
    print(
        "\n".join(["", "chosen:", *(f"{name:18}{setting}" for name, setting in chosen.items())]),
        flush=True,
    )
    values = [study.run(chosen) for study in studies]
    for measure in MEASURES:
        table(values, measure)
    for measure in MEASURES:
        differences(values, measure)


NET = (
    "loss=bce",
    "optimizer.lr=0.003",
    "optimizer.weight_decay=1e-5",
    "trainer.batch_size=1024",
    "trainer.max_epochs=25",
    "trainer.keep=last",
    "model.user_dim=32",
    "model.item_dim=32",
    "model.hidden_dim=64",
)
"""Of three settings tried, the best on the validation part of the first split."""


if __name__ == "__main__":
    main()
