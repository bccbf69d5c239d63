"""Seconds of alternating least squares by recsweep's iALS and by implicit, on the same matrix, in
turn.

    .venv-bench/bin/python benchmarks/als.py [--repeats 3] [--users 3000] [--items 2000]

Synthetic data of so many users and items, split per user; 64 factors, 16 iterations, a weight of 11
of a positive to 1 of a zero, one thread. Both minimise the same sum but for the penalty: that of
recsweep goes by a user's or an item's cells, implicit's is the same for all, here the mean of ours.
implicit solves each row exactly or, as it does unless told, by three steps of conjugate gradients.
NDCG@10 on the validation part, training cells left out, tells that each has learnt.
"""

import argparse
import statistics
from collections.abc import Callable
from time import perf_counter

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from recsweep.config import build, composed
from recsweep.data.interactions import Part, Split

DIM, ITERATIONS, A, REG = 64, 16, 0.1, 0.005
FACTOR = (1 + A) / A
"""Weight of a positive where that of a zero is 1."""

Scores = Callable[[np.ndarray], np.ndarray]


def ours(train: Part) -> Scores:
    settings = f"dim={DIM} unobserved_weight={A} reg={REG} iterations={ITERATIONS}".split()
    model = build(composed(["model=ials", *(f"model.{each}" for each in settings)]), "model")
    model.fit(train)
    return model.score


def implicits(use_cg: bool) -> Callable[[Part], Scores]:
    def fitted(train: Part) -> Scores:
        matrix = train.positives.astype(np.float32) * np.float32(FACTOR)
        cells = np.mean([train.num_positives / side + A * other for side, other in sides(train)])
        model = AlternatingLeastSquares(
            factors=DIM,
            regularization=REG * cells * FACTOR,
            alpha=1.0,
            use_cg=use_cg,
            iterations=ITERATIONS,
            num_threads=1,
            random_state=0,
        )
        model.fit(matrix.tocsr(), show_progress=False)
        return lambda users: model.user_factors[users] @ model.item_factors.T

    return fitted


def sides(train: Part) -> tuple[tuple[int, int], tuple[int, int]]:
    return (train.num_users, train.num_items), (train.num_items, train.num_users)


def ndcg(scores: Scores, split: Split, k: int = 10) -> float:
    """Mean over the users with a validation positive."""
    discounts = 1 / np.log2(np.arange(2, k + 2))
    wanted, known, values = split.validation.positives, split.train.positives, []
    for users in np.array_split(np.flatnonzero(np.diff(wanted.indptr)), 20):
        matrix = scores(users)
        matrix[known[users].toarray() > 0] = -np.inf
        best = np.argpartition(-matrix, k, axis=1)[:, :k]
        best = np.take_along_axis(best, np.argsort(-np.take_along_axis(matrix, best, 1), axis=1), 1)
        hits = np.take_along_axis(wanted[users].toarray() > 0, best, 1)
        ideal = np.cumsum(discounts)[np.minimum(np.diff(wanted[users].indptr), k) - 1]
        values.append(hits @ discounts / ideal)
    return float(np.concatenate(values).mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--users", type=int, default=3000)
    parser.add_argument("--items", type=int, default=2000)
    options = parser.parse_args()
    size = [f"data.num_users={options.users}", f"data.num_items={options.items}"]
    cfg = composed(["split=per_user_ratio", *size])
    split = build(cfg, "split").split(build(cfg, "data").load())
    print(
        f"{options.users:,} users x {options.items:,} items, {split.train.num_positives:,} "
        f"training positives, {DIM} factors, {ITERATIONS} iterations, one thread, "
        f"{options.repeats} repeats in turn"
    )
    fits = {
        "recsweep iALS": ours,
        "implicit, exact": implicits(use_cg=False),
        "implicit, conjugate gradients": implicits(use_cg=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in fits}
    found: dict[str, float] = {}
    with threadpool_limits(1):
        for _ in range(options.repeats):
            for name, fit in fits.items():
                start = perf_counter()
                scores = fit(split.train)
                seconds[name].append(perf_counter() - start)
                found[name] = found.get(name) or ndcg(scores, split)
    print(f"{'seconds':<32}{'median':>9}{'min':>9}{'max':>9}{'x recsweep':>12}{'NDCG@10':>10}")
    for name, each in seconds.items():
        ratio = statistics.median(
            own / base for own, base in zip(each, seconds["recsweep iALS"], strict=True)
        )
        print(
            f"{name:<32}{statistics.median(each):>9.2f}{min(each):>9.2f}{max(each):>9.2f}"
            f"{ratio:>12.2f}{found[name]:>10.4f}"
        )


if __name__ == "__main__":
    main()
