"""Popularity: every user wants what most users liked. The floor that any other model has to
pass."""

from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from recsweep.checks import check_flag
from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.saved import save_model

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def positive_rates(part: Part, axis: int) -> np.ndarray:
    """Share of positives among the known cells of each user (axis 0) or item (axis 1), (n,)
    float32.

    Where the part lists positives only, every cell of the matrix counts as known. A row without
    cells has rate 0.
    """
    index, size, other = part.users, part.num_users, part.num_items
    if axis == 1:
        index, size, other = part.items, part.num_items, part.num_users
    positives = np.bincount(index, weights=part.targets, minlength=size)
    cells = np.bincount(index, minlength=size) if part.enumerates_cells else np.full(size, other)
    return (positives / np.maximum(cells, 1)).astype(np.float32)


class Popularity(Recommender):
    """The probability of a cell is its item's share of positives, the same for every user.

    Args:
        scale_by_activity: Multiply it by the user's own share of positives over the mean share, so
            that an active user is expected to like more. The order of the items stays the same for
            every user.

    A user without a training positive counts as an average one; an item without has probability 0.
    """

    kind = "popularity"
    role: Role = "baseline"

    def __init__(self, *, scale_by_activity: bool) -> None:
        check_flag("model.scale_by_activity", scale_by_activity)
        self.scale_by_activity = scale_by_activity
        self._item_rates: np.ndarray | None = None
        self._activity: np.ndarray | None = None

    @property
    def label(self) -> str:
        return "popularity by activity" if self.scale_by_activity else "popularity"

    @property
    def num_parameters(self) -> int:
        item_rates, activity = self._fitted()
        return len(item_rates) + (len(activity) if self.scale_by_activity else 0)

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        start = perf_counter()
        self._item_rates = positive_rates(train, axis=1)
        self._activity = np.ones(train.num_users, dtype=np.float32)
        if self.scale_by_activity:
            rates = positive_rates(train, axis=0)
            active = rates > 0
            self._activity[active] = rates[active] / rates[active].mean()
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        item_rates, activity = self._fitted()
        return np.minimum(activity[users] * item_rates[items], 1)

    def score(self, users: np.ndarray) -> np.ndarray:
        item_rates, _ = self._fitted()
        return np.tile(item_rates, (len(users), 1))  # (batch, num_items)

    def score_histories(self, histories: "csr_matrix") -> np.ndarray:
        return self.score(np.zeros(histories.shape[0], dtype=np.int32))

    def score_new_items(self, liked_by: "csr_matrix") -> np.ndarray:
        self._fitted()
        rates = np.asarray(liked_by.maximum(0).mean(axis=1), dtype=np.float32)  # (m, 1)
        return np.tile(rates, (1, liked_by.shape[1]))

    def save(self, folder: Path) -> None:
        item_rates, activity = self._fitted()
        settings = {"scale_by_activity": self.scale_by_activity}
        save_model(folder, type(self), settings, {"item_rates": item_rates, "activity": activity})

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Popularity":
        model = cls(**settings)
        model._item_rates, model._activity = arrays["item_rates"], arrays["activity"]
        return model

    def _fitted(self) -> tuple[np.ndarray, np.ndarray]:
        if self._item_rates is None or self._activity is None:
            raise NotFittedError(
                "This popularity model has learnt nothing yet: call fit, or load a saved one."
            )
        return self._item_rates, self._activity
