"""From a raw user id to ranked raw item ids: what a logged model answers."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from recsweep.checks import check_integer
from recsweep.data.interactions import IdMap, Interactions
from recsweep.errors import SavedModelError
from recsweep.evaluation import top_k
from recsweep.models.base import Recommender
from recsweep.models.saved import load_model

CATALOGUE_FILE = "catalogue.json"
SEEN_FILE = "seen.safetensors"


@dataclass(frozen=True)
class RecommenderService:
    """A trained model with the ids it was trained on and what each user has already liked.

    Attributes:
        model: Answers for dense indices.
        user_ids: Raw user ids.
        item_ids: Raw item ids.
        seen: (num_users, num_items) csr matrix: the positives of the whole data set, never recommended again.
    """

    model: Recommender
    user_ids: IdMap
    item_ids: IdMap
    seen: "csr_matrix"  # noqa: F821 - scipy is imported where it is used

    def recommend(self, user_id: int | str, k: int) -> list[tuple[int | str, float]]:
        """The `k` best unseen items of a user and their scores, best first; fewer where fewer are left.

        Raises:
            DataError: The user is unknown.
            ConfigError: k is no whole number of at least 1.
        """
        check_integer("k", k, minimum=1)
        users = self.user_ids.indices([user_id])
        items, scores = top_k(self.model.score(users), k, self.seen[users])
        raw = self.item_ids.ids
        return [(raw[item].item(), float(s)) for item, s in zip(items[0], scores[0], strict=True) if item >= 0]

    def save(self, folder: Path) -> None:
        """Write everything that `load` needs, without pickle."""
        from safetensors.numpy import save_file

        self.model.save(folder)
        catalogue = {"user_ids": self.user_ids.ids.tolist(), "item_ids": self.item_ids.ids.tolist()}
        (folder / CATALOGUE_FILE).write_text(json.dumps(catalogue), encoding="utf-8")
        seen = {"indptr": self.seen.indptr.astype(np.int64), "indices": self.seen.indices.astype(np.int32)}
        save_file(seen, folder / SEEN_FILE)

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
            users, items = (IdMap(np.array(catalogue[f"{kind}_ids"]), kind) for kind in ("user", "item"))
            seen = load_file(folder / SEEN_FILE)
            ones = np.ones(len(seen["indices"]), dtype=np.float32)
            matrix = csr_matrix((ones, seen["indices"], seen["indptr"]), (len(users), len(items)))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise SavedModelError(f"The model in {folder} is not whole: {error}. Log it again.") from error
        return cls(model, users, items, matrix)


def service_of(model: Recommender, interactions: Interactions) -> RecommenderService:
    """A service of a model that was trained on (a part of) these interactions."""
    from scipy.sparse import csr_matrix

    shape = interactions.num_users, interactions.num_items
    ones = np.ones(len(interactions), dtype=np.float32)
    seen = csr_matrix((ones, (interactions.users, interactions.items)), shape)
    seen.sort_indices()
    return RecommenderService(model, interactions.user_ids, interactions.item_ids, seen)
