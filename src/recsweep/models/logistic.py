"""Logistic regression on the one-hot user and item, and on their features: what an additive model
can know."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any
from warnings import catch_warnings, simplefilter

import numpy as np

from recsweep.checks import check_integer, check_number, check_part
from recsweep.data.examples import AllCells, Block, Examples
from recsweep.data.features import FeatureTable
from recsweep.data.interactions import Part
from recsweep.errors import ConfigError, FitError, NotFittedError
from recsweep.memory import check_memory
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.saved import save_model

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CONVERGED = 1e-6
"""A fit has converged when the norm of the gradient is this share of its start, or less."""


BYTES_PER_ENTRY = 80
"""What a fit takes for each entry of the examples' rows at its peak."""

NO_WEIGHTS = np.empty(0, dtype=np.float32)


class Logistic(Recommender):
    """p(u, i) = sigmoid(b + a_u + c_i), at the minimum of C * log loss + (||a||^2 + ||c||^2) / 2.

    The log loss is the sum over the examples; b is not penalised. The minimum is found to
    CONVERGED, by scikit-learn's Newton steps with conjugate gradients, the fastest of its solvers
    here (benchmarks/logistic.py).

    Features, where the data have some, add to a_u their values times weights, and to c_i likewise;
    the penalty is the same for them.

    A user or an item without training examples has a coefficient of 0, as the average one, beside
    what its features say; so has somebody new, whatever he likes, and a new item.

    Args:
        C: Inverse strength of the penalty.
        max_iter: Bound of the Newton steps; about ten are needed.
        examples: The cells to learn from; sampled negatives are drawn once.
    """

    kind = "logistic"
    role: Role = "baseline"
    takes_features: bool = True
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
        # (num_users,) a and (num_items,) c, with what features add
        self._users: np.ndarray | None = None
        self._items: np.ndarray | None = None
        # of the columns of the users' and the items' FeatureTable
        self._user_weights = self._item_weights = NO_WEIGHTS
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
        return len(users) + len(items) + len(self._user_weights) + len(self._item_weights) + 1

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        """Raises FitError where `max_iter` steps do not converge."""
        from scipy.sparse import hstack

        start = perf_counter()
        of_users = _known_of(train.num_users, options.user_features)
        of_items = _known_of(train.num_items, options.item_features)
        entries = of_users.nnz / of_users.shape[0] + of_items.nnz / of_items.shape[0]
        users, items, targets = self._examples(train, options.seed, entries)
        if targets.all() or not targets.any():
            raise FitError(
                f"Logistic regression needs positives and zeros to learn from, and all of its "
                f"{len(targets):,} examples are {'positives' if targets.all() else 'zeros'}. Take "
                "examples=all_cells, a higher data.positive_rating, or data with both."
            )
        rows = hstack([of_users[users], of_items[items]], "csr")
        weights, steps, share = self._minimum(rows, targets)
        if share > CONVERGED:
            raise FitError(
                f"Logistic regression must bring its gradient below {CONVERGED:g} of its start, "
                f"not to {share:.1e} after {steps} of model.max_iter={self.max_iter} steps. Set "
                f"model.max_iter={10 * self.max_iter}, or a lower model.C than {self.C:g}."
            )
        self.details = f"converged in {steps} Newton steps: gradient at {share:.1e} of its start"
        self._intercept = float(weights[-1])
        from_users, from_items = np.split(weights[:-1], [of_users.shape[1]])
        self._users = (of_users @ from_users).astype(np.float32)
        self._items = (of_items @ from_items).astype(np.float32)
        self._user_weights = from_users[train.num_users :].astype(np.float32)
        self._item_weights = from_items[train.num_items :].astype(np.float32)
        return fit_at_once(self, options, start)

    def _examples(self, train: Part, seed: int, entries: float) -> Block:
        """All of them at once: the solver goes over them many times. Each has about so many
        entries."""
        number = self.examples.num_examples(train)
        check_memory(
            int(BYTES_PER_ENTRY * entries * number),
            f"Logistic regression on {number:,} examples",
            "Take examples=sampled, a lower examples.num_negatives, or a smaller block "
            "(data.num_users, data.num_items).",
        )
        users, items, targets = zip(
            *self.examples.draw(train, np.random.default_rng([seed, 1])), strict=True
        )
        return np.concatenate(users), np.concatenate(items), np.concatenate(targets)

    def _minimum(self, rows: "csr_matrix", targets: np.ndarray) -> tuple[np.ndarray, int, float]:
        """The weights (width + 1,), the intercept last; the steps; the share of the gradient left.

        Args:
            rows: (n, width): what is known of the user and of the item of each example.
            targets: (n,).
        """
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        n, width = rows.shape
        first = np.linalg.norm(self._gradient(np.zeros(width + 1), rows, targets))
        # scikit-learn bounds the largest entry of the mean's gradient, not the norm of the sum's
        tol = CONVERGED * first / (self.C * n * np.sqrt(width + 1))
        solver = LogisticRegression(
            C=self.C, solver="newton-cg", tol=max(tol, 1e-15), max_iter=self.max_iter
        )
        with catch_warnings():
            simplefilter("ignore", ConvergenceWarning)  # what is left of the gradient says more
            fitted = solver.fit(rows, targets)
        weights = np.append(fitted.coef_[0], fitted.intercept_)
        left = np.linalg.norm(self._gradient(weights, rows, targets))
        return weights, int(fitted.n_iter_[0]), float(left / first) if first > 0 else 0.0

    def _gradient(self, weights: np.ndarray, rows: "csr_matrix", targets: np.ndarray) -> np.ndarray:
        """The gradient of what is minimised, (width + 1,), at weights with the intercept last."""
        from scipy.special import expit

        coefficients = weights[:-1]
        errors = self.C * (expit(weights[-1] + rows @ coefficients) - targets)  # (n,)
        return np.append(rows.T @ errors + coefficients, errors.sum())

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        from scipy.special import expit

        a, c = self._fitted()
        return expit(self._intercept + a[users] + c[items])

    def score(self, users: np.ndarray) -> np.ndarray:
        a, c = self._fitted()
        return self._intercept + a[users, None] + c[None, :]  # (batch, num_items)

    def score_histories(
        self, histories: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """Scores of new users by their features, (m, num_items) float32; what they like says
        nothing."""
        _, c = self._fitted()
        return self._of_new(histories.shape[0], features, self._user_weights, c)

    def score_new_items(
        self, liked_by: "csr_matrix", features: "csr_matrix | None" = None
    ) -> np.ndarray:
        """Scores of new items by their features, (m, num_users) float32; who likes them says
        nothing."""
        a, _ = self._fitted()
        return self._of_new(liked_by.shape[0], features, self._item_weights, a)

    def _of_new(
        self, m: int, features: "csr_matrix | None", weights: np.ndarray, others: np.ndarray
    ) -> np.ndarray:
        """(m, len(others)): features (m, len(weights)) make up the coefficients of new ones."""
        own = np.zeros(m, dtype=np.float32) if features is None else features @ weights
        return (self._intercept + own[:, None] + others).astype(np.float32)

    def save(self, folder: Path) -> None:
        users, items = self._fitted()
        settings = {"C": self.C, "max_iter": self.max_iter, "intercept": self._intercept}
        arrays = {"users": users, "items": items}
        if self.takes_features:
            arrays |= {"user_weights": self._user_weights, "item_weights": self._item_weights}
        save_model(folder, type(self), settings, arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Logistic":
        """A model that predicts; to train again, build it from its config."""
        examples = AllCells(max_cells=1)
        model = cls(C=settings["C"], max_iter=settings["max_iter"], examples=examples)
        model._users, model._items = arrays["users"], arrays["items"]
        model._intercept = settings["intercept"]
        model.takes_features = "user_weights" in arrays  # one of before had none
        if model.takes_features:
            model._user_weights = arrays["user_weights"]
            model._item_weights = arrays["item_weights"]
        return model

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self._users is None or self._items is None:
            raise NotFittedError(
                "This logistic model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._users, self._items


def _known_of(size: int, table: FeatureTable | None) -> "csr_matrix":
    """(size, size + width of the table) float64: a 1 for each entity itself, then its features."""
    from scipy.sparse import hstack, identity

    itself = identity(size, format="csr")
    return itself if table is None else hstack([itself, table.matrix], "csr")
