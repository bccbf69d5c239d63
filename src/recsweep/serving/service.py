"""From raw user ids and histories to ranked raw item ids: what a logged model answers."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from recsweep.checks import check_integer
from recsweep.data.features import FeatureTable, training_features
from recsweep.data.ids import RawId
from recsweep.data.interactions import IdMap, Interactions, Part
from recsweep.errors import ConfigError, DataError, SavedModelError
from recsweep.evaluation import top_k
from recsweep.models.base import Folds, FoldsFeatures, Recommender
from recsweep.models.saved import ARRAYS_FILE, UNREADABLE, load_model, write_arrays

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

CATALOGUE_FILE = "catalogue.json"
SEEN_FILE = "seen.safetensors"
FEATURES_FILE = "features.json"
FEATURE_ARRAYS_FILE = "features.safetensors"

EXAMPLE = '{"inputs": [{"user_id": "2312", "k": 10}]}'
"""Request to a served model, for messages."""

NO_ITEMS = np.empty(0, dtype=np.int32)

SCORES_AT_ONCE = 4_000_000
"""Scores held at once, 16 MB of float32; ranking them takes about four times as much."""

UNKNOWN_USER = "popularity: the user is unknown"
"""The fallback of a list that no history could help."""

NOTHING_LIKED = "popularity: nothing is known that the user likes"
"""The fallback of a user of the data without a positive."""


@dataclass(frozen=True)
class Query:
    """Somebody who asks for items.

    Attributes:
        user_id: Raw id; None for somebody without one.
        history: Raw ids of items that somebody new liked, each counted once, in any order. A user
            whom the model was trained on is ranked by their own scores: the items of the history
            are then only left out of the list, as seen.
        k: Length of the list.
        features: What else is known of somebody new, by the columns of the data's user features. Of
            a user whom the model was trained on it changes nothing.
    """

    user_id: RawId | None = None
    history: Sequence[RawId] | None = None
    k: int = 10
    features: Mapping[str, object] | None = None


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
        held_out: Whether the model was not trained on the user, who was then ranked by the likes
            that are known, as somebody new with that history.
        titles: Titles of the items, None where one is unknown; None in all where the model's data
            have none.
    """

    item_ids: list[int | str]
    scores: list[float]
    fallback: str | None = None
    unknown_items: tuple[RawId, ...] = ()
    held_out: bool = False
    titles: list[str | None] | None = None


