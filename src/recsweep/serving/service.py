"""From raw user ids and histories to ranked raw item ids: what a logged model answers."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from recsweep.checks import check_integer
from recsweep.data.interactions import IdMap, Interactions
from recsweep.errors import ConfigError, DataError, SavedModelError
from recsweep.evaluation import top_k
from recsweep.models.base import Folds, Recommender
from recsweep.models.saved import load_model, write_arrays

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CATALOGUE_FILE = "catalogue.json"
SEEN_FILE = "seen.safetensors"

EXAMPLE = '{"inputs": [{"user_id": "2312", "k": 10}]}'
"""Request to a served model, for messages."""

SCORES_AT_ONCE = 4_000_000
"""Scores held at once, 16 MB of float32; ranking them takes about four times as much."""

UNKNOWN_USER = "popularity: the user is unknown"
"""The fallback of a list that no history could help."""


@dataclass(frozen=True)
class Query:
    """Somebody who asks for items.

    Attributes:
        user_id: Raw id; None for somebody without one.
        history: Raw ids of items that somebody new liked, each counted once, in any order. A known
            user is ranked by their own scores: the items of the history are then only left out of
            the list, as seen.
        k: Length of the list.
    """

    user_id: int | str | None = None
    history: Sequence[int | str] | None = None
    k: int = 10


@dataclass(frozen=True)
class Recommendation:
    """Items that somebody has not seen, best first.

    Attributes:
        item_ids: Raw ids, whole numbers where all ids of the data are; fewer than k where fewer are
            left.
        scores: Scores of the items: they order this list and mean nothing beside another.
        fallback: Reason why the items are the most popular ones and not the model's choice; None
            where they are the model's. A popular item's score is the share of users who liked it.
        unknown_items: Items of the history that the catalogue lacks: they were skipped.
    """

    item_ids: list[int | str]
    scores: list[float]
    fallback: str | None = None
    unknown_items: tuple[int | str, ...] = ()


@dataclass(frozen=True)
class _Resolved:
    """A query in dense indices: `user` is None for somebody new, who is ranked by `items` unless
    `fallback` is set."""

    user: int | None
    items: np.ndarray
    unknown_items: tuple[int | str, ...]
    fallback: str | None

    @property
    def way(self) -> str:
        return "popularity" if self.fallback else "history" if self.user is None else "user"


@dataclass(frozen=True)
class RecommenderService:
    """A trained model with the ids it was trained on and what each user has already liked.

    Attributes:
        model: Model that answers for dense indices.
        user_ids: Raw user ids.
        item_ids: Raw item ids.
        seen: (num_users, num_items) csr matrix: the positives of the whole data set, never
            recommended again. Their number by item is the popularity that a fallback ranks by.
    """

    model: Recommender
    user_ids: IdMap
    item_ids: IdMap
    seen: "csr_matrix"

    @cached_property
    def popularity(self) -> np.ndarray:
        """Share of the users who liked each item, (num_items,) float32."""
        likes = np.bincount(self.seen.indices, minlength=len(self.item_ids))
        return (likes / max(len(self.user_ids), 1)).astype(np.float32)

    @property
    def default_k(self) -> int:
        """Length of a list where none is asked for."""
        return min(10, len(self.item_ids))

    @property
    def rows_at_once(self) -> int:
        """Users whose scores are held in memory at once."""
        return max(1, SCORES_AT_ONCE // len(self.item_ids))

    def recommend(self, queries: Sequence[Query]) -> list[Recommendation]:
        """The best unseen items for each query, in their order; queries of one kind are scored
        together.

        Raises:
            ConfigError: k is no whole number from 1 to the size of the catalogue.
            DataError: A query has neither a user nor a history.
        """
        resolved = [self._resolve(query) for query in queries]
        answers: dict[int, Recommendation] = {}
        for way in ("user", "history", "popularity"):
            places = [place for place, query in enumerate(resolved) if query.way == way]
            for start in range(0, len(places), self.rows_at_once):
                chunk = places[start : start + self.rows_at_once]
                lengths = [queries[place].k for place in chunk]
                items, scores = self._rank(way, [resolved[place] for place in chunk], max(lengths))
                for place, k, row, values in zip(chunk, lengths, items, scores, strict=True):
                    left = row[:k] >= 0
                    answers[place] = Recommendation(
                        self.item_ids.ids[row[:k][left]].tolist(),
                        values[:k][left].tolist(),
                        resolved[place].fallback,
                        resolved[place].unknown_items,
                    )
        return [answers[place] for place in range(len(queries))]

    def rank_users(
        self, user_ids: Sequence[int | str], k: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """The lists of many users as arrays, in chunks of bounded memory that follow each other in
        their order.

        Yields:
            items: (chunk, k) int32 places in `item_ids`; -1 where fewer than k are left.
            scores: (chunk, k) float32.
            known: (chunk,) bool: False for an unknown user, whose list is the fallback
                `UNKNOWN_USER`.

        Raises:
            ConfigError: k is no whole number from 1 to the size of the catalogue.
        """
        self._check_k(k)
        popular = top_k(self.popularity[None], k)
        for start in range(0, len(user_ids), self.rows_at_once):
            chunk = user_ids[start : start + self.rows_at_once]
            indices = [self.user_ids.find(raw) for raw in chunk]
            known = np.array([user is not None for user in indices])
            items, scores = (np.repeat(part, len(chunk), axis=0) for part in popular)
            users = np.array([user for user in indices if user is not None], dtype=np.int32)
            if len(users):
                items[known], scores[known] = top_k(self.model.score(users), k, self.seen[users])
            yield items, scores, known

    def check(self, query: Query) -> None:
        """Raise what `recommend` would: ConfigError for k, DataError where nobody is named."""
        self._check_k(query.k)
        if query.user_id is None and query.history is None:
            raise DataError(
                "A request needs a user_id, or a history of item ids that somebody new liked."
            )

    def _check_k(self, k: int) -> None:
        check_integer("k", k, minimum=1)
        if k > len(self.item_ids):
            raise ConfigError(
                f"k must be at most {len(self.item_ids):,}, as many as the catalogue has items, "
                f"not {k}."
            )

    def _resolve(self, query: Query) -> _Resolved:
        self.check(query)
        user = None if query.user_id is None else self.user_ids.find(query.user_id)
        named = {raw: self.item_ids.find(raw) for raw in query.history or ()}
        known = {item for item in named.values() if item is not None}
        items = np.array(sorted(known), dtype=np.int32)
        unknown = tuple(raw for raw, item in named.items() if item is None)
        fallback = None
        if user is None and query.history is None:
            fallback = UNKNOWN_USER
        elif user is None and not len(items):
            reason = "no item of the history is known" if named else "the history is empty"
            fallback = f"popularity: {reason}"
        elif user is None and not isinstance(self.model, Folds):
            fallback = f"popularity: {self.model.label} can't rank by a history"
        return _Resolved(user, items, unknown, fallback)

    def _rank(self, way: str, asked: Sequence[_Resolved], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Items and scores as `top_k` gives them, of queries that are answered in the same way."""
        if way == "user":
            users = np.array([query.user for query in asked], dtype=np.int32)
            given = any(len(query.items) for query in asked)
            seen = self.seen[users] + self._histories(asked) if given else self.seen[users]
            return top_k(self.model.score(users), k, seen)
        histories = self._histories(asked)
        if way == "history" and isinstance(self.model, Folds):
            return top_k(self.model.score_histories(histories), k, histories)
        return top_k(np.broadcast_to(self.popularity, histories.shape), k, histories)

    def _histories(self, asked: Sequence[_Resolved]) -> "csr_matrix":
        """(len(asked), num_items) float32 with a 1 at each item of a history."""
        from scipy.sparse import csr_matrix

        indices = np.concatenate([query.items for query in asked])
        indptr = np.cumsum([0, *(len(query.items) for query in asked)])
        return csr_matrix(
            (np.ones(len(indices), dtype=np.float32), indices, indptr),
            (len(asked), len(self.item_ids)),
        )

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs, without pickle."""
        self.model.save(folder)
        catalogue = {"user_ids": self.user_ids.ids.tolist(), "item_ids": self.item_ids.ids.tolist()}
        (folder / CATALOGUE_FILE).write_text(json.dumps(catalogue), encoding="utf-8")
        seen = {
            "indptr": self.seen.indptr.astype(np.int64),
            "indices": self.seen.indices.astype(np.int32),
        }
        write_arrays(folder / SEEN_FILE, seen)

    @classmethod
    def load(cls, folder: Path) -> "RecommenderService":
        """Read what `save` wrote.

        Raises:
            SavedModelError: The folder does not hold a whole model.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
        from scipy.sparse import csr_matrix

        model = load_model(folder)
        try:
            catalogue = json.loads((folder / CATALOGUE_FILE).read_text(encoding="utf-8"))
            users, items = (
                IdMap(np.array(catalogue[f"{kind}_ids"]), kind) for kind in ("user", "item")
            )
            seen = load_file(folder / SEEN_FILE)
            ones = np.ones(len(seen["indices"]), dtype=np.float32)
            matrix = csr_matrix((ones, seen["indices"], seen["indptr"]), (len(users), len(items)))
            # an index outside the matrix would be read as memory elsewhere
            matrix.check_format(full_check=True)
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise SavedModelError(
                f"The model in {folder} is not whole: {error}. Log it again."
            ) from error
        return cls(model, users, items, matrix)


def service_of(model: Recommender, interactions: Interactions) -> RecommenderService:
    """A service of a model that was trained on (a part of) these interactions."""
    from scipy.sparse import csr_matrix

    shape = interactions.num_users, interactions.num_items
    ones = np.ones(len(interactions), dtype=np.float32)
    seen = csr_matrix((ones, (interactions.users, interactions.items)), shape)
    seen.sort_indices()
    return RecommenderService(model, interactions.user_ids, interactions.item_ids, seen)
