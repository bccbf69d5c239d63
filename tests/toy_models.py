"""Models that recsweep does not have, as somebody may add them: loaded as `recsweep.models.toy`."""

import os
import signal
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from recsweep.data.interactions import Part
from recsweep.errors import NotFittedError
from recsweep.models.base import Fit, FitOptions, Recommender, Role, fit_at_once
from recsweep.models.nets import Net
from recsweep.models.popularity import Popularity
from recsweep.models.saved import save_model


class P3Alpha(Recommender):
    """Walks of three steps between users and items; a baseline whose kind has a blank and a
    number."""

    kind = "p3alpha 0.5"
    role: Role = "baseline"

    def __init__(self, *, alpha: float) -> None:
        self.alpha = alpha
        self._scores: np.ndarray | None = None  # (num_users, num_items)

    @property
    def label(self) -> str:
        return f"p3alpha 0.5, alpha {self.alpha:g}"

    @property
    def num_parameters(self) -> int:
        return self._fitted().size

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        start = perf_counter()
        X = train.positives.toarray().astype(np.float64)
        by_user = X / np.maximum(X.sum(axis=1, keepdims=True), 1)
        by_item = X.T / np.maximum(X.sum(axis=0)[:, None], 1)
        scores = by_user**self.alpha @ by_item**self.alpha @ by_user**self.alpha
        self._scores = (scores / max(scores.max(), 1e-12)).astype(np.float32)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return self._fitted()[users, items]

    def score(self, users: np.ndarray) -> np.ndarray:
        return self._fitted()[users]

    def save(self, folder: Path) -> None:
        save_model(folder, type(self), {"alpha": self.alpha}, {"scores": self._fitted()})

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "P3Alpha":
        model = cls(**settings)
        model._scores = arrays["scores"]
        return model

    def _fitted(self) -> np.ndarray:
        if self._scores is None:
            raise NotFittedError("This walk has learnt nothing yet: call fit, or load a saved one.")
        return self._scores


class Factors(P3Alpha):
    """A net for which no loss is chosen: two factors in closed form; it answers for new users."""

    kind = "factors 2"
    role: Role = "net"

    def __init__(self, *, l2: float) -> None:
        super().__init__(alpha=1.0)
        self.l2 = l2
        self._items: np.ndarray | None = None  # (num_items, 2)

    @property
    def label(self) -> str:
        return f"factors 2 l2 {self.l2:g}"

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        start = perf_counter()
        X = train.positives.toarray().astype(np.float64)
        self._items = np.linalg.svd(X, full_matrices=False)[2][:2].T.astype(np.float32)
        self._scores = self.score_histories(train.positives)
        return fit_at_once(self, options, start)

    def predict(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        return np.clip(super().predict(users, items), 0, 1)

    def score_histories(self, histories: csr_matrix) -> np.ndarray:
        return (histories @ self._items @ self._items.T / (1 + self.l2)).astype(np.float32)

    def save(self, folder: Path) -> None:
        save_model(
            folder, type(self), {"l2": self.l2}, {"scores": self._fitted(), "items": self._items}
        )

    @classmethod
    def restore(cls, settings: dict[str, Any], arrays: dict[str, np.ndarray]) -> "Factors":
        model = cls(**settings)
        model._scores, model._items = arrays["scores"], arrays["items"]
        return model


class Product(Net):
    """A net that is nothing but its drawing: the product of the two vectors."""

    def __init__(self, num_users: int, num_items: int, *, dim: int, generator: Any = None) -> None:
        import torch

        super().__init__()
        self.user_embedding, self.item_embedding = (
            torch.nn.Embedding(num_users, dim),
            torch.nn.Embedding(num_items, dim),
        )
        for embedding in (self.user_embedding, self.item_embedding):
            torch.nn.init.normal_(embedding.weight, std=0.1, generator=generator)

    def head(self, user_vectors: Any, item_vectors: Any) -> Any:
        return (user_vectors * item_vectors).sum(dim=1)


class Dying(Popularity):
    """A model whose process is killed while it is trained, as for memory."""

    def fit(self, train: Part, options: FitOptions = FitOptions()) -> Fit:  # noqa: B008 - frozen
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it lives on")