@dataclass(frozen=True)
class _Resolved:
    """A query in dense indices: `user` is None for somebody new and for a user who was held out,
    who are ranked by `items` and `features` (1, width) unless `fallback` is set. `disliked` is left
    out of the list too."""

    user: int | None
    items: np.ndarray
    unknown_items: tuple[RawId, ...]
    fallback: str | None
    held_out: bool
    disliked: np.ndarray = field(default_factory=lambda: NO_ITEMS)
    features: "csr_matrix | None" = None

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
        trained: (num_users,) bool: users with a positive that the model was trained on. The others,
            as those of `split=new_users`, are ranked by what is known of them, as somebody new.
        item_titles: Titles of items, by raw id as text; empty where the data have none.
        user_features: What the data say of the users, as the model's fit saw it; None where they
            say nothing. By its `encode` somebody new can be described likewise.
        item_features: What they say of the items, likewise.
        disliked: (num_users, num_items) csr matrix: the known zeros of the whole data set, never
            recommended either; None where the data have none.
    """

    model: Recommender
    user_ids: IdMap
    item_ids: IdMap
    seen: "csr_matrix"
    trained: np.ndarray
    item_titles: Mapping[str, str] = field(default_factory=dict)
    user_features: FeatureTable | None = None
    item_features: FeatureTable | None = None
    disliked: "csr_matrix | None" = None

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
                    item_ids = self.item_ids.ids[row[:k][left]].tolist()
                    answers[place] = Recommendation(
                        item_ids,
                        values[:k][left].tolist(),
                        resolved[place].fallback,
                        resolved[place].unknown_items,
                        resolved[place].held_out,
                        self.titles_of(item_ids),
                    )
        return [answers[place] for place in range(len(queries))]

    def titles_of(self, item_ids: Sequence[RawId]) -> list[str | None] | None:
        """Titles of items, None where one is unknown; None in all where there are no titles."""
        return [self.item_titles.get(str(raw)) for raw in item_ids] if self.item_titles else None

    def rank_users(
        self, user_ids: Sequence[RawId], k: int
    ) -> Iterator[tuple[np.ndarray, np.ndarray, list[str | None]]]:
        """The lists of many users as arrays, in chunks of bounded memory that follow each other in
        their order.

        Yields:
            items: (chunk, k) int32 places in `item_ids`; -1 where fewer than k are left.
            scores: (chunk, k) float32.
            fallbacks: (chunk,) as in `Recommendation.fallback`.

        Raises:
            ConfigError: k is no whole number from 1 to the size of the catalogue.
        """
        self._check_k(k)
        popular = top_k(self.popularity[None], k)
        for start in range(0, len(user_ids), self.rows_at_once):
            chunk = user_ids[start : start + self.rows_at_once]
            items, scores = (np.repeat(part, len(chunk), axis=0) for part in popular)
            fallbacks: list[str | None] = [UNKNOWN_USER] * len(chunk)
            ways: dict[str, dict[int, _Resolved]] = {"user": {}, "history": {}, "popularity": {}}
            for place, raw in enumerate(chunk):
                if (user := self.user_ids.find(raw)) is not None:
                    query = self._of_user(user)
                    ways[query.way][place], fallbacks[place] = query, query.fallback
            for way, asked in ways.items():
                if asked:
                    places = list(asked)
                    items[places], scores[places] = self._rank(way, list(asked.values()), k)
            yield items, scores, fallbacks

    def check(self, query: Query) -> None:
        """Raise what `recommend` would: ConfigError for k, DataError where nobody is named, or by
        features that the model does not know."""
        self._check_k(query.k)
        if query.user_id is None and query.history is None and query.features is None:
            raise DataError(
                "A request needs a user_id, or a history of item ids that somebody new liked."
            )
        self._encoded(query.features)

    @property
    def _known_features(self) -> FeatureTable | None:
        """The features of users that the model has learnt from."""
        has_some = self.user_features is not None and self.model.takes_features
        return self.user_features if has_some else None

    def _encoded(self, features: Mapping[str, object] | None) -> "csr_matrix | None":
        """Features of somebody new (1, width), where some are told and known."""
        if features is None:
            return None
        if (table := self._known_features) is None:
            raise DataError(
                f"{self.model.label} has learnt from no features of users: leave features out, or "
                "train a model that takes them with data.user_features, as model=fm."
            )
        encoded = table.encode([features])
        return encoded if encoded.nnz else None

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
        features = self._encoded(query.features)
        if user is not None:
            return self._of_user(user, items, unknown, features)
        fallback = None
        if features is None and not len(items):
            fallback = UNKNOWN_USER
            if query.features is not None:
                fallback = "popularity: no value of the features is known"
            elif query.history is not None:
                reason = "no item of the history is known" if named else "the history is empty"
                fallback = f"popularity: {reason}"
        elif not isinstance(self.model, Folds):
            fallback = f"popularity: {self.model.label} can't rank by a history"
        return _Resolved(None, items, unknown, fallback, held_out=False, features=features)

    def _of_user(
        self,
        user: int,
        items: np.ndarray = NO_ITEMS,
        unknown: tuple[RawId, ...] = (),
        features: "csr_matrix | None" = None,
    ) -> _Resolved:
        """The query of a user of the data, with the items of a history beside it, and features in
        place of the data's."""
        disliked = NO_ITEMS if self.disliked is None else self.disliked[user].indices
        if self.trained[user]:
            return _Resolved(user, items, unknown, None, held_out=False, disliked=disliked)
        start, end = self.seen.indptr[user : user + 2]
        items = np.union1d(self.seen.indices[start:end], items)
        if features is None and (table := self._known_features) is not None:
            own = table.matrix[[user]]
            features = own if own.nnz else None
        fallback = None
        if features is None and not len(items):
            fallback = NOTHING_LIKED
        elif not isinstance(self.model, Folds):
            fallback = (
                f"popularity: the user was held out of training, and {self.model.label} can't "
                "rank by a history"
            )
        return _Resolved(
            None,
            items,
            unknown,
            fallback,
            held_out=fallback is None,
            disliked=disliked,
            features=features,
        )

    def _rank(self, way: str, asked: Sequence[_Resolved], k: int) -> tuple[np.ndarray, np.ndarray]:
        """Items and scores as `top_k` gives them, of queries that are answered in the same way."""
        histories = self._rows([query.items for query in asked])
        seen = histories
        if any(len(query.disliked) for query in asked):
            seen = histories + self._rows([query.disliked for query in asked])
        if way == "user":
            users = np.array([query.user for query in asked], dtype=np.int32)
            liked = self.seen[users]
            return top_k(self.model.score(users), k, liked + seen if seen.nnz else liked)
        if way == "history" and isinstance(self.model, Folds):
            return top_k(self._scores_of_new(self.model, histories, asked), k, seen)
        return top_k(np.broadcast_to(self.popularity, histories.shape), k, seen)

    def _scores_of_new(
        self, model: Folds, histories: "csr_matrix", asked: Sequence[_Resolved]
    ) -> np.ndarray:
        """(len(asked), num_items), by histories and by what features are known."""
        from scipy.sparse import csr_matrix, vstack

        if all(query.features is None for query in asked):
            return model.score_histories(histories)
        table = cast(FeatureTable, self._known_features)
        nothing = csr_matrix((1, table.matrix.shape[1]), dtype=np.float32)
        rows = [nothing if query.features is None else query.features for query in asked]
        return cast(FoldsFeatures, model).score_histories(histories, vstack(rows, "csr"))

    def _rows(self, items: Sequence[np.ndarray]) -> "csr_matrix":
        """(len(items), num_items) float32 with a 1 at each item of a row."""
        from scipy.sparse import csr_matrix

        indices = np.concatenate(items)
        indptr = np.cumsum([0, *map(len, items)])
        ones = np.ones(len(indices), dtype=np.float32)
        return csr_matrix((ones, indices, indptr), (len(items), len(self.item_ids)))

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs, without pickle."""
        self.model.save(folder)
        item_ids = self.item_ids.ids.tolist()
        catalogue = {"user_ids": self.user_ids.ids.tolist(), "item_ids": item_ids}
        if self.item_titles:
            catalogue["item_titles"] = self.titles_of(item_ids)
        (folder / CATALOGUE_FILE).write_text(json.dumps(catalogue), encoding="utf-8")
        seen = {
            "indptr": self.seen.indptr.astype(np.int64),
            "indices": self.seen.indices.astype(np.int32),
            "trained": self.trained,
        }
        if self.disliked is not None:
            seen["disliked_indptr"] = self.disliked.indptr.astype(np.int64)
            seen["disliked_indices"] = self.disliked.indices.astype(np.int32)
        write_arrays(folder / SEEN_FILE, seen)
        features = {
            table.entity: table
            for table in (self.user_features, self.item_features)
            if table is not None
        }
        if features:
            settings = {entity: table.settings for entity, table in features.items()}
            (folder / FEATURES_FILE).write_text(json.dumps(settings), encoding="utf-8")
            arrays = {
                f"{entity}_{name}": array
                for entity, table in features.items()
                for name, array in table.arrays.items()
            }
            write_arrays(folder / FEATURE_ARRAYS_FILE, arrays)

    @classmethod
    def load(cls, folder: Path) -> "RecommenderService":
        """Read what `save` wrote.

        Raises:
            SavedModelError: The folder does not hold a whole model.
        """
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        model = load_model(folder)
        try:
            catalogue = json.loads((folder / CATALOGUE_FILE).read_text(encoding="utf-8"))
            users, items = (
                IdMap(_as_stored(catalogue[f"{kind}_ids"]), kind) for kind in ("user", "item")
            )
            seen = load_file(folder / SEEN_FILE)
            shape = len(users), len(items)
            liked = _matrix_of(seen["indices"], seen["indptr"], shape)
            disliked = None
            if "disliked_indptr" in seen:
                disliked = _matrix_of(seen["disliked_indices"], seen["disliked_indptr"], shape)
            trained = seen["trained"] if "trained" in seen else _trained_before(folder, len(users))
            if trained.shape != (len(users),):
                raise ValueError(f"it was trained on {len(trained)} users of {len(users)}")
            _check_answers(model, users, items)
            titles = _titles_in(catalogue, items)
            features = _features_in(folder, users, items)
        except (OSError, SafetensorError, *UNREADABLE) as error:
            reason = str(error) or type(error).__name__
            raise SavedModelError(
                f"The model in {folder} is not whole: {reason}. Log it again."
            ) from error
        return cls(
            model,
            users,
            items,
            liked,
            trained,
            titles,
            user_features=features.get("user"),
            item_features=features.get("item"),
            disliked=disliked,
        )


def _matrix_of(indices: np.ndarray, indptr: np.ndarray, shape: tuple[int, int]) -> "csr_matrix":
    """A stored matrix of ones."""
    from scipy.sparse import csr_matrix

    matrix = csr_matrix((np.ones(len(indices), dtype=np.float32), indices, indptr), shape)
    # an index outside the matrix would be read as memory elsewhere
    matrix.check_format(full_check=True)
    return matrix


def _as_stored(ids: list[int] | list[str]) -> np.ndarray:
    is_text = any(isinstance(raw, str) for raw in ids)
    return np.array(ids, dtype=np.dtypes.StringDType() if is_text else None)


def _trained_before(folder: Path, num_users: int) -> np.ndarray:
    """`RecommenderService.trained` of a model that was saved when a service did not keep it.

    The models that rank each user in a way of their own saved the positives that they were trained
    on; the others rank all in the same order.
    """
    from safetensors import safe_open

    with safe_open(folder / ARRAYS_FILE, "numpy") as arrays:
        if "positives_indptr" in arrays.keys():  # noqa: SIM118 - not a dict
            return np.diff(arrays.get_tensor("positives_indptr")) > 0
    return np.ones(num_users, dtype=bool)


def _titles_in(catalogue: Mapping[str, Any], items: IdMap) -> dict[str, str]:
    """The titles that a catalogue holds, by raw id as text."""
    titles = catalogue.get("item_titles") or [None] * len(items)
    if len(titles) != len(items) or not all(isinstance(each, str | None) for each in titles):
        raise ValueError(f"{CATALOGUE_FILE} has titles that are no list of one an item")
    named = zip(items.ids.tolist(), titles, strict=True)
    return {str(raw): title for raw, title in named if title is not None}


def _features_in(folder: Path, users: IdMap, items: IdMap) -> dict[str, FeatureTable]:
    """The features that `save` wrote, by whose they are; a model whose data had none has no such
    file."""
    from safetensors.numpy import load_file

    if not (folder / FEATURES_FILE).exists():
        return {}
    settings = json.loads((folder / FEATURES_FILE).read_text(encoding="utf-8"))
    arrays = load_file(folder / FEATURE_ARRAYS_FILE)
    tables = {}
    for ids in (users, items):
        if ids.kind in settings:
            prefix = f"{ids.kind}_"
            own = {
                name.removeprefix(prefix): array
                for name, array in arrays.items()
                if name.startswith(prefix)
            }
            tables[ids.kind] = FeatureTable.restore(settings[ids.kind], own)
            if len(tables[ids.kind]) != len(ids):
                raise ValueError(f"{FEATURES_FILE} is of other {ids.kind}s")
    return tables


def _check_answers(model: Recommender, users: IdMap, items: IdMap) -> None:
    """Raise ValueError where a model is not of these users and items."""
    for ids in (users, items):
        if ids.ids.ndim != 1 or ids.ids.dtype.kind not in "iuT":
            raise ValueError(f"{CATALOGUE_FILE} has {ids.kind} ids that are no list of ids")
    if len(users):
        scores = model.score(np.unique([0, len(users) - 1]).astype(np.int32))
        if scores.shape[1:] != (len(items),):
            raise ValueError(
                f"it ranks {scores.shape[1]:,} items, and the catalogue {len(items):,}"
            )


def service_of(
    model: Recommender, interactions: Interactions, train: Part | None = None
) -> RecommenderService:
    """A service of a model that was trained on a part of these interactions, or on all of them."""
    from scipy.sparse import csr_matrix

    def matrix(users: np.ndarray, items: np.ndarray) -> csr_matrix:
        ones = np.ones(len(users), dtype=np.float32)
        shape = interactions.num_users, interactions.num_items
        cells = csr_matrix((ones, (users, items)), shape)
        cells.sort_indices()
        return cells

    seen, zeros = matrix(interactions.users, interactions.items), interactions.zeros
    positives, features = seen, (interactions.user_features, interactions.item_features)
    if train is not None:
        positives, features = train.positives, training_features(features, train)
    return RecommenderService(
        model,
        interactions.user_ids,
        interactions.item_ids,
        seen,
        trained=np.diff(positives.indptr) > 0,
        item_titles=interactions.item_titles,
        user_features=features[0],
        item_features=features[1],
        disliked=None if zeros is None else matrix(*zeros),
    )
