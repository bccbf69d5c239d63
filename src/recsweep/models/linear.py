"""What models share whose scores are a product of the training positives and learnt weights."""

from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.calibration import (
    Calibration,
    calibrate,
    cell_probabilities,
    saved_calibration,
)
from recsweep.models.popularity import positive_rates
from recsweep.models.saved import save_model, sparse_arrays, sparse_matrix

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


class LinearModel(Recommender):
    """The scores X W of the 0/1 matrix X of training positives and weights W, of which a model
    needs to say no more than how they are made.

    Held-out cells are zeros of X like any other, so that a score is no probability of a known cell:
    two numbers make it one, see `recsweep.models.calibration`. A user without a training positive
    is given each item's share of positives; an item without has score 0 for every other user.

    Attributes:
        saved: Names of the arguments that a saved model is built from.
    """

    role: Role = "baseline"
    calibration: Calibration | None = None
    saved: ClassVar[tuple[str, ...]]
    _positives: "csr_matrix | None" = None  # (num_users, num_items) X
    _weights: "csr_matrix | np.ndarray | None" = None  # (num_items, num_items) W
    _item_rates: np.ndarray | None = None

    def _learn(self, train: Part) -> "csr_matrix | np.ndarray":
        """The weights float32, sparse or dense; ConfigError or DataError where they don't fit."""
        raise NotImplementedError

    @property
    def num_parameters(self) -> int:
        _, weights, _ = self._fitted()
        is_dense = isinstance(weights, np.ndarray)
        return int(np.count_nonzero(weights) if is_dense else weights.nnz)

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        start = perf_counter()
        weights = self._learn(train)
        self._positives, self._weights = train.positives, weights
        self._item_rates = positive_rates(train, axis=1)
        self.calibration = calibrate(self, train, options)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        positives, _, _ = self._fitted()
        return cell_probabilities(self, self.calibration, positives, users, items)

    def score(self, users: np.ndarray) -> np.ndarray:
        positives, _, _ = self._fitted()
        return self.score_histories(positives[users])

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        _, weights, _ = self._fitted()
        return self._or_rates(histories @ weights, histories)

    def _or_rates(self, scores: Any, histories: "csr_matrix") -> np.ndarray:
        """Scores (batch, num_items), sparse or dense, of these histories, those of empty ones the
        items' shares of positives."""
        _, _, item_rates = self._fitted()
        dense = scores if isinstance(scores, np.ndarray) else scores.toarray()
        dense[np.diff(histories.indptr) == 0] = item_rates
        return dense

    def save(self, folder: Path) -> None:
        positives, weights, item_rates = self._fitted()
        settings = {name: getattr(self, name) for name in self.saved}
        settings["shape"] = list(positives.shape)
        settings["calibration"] = self.calibration and asdict(self.calibration)
        arrays = {"item_rates": item_rates} | sparse_arrays("positives", positives)
        is_dense = isinstance(weights, np.ndarray)
        arrays |= {"weights": weights} if is_dense else sparse_arrays("weights", weights)
        save_model(folder, type(self), settings, arrays)

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> Self:
        # an argument that is not there is of a model from before it
        model = cls(**{name: settings[name] for name in cls.saved if name in settings})
        num_users, num_items = settings["shape"]
        model._positives = sparse_matrix("positives", arrays, (num_users, num_items))
        size = model._size(num_users, num_items)
        dense = arrays.get("weights")
        model._weights = sparse_matrix("weights", arrays, (size, size)) if dense is None else dense
        model._item_rates = arrays["item_rates"]
        model.calibration = saved_calibration(settings)
        return model

    def _size(self, num_users: int, num_items: int) -> int:
        """Rows, and columns, of the weights."""
        return num_items

    def _fitted(self) -> "tuple[csr_matrix, Any, np.ndarray]":
        """Positives, weights and item rates."""
        if self._positives is None or self._weights is None or self._item_rates is None:
            raise NotFittedError(
                f"This {self.kind} model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._positives, self._weights, self._item_rates
