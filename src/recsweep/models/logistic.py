"""Logistic regression on the one-hot user and the one-hot item: what an additive model can know."""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recsweep.checks import check_integer, check_number
from recsweep.data.examples import AllCells, SampledNegatives
from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, fit_at_once
from recsweep.models.saved import save_model


class Logistic:
    """p(u, i) = sigmoid(b + a_u + c_i), fitted by scikit-learn with an L2 penalty on a and c.

    A user or an item without training examples has a coefficient of 0, as the average one.

    Args:
        C: Inverse strength of the penalty.
        max_iter: Bound of lbfgs' iterations.
        examples: The cells to learn from; sampled negatives are drawn once.
    """

    def __init__(self, *, C: float, max_iter: int, examples: AllCells | SampledNegatives) -> None:
        check_number("model.C", C, above=0)
        check_integer("model.max_iter", max_iter, minimum=1)
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
    def num_parameters(self) -> int:
        users, items = self._fitted()
        return len(users) + len(items) + 1

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        from scipy.sparse import csr_matrix
        from sklearn.linear_model import LogisticRegression

        start = perf_counter()
        users, items, targets = self.examples.draw(train, np.random.default_rng([options.seed, 1]))
        columns = np.column_stack([users, items + train.num_users]).ravel()  # (2 * n,) two ones a row
        rows = np.arange(0, len(columns) + 1, 2)
        one_hot = csr_matrix((np.ones(len(columns)), columns, rows), (len(users), train.num_users + train.num_items))
        fitted = LogisticRegression(C=self.C, max_iter=self.max_iter).fit(one_hot, targets)
        self._users = fitted.coef_[0, : train.num_users].astype(np.float32)
        self._items = fitted.coef_[0, train.num_users :].astype(np.float32)
        self._intercept = float(fitted.intercept_[0])
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        a, c = self._fitted()
        return 1 / (1 + np.exp(-(self._intercept + a[users] + c[items])))

    def score(self, users: np.ndarray) -> np.ndarray:
        a, c = self._fitted()
        return self._intercept + a[users, None] + c[None, :]  # (batch, num_items)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:  # noqa: F821
        _, c = self._fitted()
        return np.tile(self._intercept + c, (histories.shape[0], 1))  # a of somebody new is 0

    def save(self, folder: Path) -> None:
        users, items = self._fitted()
        settings = {"C": self.C, "max_iter": self.max_iter, "intercept": self._intercept}
        save_model(folder, type(self), settings, {"users": users, "items": items})

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Logistic":
        examples = AllCells(max_cells=1)  # a restored model predicts; to train again, build it from its config
        model = cls(C=settings["C"], max_iter=settings["max_iter"], examples=examples)
        model._users, model._items, model._intercept = arrays["users"], arrays["items"], settings["intercept"]
        return model

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self._users is None or self._items is None:
            raise NotFittedError("This logistic model has learnt nothing yet: call fit, or load a saved one.")
        return self._users, self._items
