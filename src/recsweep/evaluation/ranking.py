"""The only top-k of the project, and the ranking metrics of a part."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from recsweep.checks import check_integer
from recsweep.data.features import FeatureTable
from recsweep.data.interactions import Part, Split
from recsweep.evaluation.candidates import candidates_of_users, check_candidates
from recsweep.evaluation.nan import mean_of_defined, refuse_nan
from recsweep.evaluation.protocol import SUBSETS, EvaluationProtocol
from recsweep.measures import ENTRIES
from recsweep.measures.forms import AllLists, EachList
from recsweep.measures.of_lists import Lists, self_information
from recsweep.models.base import Folds, FoldsFeatures, FoldsItems, Recommender, ScoresCells
from recsweep.processes import threads, threads_for

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

_SCORES_AT_ONCE = 8_000_000  # 32 MB of float32 a thread; top_k needs about twice as much beside
_MAX_THREADS = 16  # more would hold more scores than a machine need have memory for
_GROUP = 64  # scores of which top_k looks at the best one first
_GROUPS_A_PLACE = 8  # groups for each place of a list, so that few scores pass that are not listed


def top_k(
    scores: np.ndarray, k: int, excluded: "csr_matrix | None" = None
) -> tuple[np.ndarray, np.ndarray]:
    """The k best items of each row, best first; of equal scores the lower item comes first.

    Args:
        scores: (batch, num_items) float32, left as it is. An item with the score -inf is no
            candidate.
        k: Length of the lists; may exceed num_items.
        excluded: (batch, num_items) sparse; what it stores, whatever the value, is no candidate.

    Returns:
        items: (batch, k) int32; -1 where no candidate is left.
        scores: (batch, k) float32; -inf where no candidate is left.

    Raises:
        FitError: A score is not a number.
    """
    check_integer("k", k, minimum=1)
    refuse_nan(scores, "scores")
    if excluded is None:
        candidates = np.ascontiguousarray(scores, dtype=np.float32)
    else:
        candidates = np.array(scores, dtype=np.float32, order="C")
        rows = np.repeat(np.arange(len(candidates)), np.diff(excluded.indptr))
        candidates[rows, excluded.indices] = -np.inf
    items = np.full((len(candidates), k), -1, dtype=np.int32)
    values = np.full(items.shape, -np.inf, dtype=np.float32)
    rows, columns = _contenders(candidates, min(k, candidates.shape[1]))
    contending = candidates[rows, columns]
    order = np.lexsort((-contending, rows))  # equal scores stay in ascending order
    rows = rows[order]
    places = np.arange(len(rows)) - np.searchsorted(rows, rows)
    listed = places < k
    items[rows[listed], places[listed]] = columns[order][listed]
    values[rows[listed], places[listed]] = contending[order][listed]
    return items, values


def _contenders(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of scores that are above -inf, the k best of each row among them, of equal
    ones the lower columns: those of a row ascending, and few more than k.

    Whoever is among the k best is no worse than the k-th of the best of each group, which are few.
    """
    batch, num_items = scores.shape
    size = min(_GROUP, num_items // (_GROUPS_A_PLACE * k))
    if size < 2 or not batch:
        return _above_nothing(scores, np.arange(batch), _best_items(scores, k))
    grouped, rest = scores[:, : num_items // size * size], scores[:, num_items // size * size :]
    peaks = np.concatenate([grouped.reshape(batch, size, -1).max(axis=1), rest], axis=1)
    edge = np.partition(peaks, peaks.shape[1] - k, axis=1)[:, -k]
    passing = scores >= np.maximum(edge, np.finfo(np.float32).min)[:, None]
    most = 8 * k  # more pass where many are equal, or few are candidates
    crowded = np.zeros(batch, dtype=bool)
    if np.count_nonzero(passing) > 2 * k * batch:
        crowded = np.count_nonzero(passing, axis=1) > most
        passing[crowded] = False
    rows, columns = np.divmod(np.flatnonzero(passing), num_items)
    if not crowded.any():
        return rows, columns
    others = np.flatnonzero(crowded)
    more_rows, more_columns = _above_nothing(scores, others, _best_items(scores[others], k))
    return np.concatenate([rows, more_rows]), np.concatenate([columns, more_columns])


def _above_nothing(
    scores: np.ndarray, rows: np.ndarray, columns: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Of the columns (len(rows), k) of these rows those that are candidates, as pairs."""
    owners, columns = np.repeat(rows, columns.shape[1]), columns.reshape(-1)
    is_candidate = scores[owners, columns] > -np.inf
    return owners[is_candidate], columns[is_candidate]


def _best_items(scores: np.ndarray, k: int) -> np.ndarray:
    """(batch, k) items of the k highest scores of each row, in ascending order; ties at the edge:
    the lower items."""
    batch, num_items = scores.shape
    place = num_items - k
    edge = np.partition(scores, place, axis=1)[:, place, None]  # (batch, 1) k-th highest score
    chosen = scores >= edge
    surplus = chosen.sum(axis=1) - k  # (batch,) more than 0 where several items tie at the edge
    rows = np.flatnonzero(surplus)
    tied = scores[rows] == edge[rows]  # (len(rows), num_items)
    among = np.cumsum(tied, axis=1, dtype=np.int32)
    chosen[rows] &= ~tied | (among <= among[:, -1:] - surplus[rows, None])
    return (np.flatnonzero(chosen) % num_items).reshape(batch, k)  # every row has k


def evaluate_rankings(
    model: Recommender,
    split: Split,
    part: str,
    protocol: EvaluationProtocol,
    *,
    among: np.ndarray | None = None,
    user_features: FeatureTable | None = None,
    item_features: FeatureTable | None = None,
) -> tuple[dict[str, float], np.ndarray, dict[str, np.ndarray]]:
    """Name to mean, users (m,) and name to values of each user; no means where no user has a
    positive.

    Batches of users are ranked at once, one in each thread that the process may take.

    Args:
        among: Users who alone are ranked, where they have a positive; None ranks all.
    """
    check_candidates(protocol, split, [part])
    positives = getattr(split, part).positives
    num_positives = positives.getnnz(axis=1)
    users = np.flatnonzero(num_positives).astype(np.int32)
    if among is not None:
        users = users[np.isin(users, among)]
    items = np.empty((len(users), protocol.k[-1]), dtype=np.int32)
    hits = np.empty(items.shape, dtype=bool)
    new_items = (
        None
        if split.item_histories is None
        else _new_items(model, split.item_histories, positives, item_features)
    )
    num_candidates = split.num_items if new_items is None else max(len(new_items.items), 1)
    candidates = protocol.candidates_of(split)

    def rank(rows: slice) -> None:
        batch = users[rows]
        if candidates in SUBSETS:
            among = candidates_of_users(protocol, split, part, batch)
            scores = _scores(model, split, batch, new_items, user_features, among)
            refuse_nan(scores, "scores")
            items[rows] = _best_among(scores, among, positives[batch], protocol.k[-1])
        else:
            among = getattr(split, part).cells[batch] if candidates == "part" else None
            scores = _scores(model, split, batch, new_items, user_features, among)
            excluded = _excluded(split, part, batch, candidates)
            items[rows], _ = top_k(scores, protocol.k[-1], excluded)
        hits[rows] = _hits(items[rows], positives[batch])

    batches = _batches(len(users), split.num_items, protocol.batch_users)
    for rows in batches[:1]:  # what is made once, as the matrices of a part, is there for the rest
        rank(rows)
    with threads_for(min(threads(), _MAX_THREADS, max(len(batches) - 1, 1))) as pool:
        for _ in (map if pool is None else pool.map)(rank, batches[1:]):
            pass
    likes = split.train.positives
    bits = self_information(likes.getnnz(axis=0), int(np.count_nonzero(likes.getnnz(axis=1))))
    longest = Lists(items, hits, num_positives[users], split.num_items, num_candidates, bits)
    metrics, per_user = {}, {}
    for k in protocol.k:  # the longest list holds the shorter ones
        lists = longest.first(k)
        for measure in (entry.at(k) for entry in ENTRIES):
            if isinstance(measure.form, EachList):
                values = measure.form.values(lists).astype(np.float32)
                per_user[measure.name], metrics[measure.name] = values, mean_of_defined(values)
            elif isinstance(measure.form, AllLists):
                metrics[measure.name] = measure.form.value(lists)
    return metrics, users, per_user


def _batches(num_users: int, num_items: int, batch_users: int) -> list[slice]:
    size = max(1, min(batch_users, _SCORES_AT_ONCE // num_items))
    return [slice(start, start + size) for start in range(0, num_users, size)]


@dataclass(frozen=True)
class _NewItems:
    """The held-out items (c,) of a part and each user's scores of them (num_users, c); None where a
    model can't."""

    items: np.ndarray
    scores: np.ndarray | None


def _new_items(
    model: Recommender, item_histories: Part, positives: "csr_matrix", features: FeatureTable | None
) -> _NewItems:
    items = np.flatnonzero(positives.getnnz(axis=0))  # held-out items: each has a positive
    if not isinstance(model, FoldsItems):
        return _NewItems(items, None)
    liked_by = item_histories.positives.T.tocsr()[items]  # (c, num_users)
    if features is None:
        return _NewItems(items, model.score_new_items(liked_by).T)
    of_features = cast(FoldsFeatures, model)
    return _NewItems(items, of_features.score_new_items(liked_by, features.matrix[items]).T)


def _scores(
    model: Recommender,
    split: Split,
    users: np.ndarray,
    new: _NewItems | None,
    user_features: FeatureTable | None,
    among: "csr_matrix | None",
) -> np.ndarray:
    """(batch, num_items), -inf of all that `among` (batch, num_items) doesn't store; of all items
    where that is None."""
    if among is None:
        return _rows(model, split, users, new, user_features)
    owners, shape = np.repeat(np.arange(len(users)), np.diff(among.indptr)), among.shape
    folds = new is not None or split.histories is not None
    if isinstance(model, ScoresCells) and not folds and among.nnz <= shape[0] * shape[1] / 2:
        values = model.score_cells(users[owners], among.indices)
    else:
        values = _rows(model, split, users, new, user_features)[owners, among.indices]
    scores = np.full(shape, -np.inf, dtype=np.float32)
    scores[owners, among.indices] = values
    return scores


def _rows(
    model: Recommender,
    split: Split,
    users: np.ndarray,
    new: _NewItems | None,
    user_features: FeatureTable | None,
) -> np.ndarray:
    """(batch, num_items); new users and new items are scored by what is given of them, where the
    model can. A user is new who gave a history, or has no training positive.

    All but new items are no candidates where there are such.
    """
    if new is not None:
        scores = np.full((len(users), split.num_items), -np.inf, dtype=np.float32)
        scores[:, new.items] = (
            model.score(users)[:, new.items] if new.scores is None else new.scores[users]
        )
        return scores
    if split.histories is None or not isinstance(model, Folds):
        return model.score(users)
    histories = split.histories.positives[users]
    new_users = histories.getnnz(axis=1) > 0
    new_users |= split.train.positives[users].getnnz(axis=1) == 0
    scores = np.empty((len(users), split.num_items), dtype=np.float32)
    if new_users.any() and user_features is not None:
        features = user_features.matrix[users[new_users]]
        of_features = cast(FoldsFeatures, model)
        scores[new_users] = of_features.score_histories(histories[new_users], features)
    elif new_users.any():
        scores[new_users] = model.score_histories(histories[new_users])
    if not new_users.all():
        scores[~new_users] = model.score(users[~new_users])
    return scores


def _best_among(
    scores: np.ndarray, candidates: "csr_matrix", positives: "csr_matrix", k: int
) -> np.ndarray:
    """(batch, k) the best candidates, -1 where none is left. Of equal scores a positive comes last:
    a model that can't tell it from others has not found it, however the items are numbered.

    Args:
        scores: (batch, num_items) float32.
        candidates: (batch, num_items) sparse; what it stores is a candidate.
        positives: (batch, num_items) sparse; candidates too.
    """
    rows = np.repeat(np.arange(len(scores)), np.diff(candidates.indptr))
    columns = candidates.indices
    relevant = np.zeros(scores.shape, dtype=bool)
    relevant[np.repeat(np.arange(len(scores)), np.diff(positives.indptr)), positives.indices] = True
    order = np.lexsort((columns, relevant[rows, columns], -scores[rows, columns], rows))
    places = np.arange(len(rows)) - candidates.indptr[rows]  # within a row, which order keeps
    listed = places < k
    items = np.full((len(scores), k), -1, dtype=np.int32)
    items[rows[listed], places[listed]] = columns[order][listed]
    return items


def _excluded(split: Split, part: str, users: np.ndarray, candidates: str) -> "csr_matrix | None":
    """(batch, num_items) sparse: what comes before the part, which no list may hold; None where the
    candidates say it."""
    if candidates == "part":
        return None
    before = [split.train] + [split.validation] * (part == "test")
    if candidates == "unseen":
        first, *others = (known.cells[users] for known in before)
        return sum(others, start=first)
    before += [given for given in (split.histories, split.item_histories) if given is not None]
    first, *others = (known.positives[users] for known in before)
    return sum(others, start=first)


def _hits(items: np.ndarray, positives: "csr_matrix") -> np.ndarray:
    """(batch, k) bool: whether each item of the lists (batch, k) is stored in its row of
    positives."""
    batch, num_items = positives.shape
    starts = np.arange(batch, dtype=np.int64) * num_items
    liked = np.repeat(starts, np.diff(positives.indptr)) + positives.indices
    return np.isin(starts[:, None] + items, liked) & (items >= 0)  # -1 is another user's last item
