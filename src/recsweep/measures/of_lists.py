"""Measures of ranked lists as pure functions.

`hits` (batch, k) says whether the item at each rank, best first, is one of the user's positives;
`num_positives` (batch,) counts all positives of the user, also those that the list misses. A user
without positives gets nan from each, for the caller to leave out of means.
"""

from dataclasses import dataclass, replace

import numpy as np

from recsweep.measures.of_cells import nan_if_zero


def ndcg_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: sum of 1/log2(rank + 1) over the hits, divided by the same sum of a perfect
    list.

    The perfect list begins with min(k, num_positives) hits. Source: Järvelin and Kekäläinen 2002,
    binary gains.
    """
    k = hits.shape[1]
    discounts = 1 / np.log2(np.arange(2, k + 2))
    best = np.concatenate([[np.nan], np.cumsum(discounts)])  # by number of hits
    return hits @ discounts / best[np.minimum(k, num_positives)]


def recall_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: hits divided by num_positives; below 1 even for a perfect list where k <
    num_positives."""
    return hits.sum(axis=1) / nan_if_zero(num_positives)


def recall_capped_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: hits divided by min(k, num_positives); 1 for a perfect list.

    Source: the recall of Liang, Krishnan, Hoffman and Jebara, WWW 2018.
    """
    return hits.sum(axis=1) / nan_if_zero(np.minimum(hits.shape[1], num_positives))


def precision_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: hits divided by k, also where fewer than k items could be recommended."""
    return hits.mean(axis=1) * _one_or_nan(num_positives)


def map_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: sum over the hits of precision at their rank, divided by min(k,
    num_positives).

    torchmetrics divides by the number of hits in the list instead, which rewards a list for missing
    positives.
    """
    k = hits.shape[1]
    precisions = np.cumsum(hits, axis=1) / np.arange(1, k + 1)  # (batch, k)
    return (precisions * hits).sum(axis=1) / nan_if_zero(np.minimum(k, num_positives))


def mrr_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: 1 divided by the rank of the first hit; 0 where the list has none."""
    first = 1 / (1 + hits.argmax(axis=1))
    return first * hits.any(axis=1) * _one_or_nan(num_positives)


def hit_rate_at_k(hits: np.ndarray, num_positives: np.ndarray) -> np.ndarray:
    """(batch,) float64: 1 where the list has a hit, else 0."""
    return hits.any(axis=1) * _one_or_nan(num_positives)


@dataclass(frozen=True, eq=False)
class Lists:
    """The lists of n users, best first.

    Attributes:
        items: (n, k); -1 where no candidate is left.
        hits: (n, k) bool: whether the item is one of the user's positives.
        num_positives: (n,) all positives of each user, also those that the list misses.
        num_items: Items of the catalogue.
        num_candidates: Number of items that lists are chosen from; fewer where these are the new
            items alone.
        self_information: (num_items,) bits of each item, as of the function of that name.
    """

    items: np.ndarray
    hits: np.ndarray
    num_positives: np.ndarray
    num_items: int
    num_candidates: int
    self_information: np.ndarray

    def first(self, k: int) -> "Lists":
        """The same lists, cut after k items."""
        return replace(self, items=self.items[:, :k], hits=self.hits[:, :k])


def coverage_of(lists: Lists) -> float:
    """Share of what lists are chosen from that stands in at least one of them; nan without
    lists."""
    return coverage(lists.items, lists.num_items) / (lists.num_candidates / lists.num_items)


def coverage(items: np.ndarray, num_items: int) -> float:
    """Share of the num_items items of the catalogue that stand in at least one list of items
    (batch, k).

    Places without an item hold -1 and count for nothing. nan without lists.
    """
    if not len(items):
        return float("nan")
    seen = np.zeros(num_items, dtype=bool)
    seen[items[items >= 0]] = True
    return float(seen.mean())


def gini(lists: Lists) -> float:
    """Gini coefficient of how often each candidate stands in a list: 0 where all do alike, near 1
    where few do.

    Candidates that stand in none count; places without an item do not. nan without an item in any
    list.
    """
    listed = lists.items[lists.items >= 0]
    if not len(listed):
        return float("nan")
    n = lists.num_candidates
    exposure = np.zeros(n)
    counts = np.sort(np.bincount(listed, minlength=1))[-n:]
    exposure[n - len(counts) :] = counts  # ascending
    return float(2 * (np.arange(1, n + 1) @ exposure) / (n * exposure.sum()) - (n + 1) / n)


def self_information(num_likers: np.ndarray, num_users: int) -> np.ndarray:
    """(num_items,) float64: -log2 of the share of the users who like an item, in bits; nan without
    users.

    An item that nobody likes is taken as liked by one user: so novel can an item be, and no more.

    Args:
        num_likers: (num_items,) training users who like each item.
        num_users: Training users, those with a positive.
    """
    return -np.log2(np.maximum(num_likers, 1) / (num_users or np.nan))


def novelty(lists: Lists) -> np.ndarray:
    """(n,) float64: mean self-information of the items of each list; nan for a list without an
    item.

    Source: Zhou, Kuscsik, Liu, Medo, Wakeling and Zhang 2010.
    """
    listed = lists.items >= 0  # -1 looks up the last item
    bits = np.where(listed, lists.self_information[lists.items], 0)
    return bits.sum(axis=1) / nan_if_zero(listed.sum(axis=1))


def _one_or_nan(counts: np.ndarray) -> np.ndarray:
    return np.where(counts > 0, 1.0, np.nan)
