"""The items that a user's list is chosen from, where they are a few of all."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recsweep.checks import short
from recsweep.data.interactions import IdMap, Part, Split
from recsweep.errors import ConfigError, DataError
from recsweep.evaluation.protocol import PARTS, SUBSETS, EvaluationProtocol

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def check_candidates(
    protocol: EvaluationProtocol, split: Split, parts: Sequence[str], user_ids: IdMap | None = None
) -> None:
    """Raise where a user of one of the parts can't be given the candidates that are asked for.

    Args:
        user_ids: Raw ids of the users, for messages.

    Raises:
        ConfigError: The split or the number of items has no such candidates.
        DataError: A user has none.
    """
    if (candidates := protocol.candidates_of(split)) not in SUBSETS:
        return
    if split.item_histories is not None:
        raise ConfigError(
            f"evaluation.candidates={candidates} can't be had with split={split.kind}, whose lists "
            "are chosen from the part's new items. Take evaluation.candidates=part."
        )
    if candidates == "given" and split.candidates is None:
        raise ConfigError(
            "evaluation.candidates=given takes the items that the data has for each user, and it "
            "has none. Set data.candidates_path, or take evaluation.candidates=sampled."
        )
    for part in parts:
        users = np.flatnonzero(np.diff(getattr(split, part).positives.indptr))
        if candidates == "given":
            _check_given(split, part, users, user_ids)
        else:
            _check_number(protocol, split, users)


def _check_given(split: Split, part: str, users: np.ndarray, user_ids: IdMap | None) -> None:
    assert split.candidates is not None, "check_candidates has seen to it"
    without = users[np.diff(split.candidates.indptr)[users] == 0]
    if len(without):
        first = f"index {without[0]}" if user_ids is None else short(str(user_ids.ids[without[0]]))
        raise DataError(
            f"evaluation.candidates=given needs candidates for each user of the {part} part, and "
            f"{len(without):,} of {len(users):,} have none in data.candidates_path, the first of "
            f"them user {first}. Add them to that file, or take evaluation.candidates=sampled."
        )


def _check_number(protocol: EvaluationProtocol, split: Split, users: np.ndarray) -> None:
    if not len(users):
        return
    free = split.num_items - np.diff(_known(split, users).indptr)
    if protocol.num_candidates > free.min():
        raise ConfigError(
            f"evaluation.num_candidates={protocol.num_candidates:,} can't be drawn: the user with "
            f"the fewest items that are no positive has {int(free.min()):,} of them. Set it to at "
            "most that, or take evaluation.candidates=not_liked for all items."
        )


def candidates_of_users(
    protocol: EvaluationProtocol, split: Split, part: str, users: np.ndarray
) -> "csr_matrix":
    """(len(users), num_items) sparse: what each of the users' lists is chosen from, each item
    once, see `EvaluationProtocol.candidates`; `check_candidates` has found nothing wrong."""
    positives = getattr(split, part).positives[users]
    if protocol.candidates == "sampled":
        return (_drawn(protocol, split, part, users) + positives).tocsr()
    before = [split.train] + [split.validation] * (part == "test")
    before += [given for given in (split.histories,) if given is not None]
    assert split.candidates is not None, "check_candidates has seen to it"
    earlier = _sum_of(before, users)
    given = split.candidates[users].astype(np.float32)
    # a positive of the part is none of an earlier one
    left = given - given.multiply(earlier)
    left.eliminate_zeros()
    return (left + positives).tocsr()


def _drawn(
    protocol: EvaluationProtocol, split: Split, part: str, users: np.ndarray
) -> "csr_matrix":
    """(len(users), num_items) sparse: uniform draws without replacement from the items that are no
    positive of the user in any part. The same for a seed, a part and a user, whoever asks with
    whom."""
    from scipy.sparse import csr_matrix

    number, known = protocol.num_candidates, _known(split, users)
    drawn = np.empty((len(users), number), dtype=np.int32)
    is_free = np.ones(split.num_items, dtype=bool)
    for row, user in enumerate(users.tolist()):
        own = known.indices[known.indptr[row] : known.indptr[row + 1]]
        is_free[own] = False
        rng = np.random.default_rng([protocol.candidates_seed, PARTS.index(part), user])
        drawn[row] = rng.choice(np.flatnonzero(is_free), number, replace=False, shuffle=False)
        is_free[own] = True
    starts = np.arange(len(users) + 1) * number
    ones = np.ones(drawn.size, dtype=np.float32)
    return csr_matrix((ones, drawn.reshape(-1), starts), (len(users), split.num_items))


def _known(split: Split, users: np.ndarray) -> "csr_matrix":
    """(len(users), num_items) sparse: the users' positives of all parts."""
    parts = (split.train, split.validation, split.test, split.histories)
    return _sum_of([part for part in parts if part is not None], users)


def _sum_of(parts: Sequence[Part], users: np.ndarray) -> "csr_matrix":
    """(len(users), num_items) sparse: the users' positives of several parts, which share none."""
    first, *others = (part.positives[users] for part in parts)
    return sum(others, start=first)
