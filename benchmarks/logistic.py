"""Seconds of scikit-learn's solvers for logistic regression, and how near to its minimum they end.

    python benchmarks/logistic.py [--repeats 3] [name=value ...]

The gradient is that of C * log loss + ||w||^2 / 2, as a share of its norm at the start (all weights
0), computed here by numpy. `tol` is scikit-learn's: a bound of the largest entry of the gradient of
the mean loss. The first line is its default. Seconds are the median of the repeats, on one thread.
Settings, as data=foodcom data.path=RAW_interactions.csv, are those of train.py.
"""

import argparse
import warnings
from statistics import median
from time import perf_counter

import numpy as np
from hydra.utils import instantiate
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from recsweep.config import composed

SOLVERS = (("lbfgs", 1e-4), ("lbfgs", 1e-8), ("newton-cholesky", 1e-8), ("newton-cg", 1e-8))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=3)
    options, overrides = parser.parse_known_args()
    cfg = composed(["model=logistic", *overrides])
    train = instantiate(cfg.split).split(instantiate(cfg.data).load()).train
    drawn = instantiate(cfg.examples).draw(train, np.random.default_rng(0))
    users, items, targets = map(np.concatenate, zip(*drawn, strict=True))
    n, width = len(targets), train.num_users + train.num_items
    columns = np.column_stack([users, items + train.num_users]).ravel()
    X = csr_matrix((np.ones(2 * n), columns, np.arange(0, 2 * n + 1, 2)), (n, width))
    start = np.linalg.norm(gradient(X, targets, np.zeros(width), 0, cfg.model.C))
    print(f"{n:,} examples, {width:,} columns, C={cfg.model.C:g}")
    print(f"{'solver':18}{'tol':>8}{'seconds':>10}{'steps':>7}{'gradient':>11}{'objective':>15}")
    for solver, tol in SOLVERS:
        seconds = []
        for _ in range(options.repeats):
            model = LogisticRegression(C=cfg.model.C, solver=solver, tol=tol, max_iter=10_000)
            begun = perf_counter()
            with threadpool_limits(1), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(X, targets)
            seconds.append(perf_counter() - begun)
        w, b = model.coef_[0], model.intercept_[0]
        left = np.linalg.norm(gradient(X, targets, w, b, cfg.model.C)) / start
        z = X @ w + b
        objective = cfg.model.C * np.sum(np.logaddexp(0, z) - targets * z) + w @ w / 2
        print(
            f"{solver:18}{tol:>8.0e}{median(seconds):>10.2f}{model.n_iter_[0]:>7}"
            f"{left:>11.1e}{objective:>15,.3f}"
        )


def gradient(X: csr_matrix, targets: np.ndarray, w: np.ndarray, b: float, C: float) -> np.ndarray:
    """(width + 1,), the intercept's last."""
    errors = C * (expit(X @ w + b) - targets)
    return np.append(X.T @ errors + w, errors.sum())


if __name__ == "__main__":
    main()
