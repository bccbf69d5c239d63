"""Logistic regression on the one-hot user and the one-hot item: what an additive model can know."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np

from recsweep.checks import check_integer, check_number, check_part
from recsweep.data.examples import AllCells, Block, Examples
from recsweep.data.interactions import Part
from recsweep.errors import ConfigError, FitError, NotFittedError
from recsweep.memory import check_memory
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.saved import save_model

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CONVERGED = 1e-6
"""A fit has converged when the norm of the gradient is this share of its start, or less."""


BYTES_PER_EXAMPLE = 160
"""What a fit takes for each example at its peak."""


class Logistic(Recommender):
    """p(u, i) = sigmoid(b + a_u + c_i), at the minimum of C * log loss + (||a||^2 + ||c||^2) / 2.

    The log loss is the sum over the examples; b is not penalised. The minimum is found to
    CONVERGED, by scikit-learn's Newton steps with conjugate gradients, the fastest of its solvers
    here (benchmarks/logistic.py).

    A user or an item without training examples has a coefficient of 0, as the average one.

    Args:
        C: Inverse strength of the penalty.
        max_iter: Bound of the Newton steps; about ten are needed.
        examples: The cells to learn from; sampled negatives are drawn once.
    """

    kind = "logistic"
    role: Role = "baseline"
    details = ""

    def __init__(self, *, C: float, max_iter: int, examples: Examples) -> None:
        check_number("model.C", C, above=0)
        check_integer("model.max_iter", max_iter, minimum=1)
        check_part("model.examples", examples)
        if examples.lists:
            raise ConfigError(
                "model=logistic learns from single cells, and examples=listwise makes lists. Take "
                "examples=sampled with it."
            )
        self.C = C
        self.max_iter = max_iter
        self.examples = examples
        self._users: np.ndarray | None = None  # (num_users,) a
        self._items: np.ndarray | None = None  # (num_items,) c
        self._intercept = 0.0

    @property
    def label(self) -> str:
        return f"logistic C={self.C:g}"

    @property
    def is_random(self) -> bool:
        """Whether another seed makes another model of it: it draws nothing but negatives."""
        return self.examples.redrawn

    @property
    def num_parameters(self) -> int:
        users, items = self._fitted()
        return len(users) + len(items) + 1

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        """Raises FitError where `max_iter` steps do not converge."""
        start = perf_counter()
        users, items, targets = self._examples(train, options.seed)
        if targets.all() or not targets.any():
            raise FitError(
                f"Logistic regression needs positives and zeros to learn from, and all of its "
                f"{len(targets):,} examples are {'positives' if targets.all() else 'zeros'}. Take "
                "examples=all_cells, a higher data.positive_rating, or data with both."
            )
        columns = np.column_stack([users, items + train.num_users])  # (n, 2)
        weights, steps, share = self._minimum(columns, targets, train.num_users + train.num_items)
        if share > CONVERGED:
            raise FitError(
                f"Logistic regression must bring its gradient below {CONVERGED:g} of its start, "
                f"not to {share:.1e} after {steps} of model.max_iter={self.max_iter} steps. Set "
                f"model.max_iter={10 * self.max_iter}, or a lower model.C than {self.C:g}."
            )
        self.details = f"converged in {steps} Newton steps: gradient at {share:.1e} of its start"
        self._intercept = float(weights[-1])
        self._users = weights[: train.num_users].astype(np.float32)
        self._items = weights[train.num_users : -1].astype(np.float32)
        return fit_at_once(self, options, start)

    def _examples(self, train: Part, seed: int) -> Block:
        """All of them at once: the solver goes over them many times."""
        number = self.examples.num_examples(train)
        check_memory(
            BYTES_PER_EXAMPLE * number,
            f"Logistic regression on {number:,} examples",
            "Take examples=sampled, a lower examples.num_negatives, or a smaller block "
            "(data.num_users, data.num_items).",
        )
        users, items, targets = zip(
            *self.examples.draw(train, np.random.default_rng([seed, 1])), strict=True
        )
        return np.concatenate(users), np.concatenate(items), np.concatenate(targets)

    def _minimum(
        self, columns: np.ndarray, targets: np.ndarray, width: int
    ) -> tuple[np.ndarray, int, float]:
        """The weights (width + 1,), the intercept last; the steps; the share of the gradient left.

        Args:
            columns: (n, 2): which two of the `width` columns are 1 in each example.
            targets: (n,).
        """
        from scipy.sparse import csr_matrix
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        n = len(targets)
        starts = np.arange(0, 2 * n + 1, 2)
        one_hot = csr_matrix((np.ones(2 * n), columns.ravel(), starts), (n, width))
        first = np.linalg.norm(self._gradient(np.zeros(width + 1), columns, targets))
        # scikit-learn bounds the largest entry of the mean's gradient, not the norm of the sum's
        tol = CONVERGED * first / (self.C * n * np.sqrt(width + 1))
        solver = LogisticRegression(
            C=self.C, solver="newton-cg", tol=max(tol, 1e-15), max_iter=self.max_iter
        )
        with catch_warnings():
            simplefilter("ignore", ConvergenceWarning)  # what is left of the gradient says more
            fitted = solver.fit(one_hot, targets)
        weights = np.append(fitted.coef_[0], fitted.intercept_)
        left = np.linalg.norm(self._gradient(weights, columns, targets))
        return weights, int(fitted.n_iter_[0]), float(left / first) if first > 0 else 0.0

    def _gradient(
        self, weights: np.ndarray, columns: np.ndarray, targets: np.ndarray
    ) -> np.ndarray:
        """The gradient of what is minimised, (width + 1,), at weights with the intercept last."""
        from scipy.special import expit

        coefficients = weights[:-1]
        errors = self.C * (expit(weights[-1] + coefficients[columns].sum(axis=1)) - targets)  # (n,)
        sums = [np.bincount(column, errors, minlength=len(coefficients)) for column in columns.T]
        return np.append(sum(sums) + coefficients, errors.sum())

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        a, c = self._fitted()
        return expit(self._intercept + a[users] + c[items])

    def score(self, users: np.ndarray) -> np.ndarray:
        a, c = self._fitted()
        return self._intercept + a[users, None] + c[None, :]  # (batch, num_items)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        _, c = self._fitted()
        return np.tile(self._intercept + c, (histories.shape[0], 1))  # a of somebody new is 0

    def save(self, folder: Path) -> None:
        users, items = self._fitted()
        settings = {"C": self.C, "max_iter": self.max_iter, "intercept": self._intercept}
        save_model(folder, type(self), settings, {"users": users, "items": items})

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Logistic":
        """A model that predicts; to train again, build it from its config."""
        examples = AllCells(max_cells=1)
        model = cls(C=settings["C"], max_iter=settings["max_iter"], examples=examples)
        model._users, model._items = arrays["users"], arrays["items"]
        model._intercept = settings["intercept"]
        return model

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self._users is None or self._items is None:
            raise NotFittedError(
                "This logistic model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._users, self._items
