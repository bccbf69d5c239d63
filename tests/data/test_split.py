"""Splits: hand-computed cases, and over several seeds that parts are disjoint, complete and fixed
by the seed."""

from dataclasses import replace

import numpy as np
import pytest

from recsweep.data.interactions import IdMap, Interactions, Pairs, Part, Split
from recsweep.data.split import (
    TEST,
    TRAIN,
    VALIDATION,
    Given,
    LeaveLastOut,
    NewItems,
    NewUsers,
    PerUserRatio,
    RandomCells,
    RandomRows,
    Temporal,
)
from recsweep.errors import ConfigError, DataError


def random_cells(**changes) -> RandomCells:
    return RandomCells(
        **{"validation": 0.1, "test": 0.2, "seed": 0, "max_cells": 25_000_000} | changes
    )


def temporal(**changes) -> Temporal:
    return Temporal(**{"validation": 0.1, "test": 0.2} | changes)


def per_user_ratio(**changes) -> PerUserRatio:
    return PerUserRatio(**{"validation": 0.1, "test": 0.2, "seed": 0} | changes)


def new_users(**changes) -> NewUsers:
    return NewUsers(**{"users": 0.2, "history": 0.8, "seed": 0} | changes)


def new_items(**changes) -> NewItems:
    return NewItems(**{"items": 0.2, "history": 0.8, "seed": 0} | changes)


def random_rows(**changes) -> RandomRows:
    return RandomRows(**{"validation": 0.1, "test": 0.2, "seed": 0} | changes)


def given(**changes) -> Given:
    return Given(**{"validation": 0.1, "seed": 0} | changes)


def made(positives, num_users: int, num_items: int, timestamps=None) -> Interactions:
    """Interactions of (user, item) index pairs."""
    users, items = np.array(positives, dtype=int).reshape(-1, 2).T
    return Interactions(
        name="made",
        users=users,
        items=items,
        user_ids=IdMap(np.arange(num_users), "user"),
        item_ids=IdMap(np.arange(num_items), "item"),
        timestamps=None if timestamps is None else np.array(timestamps),
    )


def drawn(seed: int, num_users: int = 60, num_items: int = 40) -> Interactions:
    """A tenth of the cells, in random order, with tied timestamps."""
    rng = np.random.default_rng(seed)
    cells = rng.permutation(num_users * num_items)[: num_users * num_items // 10]
    pairs = np.stack([cells // num_items, cells % num_items], axis=1)
    return made(pairs, num_users, num_items, rng.integers(50, size=len(cells)))


def shuffled(interactions: Interactions, seed: int) -> Interactions:
    order = np.random.default_rng(seed).permutation(len(interactions))
    return replace(
        interactions,
        users=interactions.users[order],
        items=interactions.items[order],
        timestamps=interactions.timestamps[order],
    )


def cells(part: Part, target: int | None = None) -> list[tuple[int, int]]:
    chosen = slice(None) if target is None else part.targets == target
    return list(zip(part.users[chosen].tolist(), part.items[chosen].tolist(), strict=True))


def all_parts(split: Split) -> list[Part]:
    parts = (split.train, split.validation, split.test, split.histories, split.item_histories)
    return [part for part in parts if part is not None]


RULES = [random_cells(), LeaveLastOut(), temporal(), per_user_ratio(), new_users(), new_items()]
SEEDED = [rule for rule in RULES if hasattr(rule, "seed")]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@pytest.mark.parametrize("seed", range(4))
def test_parts_are_disjoint_and_complete(rule, seed):
    interactions = drawn(seed)
    parts = all_parts(rule.split(interactions))
    positives = [cell for part in parts for cell in cells(part, 1)]
    assert sorted(positives) == sorted(
        zip(interactions.users.tolist(), interactions.items.tolist(), strict=True)
    )
    every_cell = [cell for part in parts for cell in cells(part)]
    listed = (
        interactions.num_users * interactions.num_items
        if parts[0].enumerates_cells
        else len(interactions)
    )
    assert len(every_cell) == len(set(every_cell)) == listed
    assert {(part.num_users, part.num_items) for part in parts} == {(60, 40)}
    assert all(part.num_positives > 0 for part in parts)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_same_seed_same_split_whatever_the_order_of_rows(rule):
    interactions = drawn(0)
    assert rule.split(interactions).digest == rule.split(shuffled(interactions, 1)).digest


@pytest.mark.parametrize(
    ("rule", "digest"),
    [
        (random_cells(), "42fc7a5027892dde"),
        (LeaveLastOut(), "6703007a3b50a5da"),
        (temporal(), "77de3896d5d181e5"),
        (per_user_ratio(), "d10d319d596bae4e"),
        (new_users(), "689307a4fda2d61c"),
        (new_items(), "e8a5a3383597a964"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("at_once", [4_000_000, 7])
@pytest.mark.parametrize("mapped_from", [10_000_000, 20])
def test_a_split_is_the_same_from_version_to_version_however_it_is_made(
    rule, digest, at_once, mapped_from, monkeypatch
):
    """Digests of what stood here before anything was made in pieces or lay in files."""
    monkeypatch.setattr("recsweep.data.arrays.VALUES_AT_ONCE", at_once)
    monkeypatch.setattr("recsweep.data.split.VALUES_AT_ONCE", at_once)
    monkeypatch.setattr("recsweep.data.arrays.MAPPED_FROM", mapped_from)
    for interactions in (drawn(0), shuffled(drawn(0), 1), drawn(0).ordered):
        assert interactions.digest == "83e768ca43886194"
        split = rule.split(interactions)
        assert split.digest == digest
        for part in all_parts(split):
            expected = np.zeros((60, 40))
            expected[part.users, part.items] = part.targets
            assert np.array_equal(part.positives.toarray(), expected)
            assert part.positives.has_canonical_format


@pytest.mark.parametrize("rule", SEEDED, ids=lambda rule: type(rule).__name__)
def test_other_seed_other_split(rule):
    assert rule.split(drawn(0)).digest != replace(rule, seed=1).split(drawn(0)).digest


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_kind_and_seed_are_recorded(rule):
    split = rule.split(drawn(0))
    assert split.kind in {
        "random_cells",
        "leave_last_out",
        "temporal",
        "per_user_ratio",
        "new_users",
        "new_items",
    }
    assert split.seed == (0 if rule in SEEDED else None)
    assert split.train.enumerates_cells == (split.kind == "random_cells")


def test_random_cells_share_positives_and_zeros_separately():
    interactions = made(
        [(user, user) for user in range(10)] + [(user, 9 - user) for user in range(10)], 10, 10
    )
    split = random_cells().split(interactions)
    counts = [
        (part.num_positives, len(part)) for part in (split.train, split.validation, split.test)
    ]
    assert counts == [(14, 70), (2, 10), (4, 20)]


@pytest.mark.parametrize("part", ["validation", "test"])
def test_random_cells_favour_no_cell(part):
    interactions = made([(0, 0), (0, 1), (1, 2), (2, 3), (3, 3)], 4, 5)
    hits = np.zeros((4, 5))
    for seed in range(600):
        chosen = getattr(
            random_cells(validation=0.2, test=0.2, seed=seed).split(interactions), part
        )
        hits[chosen.users, chosen.items] += 1
    assert np.abs(hits / 600 - 0.2).max() < 4.5 * np.sqrt(0.16 / 600)


def test_random_cells_of_a_large_matrix_are_refused():
    with pytest.raises(
        DataError,
        match=r"split.max_cells=2,399, and 60 users x 40 items are 2,400.*split=per_user_ratio",
    ):
        random_cells(max_cells=2399).split(drawn(0))


def test_random_cells_halves_go_upwards():
    interactions = made([(0, item) for item in range(15)], 3, 15)
    assert (
        random_cells(validation=0.1, test=0.3).split(interactions).validation.num_positives == 2
    )  # 1.5
    interactions = made([(0, item) for item in range(50)], 3, 50)
    assert (
        random_cells(validation=0.29).split(interactions).validation.num_positives == 15
    )  # 14.5, floats say less


def rated(seed: int) -> Interactions:
    """A tenth of the cells positive, and one in twenty a known zero, in random order."""
    interactions = drawn(seed)
    taken = interactions.users * 40 + interactions.items
    free = np.setdiff1d(np.arange(60 * 40), taken)
    low = np.random.default_rng(seed).permutation(free)[: 60 * 40 // 20]
    return replace(interactions, zeros=Pairs(low // 40, low % 40))


@pytest.mark.parametrize("seed", range(4))
def test_random_rows_share_out_positives_and_known_zeros_alike(seed):
    interactions = rated(seed)
    split = random_rows(seed=seed).split(interactions)
    parts = split.train, split.validation, split.test
    assert [len(part) for part in parts] == [252, 36, 72]  # of 240 positives and 120 zeros
    assert all(part.enumerates_cells for part in parts)
    for target, expected in ((1, interactions), (0, interactions.zeros)):
        listed = [cell for part in parts for cell in cells(part, target)]
        assert sorted(listed) == sorted(
            zip(expected.users.tolist(), expected.items.tolist(), strict=True)
        )
    assert (split.kind, split.seed) == ("random_rows", seed)


def test_random_rows_are_those_of_the_seed_whatever_the_order_of_rows():
    interactions = rated(0)
    zeros = Pairs(*(each[::-1] for each in interactions.zeros))
    other = replace(shuffled(interactions, 1), zeros=zeros)
    assert other.digest == interactions.digest != drawn(0).digest
    split = random_rows().split(interactions)
    assert random_rows().split(other).digest == split.digest
    assert random_rows(seed=1).split(other).digest != split.digest


def test_random_rows_need_known_zeros_and_data_in_one_part():
    with pytest.raises(DataError, match=r"made has no known zeros\. Set data\.zeros=rated, which"):
        random_rows().split(drawn(0))
    with pytest.raises(DataError, match=r"and split=random_rows would mix them"):
        random_rows().split(in_parts())


def test_leave_last_out_by_hand():
    interactions = made(
        [(0, 5), (0, 3), (0, 4), (0, 1), (1, 0), (1, 1), (2, 2), (2, 0), (2, 1)],
        4,
        6,
        [10, 30, 20, 5, 1, 2, 7, 7, 7],
    )
    split = LeaveLastOut().split(interactions)
    assert cells(split.test) == [
        (0, 3),
        (2, 2),
    ]  # user 2's three are at one time: the higher index is the later
    assert cells(split.validation) == [(0, 4), (2, 1)]
    assert cells(split.train) == [
        (0, 1),
        (0, 5),
        (1, 0),
        (1, 1),
        (2, 0),
    ]  # user 1 has two positives only


def test_leave_last_out_needs_three_positives():
    with pytest.raises(DataError, match="at least three positives, and the busiest of 2 has 2"):
        LeaveLastOut().split(made([(0, 0), (0, 1), (1, 1)], 2, 2, [1, 2, 3]))


@pytest.mark.parametrize(
    ("times", "validation", "test"),
    [
        ([1, 2, 3, 4, 5, 5, 5, 6, 7, 8], {6}, {7, 8}),
        (
            [1, 2, 3, 4, 5, 5, 5, 5, 5, 6],
            {5},
            {6},
        ),  # the test's cut falls among the fives: nearest is their end
        ([1, 2, 3, 4, 5, 6, 7, 8, 8, 8], {7}, {8}),  # nearest is their beginning
        ([1, 1, 1, 1, 1, 1, 1, 1, 2, 3], {2}, {3}),  # validation needs a cut of its own
        ([1, 1, 1, 2, 3, 3, 3, 3, 3, 3], {2}, {3}),
    ],
    ids=str,
)
def test_temporal_by_hand(times, validation, test):
    interactions = made([(item % 3, item) for item in range(10)], 3, 10, times)
    split = temporal().split(shuffled(interactions, 0))
    by_item = np.array(times)
    assert set(by_item[split.test.items].tolist()) == test
    assert set(by_item[split.validation.items].tolist()) == validation
    assert by_item[split.train.items].max() < min(validation)


@pytest.mark.parametrize("seed", range(4))
def test_temporal_keeps_the_order_of_time(seed):
    interactions = drawn(seed)
    pairs = zip(interactions.users.tolist(), interactions.items.tolist(), strict=True)
    time = dict(zip(pairs, interactions.timestamps.tolist(), strict=True))
    split = temporal().split(interactions)
    spans = [
        [time[cell] for cell in cells(part)] for part in (split.train, split.validation, split.test)
    ]
    assert max(spans[0]) < min(spans[1]) <= max(spans[1]) < min(spans[2])
    assert len(split.test) == pytest.approx(0.2 * 240, abs=10)


def test_temporal_needs_three_times():
    with pytest.raises(DataError, match="at least three different timestamps, and the data has 2"):
        temporal().split(made([(0, item) for item in range(10)], 1, 10, [1] * 5 + [2] * 5))


@pytest.mark.parametrize("rule", [LeaveLastOut(), temporal()], ids=["leave_last_out", "temporal"])
def test_timestamps_are_needed(rule):
    with pytest.raises(
        DataError, match=r"needs timestamps, and made has none\. Set data.timestamp_column"
    ):
        rule.split(made([(0, 0), (0, 1), (0, 2)], 1, 3))


def test_per_user_ratio_by_hand():
    sizes = [10, 5, 2, 1, 0, 15]
    interactions = made(
        [(user, item) for user, size in enumerate(sizes) for item in range(size)], 6, 15
    )
    split = per_user_ratio().split(interactions)
    counts = [
        np.bincount(part.users, minlength=6).tolist()
        for part in (split.train, split.validation, split.test)
    ]
    assert counts[1] == [1, 1, 0, 0, 0, 2]
    assert counts[2] == [2, 1, 0, 0, 0, 3]
    assert np.sum(counts, axis=0).tolist() == sizes


def test_per_user_ratio_rounds_down_but_to_one():
    sizes = [1, 2, 9, 15, 20, 29]
    interactions = made(
        [(user, item) for user, size in enumerate(sizes) for item in range(size)], 6, 29
    )
    split = per_user_ratio(test=0.1, rounding="down").split(interactions)
    counts = [
        np.bincount(part.users, minlength=6).tolist() for part in (split.validation, split.test)
    ]
    assert counts == [[0, 0, 1, 1, 2, 2], [0, 1, 1, 1, 2, 2]]


def test_per_user_ratio_leaves_one_positive_in_train():
    interactions = made([(user, item) for user in range(4) for item in range(user + 1)], 4, 4)
    split = per_user_ratio(validation=0.45, test=0.5).split(interactions)
    assert np.bincount(split.train.users, minlength=4).tolist() == [1, 1, 1, 1]


def test_new_users_by_hand():
    interactions = made(
        [(user, item) for user in range(10) for item in range(5)] + [(10, 0)], 12, 5
    )
    split = new_users(users=0.5, history=0.6).split(interactions)
    validation, test = (set(part.users.tolist()) for part in (split.validation, split.test))
    assert split.item_histories is None
    assert (len(validation), len(test)) == (2, 3)  # 5 of the 10 users with two positives or more
    assert set(split.train.users.tolist()) == set(range(11)) - validation - test
    assert np.bincount(split.histories.users).max() == 3
    assert set(split.histories.users.tolist()) == validation | test
    assert (len(split.validation), len(split.test)) == (4, 6)


@pytest.mark.parametrize("history", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_new_users_always_give_and_are_always_asked(history, seed):
    interactions = drawn(seed)
    split = new_users(history=history, seed=seed).split(interactions)
    train = set(split.train.users.tolist())
    validation, test = set(split.validation.users.tolist()), set(split.test.users.tolist())
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    assert set(split.histories.users.tolist()) == validation | test


@pytest.mark.parametrize("kind", ["users", "items"])
@pytest.mark.parametrize("seed", range(3))
def test_without_a_history_the_same_ones_are_asked_for_all_they_have(kind, seed):
    rule = {"users": new_users, "items": new_items}[kind](seed=seed)
    data = drawn(seed)
    given, nothing = rule.split(data), replace(rule, history=0).split(data)
    history = nothing.histories if kind == "users" else nothing.item_histories
    assert len(history) == 0
    for part in ("train", "validation", "test"):
        one, other = (getattr(getattr(split, part), kind) for split in (given, nothing))
        assert set(one.tolist()) == set(other.tolist())
    assert len(nothing.train) + len(nothing.validation) + len(nothing.test) == len(data)


def test_new_users_need_two_users_and_some_others():
    few = made([(user, item) for user in range(4) for item in range(2)], 4, 2)
    with pytest.raises(
        DataError, match=r"split\.users=0\.2 of 4 users with at least two positives holds out 1"
    ):
        new_users().split(few)
    with pytest.raises(DataError, match="holds out all 4 users with positives"):
        new_users(users=0.95).split(few)


def test_new_items_are_new_users_with_both_exchanged():
    pairs = [(user, item) for user in range(10) for item in range(5)] + [(10, 0)]
    of_users = new_users(users=0.5, history=0.6).split(made(pairs, 12, 5))
    of_items = new_items(items=0.5, history=0.6).split(
        made([(item, user) for user, item in pairs], 5, 12)
    )
    assert of_items.histories is None
    test, validation = (set(part.items.tolist()) for part in (of_items.test, of_items.validation))
    assert (len(validation), len(test)) == (2, 3)  # 5 of the 10 items with two positives or more
    assert set(of_items.train.items.tolist()) == set(range(11)) - validation - test
    assert np.bincount(of_items.item_histories.items).max() == 3
    assert set(of_items.item_histories.items.tolist()) == validation | test
    for part in ("train", "validation", "test"):
        assert len(getattr(of_items, part)) == len(getattr(of_users, part))


@pytest.mark.parametrize("history", [0.01, 0.5, 0.99])
@pytest.mark.parametrize("seed", range(4))
def test_new_items_are_always_given_and_always_asked_for(history, seed):
    split = new_items(history=history, seed=seed).split(drawn(seed))
    train = set(split.train.items.tolist())
    validation, test = set(split.validation.items.tolist()), set(split.test.items.tolist())
    assert len(train | validation | test) == len(train) + len(validation) + len(test)
    assert set(split.item_histories.items.tolist()) == validation | test


def test_new_items_need_two_items_and_some_others():
    few = made([(user, item) for user in range(2) for item in range(4)], 2, 4)
    with pytest.raises(
        DataError, match=r"split\.items=0\.2 of 4 items with at least two positives holds out 1"
    ):
        new_items().split(few)
    with pytest.raises(
        DataError, match=r"holds out all 4 items with positives.*Lower split\.items"
    ):
        new_items(items=0.95).split(few)


def in_parts(parts=(TRAIN, VALIDATION, TEST), seed: int = 0) -> Interactions:
    """Drawn interactions, each in a part at random."""
    data = drawn(seed)
    return replace(data, parts=np.random.default_rng(seed).choice(parts, size=len(data)))


@pytest.mark.parametrize("seed", range(4))
def test_given_parts_are_taken_as_they_are(seed):
    data = in_parts(seed=seed)
    split = given().split(data)
    assert (split.kind, split.seed) == ("given", None)
    for label, part in enumerate((split.train, split.validation, split.test)):
        chosen = data.parts == label
        expected = zip(data.users[chosen].tolist(), data.items[chosen].tolist(), strict=True)
        assert cells(part) == sorted(expected)
    other_order = replace(shuffled(data, 1), parts=shuffled_parts(data, 1))
    assert given(seed=5).split(other_order).digest == split.digest


def shuffled_parts(data: Interactions, seed: int) -> np.ndarray:
    return data.parts[np.random.default_rng(seed).permutation(len(data))]


@pytest.mark.parametrize("seed", range(4))
def test_without_a_validation_part_a_share_of_each_users_training_positives_validates(seed):
    data = in_parts((TRAIN, TEST), seed)
    split = given(validation=0.3, seed=seed).split(data)
    chosen = data.parts == TEST
    assert set(cells(split.test)) == set(zip(data.users[chosen], data.items[chosen], strict=True))
    together = np.bincount(data.users[~chosen], minlength=60)
    validation = np.bincount(split.validation.users, minlength=60)
    assert (validation == np.floor(0.3 * together + 0.5)).all()
    assert set(cells(split.train)) | set(cells(split.validation)) == set(
        zip(data.users[~chosen], data.items[~chosen], strict=True)
    )
    assert len(split.train) + len(split.validation) == (~chosen).sum()
    other_order = replace(shuffled(data, 1), parts=shuffled_parts(data, 1))
    assert given(validation=0.3, seed=seed).split(other_order).digest == split.digest
    others = (given(validation=0.3, seed=seed + 1), given(validation=0.2, seed=seed))
    assert split.digest not in {other.split(data).digest for other in others}


def test_the_only_training_positive_of_a_user_stays():
    data = replace(made([(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)], 2, 3), parts=[0, 2, 0, 0, 2])
    assert cells(given(validation=0.9).split(data).train)[0] == (0, 0)
    assert len(given(validation=0.9).split(data).train) == 2


def test_a_pair_in_two_parts_is_named():
    pairs = [(0, 0), (0, 1), (1, 0), (1, 1), (1, 0)]
    data = replace(
        made(pairs, 2, 3),
        parts=[0, 2, 0, 0, 2],
        item_ids=IdMap(np.array(["a" * 500, "b", "c"]), "item"),
    )
    with pytest.raises(
        DataError,
        match=r"1 of made are in two, the first of them user 1 and item a+… \(500 char.*"
        r"in train and test\. Take them out of one of the files",
    ):
        given().split(data)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (None, r"takes the parts that the data comes in, and made has none\. Set data\.test_path"),
        ([0, 0, 0], r"data\.test_path of made gives none"),
        ([2, 2, 1], r"data\.path of made gives none"),
        ([0, 0, 2], r"split\.validation=0\.1 of 2 training positives of the busiest user"),
    ],
)
def test_given_parts_that_are_not_there(parts, message):
    data = replace(made([(0, 0), (0, 1), (1, 0)], 2, 2), parts=parts)
    with pytest.raises(DataError, match=message):
        given().split(data)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_data_in_parts_are_parted_by_no_other_rule(rule):
    kind = rule.split(drawn(0)).kind
    with pytest.raises(DataError, match=rf"and split={kind} would mix them\. Take split=given, or"):
        rule.split(in_parts())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            random_cells(validation=0.01),
            r"split.validation=0.01 of 20 positives rounds to nothing.*Raise split.validation",
        ),
        (
            temporal(test=0.01),
            r"split.test=0.01 of 20 positives rounds to nothing.*Raise split.test",
        ),
        (
            per_user_ratio(test=0.01),
            r"split.test=0.01 of 5 positives of the busiest user rounds to nothing",
        ),
        (random_cells(validation=0.499, test=0.5), "train needs one too"),
    ],
)
def test_parts_that_would_be_empty(rule, message):
    interactions = made([(user, item) for user in range(4) for item in range(5)], 4, 6, range(20))
    with pytest.raises(DataError, match=message):
        rule.split(interactions)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_no_positive_at_all(rule):
    with pytest.raises(DataError):
        rule.split(made([], 3, 3, []))


@pytest.mark.parametrize(
    ("make", "changes", "message"),
    [
        (
            random_cells,
            {"validation": 1},
            "split.validation must be a number at least 0 and below 1",
        ),
        (random_cells, {"test": 1}, "split.test must be a number above 0 and below 1"),
        (random_cells, {"max_cells": 0}, "split.max_cells"),
        (random_cells, {"seed": None}, "split.seed"),
        (temporal, {"validation": 0.5, "test": 0.5}, r"must stay below 1, .* not 0.5 \+ 0.5"),
        (per_user_ratio, {"test": "0.2"}, "split.test"),
        (per_user_ratio, {"seed": -1}, "split.seed"),
        (per_user_ratio, {"rounding": "up"}, "split.rounding"),
        (random_rows, {"test": 1}, "split.test must be a number above 0 and below 1"),
        (random_rows, {"seed": -1}, "split.seed"),
        (new_users, {"users": 1.5}, "split.users"),
        (new_users, {"history": -0.1}, "split.history must be a number at least 0 and below 1"),
        (new_users, {"seed": 0.5}, "split.seed"),
        (new_items, {"items": 0}, "split.items must be a number above 0 and below 1"),
        (new_items, {"history": 1}, "split.history"),
        (new_items, {"seed": -1}, "split.seed"),
        (given, {"validation": -1}, "split.validation must be a number at least 0 and below 1"),
        (given, {"seed": None}, "split.seed"),
    ],
)
def test_impossible_settings(make, changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)
